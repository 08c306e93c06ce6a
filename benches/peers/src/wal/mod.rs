//! Logs: records made durable one by one, from one thread and from eight.

mod best;
mod okaywal;
mod ours;
mod raft_engine;
mod sqlite;

use std::path::Path;

use crate::goal::Goal;
use crate::harness::Failure;
use crate::harness::disk::{DurableWrite, RawFile, Shape};
use crate::report::Row;
use crate::session::{DiskPeer, DiskRow, Session};

pub(crate) const IDS: &[&str] = &["wal.1t.best", "wal.1t.small", "wal.8t"];

/// The bare minimum that every log is measured against.
pub(crate) const RAW: DiskPeer = DiskPeer {
    name: "raw",
    package: None,
    setup: "`pwrite` + `fdatasync` of the payload alone into a file of zeros, each thread in a stretch of its \
            own; no checksum, no framing, no recovery.",
    open: raw,
};

pub(crate) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    one_thread(session)?;
    best::run(session)?;
    eight_threads(session)
}

fn one_thread(session: &mut Session<'_>) -> Result<(), Failure> {
    let goals =
        [(RAW, 0.97), (okaywal::PEER, 0.97), (raft_engine::PEER, 1.05), (sqlite::PEER, 1.1)];
    for (payload, variant) in [(128, "128 B"), (1 << 10, "1 KiB")] {
        for (peer, bound) in &goals {
            let what = format!(
                "One thread appends {variant} and waits until it is durable. Ours: `Wal::append`, all \
                 defaults, a fresh log."
            );
            let row = DiskRow {
                id: "wal.1t.small",
                variant: variant.to_owned(),
                unit: "records/s",
                pick: |sample| sample.rate,
                goal: Goal::AtLeast(*bound),
            };
            session.disk(ours::open, peer, Shape { threads: 1, payload }, &what, &[row])?;
        }
    }
    Ok(())
}

fn eight_threads(session: &mut Session<'_>) -> Result<(), Failure> {
    let first = session.rows.len();
    for peer in [&RAW, &okaywal::PEER, &raft_engine::PEER, &sqlite::PEER] {
        let what = "Eight threads append 1 KiB each and wait until it is durable. The goal holds against the \
                    best peer. Ours: `Wal::append`, all defaults, a fresh log.";
        let row = DiskRow {
            id: "wal.8t",
            variant: "1 KiB".to_owned(),
            unit: "records/s",
            pick: |sample| sample.rate,
            goal: Goal::AtLeast(1.5),
        };
        session.disk(ours::open, peer, Shape { threads: 8, payload: 1 << 10 }, what, &[row])?;
    }
    only_the_best_counts(&mut session.rows[first..]);
    Ok(())
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

fn raw(dir: &Path, shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    Ok(Box::new(RawFile::create(&dir.join("raw"), 32 << 20, shape.threads)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::report::tests::{label, rounds};

    #[test]
    fn the_goal_stays_with_the_best_peer_alone() {
        let row = |peer, ours, theirs| {
            Row::new(
                label("wal.8t", "1 KiB", Some(peer)),
                &Goal::AtLeast(1.5),
                &rounds(&[(ours, theirs); 7]),
            )
        };
        let mut rows =
            [row("slow", 100.0, 10.0), row("best", 100.0, 90.0), row("middle", 100.0, 50.0)];
        only_the_best_counts(&mut rows);
        let verdicts: Vec<_> = rows.iter().map(|row| (row.goal.as_str(), row.met)).collect();
        assert_eq!(verdicts, [("reported", None), (">=1.5", Some(false)), ("reported", None)]);
        only_the_best_counts(&mut []);
    }
}
