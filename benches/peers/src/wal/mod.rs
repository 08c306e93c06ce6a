//! Logs: records made durable one by one and in company, submitted, accepted without waiting, recovered; and
//! what a log takes in bytes, threads and wake-ups.

mod best;
mod calls;
mod footprint;
mod nowait;
mod okaywal;
mod open;
mod ours;
mod pipelined;
mod raft_engine;
mod seed;
mod slow;
mod sqlite;
mod sustained;
mod synced;
mod vfs;
mod walrus;

use std::path::Path;

use crate::goal::Goal;
use crate::harness::Failure;
use crate::harness::disk::{DurableWrite, RawFile, Shape};
use crate::report::Row;
use crate::session::{DiskPeer, Session};

pub(crate) const IDS: &[&str] = &[
    "wal.1t.best",
    "wal.1t.large",
    "wal.1t.small",
    "wal.64t",
    "wal.8t",
    "wal.8t.large",
    "wal.bytes",
    "wal.calls",
    "wal.fresh",
    "wal.idle",
    "wal.nowait",
    "wal.open",
    "wal.pipelined",
    "wal.recover",
    "wal.seed",
    "wal.slow",
    "wal.sustained",
    "wal.tail",
];

/// The bare minimum that every log is measured against.
pub(crate) const RAW: DiskPeer = DiskPeer {
    name: "raw",
    package: None,
    setup: "`pwrite` + `fdatasync` of the payload alone into a file of zeros, each thread in a stretch of its \
            own; no checksum, no framing, no recovery.",
    open: raw,
};

pub(crate) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    footprint::run(session)?;
    synced::run(session)?;
    best::run(session)?;
    calls::run(session)?;
    pipelined::run(session)?;
    nowait::run(session)?;
    open::run(session)?;
    slow::run(session)?;
    seed::run(session)?;
    sustained::run(session)
}

/// Leaves the goal to the row whose peer was fastest; the others are shown without one.
fn only_the_best_counts(rows: &mut [Row]) {
    let fastest = |row: &Row| row.theirs.unwrap_or(0.0);
    let best = rows.iter().map(fastest).fold(0.0, f64::max);
    for row in rows {
        if fastest(row) >= best {
            row.what.push_str(" This is the best peer.");
        } else {
            row.goal = Goal::Reported.to_string();
            row.met = None;
        }
    }
}

/// Of rows of which any one has to reach its goal, leaves the goals to those that do, if any does.
fn any_counts(rows: &mut [Row]) {
    if !rows.iter().any(|row| row.met == Some(true)) {
        return;
    }
    for row in rows.iter_mut().filter(|row| row.met != Some(true)) {
        row.what.push_str(" The alternative goal is met, so this one does not count.");
        row.goal = Goal::Reported.to_string();
        row.met = None;
    }
}

fn raw(dir: &Path, shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    Ok(Box::new(RawFile::create(&dir.join("raw"), 32 << 20, shape)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::report::tests::{label, rounds};

    fn row(peer: &'static str, ours: f64, theirs: f64) -> Row {
        let label = label("wal.8t", "1 KiB", Some(peer));
        Row::new(label, &Goal::AtLeast(1.5), &rounds(&[(ours, theirs); 7]))
    }

    fn verdicts(rows: &[Row]) -> Vec<(&str, Option<bool>)> {
        rows.iter().map(|row| (row.goal.as_str(), row.met)).collect()
    }

    #[test]
    fn the_goal_stays_with_the_best_peer_alone() {
        let mut rows =
            [row("slow", 100.0, 10.0), row("best", 100.0, 90.0), row("middle", 100.0, 50.0)];
        only_the_best_counts(&mut rows);
        let expected = [("reported", None), (">=1.5", Some(false)), ("reported", None)];
        assert_eq!(verdicts(&rows), expected);
        only_the_best_counts(&mut []);
    }

    #[test]
    fn one_of_two_goals_is_enough_and_none_is_not() {
        let mut rows = [row("reached", 200.0, 100.0), row("missed", 100.0, 100.0)];
        any_counts(&mut rows);
        assert_eq!(verdicts(&rows), [(">=1.5", Some(true)), ("reported", None)]);
        let mut rows = [row("missed", 110.0, 100.0), row("too", 100.0, 100.0)];
        any_counts(&mut rows);
        assert_eq!(verdicts(&rows), [(">=1.5", Some(false)); 2]);
    }
}
