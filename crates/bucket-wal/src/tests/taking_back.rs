//! Records that are taken back, epochs, and segments that are finished on demand.

use std::path::Path;

use bucket_core::ByteCount;
use bucket_vfs::sim::{Fault, FaultKind, SimDisk, Survivors};

use crate::{Lsn, SegmentEnd, SyncPolicy, Wal, WalError};

fn open(dir: &Path) -> Wal {
    Wal::options().segment_size(ByteCount::kib(64)).unwrap().open(dir).unwrap().0
}

fn contents(wal: &Wal) -> Vec<(u64, u8)> {
    let records = wal.reader(Lsn::new(1)).map(|record| record.unwrap());
    records.map(|record| (record.lsn.get(), record.payload[0])).collect()
}

/// Whatever the place: the first of a frame, within a batch, across segments, everything.
#[test]
fn records_after_a_number_are_gone_and_their_numbers_are_given_again() {
    for keep in [0_u64, 1, 5, 6, 7, 58, 59, 60, 61, 100, 149] {
        let dir = tempfile::tempdir().unwrap();
        let wal = open(dir.path());
        for n in 1..=5 {
            wal.append(&[n; 1_000]).unwrap();
        }
        wal.append_batch([&[6; 1_000][..], &[7; 1_000], &[8; 1_000]]).unwrap();
        for n in 9..=150 {
            wal.append(&[n; 1_000]).unwrap();
        }
        wal.truncate_after(Lsn::new(keep)).unwrap();
        assert_eq!((wal.durable_lsn(), wal.epoch()), (Lsn::new(keep), 1));
        let mut expected: Vec<_> = (1..=keep).map(|n| (n, n as u8)).collect();
        assert_eq!(contents(&wal), expected, "{keep}");
        assert_eq!(wal.append(&[200; 10]).unwrap(), Lsn::new(keep + 1));
        expected.push((keep + 1, 200));
        assert_eq!(contents(&wal), expected, "{keep}");
        drop(wal);
        let wal = open(dir.path());
        assert_eq!(contents(&wal), expected, "{keep}");
        assert_eq!(wal.epoch(), 1);
        assert_eq!(wal.append(&[201; 10]).unwrap(), Lsn::new(keep + 2));
        let inspection = Wal::options().inspect(dir.path()).unwrap();
        assert!(inspection.damage.is_empty(), "{inspection}");
        assert!(inspection.segments.iter().all(|segment| segment.end != SegmentEnd::Void));
    }
}

#[test]
fn what_a_checkpoint_leaves_behind_cannot_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    for n in 1..=20 {
        wal.append(&[n; 1_000]).unwrap();
    }
    wal.checkpoint(Lsn::new(11), b"").unwrap();
    assert!(matches!(wal.truncate_after(Lsn::new(9)), Err(WalError::Checkpointed { .. })));
    assert_eq!(contents(&wal).len(), 20);
    // The checkpoint vouches for more than is left now, and that is no damage.
    wal.truncate_after(Lsn::new(12)).unwrap();
    drop(wal);
    let wal = open(dir.path());
    assert_eq!(contents(&wal).len(), 12);
    // Nothing to take back.
    wal.truncate_after(Lsn::new(12)).unwrap();
    wal.truncate_after(Lsn::new(u64::MAX)).unwrap();
    assert_eq!(wal.epoch(), 1);
}

#[test]
fn what_follows_a_checkpoint_can_be_taken_back_wholly() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    for n in 1..=20 {
        wal.append(&[n; 1_000]).unwrap();
    }
    wal.checkpoint(Lsn::new(11), b"").unwrap();
    wal.truncate_after(Lsn::new(10)).unwrap();
    assert_eq!(contents(&wal).len(), 10);
}

/// What is left counts as durable, so it has to be.
#[test]
fn what_is_left_is_durable_whatever_was_synced_before() {
    let disk = SimDisk::new();
    let options = || {
        let options = Wal::options().vfs(disk.mount()).write_through(true);
        options.sync_policy(SyncPolicy::None).unwrap()
    };
    let (wal, _) = options().open(Path::new("/log")).unwrap();
    for n in 1..=5 {
        wal.append(&[n; 10]).unwrap();
    }
    assert_eq!(wal.durable_lsn(), Lsn::ZERO);
    wal.truncate_after(Lsn::new(3)).unwrap();
    assert_eq!(wal.durable_lsn(), Lsn::new(3));
    disk.crash(Survivors::None);
    drop(wal);
    let (wal, _) = options().open(Path::new("/log")).unwrap();
    assert_eq!(contents(&wal), [(1, 1), (2, 2), (3, 3)]);
}

#[test]
fn records_are_taken_back_once_the_leader_is_done() {
    let disk = SimDisk::new();
    let (wal, _) = Wal::options().vfs(disk.mount()).open(Path::new("/log")).unwrap();
    for n in 1..=5 {
        wal.append(&[n; 10]).unwrap();
    }
    disk.inject(Fault::new(FaultKind::Stall));
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| wal.append(&[6; 10]));
        disk.wait_until_stalled();
        let truncates = scope.spawn(|| wal.truncate_after(Lsn::new(5)));
        wal.until_it_waits(&truncates);
        disk.release();
        leader.join().unwrap().unwrap();
        truncates.join().unwrap().unwrap();
    });
    let mut expected: Vec<_> = (1..=5).map(|n| (n, n as u8)).collect();
    assert_eq!(contents(&wal), expected);
    assert_eq!(wal.append(&[9; 10]).unwrap(), Lsn::new(6));
    expected.push((6, 9));
    assert_eq!(contents(&wal), expected);
}

#[test]
fn an_epoch_only_grows_and_is_durable_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    assert_eq!(wal.epoch(), 0);
    wal.begin_epoch(3).unwrap();
    wal.append(b"in the third").unwrap();
    assert!(matches!(wal.begin_epoch(3), Err(WalError::StaleEpoch { current: 3, .. })));
    wal.begin_epoch(5).unwrap();
    drop(wal);
    let wal = open(dir.path());
    assert_eq!(wal.epoch(), 5);
    assert_eq!(wal.append(b"in the fifth").unwrap(), Lsn::new(2));
    drop(wal);
    assert_eq!(contents(&open(dir.path())).len(), 2);
}

#[test]
fn a_segment_is_finished_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    wal.seal().unwrap();
    for n in 1..=3 {
        wal.append(&[n]).unwrap();
        wal.seal().unwrap();
        wal.seal().unwrap();
    }
    let inspection = Wal::options().inspect(dir.path()).unwrap();
    assert_eq!(inspection.segments.len(), 3);
    assert!(inspection.segments.iter().all(|segment| segment.end == SegmentEnd::Sealed));
    let bytes = wal.stats().log_bytes;
    drop(wal);
    let wal = open(dir.path());
    assert_eq!(wal.stats().log_bytes, bytes);
    assert_eq!(contents(&wal), [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(wal.append(&[4]).unwrap(), Lsn::new(4));
}
