//! The log with real processes: killed, with calls that fail, on small disks, with planted bugs.

use std::path::Path;
use std::process::Command;

use bucket_e2e::wal::{Campaign, Disturbance, Injections, SmallDisk, file_size_limit};
use bucket_e2e::{Sandbox, binary};

const WORKER: &str = env!("CARGO_BIN_EXE_wal");

#[test]
fn what_was_promised_survives_kills_at_random_moments_in_every_mode() {
    let tally = Campaign::new(WORKER, 40, 1).run().unwrap();
    println!("{tally}");
    assert!(tally.promised() > 1_000, "{tally}");
}

#[test]
fn a_call_that_fails_is_reported_and_what_was_acknowledged_is_found_again() {
    let Some(injections) = injections() else { return };
    for (call, most) in [("fdatasync", 36), ("pwrite64", 36), ("fsync", 8), ("rename", 8)] {
        let outcomes = injections.sweep(call, (1..=most).map(Disturbance::Error)).unwrap();
        println!("{call}: {outcomes}");
        assert!(outcomes.hit >= u64::from(most), "{outcomes}");
    }
    for call in ["fdatasync", "pwrite64"] {
        let from = [1, 2, 3, 7, 20].map(Disturbance::ErrorsFrom);
        let outcomes = injections.sweep(call, from).unwrap();
        println!("{call}, and all after it: {outcomes}");
        assert!(outcomes.poisoned > 0, "{outcomes}");
    }
}

/// The command, whose bucket rests on the log: a put that meets a failing call fails aloud, or has happened.
#[test]
fn a_put_that_meets_a_failing_call_fails_aloud_or_is_found_again() {
    if injections().is_none() {
        return;
    }
    let sandbox = Sandbox::with_bucket(&[]);
    sandbox.run(&["put", "-", "p:before"]).expect_code(0);
    sandbox.take_remote_down();
    let (mut failed, mut stored) = (0, Vec::new());
    for call in ["fdatasync", "pwrite64", "fsync"] {
        for when in 1..=10 {
            let key = format!("p:{call}-{when}");
            std::fs::write(sandbox.path("blob"), &key).unwrap();
            let inject = format!("inject={call}:error=EIO:when={when}");
            let mut command = Command::new("strace");
            command.args(["-f", "-o", "/dev/null", "-e", &inject]).arg(binary());
            command.args(["put", "blob", &key]).current_dir(sandbox.path(""));
            command.env("BUCKET_PROFILES", sandbox.path("profiles.toml"));
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("panicked"), "{key}: {said}");
            if output.status.success() {
                stored.push(key);
            } else {
                assert!(!said.is_empty(), "{key} failed without a word");
                failed += 1;
            }
        }
    }
    for key in &stored {
        assert_eq!(&sandbox.run(&["cat", key]).expect_code(0).stdout, key);
    }
    println!("{failed} puts failed, {} were stored and found again", stored.len());
    assert!(failed > 5 && !stored.is_empty(), "{failed} failed, {} stored", stored.len());
}

#[test]
fn what_was_promised_survives_a_kill_at_every_kind_of_call() {
    let Some(injections) = injections() else { return };
    for (call, most) in
        [("pwrite64", 24), ("fdatasync", 24), ("fsync", 8), ("rename", 8), ("unlink", 8)]
    {
        let outcomes = injections.sweep(call, (1..=most).map(Disturbance::Kill)).unwrap();
        println!("{call}: {outcomes}");
        assert!(outcomes.killed >= u64::from(most), "{outcomes}");
    }
}

#[test]
fn nothing_is_promised_renamed_or_removed_before_what_it_rests_on_is_synced() {
    let Some(injections) = injections() else { return };
    println!("{}", injections.check_order().unwrap());
}

#[test]
fn a_small_disk_that_is_full_again_and_again_loses_nothing() {
    for disk in [SmallDisk::Tmpfs, SmallDisk::Ext4] {
        if let Err(missing) = disk.availability() {
            missing.skip();
            continue;
        }
        let full = disk.run(Path::new(WORKER), 24, 1).unwrap();
        println!("{disk:?}: {full}");
        assert!(full.refused > 0 && full.after_refusal > 0, "{full}");
        // Neither needs any space.
        assert_eq!((full.checkpoints_refused, full.openings_refused), (0, 0), "{full}");
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_a_typed_error_and_loses_nothing() {
    let full = file_size_limit(Path::new(WORKER)).unwrap();
    println!("{full}");
}

#[cfg(bucket_planted)]
#[test]
fn planted_bugs_show_in_the_order_of_calls_and_under_kills() {
    let Some(injections) = injections() else { return };
    for bug in ["AcknowledgeBeforeSync", "NoDirectorySync"] {
        let why = injections.clone().with_bug(bug).check_order().unwrap_err();
        println!("caught: wal {bug}: order of system calls: {why}");
    }
    let why = Campaign::new(WORKER, 100, 1).with_bug("SkipReplay").run().unwrap_err();
    println!("caught: wal SkipReplay: kills: {}", why.lines().next().unwrap_or_default());
}

fn injections() -> Option<Injections> {
    assert!(Path::new(WORKER).is_file(), "cargo builds the worker");
    match Injections::availability() {
        Ok(()) => Some(Injections::new(WORKER)),
        Err(missing) => {
            missing.skip();
            None
        }
    }
}
