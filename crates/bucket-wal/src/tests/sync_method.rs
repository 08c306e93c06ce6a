//! The methods by which groups become durable: the same bytes and the same promises.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bucket_core::ByteCount;
use bucket_vfs::sim::{Fault, FaultKind, SimDisk, Survivors};

use super::fault_vfs::FaultVfs;
use crate::entropy::Entropy;
use crate::sync::AtomicU64;
use crate::{Lsn, SyncMethod, SyncPolicy, TailState, Wal, WalError, WalOptions};

const DIR: &str = "/log";

fn on(disk: &SimDisk, method: SyncMethod, seed: u64) -> WalOptions {
    let entropy = Entropy::Counter(Arc::new(AtomicU64::new(seed)));
    let options = Wal::options().vfs(disk.mount()).entropy(entropy).sync_method(method);
    options.segment_size(ByteCount::kib(128)).unwrap()
}

/// Records of many lengths, so that frames begin and end everywhere in a block.
fn record(n: u64) -> Vec<u8> {
    let len = match n % 11 {
        0 => 40_000,
        3 => 4_096 - 32,
        7 => 9_000,
        n => 1 + 97 * n as usize,
    };
    vec![n as u8 | 1; len]
}

fn append(wal: &Wal, records: std::ops::RangeInclusive<u64>) {
    for n in records {
        assert_eq!(wal.append(&record(n)).unwrap(), Lsn::new(n));
    }
}

fn holds(wal: &Wal, last: u64) {
    let found: Vec<_> = wal.reader(Lsn::new(1)).map(|found| found.unwrap().payload).collect();
    assert_eq!(found.len() as u64, last);
    assert!(found.iter().zip(1..).all(|(payload, n)| *payload == record(n)));
}

#[test]
fn every_method_writes_the_same_bytes_to_the_same_files() {
    let files = |method| {
        let disk = SimDisk::new();
        let (wal, _) = on(&disk, method, 0).open(DIR).unwrap();
        append(&wal, 1..=40);
        let batch: Vec<_> = (41..=44).map(record).collect();
        wal.checkpoint(Lsn::new(2), b"state").unwrap();
        wal.append_batch(batch.iter().map(Vec::as_slice)).unwrap();
        // The next opening copies the newest group and goes on behind it, in the middle of a block.
        disk.kill();
        let (wal, recovery) = on(&disk, method, 1_000).open(DIR).unwrap();
        assert_eq!(recovery.report().copied_records, 4);
        append(&wal, 45..=60);
        assert_eq!(wal.stats().sync_method, method);
        wal.close().unwrap();
        disk.durable_files()
    };
    let expected = files(SyncMethod::Fdatasync);
    assert!(expected.len() > 4);
    for method in [SyncMethod::ODsync, SyncMethod::ODirectODsync] {
        let found = files(method);
        for ((path, one), (other, two)) in expected.iter().zip(&found) {
            assert_eq!(path, other);
            assert!(one == two, "{} differs under {method}", path.display());
        }
        assert_eq!(expected.len(), found.len());
    }
}

#[test]
fn a_log_of_one_method_goes_on_under_another() {
    for first in SyncMethod::ALL {
        for second in SyncMethod::ALL {
            let disk = SimDisk::new();
            let (wal, _) = on(&disk, first, 0).open(DIR).unwrap();
            append(&wal, 1..=15);
            disk.crash(Survivors::None);
            drop(wal);
            let (wal, recovery) = on(&disk, second, 1_000).open(DIR).unwrap();
            assert_eq!(recovery.report().tail, TailState::Clean);
            append(&wal, 16..=30);
            disk.crash(Survivors::None);
            drop(wal);
            let (wal, _) = on(&disk, first, 2_000).open(DIR).unwrap();
            holds(&wal, 30);
        }
    }
}

#[test]
fn a_durable_write_that_fails_poisons_the_log_and_loses_nothing_acknowledged() {
    for method in [SyncMethod::ODsync, SyncMethod::ODirectODsync] {
        for kind in [FaultKind::WriteError, FaultKind::ShortWrite, FaultKind::SyncErrorKept] {
            let disk = SimDisk::new();
            let (wal, _) = on(&disk, method, 0).open(DIR).unwrap();
            append(&wal, 1..=5);
            disk.inject(Fault::new(kind).on("seg-"));
            match wal.append(&record(6)) {
                Err(WalError::Poisoned { durable_lsn, .. }) => assert_eq!(durable_lsn, Lsn::new(5)),
                other => panic!("{method} {kind:?}: {other:?}"),
            }
            assert_eq!(disk.armed_faults(), 0);
            let operations = disk.operations();
            assert!(matches!(wal.append(b"more"), Err(WalError::Poisoned { .. })));
            assert!(matches!(wal.sync(), Err(WalError::Poisoned { .. })));
            assert_eq!(disk.operations(), operations, "nothing is tried again");
            disk.crash(Survivors::None);
            drop(wal);
            let (wal, _) = on(&disk, method, 1_000).open(DIR).unwrap();
            holds(&wal, 5);
        }
    }
}

#[test]
fn a_commit_is_one_call_where_writes_are_durable() {
    // Only Linux has such files.
    let methods = if cfg!(target_os = "linux") { 2 } else { 1 };
    let cases = [(SyncMethod::Fdatasync, 10), (SyncMethod::ODsync, 0)];
    for (method, syncs) in cases.into_iter().take(methods) {
        let dir = tempfile::tempdir().unwrap();
        let (vfs, faults) = FaultVfs::new();
        faults.takes_cached.store(true, Ordering::SeqCst);
        let (wal, _) = Wal::options().vfs(vfs).sync_method(method).open(dir.path()).unwrap();
        wal.append(b"one that makes a segment and zeros").unwrap();
        assert_eq!(wal.stats().sync_method, method);
        let count = || (faults.writes.load(Ordering::SeqCst), faults.syncs.load(Ordering::SeqCst));
        let before = count();
        for _ in 0..10 {
            wal.append(b"one").unwrap();
        }
        let after = count();
        assert_eq!((after.0 - before.0, after.1 - before.1), (10, syncs), "{method}");
    }
}

#[test]
fn what_a_file_system_does_not_offer_is_replaced_by_what_it_does() {
    use SyncMethod::{Fdatasync, ODirectODsync, ODsync};
    let cases = [(ODirectODsync, false, Fdatasync), (ODsync, false, Fdatasync)];
    let on_linux = [(ODirectODsync, true, ODsync), (ODsync, true, ODsync)];
    let on_linux = on_linux.into_iter().filter(|_| cfg!(target_os = "linux"));
    for (wanted, takes_cached, expected) in cases.into_iter().chain(on_linux) {
        let dir = tempfile::tempdir().unwrap();
        let (vfs, faults) = FaultVfs::new();
        faults.takes_cached.store(takes_cached, Ordering::SeqCst);
        let options = Wal::options().vfs(vfs).sync_method(wanted);
        let (wal, _) = options.clone().open(dir.path()).unwrap();
        assert_eq!(wal.stats().sync_method, wanted, "nothing was tried yet");
        append(&wal, 1..=12);
        assert_eq!(wal.stats().sync_method, expected, "{wanted}");
        drop(wal);
        let (wal, _) = options.open(dir.path()).unwrap();
        holds(&wal, 12);
    }
}

#[test]
fn a_policy_of_many_writes_a_sync_does_not_use_writes_that_are_syncs() {
    let disk = SimDisk::new();
    disk.keep_history();
    let options = on(&disk, SyncMethod::ODirectODsync, 0).sync_policy(SyncPolicy::None).unwrap();
    let (wal, _) = options.open(DIR).unwrap();
    append(&wal, 1..=20);
    wal.sync().unwrap();
    assert_eq!(wal.stats().sync_method, SyncMethod::Fdatasync);
    let durably = (1..=disk.operations()).filter(|n| disk.describe(*n).contains("durably"));
    assert_eq!(durably.count(), 0);
}

#[test]
fn a_full_disk_is_refused_and_the_reserve_serves_whatever_the_method() {
    for method in SyncMethod::ALL {
        let disk = SimDisk::new();
        let (wal, _) = on(&disk, method, 0).open(DIR).unwrap();
        append(&wal, 1..=3);
        disk.set_capacity(Some(0));
        let mut last = 3;
        let refused = loop {
            match wal.append(&[1; 3_000]) {
                Ok(lsn) => last = lsn.get(),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, WalError::NoSpace { .. }), "{method}: {refused:?}");
        let settled = wal.submit_reserved(b"settled").unwrap();
        let settled = settled.wait().unwrap();
        disk.set_capacity(None);
        wal.append(b"on it goes").unwrap();
        disk.crash(Survivors::None);
        drop(wal);
        let (wal, recovery) = on(&disk, method, 1_000).open(DIR).unwrap();
        assert!(recovery.report().is_clean(), "{method}");
        assert_eq!(wal.read(settled).unwrap().payload, b"settled");
        assert!(last > 3 && settled > Lsn::new(last));
    }
}

/// Threads, tickets and readers at once, on the disk that the tests were built on.
#[test]
fn real_files_hold_the_same_whatever_the_method() {
    // The temporary directory may be in memory.
    let place = std::env::current_exe().unwrap();
    let mut tried = Vec::new();
    for method in SyncMethod::ALL {
        let dir = tempfile::tempdir_in(place.parent().unwrap()).unwrap();
        let options = Wal::options().sync_method(method).segment_size(ByteCount::kib(256)).unwrap();
        let (wal, _) = options.clone().open(dir.path()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let wal = &wal;
                scope.spawn(move || {
                    for n in 0..60 {
                        let mut payload = record(n);
                        payload.extend_from_slice(&(thread << 32 | n).to_le_bytes());
                        let lsn = wal.append(&payload).unwrap();
                        assert_eq!(wal.read(lsn).unwrap().payload, payload);
                    }
                });
            }
        });
        let used = wal.stats().sync_method;
        if used != method {
            println!("skipped: {} offers no {method}, only {used}", dir.path().display());
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "a skip fails there");
            continue;
        }
        let found = |wal: &Wal| -> Vec<_> {
            wal.reader(Lsn::new(1)).map(|found| found.unwrap().payload).collect()
        };
        let before = found(&wal);
        assert_eq!(before.len(), 240);
        drop(wal);
        // Another method reads it, and goes on.
        let other = SyncMethod::ALL[(tried.len() + 1) % 3];
        let (wal, recovery) = options.sync_method(other).open(dir.path()).unwrap();
        assert!(recovery.report().is_clean());
        assert!(found(&wal) == before, "{method}");
        assert_eq!(wal.append(b"more").unwrap(), Lsn::new(241));
        tried.push(method);
    }
    println!("methods of {}: {tried:?}", place.display());
}
