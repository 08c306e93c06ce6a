//! What the log adds to its own system calls: they are noted while it writes, and made again by a bare loop.
//!
//! Where the loop is no faster, the disk is what limits the log, and only other calls could be faster.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::ours::{Ours, filled};
use super::synced::size;
use super::vfs::{Call, Watched};
use crate::goal::Goal;
use crate::harness::disk::{FreshDir, Shape, drive, is_steady, payloads, zeroed};
use crate::harness::{Failure, Round, now, since};
use crate::session::{OwnRow, Session};

/// The shapes of the rows with a goal that this explains.
const SHAPES: [(usize, usize); 6] =
    [(1, 128), (1, 1 << 10), (1, 64 << 10), (8, 64 << 10), (64, 128), (64, 1 << 10)];

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    for (threads, payload) in SHAPES {
        measure(session, Shape { threads, payload })?;
    }
    Ok(())
}

fn measure(session: &mut Session<'_>, shape: Shape) -> Result<(), Failure> {
    let row = OwnRow {
        id: "wal.calls",
        variant: match shape.threads {
            1 => format!("1 thread, {}", size(shape.payload)),
            threads => format!("{threads} threads, {}", size(shape.payload)),
        },
        what: "The log as in the other rows, against a loop of one thread that makes the same writes to the \
               same places of a file like the log's, and the same syncs between them. Records a second: the \
               loop's are those that its writes hold."
            .to_owned(),
        unit: "records/s",
        peer: Some(("its own calls", None)),
        goal: Goal::Reported,
    };
    let (scratch, plan) = (session.scratch, session.plan);
    session.own(&[row], |_| {
        let vfs = Watched::new(Duration::ZERO);
        let counts = vfs.counts();
        let dir = scratch.fresh()?;
        let (wal, _) = filled(shape)?.vfs(Arc::new(vfs)).open(dir.path().join("log"))?;
        let (log, payloads) = (Ours(wal), payloads(shape.payload));
        drive(&log, shape, &payloads, plan.disk / 10)?;
        scratch.settle()?;

        let before = scratch.probe(plan.probe)?;
        counts.note_calls();
        let start = now();
        let sample = drive(&log, shape, &payloads, plan.disk)?;
        let took = since(start);
        let calls = counts.take_calls();
        let between = scratch.probe(plan.probe)?;
        let loop_took = replay(&scratch.fresh()?, &calls)?;
        let after = scratch.probe(plan.probe)?;

        let theirs = sample.rate * took.as_secs_f64() / loop_took.as_secs_f64();
        let steady = is_steady(before, between) && is_steady(between, after);
        Ok(steady.then(|| vec![Round { ours: sample.rate, theirs: Some(theirs) }]))
    })
}

/// How long the same calls take in a file of zeros.
fn replay(dir: &FreshDir, calls: &[Call]) -> Result<Duration, Failure> {
    let end = |call: &Call| call.place() + call.len as u64;
    let len = calls.iter().map(end).max().ok_or("the log wrote nothing")?;
    let file = zeroed(&dir.path().join("raw"), len, 32 << 10)?;
    let longest = calls.iter().map(|call| call.len).max().unwrap_or(0);
    let bytes = payloads(longest).swap_remove(0);
    let start = now();
    for call in calls {
        match call.len {
            0 => file.sync_data()?,
            len => file.write_all_at(&bytes[..len], call.place())?,
        }
    }
    Ok(since(start))
}
