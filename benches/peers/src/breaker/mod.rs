//! Breakers: what it costs to guard a call that succeeds while the breaker is closed.

mod ours;
mod peers;

use crate::goal::Goal;
use crate::harness::Failure;
use crate::session::{CpuRow, Session, Unit, pair};
use crate::work::bare;

pub(crate) const IDS: &[&str] = &["breaker.closed"];

pub(crate) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let row = |variant, peer, what: &str, ours, theirs, goal| CpuRow {
        id: "breaker.closed",
        variant,
        what: format!(
            "Success on one thread, closed, window of 20 calls. Ours: `Breaker::call` with the system's \
             clock.{what}"
        ),
        unit: Unit::NanosCost,
        peer,
        pair: pair(ours, theirs, Some(bare)),
        goal,
    };
    let (off, on) = ("totals off", "totals on");
    session.cpu(row(off, None, "", ours::totals_off, None, Goal::AtMost(3.0)))?;
    session.cpu(row(on, None, "", ours::totals_on, None, Goal::AtMost(8.0)))?;
    for (name, theirs, what, goal) in peers::ALL {
        session.cpu(row(off, Some(name), what, ours::totals_off, Some(*theirs), *goal))?;
    }
    Ok(())
}
