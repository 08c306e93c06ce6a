//! Appends that return once the record is accepted: how many a second, and how long the slow ones take.

use std::time::Duration;

use bucket_wal::{SyncPolicy, Wal};

use super::ours::{BATCH, PERIODIC, open_with};
use super::{any_counts, raft_engine};
use crate::goal::Goal;
use crate::harness::disk::payloads;
use crate::harness::{Failure, Round, now, stats};
use crate::machine::version_of;
use crate::session::{OwnRow, Session};

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    for (name, policy) in [("Batch", BATCH), ("Periodic", PERIODIC)] {
        measure(session, name, policy)?;
    }
    Ok(())
}

fn measure(session: &mut Session<'_>, name: &str, policy: SyncPolicy) -> Result<(), Failure> {
    let what = "One thread appends 128 B and goes on as soon as it is accepted, for as long as a round takes; \
                what was accepted is written meanwhile. Ours: `Wal::append`, `Batch` and `Periodic` with a \
                delay of 100 ms.";
    let row = |variant: &str, unit, theirs: bool, goal| OwnRow {
        id: "wal.nowait",
        variant: format!("{name}, {variant}"),
        what: if theirs {
            format!(
                "{what} raft-engine: `write` without sync of a batch of one value, which is a `pwrite`; the \
                 batch is reused; no compression."
            )
        } else {
            what.to_owned()
        },
        unit,
        peer: theirs.then(|| ("raft-engine", version_of("raft-engine"))),
        goal,
    };
    let rows = [
        row("rate", "M records/s", false, Goal::AtLeast(3.0)),
        row("rate", "M records/s", true, Goal::AtLeast(2.0)),
        row("p99", "µs", false, Goal::AtMost(2.0)),
        row("p99", "µs", true, Goal::Reported),
    ];
    let (scratch, time) = (session.scratch, session.plan.disk);
    let payloads = payloads(128);
    let first = session.rows.len();
    session.own(&rows, |tried| {
        let (our_dir, their_dir) = (scratch.fresh()?, scratch.fresh()?);
        let wal = open_with(our_dir.path(), policy)?;
        let engine = raft_engine::open_plain(&their_dir.path().join("log"), 4)?;
        let mut batch = raft_engine::one();
        let mut append = |payload: &[u8]| accept(&wal, payload);
        let mut write = |payload: &[u8]| raft_engine::put(&engine, &mut batch, 1, payload, false);
        for _ in 0..2_000 {
            append(&payloads[0])?;
            write(&payloads[0])?;
        }
        scratch.settle()?;
        let (ours, theirs) = if tried.is_multiple_of(2) {
            let ours = figures(time, &payloads, &mut append)?;
            (ours, figures(time, &payloads, &mut write)?)
        } else {
            let theirs = figures(time, &payloads, &mut write)?;
            (figures(time, &payloads, &mut append)?, theirs)
        };
        wal.close()?;
        let alone = |ours| Round { ours, theirs: None };
        let both = |ours, theirs| Round { ours, theirs: Some(theirs) };
        Ok(Some(vec![alone(ours.0), both(ours.0, theirs.0), alone(ours.1), both(ours.1, theirs.1)]))
    })?;
    if let Some(rates) = session.rows.get_mut(first..first + 2) {
        any_counts(rates);
    }
    Ok(())
}

fn accept(wal: &Wal, payload: &[u8]) -> Result<(), Failure> {
    wal.append(payload)?;
    Ok(())
}

/// Millions of calls a second, the clock looked at now and then; then the microseconds that 99 of 100 calls
/// do not exceed, the clock looked at after each.
fn figures(
    time: Duration,
    payloads: &[Vec<u8>],
    call: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(f64, f64), Failure> {
    let (start, mut calls) = (now(), 0_u64);
    let passed = loop {
        for payload in payloads {
            call(payload)?;
        }
        calls += payloads.len() as u64;
        let passed = now().duration_since(start);
        if passed >= time {
            break passed;
        }
    };
    let rate = calls as f64 / passed.as_secs_f64() / 1e6;

    let start = now();
    let mut last = start;
    let mut nanos = Vec::with_capacity(8 << 20);
    while last.duration_since(start) < time && nanos.len() < nanos.capacity() {
        for payload in payloads {
            call(payload)?;
            let end = now();
            nanos.push(u64::try_from(end.duration_since(last).as_nanos()).unwrap_or(u64::MAX));
            last = end;
        }
    }
    nanos.sort_unstable();
    let p99 = stats::quantile(&nanos, 0.99).ok_or("no call was made")?;
    Ok((rate, p99 as f64 / 1e3))
}
