//! What a log takes without doing anything: bytes beside the payload, disk, threads, descriptors, wake-ups.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use bucket_wal::Wal;

use super::synced::size;
use crate::goal::Goal;
use crate::harness::{Failure, Round, now, pause, since};
use crate::session::{OwnRow, Session};

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    bytes(session)?;
    fresh(session)?;
    idle(session)
}

fn bytes(session: &mut Session<'_>) -> Result<(), Failure> {
    for (together, payload, goal) in [(1, 128, 36.0), (1, 1 << 10, 36.0), (64, 128, 8.0)] {
        let size = size(payload);
        let (variant, how) = match together {
            1 => (
                format!("lone, {size}"),
                "64 records of it, each appended and synced alone".to_owned(),
            ),
            n => (format!("{n} per group, {size}"), format!("{n} groups of {n} records of it")),
        };
        let row = OwnRow {
            id: "wal.bytes",
            variant,
            what: format!(
                "Bytes of the segments, without their headers, beyond the payload, by record: {how}. Ours: \
                 all defaults."
            ),
            unit: "B a record",
            peer: None,
            goal: Goal::AtMost(goal),
        };
        let scratch = session.scratch;
        session.own(&[row], |_| {
            let dir = scratch.fresh()?;
            let (wal, _) = Wal::open(dir.path().join("log"))?;
            let record = vec![7; payload];
            for _ in 0..64 {
                wal.append_batch((0..together).map(|_| &record[..]))?;
            }
            let stats = wal.stats();
            let beyond = stats.log_bytes - stats.segments * HEADER_LEN - stats.payload_bytes;
            Ok(Some(vec![Round { ours: beyond as f64 / stats.records as f64, theirs: None }]))
        })?;
    }
    Ok(())
}

fn fresh(session: &mut Session<'_>) -> Result<(), Failure> {
    let row = |variant: &str, what: &str| OwnRow {
        id: "wal.fresh",
        variant: variant.to_owned(),
        what: format!("Blocks that the files of a fresh log occupy {what}. Ours: all defaults."),
        unit: "MiB",
        peer: None,
        goal: Goal::AtMost(16.0),
    };
    let rows =
        [row("opened", "once it is open"), row("one record", "after its first record of 128 B")];
    let scratch = session.scratch;
    session.own(&rows, |_| {
        let dir = scratch.fresh()?;
        let folder = dir.path().join("log");
        let (wal, _) = Wal::open(&folder)?;
        let opened = blocks(&folder)?;
        wal.append(&[7; 128])?;
        let used = [opened, blocks(&folder)?];
        Ok(Some(used.map(|ours| Round { ours, theirs: None }).to_vec()))
    })
}

fn idle(session: &mut Session<'_>) -> Result<(), Failure> {
    let row = |variant: &str, unit, goal| {
        OwnRow {
        id: "wal.idle",
        variant: variant.to_owned(),
        what: "An idle log, some time after 16 appends, a submit that nobody waited for, and a sync: times \
               that its threads were scheduled, by second; its threads; descriptors that the process has more \
               than before. Ours: all defaults."
            .to_owned(),
        unit,
        peer: None,
        goal: Goal::AtMost(goal),
    }
    };
    let rows = [
        row("wake-ups", "wake-ups/s", 0.0),
        row("threads", "threads", 2.0),
        row("descriptors", "descriptors", 4.0),
    ];
    let (scratch, time) = (session.scratch, session.plan.disk * 4);
    session.own(&rows, |_| {
        let dir = scratch.fresh()?;
        let before = entries("/proc/self/fd")?;
        let (wal, _) = Wal::open(dir.path().join("log"))?;
        for _ in 0..16 {
            wal.append(&[7; 128])?;
        }
        drop(wal.submit(&[7; 128])?);
        wal.sync()?;
        // The committer lingers a millisecond; whoever wrote the pages back is not asked.
        pause(Duration::from_millis(100));
        let (start, first) = (now(), scheduled()?);
        pause(time);
        let (second, passed) = (scheduled()?, since(start).as_secs_f64());
        let wakes = (second.0 - first.0) as f64 / passed;
        let descriptors = entries("/proc/self/fd")? - before;
        let figures = [wakes, second.1 as f64, descriptors as f64];
        Ok(Some(figures.map(|ours| Round { ours, theirs: None }).to_vec()))
    })
}

/// How often the threads of logs have been given a processor, and how many there are.
fn scheduled() -> Result<(u64, usize), Failure> {
    let (mut switches, mut threads) = (0, 0);
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        // A thread may end between the listing and the look.
        let Ok(name) = fs::read_to_string(task.join("comm")) else { continue };
        let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
        if !name.starts_with("wal-") {
            continue;
        }
        threads += 1;
        for line in status.lines().filter(|line| line.contains("voluntary_ctxt_switches")) {
            let n = line.rsplit(char::is_whitespace).next().unwrap_or_default();
            switches += n.parse::<u64>()?;
        }
    }
    Ok((switches, threads))
}

fn entries(folder: &str) -> Result<usize, Failure> {
    Ok(fs::read_dir(folder)?.count())
}

/// MiB that the files in `folder` occupy.
fn blocks(folder: &Path) -> Result<f64, Failure> {
    let mut blocks = 0;
    for entry in fs::read_dir(folder)? {
        blocks += entry?.metadata()?.blocks();
    }
    Ok(blocks as f64 * 512.0 / f64::from(1 << 20))
}

const HEADER_LEN: u64 = 4 << 10;
