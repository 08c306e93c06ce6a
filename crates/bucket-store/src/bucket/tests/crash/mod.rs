//! Power loss under a whole bucket: whatever a crash leaves of what was not synced, what was
//! acknowledged is read again and reaches the remote.

#[cfg(bucket_planted)]
mod planted;
mod remote;
mod script;

use std::collections::BTreeMap;
use std::io::Write;

use bucket_core::ByteCount;
use bucket_remote::Digest;
use bucket_vfs::sim::{Coverage, Crash, Explorer, Failure, SimDisk};
use sha2::{Digest as _, Sha256};

pub(super) use self::script::Rig;
use self::script::{Content, KEYS, Plant, Script, Violation};
use crate::bucket::tests::key;
use crate::bucket::{Bucket, StoreError};

#[test]
fn nothing_acknowledged_is_lost_whatever_a_crash_and_a_second_one_leave() {
    match campaign(|builder| builder, 8) {
        Ok(coverage) => {
            // Straight to stderr, which the test harness does not keep to itself.
            let _ = writeln!(std::io::stderr(), "crash states of the bucket: {coverage}");
            // Fewer would mean that the workload or the disk has lost its teeth.
            assert!(coverage.crashes >= 200 && coverage.recoveries >= 3_000, "{coverage}");
        }
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn nothing_is_lost_while_an_operation_that_never_drains_is_copied_forward() {
    match stuck_campaign(|builder| builder, 3) {
        Ok(coverage) => {
            let _ = writeln!(std::io::stderr(), "crash states with a stuck key: {coverage}");
            assert!(coverage.crashes >= 200 && coverage.recoveries >= 2_500, "{coverage}");
        }
        Err(failure) => panic!("{failure}"),
    }
}

/// Runs the standard workload on a healthy disk and crashes it everywhere.
fn campaign(plant: Plant, seeds: u64) -> Result<Coverage, Box<Failure<Violation>>> {
    let (mut script, rig) = (Script::default(), Rig::new(disk(), plant));
    script.run(&rig).expect("the disk is healthy");
    explore(&script, &rig, seeds)
}

/// The same for the workload with a key that the remote refuses. After each crash it refuses it no more.
fn stuck_campaign(plant: Plant, seeds: u64) -> Result<Coverage, Box<Failure<Violation>>> {
    let rig = Rig::new(disk(), plant).inline_max(ByteCount::kib(32));
    let mut script = Script::default();
    let copied = script.run_with_a_stuck_key(&rig).expect("the disk is healthy");
    assert!(copied > 0, "nothing was copied forward");
    explore(&script, &rig, seeds)
}

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.keep_history();
    disk
}

fn explore(script: &Script, rig: &Rig, seeds: u64) -> Result<Coverage, Box<Failure<Violation>>> {
    Explorer::new(&rig.disk)
        .seeds(seeds)
        .seeds_in_recovery(0)
        .promises(|operation| script.acknowledged(operation))
        .run(|disk, crash| recover(script, rig, disk, crash))
}

type Shown = BTreeMap<&'static str, Content>;

/// Opens the bucket and checks what it shows, now and once everything is drained.
fn recover(
    script: &Script,
    origin: &Rig,
    disk: &SimDisk,
    crash: &Crash<'_, Shown>,
) -> Result<Shown, Violation> {
    let at = crash.operation();
    let drained = disk.fork();
    let bucket = open(&origin.at_operation(at, disk.clone()))?;
    let shown = read_all(&bucket)?;
    disk.kill();
    for (name, content) in &shown {
        if !script.legal(at, name).contains(&content) {
            let detail = format!("{name} holds {}", describe(content));
            return Err(Violation::new("what was acknowledged is read", detail));
        }
    }
    know_all(&bucket, &shown)?;
    if let Some(before) = crash.before()
        && *before != shown
    {
        return Err(Violation::new("what was shown stays", format!("{shown:?}")));
    }

    let rig = origin.at_operation(at, drained);
    let bucket = open(&rig)?;
    rig.drain(&bucket, 10_000);
    let status = bucket.status();
    if status.pending_ops > 0 {
        return Err(Violation::new("everything reaches the remote", format!("{status:?}")));
    }
    for (name, content) in &shown {
        let found = rig.at_remote(name);
        if found != *content {
            let detail = format!("{name} was {}, now {}", describe(content), describe(&found));
            return Err(Violation::new("the remote gets what was read", detail));
        }
    }
    Ok(shown)
}

fn open(rig: &Rig) -> Result<Bucket, Violation> {
    let failed = |error: &dyn std::fmt::Debug| {
        Violation::new("the bucket opens after a crash", format!("{error:?}"))
    };
    let bucket = rig.open().map_err(|error| failed(&error))?;
    match bucket.status().degraded {
        Some(damage) => Err(failed(&damage)),
        None => Ok(bucket),
    }
}

fn read_all(bucket: &Bucket) -> Result<Shown, Violation> {
    let failed = |name, error: &dyn std::fmt::Debug| {
        Violation::new("what was acknowledged is read", format!("{name}: {error:?}"))
    };
    let read = |name| match bucket.get(&key(name)) {
        Ok(body) => {
            let bytes = body.to_bytes().map_err(|error| failed(name, &error))?;
            Ok((name, Some(bytes.to_vec())))
        }
        Err(StoreError::NotFound { .. }) => Ok((name, None)),
        Err(error) => Err(failed(name, &error)),
    };
    KEYS.into_iter().map(read).collect()
}

/// The bucket knows what it shows without asking the remote: nobody else writes to that.
fn know_all(bucket: &Bucket, shown: &Shown) -> Result<(), Violation> {
    for (name, content) in shown {
        let known = bucket.acknowledged(&key(name));
        let expected = content.as_ref().map(|bytes| (digest(bytes), bytes.len() as u64));
        if known != expected {
            let detail = format!("{name} holds {}, known is {known:?}", describe(content));
            return Err(Violation::new("what was acknowledged is known", detail));
        }
    }
    Ok(())
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

fn describe(content: &Content) -> String {
    match content {
        Some(bytes) => format!("{} bytes starting {:?}", bytes.len(), &bytes[..bytes.len().min(4)]),
        None => String::from("nothing"),
    }
}
