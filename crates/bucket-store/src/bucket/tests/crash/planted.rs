//! The campaign against buckets with a planted bug: each must be caught, by a check that is there for it.

use bucket_vfs::sim::{Coverage, Failure};

use super::script::{Plant, Violation};
use super::{campaign, stuck_campaign};
use crate::{BucketBuilder, Bug};

/// Runs the campaign and prints what caught the bug; fails when nothing did, or something else.
fn is_caught(bug: Bug, plant: Plant) {
    is_caught_by(bug, campaign(plant, 12));
}

fn is_caught_by(bug: Bug, found: Result<Coverage, Box<Failure<Violation>>>) {
    const CHECKS: [&str; 4] = [
        "everything reaches the remote",
        "the remote gets what was read",
        "what was acknowledged is known",
        "what was acknowledged is read",
    ];
    match found {
        Ok(coverage) => panic!("{bug:?} was not caught: {coverage}"),
        Err(failure) => {
            println!("caught: store {bug:?}: {failure}");
            assert!(CHECKS.contains(&failure.error.check), "caught for another reason");
        }
    }
}

#[test]
fn planted_acknowledge_before_sync_is_caught() {
    let plant = |builder: BucketBuilder| builder.planted(Bug::AcknowledgeBeforeSync);
    is_caught(Bug::AcknowledgeBeforeSync, plant);
}

#[test]
fn planted_checkpoint_before_data_is_caught() {
    let plant = |builder: BucketBuilder| builder.planted(Bug::CheckpointBeforeData);
    is_caught(Bug::CheckpointBeforeData, plant);
}

#[test]
fn planted_evict_undrained_is_caught() {
    let plant = |builder: BucketBuilder| builder.planted(Bug::EvictUndrained);
    is_caught(Bug::EvictUndrained, plant);
}

#[test]
fn planted_no_directory_sync_is_caught() {
    let plant = |builder: BucketBuilder| builder.planted(Bug::NoDirectorySync);
    is_caught(Bug::NoDirectorySync, plant);
}

#[test]
fn planted_settle_before_sent_is_caught() {
    let plant = |builder: BucketBuilder| builder.planted(Bug::SettleBeforeSent);
    is_caught(Bug::SettleBeforeSent, plant);
}

#[test]
fn planted_skip_the_replay_is_caught() {
    is_caught(Bug::SkipReplay, |builder: BucketBuilder| builder.planted(Bug::SkipReplay));
}

#[test]
fn planted_survivor_before_durable_is_caught() {
    let plant = |builder: BucketBuilder| builder.planted(Bug::SurvivorBeforeDurable);
    is_caught_by(Bug::SurvivorBeforeDurable, stuck_campaign(plant, 12));
}
