//! Pools: checking a connection out and putting it back, when there is always one.

mod ours;
mod peers;

use crate::goal::Goal;
use crate::harness::Failure;
use crate::session::{CpuRow, Session, Unit, allocations_per_call, pair};

pub(crate) const IDS: &[&str] = &["pool.1t"];

/// What the pools hold.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    n: u64,
}

impl Connection {
    /// Uses the connection, so that no pool gets away without handing it out.
    pub(crate) fn touch(&mut self) {
        self.n = self.n.wrapping_add(1);
    }
}

/// As many as the pools may hold; one of them is ever used.
pub(crate) const SIZE: usize = 4;

pub(crate) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let id = "pool.1t";
    let ours = "Checkout and return on one thread, a pool of 4 with an idle connection at hand. Ours: \
                `acquire` with the defaults: expiry, idleness and proof are looked at, counters are kept.";
    for (name, theirs, what, unit, goal) in peers::ALL {
        session.cpu(CpuRow {
            id,
            variant: "checkout and return",
            what: format!("{ours}{what}"),
            unit: *unit,
            peer: Some(name),
            pair: pair(ours::checkout, Some(*theirs), None),
            goal: *goal,
        })?;
    }
    session.cpu(CpuRow {
        id,
        variant: "checkout and return",
        what: ours.to_owned(),
        unit: Unit::Nanos,
        peer: None,
        pair: pair(ours::checkout, None, None),
        goal: Goal::Reported,
    })?;
    session.allocations(id, ours, Goal::AtMost(0.0), || allocations_per_call(ours::checkout))
}
