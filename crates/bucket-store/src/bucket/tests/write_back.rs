//! Acknowledged while the remote is down, seen at once, there after reopening, and drained later.

use bucket_core::Durability;

use super::{PATIENCE, Rig, bytes, content, key, read};
use crate::bucket::{EntryState, ListMode, StoreError};

#[test]
fn a_put_is_acknowledged_and_seen_while_the_remote_is_down() {
    let rig = Rig::down();
    let bucket = rig.open();
    let receipt = bucket.put(&key("a/b"), "content").unwrap();
    assert_eq!(receipt.len, 7);
    assert_eq!(read(&bucket, "a/b").unwrap(), b"content");
    assert_eq!(bytes(&bucket.get_range(&key("a/b"), 3..99).unwrap()), b"tent");
    let entry = bucket.head(&key("a/b")).unwrap();
    assert_eq!((entry.len, entry.state), (7, EntryState::Pending));
    assert_eq!(entry.digest, receipt.digest);
    let listing = bucket.list("a/", None, 10, ListMode::Auto).unwrap();
    assert_eq!(listing.entries, [entry]);
    assert!(listing.partial);
    let status = bucket.status();
    assert_eq!((status.pending_ops, status.acknowledged, status.settled), (1, 1, 0));
    assert!(rig.remote.inner().is_empty());
}

#[test]
fn what_was_acknowledged_is_there_after_reopening_and_drains_when_the_remote_is_back() {
    let rig = Rig::down();
    let bucket = rig.open();
    bucket.put(&key("small"), "content").unwrap();
    bucket.put(&key("empty"), "").unwrap();
    bucket.put(&key("large"), content(1, 200_000)).unwrap();
    // Once in good order, and once as a crash.
    assert_eq!(bucket.close().unwrap().pending_ops, 3);
    drop(rig.open());
    let bucket = rig.open();
    assert_eq!(bucket.status().pending_ops, 3);
    assert_eq!(read(&bucket, "small").unwrap(), b"content");
    assert_eq!(read(&bucket, "empty").unwrap(), b"");
    assert_eq!(read(&bucket, "large").unwrap(), content(1, 200_000));
    rig.faults.down(false);
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(rig.at_remote("small").unwrap(), b"content");
    assert_eq!(rig.at_remote("empty").unwrap(), b"");
    assert_eq!(rig.at_remote("large").unwrap(), content(1, 200_000));
    assert_eq!(bucket.close().unwrap().pending_ops, 0);
}

#[test]
fn what_has_drained_is_read_from_the_remote_and_not_sent_again() {
    let rig = Rig::new();
    let bucket = rig.open();
    bucket.put(&key("a"), "content").unwrap();
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(bucket.head(&key("a")).unwrap().state, EntryState::Remote);
    drop(bucket);
    let bucket = rig.open();
    assert_eq!(bucket.status().pending_ops, 0);
    assert_eq!(read(&bucket, "a").unwrap(), b"content");
    rig.faults.down(true);
    let error = bucket.get(&key("a")).unwrap_err();
    assert!(matches!(error, StoreError::Remote(_)), "{error:?}");
    assert_eq!(error.durability(), Durability::Safe);
    assert_eq!(rig.puts_of("a"), 1);
}

#[test]
fn a_delete_masks_reads_at_once_and_after_reopening() {
    let rig = Rig::new();
    let bucket = rig.open();
    bucket.put(&key("a"), "content").unwrap();
    bucket.flush(Some(PATIENCE)).unwrap();
    rig.faults.down(true);
    let receipt = bucket.delete(&key("a")).unwrap();
    assert_eq!((receipt.digest, receipt.len), (None, 0));
    let is_gone = |bucket: &crate::Bucket| {
        assert_eq!(read(bucket, "a"), None);
        assert!(matches!(bucket.head(&key("a")), Err(StoreError::NotFound { .. })));
        assert!(matches!(bucket.get_range(&key("a"), 0..1), Err(StoreError::NotFound { .. })));
        assert!(bucket.list("", None, 10, ListMode::Local).unwrap().entries.is_empty());
        assert_eq!(bucket.acknowledged(&key("a")), None);
    };
    is_gone(&bucket);
    drop(bucket);
    let bucket = rig.open();
    is_gone(&bucket);
    rig.faults.down(false);
    is_gone(&bucket);
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(rig.at_remote("a"), None);
}

#[test]
fn deleting_what_was_never_there_succeeds() {
    let rig = Rig::new();
    let bucket = rig.open();
    bucket.delete(&key("a")).unwrap();
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(read(&bucket, "a"), None);
}

#[test]
fn the_newest_of_many_is_what_is_read_and_what_stays() {
    let rig = Rig::new();
    let bucket = rig.open();
    for n in 0..100_u8 {
        bucket.put(&key("a"), content(n, 100)).unwrap();
        assert_eq!(read(&bucket, "a").unwrap(), content(n, 100));
        if n % 10 == 0 {
            bucket.delete(&key("a")).unwrap();
            assert_eq!(read(&bucket, "a"), None);
        }
    }
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(rig.at_remote("a").unwrap(), content(99, 100));
    assert_eq!(read(&bucket, "a").unwrap(), content(99, 100));
}

#[test]
fn what_was_acknowledged_is_known_without_asking_the_remote() {
    let rig = Rig::new();
    let bucket = rig.open();
    let receipt = bucket.put(&key("a"), "content").unwrap();
    let expected = Some((receipt.digest.unwrap(), 7));
    bucket.flush(Some(PATIENCE)).unwrap();
    rig.faults.down(true);
    assert_eq!(bucket.acknowledged(&key("a")), expected);
    // From the log alone.
    drop(bucket);
    let bucket = rig.open();
    assert_eq!(bucket.acknowledged(&key("a")), expected);
    // From a checkpoint that replay starts behind.
    bucket.close().unwrap();
    for name in ["b", "c"] {
        let bucket = rig.builder().workers(0).open(rig.dir()).unwrap();
        assert_eq!(bucket.acknowledged(&key("a")), expected);
        bucket.put(&key(name), "content").unwrap();
        bucket.close().unwrap();
    }
    let calls = rig.calls();
    let bucket = rig.builder().workers(0).open(rig.dir()).unwrap();
    assert_eq!(bucket.acknowledged(&key("a")), expected);
    assert_eq!(bucket.acknowledged(&key("d")), None);
    bucket.delete(&key("a")).unwrap();
    assert_eq!(bucket.acknowledged(&key("a")), None);
    assert_eq!(rig.calls(), calls);
}

#[test]
fn objects_of_others_are_read_through() {
    let rig = Rig::new();
    let other = rig.beside();
    let (bucket, others) = (rig.open(), other.open());
    others.put(&key("theirs"), "content").unwrap();
    others.flush(Some(PATIENCE)).unwrap();
    assert_eq!(read(&bucket, "theirs").unwrap(), b"content");
    // An intent without a condition overwrites, though this directory knew nothing of the object.
    bucket.put(&key("theirs"), "ours").unwrap();
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(rig.at_remote("theirs").unwrap(), b"ours");
    others.put(&key("theirs"), "theirs again").unwrap();
    others.flush(Some(PATIENCE)).unwrap();
    assert_eq!(rig.at_remote("theirs").unwrap(), b"theirs again");
}
