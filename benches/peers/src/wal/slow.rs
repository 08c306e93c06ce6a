//! A disk that is slow to sync: how close groups come to all who wait.

use std::sync::Arc;
use std::time::Duration;

use bucket_wal::Wal;

use super::ours::Ours;
use super::vfs::Watched;
use crate::goal::Goal;
use crate::harness::disk::{Shape, drive, payloads};
use crate::harness::{Failure, Round};
use crate::session::{OwnRow, Session};

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    for millis in [2, 10] {
        for threads in [8, 64] {
            measure(session, Duration::from_millis(millis), threads)?;
        }
    }
    Ok(())
}

fn measure(session: &mut Session<'_>, sync: Duration, threads: usize) -> Result<(), Failure> {
    let shape = Shape { threads, payload: 128 };
    let row = OwnRow {
        id: "wal.slow",
        variant: format!("{threads} threads, syncs of {} ms", sync.as_millis()),
        what: format!(
            "{threads} threads append 128 B and wait until it is durable, on files whose every sync is \
             drawn out to {} ms. Ideal: every sync carries a record of each thread, one sync after the \
             other; by how long the syncs of the round really took.",
            sync.as_millis()
        ),
        unit: "records/s",
        peer: Some(("ideal", None)),
        goal: Goal::AtLeast(0.9),
    };
    let (scratch, time) = (session.scratch, session.plan.disk * 2);
    session.own(&[row], |_| {
        let dir = scratch.fresh()?;
        let vfs = Watched::new(sync);
        let counts = vfs.counts();
        let (wal, _) = Wal::options().vfs(Arc::new(vfs)).open(dir.path().join("log"))?;
        let (ours, payloads) = (Ours(wal), payloads(shape.payload));
        drive(&ours, shape, &payloads, time / 10)?;
        let before = counts.syncs();
        let sample = drive(&ours, shape, &payloads, time)?;
        let after = counts.syncs();
        let each = (after.1 - before.1).as_secs_f64() / (after.0 - before.0) as f64;
        Ok(Some(vec![Round { ours: sample.rate, theirs: Some(threads as f64 / each) }]))
    })
}
