//! A disk that fails: every fault at every operation that it can hit, then a restart in the same boot or
//! after a loss of power.

use bucket_vfs::sim::{Fault, FaultKind, SimDisk, Survivors};

use super::script::{Plant, Rig, Script, Violation};
use crate::{Lsn, RecoveryPolicy, SyncMethod, TailState, WalOptions};

/// Runs the script once for each operation that a fault of this kind can hit.
fn sweep(
    kind: FaultKind,
    plant: Plant,
    check: impl FnMut(&Script, &SimDisk) -> Result<(), Violation>,
) -> u64 {
    match sweep_with(kind, plant, check) {
        Ok(visited) => visited,
        Err((what, Violation { check, detail })) => panic!("{what}: {check}: {detail}"),
    }
}

/// As [`sweep`]; the first violation ends it.
pub(super) fn sweep_with(
    kind: FaultKind,
    plant: Plant,
    mut check: impl FnMut(&Script, &SimDisk) -> Result<(), Violation>,
) -> Result<u64, (String, Violation)> {
    for n in 0.. {
        let disk = SimDisk::new();
        disk.inject(Fault::new(kind).after(n));
        let mut script = Script::default();
        let result = script.run(&mut Rig::new(disk.clone(), plant, 0));
        if disk.armed_faults() > 0 {
            result.expect("no fault, no error");
            return Ok(n);
        }
        disk.kill();
        let what = || format!("{kind:?} at operation {n} of its kind ({result:?})");
        check(&script, &disk).map_err(|violation| (what(), violation))?;
    }
    unreachable!("the script ends")
}

/// Opens what is on the disk and checks all that was promised; returns the newest record.
fn recover(script: &Script, plant: Plant, disk: &SimDisk) -> Result<u64, Violation> {
    let (wal, recovery) = Rig::new(disk.clone(), plant, 1 << 32)
        .open()
        .map_err(|error| Violation::new("the log opens after a fault", error.to_string()))?;
    script.check(u64::MAX, &wal, &recovery)
}

/// Whatever a loss of power leaves after the fault, and in the same boot, all that was promised is there.
pub(super) fn keeps_all(script: &Script, plant: Plant, disk: &SimDisk) -> Result<(), Violation> {
    for survivors in
        [Survivors::None, Survivors::All].into_iter().chain((0..6).map(Survivors::Random))
    {
        let disk = disk.fork();
        disk.crash(survivors);
        recover(script, plant, &disk)?;
    }
    // In the same boot the page cache shows what a failed sync has lost; what is exposed then has to
    // survive a loss of power right after.
    let exposed = recover(script, plant, disk)?;
    disk.crash(Survivors::None);
    let last = recover(script, plant, disk)?;
    if last < exposed {
        let detail = format!("record {exposed} was shown, the newest is {last}");
        return Err(Violation::new("what was exposed stays", detail));
    }
    Ok(())
}

#[test]
fn no_failed_write_or_sync_loses_what_was_acknowledged() {
    no_fault_loses_what_was_acknowledged(|options| options);
}

#[test]
fn no_failed_durable_write_loses_what_was_acknowledged() {
    no_fault_loses_what_was_acknowledged(|options| options.sync_method(SyncMethod::ODsync));
}

#[test]
fn no_failed_direct_write_loses_what_was_acknowledged() {
    no_fault_loses_what_was_acknowledged(|options| options.sync_method(SyncMethod::ODirectODsync));
}

fn no_fault_loses_what_was_acknowledged(plant: Plant) {
    for kind in [
        FaultKind::NoSpace,
        FaultKind::ShortWrite,
        FaultKind::SyncErrorDropped,
        FaultKind::SyncErrorKept,
        FaultKind::WriteError,
    ] {
        let visited = sweep(kind, plant, |script, disk| keeps_all(script, plant, disk));
        println!("{kind:?}: {visited} operations");
        assert!(visited > 20, "{kind:?} hit {visited} operations");
    }
}

#[test]
fn silent_damage_on_the_medium_is_reported_or_harmless() {
    for kind in [FaultKind::BitFlip, FaultKind::MisdirectedWrite] {
        let (mut reported, mut harmless) = (0, 0);
        sweep(
            kind,
            |options| options,
            |script, disk| {
                disk.crash(Survivors::All);
                let mut rig = Rig::new(disk.clone(), |options| options, 1 << 32);
                match rig.open() {
                    Ok((wal, recovery)) if recovery.report().unreadable_checkpoints > 0 => {
                        reported += 1;
                        let (from, last) = (recovery.replay_from(), recovery.report().last_lsn);
                        script.check_records(u64::MAX, &wal, from.get(), last.get()).map(drop)
                    }
                    Ok((wal, recovery)) => {
                        harmless += 1;
                        // A newest group that never arrived looks like one that was interrupted: only
                        // something newer could have vouched for it.
                        if kind == FaultKind::MisdirectedWrite
                            && recovery.report().tail == TailState::Torn
                        {
                            return Ok(());
                        }
                        script.check(u64::MAX, &wal, &recovery).map(drop)
                    }
                    Err(error) if error.is_damage() => {
                        reported += 1;
                        salvage(script, disk)
                    }
                    Err(error) => Err(Violation::new("damage has a type", error.to_string())),
                }
            },
        );
        println!("{kind:?}: {reported} reported, {harmless} harmless");
        assert!(reported > 5 && harmless > 0, "{reported} reported, {harmless} harmless");
    }
}

/// Salvage opens, names the damage, and makes nothing up.
fn salvage(script: &Script, disk: &SimDisk) -> Result<(), Violation> {
    let plant = |options: WalOptions| options.recovery(RecoveryPolicy::Salvage);
    let (wal, recovery) = Rig::new(disk.fork(), plant, 1 << 32)
        .open()
        .map_err(|error| Violation::new("salvage opens", error.to_string()))?;
    if recovery.report().is_clean() {
        return Err(Violation::new("salvage names the damage", recovery.report().to_string()));
    }
    for record in wal.reader(Lsn::new(1)).flatten() {
        script.check_record(u64::MAX, record.lsn.get(), &record.payload, 0)?;
    }
    Ok(())
}
