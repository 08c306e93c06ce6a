//! A disk that does not give back a block: an error with a type under the strict policy, and under the
//! others damage that is stepped over as any other.

use std::fs;

use super::damaging::{log, options};
use super::fault_vfs::{FaultVfs, Faults};
use crate::sync::{Arc, Ordering};
use crate::{Lsn, RecoveryPolicy, TailState, Verdict, Wal, WalError};

/// A file layer that cannot read this byte of any file.
fn unreadable(at: u64) -> (Arc<FaultVfs>, Arc<Faults>) {
    let (vfs, faults) = FaultVfs::new();
    faults.unreadable.store(at, Ordering::SeqCst);
    (vfs, faults)
}

/// In record 4 of a segment; with it goes the block that the records 1 to 3 lie in.
const IN_THE_FIRST_BLOCK: u64 = 4_096 + 3 * 1_032 + 500;

fn found(wal: &Wal) -> Vec<u64> {
    let records = wal.reader(Lsn::new(1)).map(|record| record.unwrap());
    records
        .map(|record| {
            assert_eq!(u64::from(record.payload[0]), record.lsn.get());
            record.lsn.get()
        })
        .collect()
}

#[test]
fn the_strict_policy_says_what_cannot_be_read_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 100);
    let (vfs, faults) = unreadable(IN_THE_FIRST_BLOCK);
    let error = options(RecoveryPolicy::Strict).vfs(vfs.clone()).open(dir.path()).unwrap_err();
    assert!(matches!(error, WalError::Io { op: "read", .. }), "{error:?}");
    faults.unreadable.store(u64::MAX, Ordering::SeqCst);
    let (wal, recovery) = options(RecoveryPolicy::Strict).vfs(vfs).open(dir.path()).unwrap();
    assert!(recovery.report().is_clean());
    assert_eq!(found(&wal).len(), 100);
}

#[test]
fn salvage_loses_the_block_alone_and_keeps_what_can_be_read_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 100);
    let segment = |id: u64| dir.path().join(format!("seg-{id:016x}.wal"));
    let before = [1, 2].map(|id| fs::read(segment(id)).unwrap());
    let (vfs, faults) = unreadable(IN_THE_FIRST_BLOCK);
    let (wal, recovery) = options(RecoveryPolicy::Salvage).vfs(vfs).open(dir.path()).unwrap();
    let report = recovery.report();
    assert_eq!((report.damage.len(), report.unreadable_bytes), (2, 2 * 4_096), "{report}");
    assert!(report.to_string().contains("8192 bytes could not be read"), "{report}");
    faults.unreadable.store(u64::MAX, Ordering::SeqCst);
    // Records 1 to 4 of each of the two segments were there.
    let expected: Vec<u64> = (5..=59).chain(64..=100).collect();
    assert_eq!(found(&wal), expected);

    assert_eq!(report.quarantined.len(), 2);
    for (kept, before) in report.quarantined.iter().zip(before) {
        let kept = fs::read(kept).unwrap();
        assert!(kept.len() == before.len() && kept[..4_096] == before[..4_096]);
        assert!(kept[8_192..] == before[8_192..], "what can be read is kept");
    }
}

#[test]
fn point_in_time_ends_before_the_block() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 100);
    // In record 20, whose block begins in record 16.
    let (vfs, faults) = unreadable(4_096 + 19 * 1_032 + 500);
    let policy = RecoveryPolicy::PointInTime;
    let (wal, recovery) = options(policy).vfs(vfs).open(dir.path()).unwrap();
    assert!(!recovery.report().is_clean());
    faults.unreadable.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(found(&wal), (1..=15).collect::<Vec<_>>());
    assert!(wal.append(b"next").unwrap() > Lsn::new(100), "numbers are not given again");
}

#[test]
fn a_block_with_the_newest_record_is_not_taken_for_an_interrupted_write() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 10);
    let (vfs, faults) = unreadable(4_096 + 9 * 1_032 + 500);
    let (wal, recovery) = options(RecoveryPolicy::Salvage).vfs(vfs).open(dir.path()).unwrap();
    let report = recovery.report();
    assert!(report.tail == TailState::Damaged && !report.is_clean(), "{report}");
    faults.unreadable.store(u64::MAX, Ordering::SeqCst);
    assert!(found(&wal).len() >= 6);
    assert!(wal.append(b"next").unwrap() > Lsn::new(10), "numbers are not given again");
}

#[test]
fn a_block_behind_the_newest_record_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 10);
    let (vfs, faults) = unreadable(40_000);
    let (wal, _) = options(RecoveryPolicy::Salvage).vfs(vfs).open(dir.path()).unwrap();
    faults.unreadable.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(found(&wal).len(), 10);
}

#[test]
fn an_inspection_counts_what_cannot_be_read_and_lists_what_that_damages() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 100);
    let (vfs, faults) = unreadable(IN_THE_FIRST_BLOCK);
    let options = options(RecoveryPolicy::Strict).vfs(vfs);
    let found = options.inspect(dir.path()).unwrap();
    assert_eq!((found.damage.len(), found.unreadable_bytes), (2, 2 * 4_096), "{found}");
    assert_eq!((found.verdict(), found.records()), (Verdict::Damaged, 92), "{found}");
    assert!(found.to_string().ends_with("8192 bytes could not be read"), "{found}");

    // Nothing was ever written there, so nothing is damaged; the disk is all the same.
    faults.unreadable.store(56 << 10, Ordering::SeqCst);
    let found = options.inspect(dir.path()).unwrap();
    assert_eq!(found.verdict(), Verdict::Damaged, "{found}");
    faults.unreadable.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(options.inspect(dir.path()).unwrap().verdict(), Verdict::Whole);
}
