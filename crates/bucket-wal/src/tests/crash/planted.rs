//! The campaign against logs with a planted bug: each must be caught, by the check that is there for it.

use bucket_vfs::OpenMode;
use bucket_vfs::sim::{FaultKind, SimDisk};

use super::faults::{keeps_all, sweep_with};
use super::script::{Plant, Rig, Script, Violation};
use super::{campaign, campaign_of, lifecycle};
use crate::planted::{Planted, THREAD};
use crate::sync::Arc;
use crate::tests::lifecycle::a_refused_settlement_is_none;
use crate::{Bug, Lsn, SyncPolicy, Wal, WalError, WalOptions};

/// An acknowledged record that is gone shows in either, whichever comes first.
const ACKNOWLEDGED: [&str; 2] =
    ["a recovered log keeps what it acknowledges", "what was acknowledged is there"];

/// Runs the campaign and prints what caught the bug; fails when nothing did, or something else.
fn is_caught(bug: Bug, plant: Plant, checks: &[&str]) {
    let healthy = Script::default().run(&mut Rig::new(SimDisk::new(), plant, 0));
    if let Err(error) = healthy {
        // Without any crash: the workload opens the log again and again.
        println!("caught: wal {bug:?}: the workload itself: {error}");
        assert!(error.is_damage(), "caught for another reason");
        return;
    }
    match campaign(plant, 12) {
        Ok(coverage) => panic!("{bug:?} was not caught: {coverage}"),
        Err(failure) => {
            println!("caught: wal {bug:?}: {failure}");
            assert!(checks.contains(&failure.error.check), "caught for another reason");
        }
    }
}

#[test]
fn planted_acknowledge_before_sync_is_caught() {
    let plant = |options: WalOptions| options.planted(Bug::AcknowledgeBeforeSync);
    is_caught(Bug::AcknowledgeBeforeSync, plant, &ACKNOWLEDGED);
}

#[test]
fn planted_checkpoint_before_data_is_caught() {
    let plant = |options: WalOptions| options.planted(Bug::CheckpointBeforeData);
    is_caught(Bug::CheckpointBeforeData, plant, &["the log opens after a crash"]);
}

#[test]
fn planted_no_directory_sync_is_caught() {
    let plant = |options: WalOptions| options.planted(Bug::NoDirectorySync);
    is_caught(Bug::NoDirectorySync, plant, &ACKNOWLEDGED);
}

#[test]
fn planted_evict_undrained_is_caught() {
    // It takes no crash: the next opening misses what an older checkpoint needs.
    let plant: Plant = |options| options.planted(Bug::EvictUndrained);
    match Script::default().run(&mut Rig::new(SimDisk::new(), plant, 0)) {
        Err(error @ WalError::MissingSegment { .. }) => {
            println!("caught: wal {:?}: {error}", Bug::EvictUndrained);
        }
        other => panic!("not caught: {other:?}"),
    }
}

#[test]
fn planted_skip_the_replay_is_caught() {
    let plant = |options: WalOptions| options.planted(Bug::SkipReplay);
    is_caught(Bug::SkipReplay, plant, &ACKNOWLEDGED);
}

#[test]
fn planted_expose_before_sync_is_caught() {
    let plant = |options: WalOptions| options.planted(Bug::ExposeBeforeSync);
    let checks =
        ["what was exposed stays", "the log opens after a crash", ACKNOWLEDGED[0], ACKNOWLEDGED[1]];
    is_caught(Bug::ExposeBeforeSync, plant, &checks);
}

#[test]
fn planted_header_before_data_is_caught() {
    let plant = |options: WalOptions| {
        let options = options.sync_policy(SyncPolicy::None).expect("it has no bounds");
        options.write_through(true).planted(Bug::HeaderBeforeData)
    };
    is_caught(
        Bug::HeaderBeforeData,
        plant,
        &["the log opens after a crash", "a crash is not damage"],
    );
}

#[test]
fn planted_reuse_before_gone_is_caught() {
    let plant: Plant = |options| options.planted(Bug::ReuseBeforeGone);
    match campaign_of(Script::run_in_reused_files, plant, 12) {
        Ok(coverage) => panic!("{:?} was not caught: {coverage}", Bug::ReuseBeforeGone),
        Err(failure) => {
            println!("caught: wal {:?}: {failure}", Bug::ReuseBeforeGone);
            let checks = ["the log opens after a crash", "a crash is not damage"];
            assert!(checks.contains(&failure.error.check), "caught for another reason");
        }
    }
}

#[test]
fn planted_append_after_tail_is_caught() {
    let plant = |options: WalOptions| options.planted(Bug::AppendAfterTail);
    let checks = ["what was exposed stays", "the log opens after a crash", ACKNOWLEDGED[0]];
    is_caught(Bug::AppendAfterTail, plant, &checks);
}

/// Runs the sweep of failing syncs and prints what caught the bug; fails when nothing did.
fn is_caught_by_failing_syncs(bug: Bug, plant: Plant) {
    for kind in [FaultKind::SyncErrorDropped, FaultKind::SyncErrorKept] {
        let swept = sweep_with(kind, plant, |script, disk| keeps_all(script, plant, disk));
        if let Err((what, Violation { check, detail })) = swept {
            println!("caught: wal {bug:?}: {check}: {detail}\n  {what}");
            assert!(checks_of_durability().contains(&check), "caught for another reason: {check}");
            return;
        }
    }
    panic!("{bug:?} was not caught");
}

fn checks_of_durability() -> [&'static str; 3] {
    [ACKNOWLEDGED[1], "what was exposed stays", "the log opens after a fault"]
}

#[test]
fn planted_ignore_failed_sync_is_caught() {
    let plant = |options: WalOptions| options.planted(Bug::IgnoreFailedSync);
    is_caught_by_failing_syncs(Bug::IgnoreFailedSync, plant);
}

#[test]
fn planted_retry_sync_is_caught() {
    let plant = |options: WalOptions| options.planted(Bug::RetrySync);
    is_caught_by_failing_syncs(Bug::RetrySync, plant);
}

#[test]
fn planted_sync_old_file_is_caught() {
    let plant = |options: WalOptions| options.planted(Bug::SyncOldFile);
    is_caught_by_failing_syncs(Bug::SyncOldFile, plant);
}

/// Frames of another log in the place of this one's: with a seed they are damage.
#[test]
fn planted_no_seed_is_caught() {
    let transplanted = || {
        let (one, other) = (SimDisk::new(), SimDisk::new());
        for (entropy, content, disk) in [(1, b"mine", &one), (1 << 20, b"his.", &other)] {
            let (wal, _) =
                Rig::new(disk.clone(), |options| options, entropy).open().expect("healthy");
            for _ in 0..3 {
                wal.append(content).expect("healthy");
            }
            wal.close().expect("healthy");
        }
        let segment = |disk: &SimDisk| {
            let files = disk.durable_files().into_iter();
            files.filter(|(path, _)| path.extension().is_some_and(|e| e == "wal")).next_back()
        };
        let (path, _) = segment(&one).expect("it has a segment");
        let (_, bytes) = segment(&other).expect("it has a segment");
        let file = one.mount().open(&path, OpenMode::Write).expect("it is there");
        file.write_all_at(&bytes[4_096..], 4_096).expect("healthy");
        file.sync_data().expect("healthy");
        let (wal, _) = Rig::new(one, |options| options, 1 << 32).open()?;
        let records: Vec<_> =
            wal.reader(Lsn::new(1)).flatten().map(|record| record.payload).collect();
        Ok::<_, WalError>(records.iter().any(|payload| payload == b"his."))
    };
    assert!(transplanted().is_err_and(|error| error.is_damage()), "with a seed");
    THREAD.set(Planted::new(Bug::NoSeed));
    let found = transplanted();
    THREAD.set(Planted::default());
    assert!(found.is_ok_and(|made_up| made_up), "without a seed nothing is wrong either");
    println!("caught: wal NoSeed: the frames of another log are taken for this one's");
}

/// The same for the campaign with pending operations.
fn is_caught_pending(bug: Bug, plant: lifecycle::Plant, checks: &[&str]) {
    match lifecycle::campaign(plant, 12) {
        Ok(coverage) => panic!("{bug:?} was not caught: {coverage}"),
        Err(failure) => {
            println!("caught: wal {bug:?}: {failure}");
            assert!(checks.contains(&failure.error.check), "caught for another reason");
        }
    }
}

#[test]
fn planted_archive_unverified_is_caught() {
    let plant: lifecycle::Plant =
        |options, archive| options.archive(Arc::new(archive.planted(Bug::ArchiveUnverified)));
    is_caught_pending(Bug::ArchiveUnverified, plant, &["what was trimmed is in the archive"]);
}

#[test]
fn planted_survivor_before_durable_is_caught() {
    let plant: lifecycle::Plant =
        |options, archive| options.archive(Arc::new(archive)).planted(Bug::SurvivorBeforeDurable);
    let checks = [
        "what was acknowledged and not settled is pending",
        "every kept checkpoint can be gone back to",
        "a recovered log keeps what it settles and takes",
    ];
    is_caught_pending(Bug::SurvivorBeforeDurable, plant, &checks);
}

/// No crash shows this one: the settlement is refused, and the log goes on.
#[test]
fn planted_settle_before_accepted_is_caught() {
    let bug = Bug::SettleBeforeAccepted;
    match a_refused_settlement_is_none(Wal::options().planted(bug)) {
        Ok(()) => panic!("{bug:?} was not caught"),
        Err(found) => println!("caught: wal {bug:?}: {found}"),
    }
}
