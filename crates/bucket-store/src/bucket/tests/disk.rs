//! The directory: blobs, bounds, the lock, checkpoints, and what else may lie there.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use bucket_core::{ByteCount, Durability};
use bucket_remote::Body;
use bucket_vfs::sim::{SimDisk, Survivors};
use bucket_wal::WalError;

use super::{PATIENCE, Rig, content, crash, key, read, size_of, until};
use crate::bucket::{Bucket, StoreError, WhenFull};

#[test]
fn a_large_put_has_a_blob_until_it_is_settled() {
    let rig = Rig::down();
    let bucket = rig.open();
    bucket.put(&key("small"), content(1, 64 << 10)).unwrap();
    assert!(rig.files_in("blobs").is_empty());
    bucket.put(&key("large"), content(2, (64 << 10) + 1)).unwrap();
    let mut large = &*content(3, 1_000_000);
    bucket.put_reader(&key("stream"), &mut large, None).unwrap();
    assert_eq!(rig.files_in("blobs").len(), 2);
    assert_eq!(read(&bucket, "stream").unwrap(), content(3, 1_000_000));
    rig.faults.down(false);
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(rig.at_remote("large").unwrap(), content(2, (64 << 10) + 1));
    assert_eq!(rig.at_remote("stream").unwrap(), content(3, 1_000_000));
    // The blob goes when the settlement is durable, which a flush does not wait for.
    bucket.close().unwrap();
    drop(rig.open());
    assert!(rig.files_in("blobs").is_empty());
}

#[test]
fn the_blob_of_a_replaced_put_goes_too() {
    let rig = Rig::down();
    let bucket = rig.open();
    for n in 0..4 {
        bucket.put(&key("a"), content(n, 100_000)).unwrap();
    }
    rig.faults.down(false);
    bucket.flush(Some(PATIENCE)).unwrap();
    until(&bucket, |_| rig.files_in("blobs").is_empty());
    assert_eq!(rig.at_remote("a").unwrap(), content(3, 100_000));
}

#[test]
fn blobs_that_no_record_names_are_collected_at_opening() {
    let rig = Rig::down();
    let bucket = rig.open();
    bucket.put(&key("a"), content(1, 100_000)).unwrap();
    bucket.close().unwrap();
    let blob = rig.files_in("blobs");
    std::fs::write(rig.dir().join("blobs/0123-left-over"), "half of a put").unwrap();
    let bucket = rig.open();
    assert_eq!(rig.files_in("blobs"), blob);
    assert_eq!(read(&bucket, "a").unwrap(), content(1, 100_000));
}

/// Yields some bytes and then fails.
struct Breaks(u64);

impl Read for Breaks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = buf.len().min(usize::try_from(self.0).unwrap());
        self.0 -= n as u64;
        if n == 0 { Err(io::Error::other("the source broke")) } else { Ok(n) }
    }
}

#[test]
fn a_reader_that_fails_leaves_nothing_behind() {
    let rig = Rig::down();
    let bound = ByteCount::kib(512);
    let bucket = rig.builder().max_pending_bytes(bound).open(rig.dir()).unwrap();
    for (len, said) in [(10, None), (200_000, None), (200_000, Some(400_000)), (10, Some(20))] {
        let error = bucket.put_reader(&key("a"), &mut Breaks(len), said).unwrap_err();
        assert!(matches!(error, StoreError::Read { .. }), "{error:?}");
        assert_eq!(error.durability(), Durability::NotAccepted);
        assert!(rig.files_in("blobs").is_empty());
        assert_eq!(bucket.inner.state.lock().reserved, (0, 0));
        assert_eq!(bucket.acknowledged(&key("a")), None);
    }
    bucket.put(&key("a"), content(1, 500_000)).unwrap();
    assert_eq!(bucket.inner.state.lock().reserved, (0, 0));
}

#[test]
fn an_object_larger_than_the_bound_is_refused_before_and_while_it_is_written() {
    let rig = Rig::down();
    let bound = ByteCount::kib(128);
    let bucket = rig.builder().max_pending_bytes(bound).open(rig.dir()).unwrap();
    let large = content(1, 200_000);
    for said in [Some(200_000), Some(u64::MAX), None, Some(10), Some(100_000)] {
        let error = bucket.put_reader(&key("a"), &mut &*large, said).unwrap_err();
        let StoreError::TooLarge { limit, .. } = error else { panic!("{said:?}: {error:?}") };
        assert_eq!(limit, bound);
        assert!(rig.files_in("blobs").is_empty());
        assert_eq!(bucket.inner.state.lock().reserved, (0, 0));
    }
    // A wrong length that fits is no obstacle.
    for (name, said) in [("b", 0), ("c", 5_000), ("d", 100_000)] {
        bucket.put_reader(&key(name), &mut &*content(2, 1_000), Some(said)).unwrap();
    }
    assert_eq!(bucket.status().pending_bytes, ByteCount::new(3 * 1_256));
}

fn full(rig: &Rig, when_full: WhenFull) -> Bucket {
    let builder = rig.builder().max_pending_bytes(ByteCount::kib(4)).when_full(when_full);
    let bucket = builder.open(rig.dir()).unwrap();
    bucket.put(&key("a"), content(1, 3_000)).unwrap();
    bucket
}

#[test]
fn a_full_bucket_fails_at_once_and_nothing_is_accepted() {
    let rig = Rig::down();
    let bucket = full(&rig, WhenFull::Fail);
    let error = bucket.put(&key("b"), content(2, 1_000)).unwrap_err();
    let StoreError::Full { pending, bytes, limit, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*pending, *bytes, *limit), (1, ByteCount::new(3_256), ByteCount::kib(4)));
    assert_eq!(error.durability(), Durability::NotAccepted);
    assert!(matches!(bucket.get(&key("b")), Err(StoreError::Remote(_))), "nothing is here");
    bucket.put(&key("b"), content(2, 500)).unwrap();
    // Reopened it is as full, and it empties as ever.
    drop(bucket);
    let builder = || rig.builder().max_pending_bytes(ByteCount::kib(4)).when_full(WhenFull::Fail);
    let bucket = rig.reopen(builder);
    assert!(matches!(bucket.put(&key("c"), ""), Err(StoreError::Full { .. })));
    rig.faults.down(false);
    bucket.flush(Some(PATIENCE)).unwrap();
    bucket.put(&key("b"), content(2, 1_000)).unwrap();
}

#[test]
fn a_full_bucket_blocks_as_long_as_it_was_told() {
    let rig = Rig::down();
    let timeout = Duration::from_millis(5);
    let bucket = full(&rig, WhenFull::Block { timeout });
    let error = bucket.put(&key("b"), content(2, 1_000)).unwrap_err();
    let StoreError::Full { waited, .. } = error else { panic!("{error:?}") };
    assert!(waited >= timeout, "{waited:?}");
}

#[test]
fn a_blocked_put_goes_on_when_there_is_room() {
    let rig = Rig::down();
    let bucket = full(&rig, WhenFull::Block { timeout: PATIENCE });
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| bucket.put(&key("b"), content(2, 1_000)));
        rig.faults.down(false);
        blocked.join().unwrap().unwrap();
    });
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(rig.at_remote("b").unwrap(), content(2, 1_000));
}

#[test]
fn the_number_of_operations_is_bounded_too() {
    let rig = Rig::down();
    let builder = rig.builder().max_pending_ops(2).when_full(WhenFull::Fail);
    let bucket = builder.open(rig.dir()).unwrap();
    bucket.put(&key("a"), "").unwrap();
    bucket.delete(&key("b")).unwrap();
    assert!(matches!(bucket.delete(&key("c")), Err(StoreError::Full { pending: 2, .. })));
}

#[test]
fn writers_together_keep_the_bound() {
    let rig = Rig::down();
    let bound = ByteCount::kib(16);
    let builder = rig.builder().max_pending_bytes(bound).when_full(WhenFull::Fail);
    let bucket = builder.open(rig.dir()).unwrap();
    let accepted: usize = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let bucket = &bucket;
                scope.spawn(move || {
                    let put = |n| bucket.put(&key(&format!("{writer}/{n}")), content(1, 768));
                    (0..8).filter(|n| put(*n).is_ok()).count()
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    assert_eq!(accepted, 16);
    assert_eq!(bucket.status().pending_bytes, bound);
    assert_eq!(bucket.inner.state.lock().reserved, (0, 0));
}

#[test]
fn a_directory_is_opened_once_at_a_time() {
    let rig = Rig::new();
    let bucket = rig.open();
    let error = rig.builder().open(rig.dir()).unwrap_err();
    assert!(matches!(error, StoreError::Log(WalError::Locked { .. })), "{error:?}");
    bucket.close().unwrap();
    rig.builder().open(rig.dir()).unwrap();
}

#[test]
fn a_directory_of_somebody_else_is_not_touched() {
    let rig = Rig::new();
    std::fs::create_dir(rig.dir()).unwrap();
    std::fs::write(rig.dir().join("thesis.txt"), "the only copy").unwrap();
    let error = rig.builder().open(rig.dir()).unwrap_err();
    assert!(matches!(error, StoreError::Directory { .. }), "{error:?}");
    assert_eq!(std::fs::read_dir(rig.dir()).unwrap().count(), 1);
    std::fs::remove_file(rig.dir().join("thesis.txt")).unwrap();
    std::fs::write(rig.dir().join("BUCKET"), "bucket directory, format 99\n").unwrap();
    let error = rig.builder().open(rig.dir()).unwrap_err();
    assert!(matches!(error, StoreError::Directory { .. }), "{error:?}");
}

/// Its log has settlements that only that version knew how to read: they would be sent to the remote.
#[test]
fn a_directory_of_the_first_format_is_refused_and_not_touched() {
    let rig = Rig::new();
    rig.open().close().unwrap();
    let path = rig.dir().join("BUCKET");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "bucket directory, format 2\n");
    std::fs::write(&path, "bucket directory, format 1\n").unwrap();
    let before = rig.files_in("wal");
    let error = rig.builder().open(rig.dir()).unwrap_err();
    assert!(matches!(error, StoreError::OldFormat { format: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("drain it with the version that wrote it"), "{error}");
    assert_eq!(rig.files_in("wal"), before);
}

#[test]
fn an_empty_directory_becomes_a_bucket() {
    let rig = Rig::new();
    std::fs::create_dir(rig.dir()).unwrap();
    rig.open().put(&key("a"), "content").unwrap();
}

/// The name of a directory that nobody synced goes with the power, and all that is in it.
#[test]
fn a_bucket_in_a_directory_that_somebody_else_made_keeps_what_it_acknowledged() {
    let disk = SimDisk::new();
    disk.mount().create_dir(Path::new("/bucket")).unwrap();
    let rig = crash::Rig::new(disk.clone(), |builder| builder);
    let bucket = rig.open().unwrap();
    bucket.put(&key("a"), content(1, 100)).unwrap();
    disk.crash(Survivors::None);
    drop(bucket);
    assert_eq!(read(&rig.open().unwrap(), "a"), Some(content(1, 100)));
}

#[test]
fn the_keeper_keeps_the_log_small() {
    let rig = Rig::new();
    let builder = || rig.builder().segment_size(ByteCount::kib(64));
    let bucket = builder().open(rig.dir()).unwrap();
    for n in 0..200_u8 {
        bucket.put(&key(&format!("k{n}")), content(n, 20_000)).unwrap();
    }
    bucket.flush(Some(PATIENCE)).unwrap();
    // Of four million bytes two segments are left, and a record that may make each longer.
    until(&bucket, |status| status.log_bytes <= ByteCount::new(2 * (65_536 + 20_100)));
    bucket.close().unwrap();
    let left = size_of(&rig.dir().join("wal"));
    assert!(left < 400_000, "{left} bytes of log are left");
    let bucket = builder().open(rig.dir()).unwrap();
    assert_eq!(bucket.status().pending_ops, 0);
    assert_eq!(bucket.acknowledged(&key("k7")).unwrap().1, 20_000);
    let catalogs = std::fs::read_dir(rig.dir()).unwrap();
    let is_catalog = |name: &str| name.starts_with("catalog-");
    let count = catalogs.filter(|e| is_catalog(e.as_ref().unwrap().file_name().to_str().unwrap()));
    assert!(count.count() <= 2, "old catalogs are removed");
}

/// The log by itself keeps what is pending, and would give up the only record of what was acknowledged.
#[test]
fn nothing_goes_before_a_catalog_knows_of_it() {
    let rig = Rig::new();
    let builder = || rig.builder().segment_size(ByteCount::kib(64));
    let bucket = builder().open(rig.dir()).unwrap();
    let in_the_way = rig.dir().join("catalog-0000000000000001");
    std::fs::create_dir(&in_the_way).unwrap();
    for n in 0..40_u8 {
        bucket.put(&key(&format!("k{n}")), content(n, 20_000)).unwrap();
    }
    bucket.flush(Some(PATIENCE)).unwrap();
    assert!(bucket.inner.keep_log().is_err(), "the catalog cannot be written");
    drop(bucket);
    let bucket = rig.reopen(builder);
    for n in 0..40_u8 {
        assert_eq!(bucket.acknowledged(&key(&format!("k{n}"))).unwrap().1, 20_000, "k{n}");
    }
    std::fs::remove_dir(&in_the_way).unwrap();
    bucket.inner.keep_log().unwrap();
    until(&bucket, |status| status.log_bytes <= ByteCount::new(2 * (65_536 + 20_100)));
    assert_eq!(bucket.acknowledged(&key("k0")).unwrap().1, 20_000);
}

#[test]
fn a_checkpoint_keeps_what_is_pending() {
    let rig = Rig::down();
    let builder = || rig.builder().segment_size(ByteCount::kib(64));
    let bucket = builder().open(rig.dir()).unwrap();
    bucket.put(&key("first"), content(1, 20_000)).unwrap();
    rig.faults.down(false);
    bucket.flush(Some(PATIENCE)).unwrap();
    rig.faults.down(true);
    bucket.put(&key("stuck"), content(2, 20_000)).unwrap();
    for n in 0..20_u8 {
        bucket.put(&key(&format!("k{n}")), content(n, 20_000)).unwrap();
    }
    bucket.close().unwrap();
    for n in 22..25 {
        let bucket = builder().open(rig.dir()).unwrap();
        bucket.put(&key(&format!("later{n}")), "content").unwrap();
        assert_eq!(bucket.close().unwrap().pending_ops, n);
    }
    let bucket = builder().open(rig.dir()).unwrap();
    assert_eq!(read(&bucket, "stuck").unwrap(), content(2, 20_000));
    rig.faults.down(false);
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(rig.at_remote("stuck").unwrap(), content(2, 20_000));
    assert_eq!(rig.at_remote("k19").unwrap(), content(19, 20_000));
}

#[test]
fn a_body_of_a_blob_outlives_the_settlement() {
    let rig = Rig::down();
    let bucket = rig.open();
    bucket.put(&key("a"), content(1, 100_000)).unwrap();
    let body: Body = bucket.get(&key("a")).unwrap();
    rig.faults.down(false);
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(super::bytes(&body), content(1, 100_000));
}

#[test]
fn the_status_file_says_whether_the_bucket_is_open() {
    let rig = Rig::down();
    let bucket = rig.open();
    bucket.put(&key("a"), "content").unwrap();
    bucket.close().unwrap();
    let text = std::fs::read_to_string(rig.dir().join("status.json")).unwrap();
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&status["open"], &status["pending_ops"]), (&false.into(), &1.into()));
}

#[test]
fn settings_out_of_bounds_are_refused_before_anything_is_written() {
    let rig = Rig::new();
    for builder in [
        rig.builder().max_pending_bytes(ByteCount::new(1)),
        rig.builder().max_pending_ops(0),
        rig.builder().inline_max(ByteCount::mib(5)),
        rig.builder().segment_size(ByteCount::kib(1)),
        rig.builder().workers(5_000),
        rig.builder().op_timeout(Duration::ZERO),
        rig.builder().backoff(Duration::from_secs(2), Duration::from_secs(1)),
    ] {
        assert!(builder.check().is_err(), "{builder:?}");
        assert!(builder.open(rig.dir()).is_err());
        assert!(!rig.dir().exists());
    }
}
