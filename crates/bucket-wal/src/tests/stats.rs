//! Statistics: every figure is what it says, in a case where it is known.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bucket_core::ByteCount;

use crate::entropy::Entropy;
use crate::sync::{Arc, AtomicU64};
use crate::{Lsn, RecoveryPolicy, SyncPolicy, Wal, WalOptions};

const DAY: Duration = Duration::from_secs(86_400);

fn options() -> WalOptions {
    Wal::options().segment_size(ByteCount::kib(64)).unwrap()
}

/// A log of ten records of 1 000 bytes, record n filled with n, not closed.
fn log(dir: &Path) {
    let (wal, _) = options().open(dir).unwrap();
    for n in 1..=10 {
        wal.append(&[n; 1_000]).unwrap();
    }
}

/// Flips a bit in the content of record `n`.
fn damage(dir: &Path, n: usize) {
    let path = dir.join("seg-0000000000000001.wal");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096 + (n - 1) * 1_032 + 500] ^= 0x40;
    fs::write(&path, bytes).unwrap();
}

#[test]
fn syncs_for_each_record_and_records_in_a_group_follow_from_how_it_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = options().open(dir.path()).unwrap();
    let (first, stats) = (wal.stats(), wal.stats());
    assert_eq!((first.records_per_group(), first.syncs_per_record()), (0.0, 0.0));
    assert_eq!(first, stats);
    for _ in 0..3 {
        wal.append(b"one").unwrap();
    }
    let stats = wal.stats();
    assert_eq!((stats.records_per_group(), stats.syncs_per_record()), (1.0, 1.0));
    wal.append_batch([&b"a"[..], b"b", b"c", b"d", b"e"]).unwrap();
    let stats = wal.stats();
    assert_eq!((stats.records, stats.groups, stats.syncs), (8, 4, 4));
    assert_eq!((stats.records_per_group(), stats.syncs_per_record()), (2.0, 0.5));
    assert_eq!(stats.payload_bytes, 14);
    drop(wal);

    // Groups that share a sync: two writes, one sync.
    let policy = SyncPolicy::None;
    let lazy = options().sync_policy(policy).unwrap().write_through(true);
    let (wal, _) = lazy.open(dir.path()).unwrap();
    wal.append(b"one").unwrap();
    wal.append(b"two").unwrap();
    wal.sync().unwrap();
    let stats = wal.stats();
    assert_eq!((stats.records, stats.groups, stats.syncs), (2, 2, 1));
    assert_eq!(stats.syncs_per_record(), 0.5);
}

#[test]
fn the_age_of_the_newest_checkpoint_survives_a_restart_and_ends_with_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    // With this source of salts it is always the same day in 2023.
    let fixed = Entropy::Counter(Arc::new(AtomicU64::new(0)));
    let (wal, _) = options().entropy(fixed).open(dir.path()).unwrap();
    assert_eq!(wal.stats().checkpoint_age, None);
    wal.append(b"record").unwrap();
    wal.checkpoint(Lsn::new(2), b"").unwrap();
    assert_eq!(wal.stats().checkpoint_age, Some(Duration::ZERO));
    drop(wal);
    let (wal, _) = options().open(dir.path()).unwrap();
    let age = wal.stats().checkpoint_age.unwrap();
    assert!(age > 365 * DAY, "{age:?}");
    wal.checkpoint(Lsn::new(2), b"").unwrap();
    let age = wal.stats().checkpoint_age.unwrap();
    assert!(age < DAY, "{age:?}");
}

#[test]
fn damage_that_opening_stepped_over_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path());
    damage(dir.path(), 4);
    damage(dir.path(), 7);
    let (wal, recovery) = options().recovery(RecoveryPolicy::Salvage).open(dir.path()).unwrap();
    let stats = wal.stats();
    assert_eq!((stats.damage_found, stats.damaged_records, stats.damage_read), (2, 2, 0));
    assert_eq!(recovery.report().damaged_records(), 2);
    wal.checkpoint(Lsn::new(1), b"").unwrap();
    wal.checkpoint(Lsn::new(1), b"").unwrap();
    drop(wal);

    // It is whole now; a checkpoint that cannot be read is counted apart.
    let newest = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let newest = newest.filter(|path| path.extension().is_some_and(|e| e == "man")).max().unwrap();
    fs::write(newest, b"nonsense").unwrap();
    let stats = options().open(dir.path()).unwrap().0.stats();
    assert_eq!((stats.damage_found, stats.damaged_records), (0, 0));
    assert_eq!(stats.unreadable_checkpoints, 1);
}

#[test]
fn damage_that_a_reader_comes_upon_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path());
    let (wal, _) = options().open(dir.path()).unwrap();
    assert_eq!(wal.reader(Lsn::new(1)).filter(Result::is_err).count(), 0);
    assert_eq!(wal.stats().damage_read, 0);
    damage(dir.path(), 4);
    assert_eq!(wal.reader(Lsn::new(1)).filter(Result::is_err).count(), 1);
    assert_eq!(wal.stats().damage_read, 1);
    wal.read(Lsn::new(4)).unwrap_err();
    assert_eq!(wal.stats().damage_read, 2);
    assert_eq!(wal.stats().damage_found, 0);
}
