//! The log that this one follows in spirit: DurableWAL of ipfs_kit_py, a Python class.
//!
//! It is not run. `seed.py` does per append what it was seen to do, in the same language, and keeps
//! nothing of its code; where there is no Python, what it was measured at on a machine of this kind stands in.

use std::path::Path;
use std::process::Command;

use super::ours::{BATCH, Ours, PERIODIC, open_with};
use crate::goal::Goal;
use crate::harness::disk::{DurableWrite, Shape, drive, payloads};
use crate::harness::{Failure, Round, now, since};
use crate::session::{OwnRow, Session};

use bucket_wal::SyncPolicy;

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    if !session.wants("wal.seed") {
        return Ok(());
    }
    let loop_version = python_version();
    let (how, version) = match &loop_version {
        Some(version) => (
            "a loop in Python that does for each record what the original does, described in `seed.py`",
            version.clone(),
        ),
        None => (
            "there was no Python: 1 200 records a second, the best it was measured at",
            "constant".to_owned(),
        ),
    };
    let what = "One thread appends 128 B. Ours: `Wal::append`; `Always` is each record synced, `Batch` and \
                `Periodic` have a delay of 100 ms, and the time includes making the last of it durable.";
    let row = |variant: &str, peer, version: Option<String>, goal, more: &str| OwnRow {
        id: "wal.seed",
        variant: variant.to_owned(),
        what: format!("{what} {more}"),
        unit: "records/s",
        peer: Some((peer, version)),
        goal: Goal::AtLeast(goal),
    };
    let table = "Theirs: what its documentation states for the mode.";
    let looped = format!("Theirs: {how}.");
    let rows = [
        row("Always", "ipfs_kit, as measured", Some(version.clone()), 5.0, &looped),
        row("Batch", "ipfs_kit, as measured", Some(version.clone()), 5.0, &looped),
        row("Periodic", "ipfs_kit, as measured", Some(version), 5.0, &looped),
        row("Always", "ipfs_kit, its table", None, 10.0, table),
        row("Batch", "ipfs_kit, its table", None, 10.0, table),
        row("Periodic", "ipfs_kit, its table", None, 10.0, table),
        row("Batch over Always", "ours, Always", None, 5.0, "Theirs: our own `Always`."),
    ];
    let scratch = session.scratch;
    let (time, records) =
        (session.plan.disk, if session.plan.min_rounds < 7 { 100 } else { 2_000 });
    session.own(&rows, |_| {
        let mut ours = [0.0; 3];
        for (rate, policy) in ours.iter_mut().zip([SyncPolicy::Always, BATCH, PERIODIC]) {
            let dir = scratch.fresh()?;
            *rate = append(dir.path(), policy, time)?;
        }
        let mut theirs = [1_200.0; 3];
        if loop_version.is_some() {
            for (rate, mode) in theirs.iter_mut().zip(["always", "batch", "periodic"]) {
                let dir = scratch.fresh()?;
                *rate = looped_rate(dir.path(), mode, records)?;
            }
        }
        let round = |ours, theirs| Round { ours, theirs: Some(theirs) };
        let measured = ours.iter().zip(theirs).map(|(&ours, theirs)| round(ours, theirs));
        let stated = ours.iter().zip(TABLE).map(|(&ours, theirs)| round(ours, theirs));
        let over = round(ours[1], ours[0]);
        Ok(Some(measured.chain(stated).chain([over]).collect()))
    })
}

/// Records a second, by the time in which they became durable.
fn append(dir: &Path, policy: SyncPolicy, time: std::time::Duration) -> Result<f64, Failure> {
    let shape = Shape { threads: 1, payload: 128 };
    let log = Ours(open_with(dir, policy)?);
    let payloads = payloads(shape.payload);
    if policy == SyncPolicy::Always {
        return Ok(drive(&log, shape, &payloads, time)?.rate);
    }
    let (start, mut n) = (now(), 0);
    while since(start) < time {
        for payload in &payloads {
            log.write(0, n, payload)?;
            n += 1;
        }
    }
    log.0.sync()?;
    Ok(n as f64 / since(start).as_secs_f64())
}

fn looped_rate(dir: &Path, mode: &str, records: u32) -> Result<f64, Failure> {
    let output = Command::new("python3")
        .args(["-c", SCRIPT])
        .arg(dir)
        .args([mode, &records.to_string()])
        .output()?;
    if !output.status.success() {
        return Err(format!("seed.py: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn python_version() -> Option<String> {
    let output = Command::new("python3").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

const SCRIPT: &str = include_str!("seed.py");

/// Records a second in the modes always, batch and periodic.
const TABLE: [f64; 3] = [500.0, 5_000.0, 15_000.0];
