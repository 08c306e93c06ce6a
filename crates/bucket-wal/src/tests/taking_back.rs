//! Records that are taken back, epochs, and segments that are finished on demand.

use bucket_core::ByteCount;

use crate::{Lsn, SegmentEnd, Wal, WalError};

fn open(dir: &std::path::Path) -> Wal {
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
    drop(wal);
    let wal = open(dir.path());
    assert_eq!(contents(&wal), [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(wal.append(&[4]).unwrap(), Lsn::new(4));
}
