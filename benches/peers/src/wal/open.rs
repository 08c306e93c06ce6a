//! Opening: how fast a log is read back with every payload checked, and how long one waits for it.

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bucket_core::ByteCount;
use bucket_wal::{Lsn, SyncPolicy, VerifyOnOpen, Wal, WalOptions};

use super::raft_engine;
use crate::goal::Goal;
use crate::harness::disk::payloads;
use crate::harness::{Failure, Plan, Round, now, since};
use crate::machine::version_of;
use crate::session::{OwnRow, Session};

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    recover(session)?;
    clean(session)?;
    since_checkpoint(session)
}

/// How many records of 1 KiB a log has that is read back.
const fn records(plan: &Plan) -> u64 {
    // Bound by the memory that keeps them in the page cache, ours and the peer's.
    if plan.min_rounds < Plan::FULL.min_rounds { 8 << 10 } else { 384 << 10 }
}

fn recover(session: &mut Session<'_>) -> Result<(), Failure> {
    if !session.wants("wal.recover") {
        return Ok(());
    }
    let n = records(&session.plan);
    let (our_dir, their_dir) = (session.scratch.fresh()?, session.scratch.fresh()?);
    let ours = our_dir.path().join("log");
    fill(&ours, Wal::options(), n)?;
    let theirs = their_dir.path().join("log");
    raft_engine::fill(&theirs, &payloads(1 << 10), n)?;
    let segments = segments(&ours)?;
    session.scratch.settle()?;

    let gb = (n << 10) as f64 / 1e9;
    let time = |work: &dyn Fn() -> Result<(), Failure>| -> Result<f64, Failure> {
        let start = now();
        work()?;
        Ok(gb / since(start).as_secs_f64())
    };
    let full = |threads| -> Result<(), Failure> {
        let options = Wal::options().verify_on_open(VerifyOnOpen::Full);
        reopen(&ours, options.recovery_threads(threads)?)
    };
    let what = format!(
        "A log of {n} records of 1 KiB, each in a frame of its own, closed and in the page cache, is opened: \
         every record's check is verified."
    );
    let rows = [
        OwnRow {
            id: "wal.recover",
            variant: "1 thread".to_owned(),
            what: format!(
                "{what} Ours: `WalOptions::open` with `VerifyOnOpen::Full` and one thread. raft-engine: \
                 `Engine::open` with one thread, which checks no payload but the last of each file."
            ),
            unit: "GB/s",
            peer: Some(("raft-engine", version_of("raft-engine"))),
            goal: Goal::AtLeast(2.0),
        },
        OwnRow {
            id: "wal.recover",
            variant: "1 thread".to_owned(),
            what: format!(
                "{what} Ours: `WalOptions::open` with `VerifyOnOpen::Full` and one thread. Bare: the same files read by `pread` of 1 MiB \
                 with `crc32fast` over each 1 KiB, on one thread."
            ),
            unit: "GB/s",
            peer: Some(("bare pread + crc32fast", version_of("crc32fast"))),
            goal: Goal::AtLeast(0.8),
        },
        OwnRow {
            id: "wal.recover",
            variant: "2 threads over 1".to_owned(),
            what: format!(
                "{what} How much faster two `recovery_threads` are than one. Bare: the same loop's own gain."
            ),
            unit: "x",
            peer: Some(("bare pread + crc32fast", version_of("crc32fast"))),
            goal: Goal::AtLeast(0.9),
        },
    ];
    full(1)?;
    session.own(&rows, |tried| {
        let mut turns = [0.0; 5];
        // Each in turn, and in the other order every second time.
        let order: [usize; 5] =
            if tried.is_multiple_of(2) { [0, 1, 2, 3, 4] } else { [4, 3, 2, 1, 0] };
        for turn in order {
            turns[turn] = match turn {
                0 => time(&|| full(1))?,
                1 => time(&|| raft_engine::reopen(&theirs, 1))?,
                2 => time(&|| bare(&segments, 1))?,
                3 => time(&|| full(2))?,
                _ => time(&|| bare(&segments, 2))?,
            };
        }
        let [one, engine, bare, two, bare_two] = turns;
        let round = |ours, theirs| Round { ours, theirs: Some(theirs) };
        Ok(Some(vec![round(one, engine), round(one, bare), round(two / one, bare_two / bare)]))
    })
}

fn reopen(dir: &Path, options: WalOptions) -> Result<(), Failure> {
    let (wal, recovery) = options.open(dir)?;
    black_box((&wal, recovery.report().last_lsn));
    Ok(())
}

fn clean(session: &mut Session<'_>) -> Result<(), Failure> {
    if !session.wants("wal.open") {
        return Ok(());
    }
    let dir = session.scratch.fresh()?;
    let log = dir.path().join("log");
    let options = Wal::options().segment_size(ByteCount::mib(4))?;
    // Segments of 4 MiB hold 3 970 records and a little less; the hundredth is begun.
    let wal = fill_open(&log, options, 100 * 3_970)?;
    let segments = wal.stats().segments;
    // The first checkpoint keeps what was there before it.
    wal.checkpoint(Lsn::new(wal.durable_lsn().get() + 1), b"state")?;
    wal.close()?;
    let what = format!(
        "A log of {segments} segments of 4 MiB with a checkpoint at its end, closed and in the page cache, is \
         opened. Ours: `WalOptions::open`, all defaults."
    );
    time_open(session, &log, format!("clean, {segments} segments"), what, 0.020)
}

fn since_checkpoint(session: &mut Session<'_>) -> Result<(), Failure> {
    if !session.wants("wal.open") {
        return Ok(());
    }
    let dir = session.scratch.fresh()?;
    let log = dir.path().join("log");
    let n = if records(&session.plan) > 8 << 10 { 1_000_000 } else { 10_000 };
    let wal = fill_open(&log, Wal::options(), 1)?;
    wal.checkpoint(Lsn::new(2), b"state")?;
    append_lone(&wal, n)?;
    wal.close()?;
    let what = format!(
        "A log of {n} records of 1 KiB since its checkpoint, each in a frame of its own, closed and in the \
         page cache, is opened. Ours: `WalOptions::open`, all defaults."
    );
    time_open(session, &log, "1 GB since the checkpoint".to_owned(), what, 1.0)
}

fn time_open(
    session: &mut Session<'_>,
    log: &Path,
    variant: String,
    what: String,
    goal: f64,
) -> Result<(), Failure> {
    let row = OwnRow {
        id: "wal.open",
        variant,
        what,
        unit: "ms",
        peer: None,
        goal: Goal::AtMost(goal * 1e3),
    };
    session.scratch.settle()?;
    reopen(log, Wal::options())?;
    session.own(&[row], |_| {
        let start = now();
        reopen(log, Wal::options())?;
        let took: Duration = since(start);
        Ok(Some(vec![Round { ours: took.as_secs_f64() * 1e3, theirs: None }]))
    })
}

/// Makes a log of lone records of 1 KiB, and closes it.
fn fill(dir: &Path, options: WalOptions, n: u64) -> Result<(), Failure> {
    Ok(fill_open(dir, options, n)?.close()?)
}

/// The same without closing it. One record a frame, and no sync for each, which would take minutes.
fn fill_open(dir: &Path, options: WalOptions, n: u64) -> Result<Wal, Failure> {
    let options = options.sync_policy(SyncPolicy::None)?.write_through(true);
    let (wal, _) = options.open(dir)?;
    append_lone(&wal, n)?;
    wal.sync()?;
    Ok(wal)
}

fn append_lone(wal: &Wal, n: u64) -> Result<(), Failure> {
    let payloads = payloads(1 << 10);
    for payload in payloads.iter().cycle().take(usize::try_from(n)?) {
        wal.append(payload)?;
    }
    Ok(())
}

fn segments(log: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in fs::read_dir(log)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads the files in pieces of 1 MiB and checks each KiB of them; so many threads share the files.
fn bare(files: &[PathBuf], threads: usize) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<(), Failure> {
        let mut buf = vec![0; 1 << 20];
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (file, mut offset) = (File::open(path)?, 0);
            loop {
                let n = file.read_at(&mut buf, offset)?;
                if n == 0 {
                    break;
                }
                for unit in buf[..n].chunks(1 << 10) {
                    black_box(crc32fast::hash(unit));
                }
                offset += n as u64;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut result = work();
        for thread in threads {
            result = result.and(thread.join().unwrap_or_else(|_| Err("a reader panicked".into())));
        }
        result
    })
}
