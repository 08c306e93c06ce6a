//! Power loss while damage is stepped over: a second attempt finds what the first would have found.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bucket_vfs::sim::{Coverage, Explorer, SimDisk, Survivors};

use super::script::{Plant, Rig, Script, Violation};
use crate::{Lsn, RecoveryPolicy, Wal, WalError, WalOptions};

type Records = BTreeMap<u64, Vec<u8>>;

/// Opens under the policy and returns what can be read.
fn readable(disk: &SimDisk, plant: Plant, entropy: u64) -> Result<Records, Violation> {
    let failed = |error: WalError| Violation::new("salvage opens", error.to_string());
    let (wal, _) = Rig::new(disk.clone(), plant, entropy).open().map_err(failed)?;
    wal.reader(Lsn::new(1))
        .map(|record| record.map(|record| (record.lsn.get(), record.payload)).map_err(failed))
        .collect()
}

/// The log that the script leaves, with these bits flipped; `None` when nothing shows.
fn damaged(log: &SimDisk, bits: &[(PathBuf, u64)]) -> Option<SimDisk> {
    let disk = log.fork();
    for (path, bit) in bits {
        disk.flip_bit(path, *bit).ok()?;
    }
    disk.drop_caches();
    let strict = Rig::new(disk.fork(), |options| options, 1 << 32).open();
    strict.is_err_and(|error| error.is_damage()).then_some(disk)
}

/// Crashes the first opening at each of its operations and opens again.
fn explore(disk: &SimDisk, plant: Plant) -> Result<Coverage, String> {
    let expected =
        readable(&disk.fork(), plant, 1 << 33).map_err(|violation| violation.to_string())?;
    let history = disk.fork();
    history.keep_history();
    let inspection = Wal::options().vfs(history.fork().mount()).inspect("/log");
    let inspection = inspection.map_err(|error| error.to_string())?;
    let mut damaged = history.durable_files();
    damaged.retain(|(path, _)| inspection.damage.iter().any(|damage| damage.path == *path));
    readable(&history, plant, 1 << 34).map_err(|violation| violation.to_string())?;
    let run = Explorer::new(&history).seeds(1).seeds_in_recovery(1).run(|disk, _| {
        let found = readable(disk, plant, 1 << 35)?;
        if found != expected {
            let detail = format!("{:?} instead of {:?}", found.keys(), expected.keys());
            return Err(Violation::new("a second attempt finds the same", detail));
        }
        // Every damaged file is still somewhere, as it was.
        let after = disk.durable_files();
        let kept = |bytes: &Vec<u8>| after.iter().any(|(_, found)| found == bytes);
        match damaged.iter().find(|(_, bytes)| !kept(bytes)) {
            Some((path, _)) => Err(Violation::new("evidence is kept", path.display().to_string())),
            None => Ok(found),
        }
    });
    run.map_err(|failure| failure.to_string())
}

fn campaign(plant: Plant) {
    let log = SimDisk::new();
    Script::default().run(&mut Rig::new(log.clone(), |options| options, 0)).expect("it is healthy");
    log.kill();
    log.crash(Survivors::All);
    let files = log.durable_files().into_iter().map(|(path, _)| path);
    let segments: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "wal")).collect();
    let mut bits: Vec<_> = segments
        .iter()
        .flat_map(|path| {
            [20, 4_105, 4_200, 9_000, 20_000, 40_000].map(|at| vec![(path.clone(), at * 8)])
        })
        .collect();
    // Two places in segments that are not neighbours.
    bits.extend(
        segments.windows(3).map(|of| vec![(of[0].clone(), 8 * 4_105), (of[2].clone(), 160)]),
    );

    let (mut logs, mut states) = (0, 0);
    for bits in bits {
        let Some(disk) = damaged(&log, &bits) else { continue };
        let coverage =
            explore(&disk, plant).unwrap_or_else(|failure| panic!("{bits:?}: {failure}"));
        logs += 1;
        states += coverage.crashes + coverage.second_crashes;
    }
    eprintln!("crash states of stepping over damage: {states} of {logs} damaged logs");
    assert!(logs >= 12 && states > 15 * logs, "{logs} logs, {states} states");
}

#[test]
fn salvage_that_is_interrupted_loses_nothing_that_it_would_have_found() {
    campaign(|options: WalOptions| options.recovery(RecoveryPolicy::Salvage));
}

#[test]
fn point_in_time_that_is_interrupted_ends_at_the_same_record() {
    campaign(|options: WalOptions| options.recovery(RecoveryPolicy::PointInTime));
}
