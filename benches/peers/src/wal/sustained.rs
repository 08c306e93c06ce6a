//! A minute under load, with rotation, checkpoints and trimming: whether the first second was a promise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bucket_wal::{Lsn, Wal};

use super::synced::size;
use super::vfs::Watched;
use crate::goal::Goal;
use crate::harness::disk::payloads;
use crate::harness::{Failure, Plan, Round, now, pause};
use crate::session::{OwnRow, Session};

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    for payload in [1 << 10, 64 << 10] {
        measure(session, payload)?;
    }
    Ok(())
}

fn measure(session: &mut Session<'_>, payload: usize) -> Result<(), Failure> {
    if !session.wants("wal.sustained") {
        return Ok(());
    }
    let is_full = session.plan.min_rounds >= Plan::FULL.min_rounds;
    let (slice, slices) =
        if is_full { (Duration::from_secs(1), 60) } else { (session.plan.disk * 2, 8) };
    let size = size(payload);
    let what = format!(
        "{THREADS} threads append {size} and wait until it is durable, for {slices} slices of {} s without a \
         pause; four times a slice a checkpoint says that all of it was applied, so that segments are \
         trimmed. Ours: all defaults, a fresh log.",
        slice.as_secs_f64()
    );
    let rows = [
        OwnRow {
            id: "wal.sustained",
            variant: format!("{size}, rate over the first slice's"),
            what: format!("{what} A round is one slice over the first of them, which is not one."),
            unit: "x the first",
            peer: None,
            goal: Goal::AtLeast(0.8),
        },
        OwnRow {
            id: "wal.sustained",
            variant: format!("{size}, bytes written over payload"),
            what: format!(
                "{what} A round is one slice; bytes are counted where files are written."
            ),
            unit: "B/B",
            peer: None,
            goal: Goal::AtMost(1.3),
        },
        OwnRow {
            id: "wal.sustained",
            variant: format!("{size}, rate"),
            what,
            unit: "records/s",
            peer: None,
            goal: Goal::Reported,
        },
    ];
    session.scratch.settle()?;
    let samples = watch(session, payload, slice, slices)?;
    let alone = |ours| Round { ours, theirs: None };
    let first = samples.first().map_or(f64::NAN, |sample| sample.rate);
    let later = samples.get(1..).unwrap_or_default();
    let ratios: Vec<_> = later.iter().map(|sample| alone(sample.rate / first)).collect();
    let written = |sample: &Sample| alone(sample.written / (sample.records * payload as f64));
    let written: Vec<_> = samples.iter().map(written).collect();
    let rates: Vec<_> = samples.iter().map(|sample| alone(sample.rate)).collect();
    for (row, rounds) in rows.iter().zip([ratios, written, rates]) {
        session.hand_in(row, &rounds);
    }
    Ok(())
}

/// One slice of the time.
struct Sample {
    rate: f64,
    records: f64,
    written: f64,
}

fn watch(
    session: &Session<'_>,
    payload: usize,
    slice: Duration,
    slices: u32,
) -> Result<Vec<Sample>, Failure> {
    let dir = session.scratch.fresh()?;
    let vfs = Watched::default();
    let counts = vfs.counts();
    let (wal, _) = Wal::options().vfs(Arc::new(vfs)).open(dir.path().join("log"))?;
    let payloads = payloads(payload);
    let (appended, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let write = |thread: usize| -> Result<(), Failure> {
        for payload in payloads.iter().cycle().skip(thread * 7) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            wal.append(payload)?;
            appended.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let until = |moment: Instant| pause(moment.saturating_duration_since(now()));
    let watch = || -> Result<Vec<Sample>, Failure> {
        let (mut samples, mut at) = (Vec::new(), now());
        let (mut records, mut written) = (0, 0);
        for _ in 0..slices {
            for quarter in 1..=4 {
                until(at + slice / 4 * quarter);
                wal.checkpoint(Lsn::new(wal.durable_lsn().get() + 1), b"")?;
            }
            let (end, seen) = (now(), (appended.load(Ordering::Relaxed), counts.bytes()));
            samples.push(Sample {
                rate: (seen.0 - records) as f64 / end.duration_since(at).as_secs_f64(),
                records: (seen.0 - records) as f64,
                written: (seen.1 - written) as f64,
            });
            ((records, written), at) = (seen, end);
        }
        Ok(samples)
    };
    std::thread::scope(|scope| {
        let write = &write;
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || write(n))).collect();
        let samples = watch();
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| "a writer panicked")??;
        }
        samples
    })
}

const THREADS: usize = 8;
