//! Retries: what it costs to guard a call that succeeds at once.

mod ours;
mod peers;

use crate::goal::Goal;
use crate::harness::Failure;
use crate::session::{CpuRow, Session, Unit, allocations_per_call, pair};
use crate::work::bare;

pub(crate) const IDS: &[&str] = &["retry.sync"];

pub(crate) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let id = "retry.sync";
    let ours = "Ours: `policy.call(&ctx).run(…)` with the defaults, three attempts, no deadline.";
    let row = |variant, peer, what: &str, theirs, goal| CpuRow {
        id,
        variant,
        what: format!("{ours}{what}"),
        unit: Unit::NanosCost,
        peer,
        pair: pair(ours::call, theirs, Some(bare)),
        goal,
    };
    session.cpu(row("first try", None, "", None, Goal::AtMost(2.0)))?;
    session.allocations(id, ours, Goal::AtMost(0.0), || allocations_per_call(ours::call))?;
    for (name, theirs, what, goal) in peers::ALL {
        session.cpu(row("first try", Some(name), what, Some(*theirs), *goal))?;
    }
    Ok(())
}
