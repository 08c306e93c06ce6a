//! Power loss: whatever a crash leaves of what was not synced, nothing that was durable is lost.

mod faults;
mod finalize;
mod full_disk;
mod lifecycle;
#[cfg(bucket_planted)]
mod planted;
mod reuse;
mod salvage;
mod script;
mod taking_back;

use std::io::Write;
use std::time::Duration;

use bucket_core::ByteCount;
use bucket_vfs::sim::{Coverage, Crash, Explorer, Failure, SimDisk, Survivors};

use self::script::{Plant, Rig, Script, Violation};
use crate::{SyncMethod, SyncPolicy, WalError, WalOptions};

#[test]
fn nothing_durable_is_lost_whatever_a_crash_and_a_second_one_leave() {
    holds("always", |options| options, 60);
}

/// Fewer different disks than this, each recovered and checked, would mean that a workload or the disk has
/// lost its teeth. What is written here differs between all of them; the campaigns of the other sync
/// methods write the bytes of the first again, and are not counted.
const FLOORS: [(&str, u64); 7] = [
    ("always", 3_000),
    ("none, written through", 2_700),
    ("batch", 1_700),
    ("pending operations", 1_500),
    ("pending operations, not synced", 1_900),
    ("taking back", 2_200),
    ("on a full disk", 4_500),
];

/// All of them together are to be no fewer.
const TOTAL: u64 = 10_000;

const _: () = {
    let (mut sum, mut nth) = (0, 0);
    while nth < FLOORS.len() {
        sum += FLOORS[nth].1;
        nth += 1;
    }
    assert!(sum >= TOTAL);
};

/// Prints what a campaign has visited, and fails when that is too little.
fn is_enough(what: &str, coverage: &Coverage) {
    // Straight to stderr, which the test harness does not keep to itself.
    let _ = writeln!(std::io::stderr(), "crash states of the log, {what}: {coverage}");
    let floor = FLOORS.iter().find(|(name, _)| *name == what).map_or(500, |(_, floor)| *floor);
    assert!(coverage.states >= floor, "{what}: {coverage}");
}

/// Several groups are written and not synced at a time: any of them may be missing, and then none after
/// it counts.
#[test]
fn a_log_that_syncs_now_and_then_loses_nothing_that_a_sync_has_covered() {
    let plant = |options: WalOptions| {
        let options = options.sync_policy(SyncPolicy::None).expect("it has no bounds");
        options.write_through(true)
    };
    holds("none, written through", plant, 30);
}

#[test]
fn a_log_that_syncs_in_batches_loses_nothing_that_a_sync_has_covered() {
    let plant = |options: WalOptions| {
        let (bytes, delay) = (ByteCount::mib(1), Duration::from_secs(3_600));
        let policy = SyncPolicy::Batch { records: 3, bytes, delay };
        options.sync_policy(policy).expect("the bounds are above zero")
    };
    holds("batch", plant, 20);
}

#[test]
fn a_log_whose_writes_are_durable_loses_nothing_that_it_has_acknowledged() {
    holds("always, O_DSYNC", |options| options.sync_method(SyncMethod::ODsync), 30);
}

/// The block that holds the newest records is written again with each group.
#[test]
fn a_log_that_writes_past_the_page_cache_loses_nothing_that_it_has_acknowledged() {
    holds("always, O_DIRECT", |options| options.sync_method(SyncMethod::ODirectODsync), 30);
}

fn holds(what: &str, plant: Plant, seeds: u64) {
    holds_for(what, Script::run, plant, seeds);
}

fn holds_for(what: &str, workload: Workload, plant: Plant, seeds: u64) {
    let coverage = campaign_of(workload, plant, seeds);
    is_enough(what, &coverage.unwrap_or_else(|failure| panic!("{failure}")));
}

/// Runs the standard workload on a healthy disk and crashes it everywhere.
#[cfg(bucket_planted)]
fn campaign(plant: Plant, seeds: u64) -> Result<Coverage, Box<Failure<Violation>>> {
    campaign_of(Script::run, plant, seeds)
}

/// What is done to a log on a healthy disk.
type Workload = fn(&mut Script, &mut Rig) -> Result<(), WalError>;

/// Runs a workload on a healthy disk and crashes it everywhere.
fn campaign_of(
    workload: Workload,
    plant: Plant,
    seeds: u64,
) -> Result<Coverage, Box<Failure<Violation>>> {
    let disk = SimDisk::new();
    disk.keep_history();
    let mut script = Script::default();
    workload(&mut script, &mut Rig::new(disk.clone(), plant, 0)).expect("the disk is healthy");
    Explorer::new(&disk)
        .seeds(seeds)
        .promises(|operation| script.durable(operation))
        .run(|disk, crash| recover(&script, plant, disk, crash))
}

/// Opens the log and checks all that was promised; returns the newest record that it shows.
fn recover(
    script: &Script,
    plant: Plant,
    disk: &SimDisk,
    crash: &Crash<'_, u64>,
) -> Result<u64, Violation> {
    let mut rig = Rig::new(disk.clone(), plant, 1 << 32);
    let (wal, recovery) = rig
        .open()
        .map_err(|error| Violation::new("the log opens after a crash", error.to_string()))?;
    let last = script.check(crash.operation(), &wal, &recovery)?;
    if let Some(&shown) = crash.before()
        && last < shown
    {
        let detail = format!("record {shown} was read before, the newest is {last}");
        return Err(Violation::new("what was exposed stays", detail));
    }
    // A clean restart would be another operation; what is looked at here is the recovery alone.
    disk.kill();
    goes_on(&disk.fork(), plant, last)?;
    Ok(last)
}

/// A recovered log takes records and keeps them.
fn goes_on(disk: &SimDisk, plant: Plant, last: u64) -> Result<(), Violation> {
    const CHECK: &str = "a recovered log keeps what it acknowledges";
    let failed = |error: WalError| Violation::new(CHECK, format!("{error:?}"));
    let mut rig = Rig::new(disk.clone(), plant, 2 << 32);
    let (wal, _) = rig.open().map_err(failed)?;
    let lsn = wal.append(b"after the crash").map_err(failed)?;
    wal.wait_durable(lsn).map_err(failed)?;
    disk.crash(Survivors::None);
    drop(wal);
    let (wal, _) = rig.open().map_err(failed)?;
    let found = wal.read(lsn).map_err(failed)?;
    if lsn.get() != last + 1 || found.payload != b"after the crash" {
        return Err(Violation::new(CHECK, format!("record {lsn}")));
    }
    Ok(())
}
