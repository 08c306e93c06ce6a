//! The campaign against logs with a planted bug: each must be caught, by the check that is there for it.

use super::campaign;
use super::script::Plant;
use crate::{Bug, WalOptions};

/// An acknowledged record that is gone shows in either, whichever comes first.
const ACKNOWLEDGED: [&str; 2] =
    ["a recovered log keeps what it acknowledges", "what was acknowledged is there"];

/// Runs the campaign and prints what caught the bug; fails when nothing did, or something else.
fn is_caught(bug: Bug, plant: Plant, checks: &[&str]) {
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
    let plant = |options: WalOptions| options.planted(Bug::EvictUndrained);
    let checks = ["the log opens after a crash", "records are contiguous"];
    is_caught(Bug::EvictUndrained, plant, &checks);
}

#[test]
fn planted_skip_the_replay_is_caught() {
    let plant = |options: WalOptions| options.planted(Bug::SkipReplay);
    is_caught(Bug::SkipReplay, plant, &ACKNOWLEDGED);
}
