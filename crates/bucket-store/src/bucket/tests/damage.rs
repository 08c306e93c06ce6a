//! Damage to the files of a bucket: found, told, and never sent on.

use std::path::Path;

use bucket_core::Durability;

use super::{PATIENCE, Rig, content, key, read, until};
use crate::bucket::{Bucket, StoreError};

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}

/// Flips a bit in the middle of `part`, in the newest segment that holds it: older ones may have what does
/// not count any more.
fn damage_log(rig: &Rig, part: &[u8]) {
    let mut paths = rig.files_in("wal");
    paths.retain(|path| path.is_file());
    paths.sort();
    for path in paths.into_iter().rev() {
        let bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(part.len()).position(|window| window == part) {
            return flip(&path, at + part.len() / 2);
        }
    }
    panic!("the log does not hold it");
}

const NAMES: [&str; 5] = ["k0", "k1", "k2", "k3", "k4"];

fn of(name: &str) -> Vec<u8> {
    content(name.as_bytes()[1], 1_000)
}

/// A directory with five operations that never drained, of which `k2` is damaged.
fn damaged() -> Rig {
    let rig = Rig::down();
    let bucket = rig.open();
    for name in NAMES {
        bucket.put(&key(name), of(name)).unwrap();
    }
    bucket.close().unwrap();
    damage_log(&rig, &of("k2"));
    rig.faults.down(false);
    rig
}

fn others_are_readable(bucket: &Bucket) {
    for name in NAMES.into_iter().filter(|name| *name != "k2") {
        assert_eq!(read(bucket, name).unwrap(), of(name), "{name}");
    }
}

#[test]
fn a_damaged_log_opens_and_holds_the_drain() {
    let rig = damaged();
    let bucket = rig.open();
    let damage = bucket.status().degraded.expect("the damage is told");
    assert!(damage.contains("seg-"), "{damage}");
    let error = bucket.flush(Some(PATIENCE)).unwrap_err();
    assert!(matches!(error, StoreError::Degraded { .. }), "{error:?}");
    others_are_readable(&bucket);
    bucket.put(&key("new"), "content").unwrap();
    bucket.put(&key("large"), content(9, 100_000)).unwrap();
    assert_eq!(read(&bucket, "new").unwrap(), b"content");
    // Another opening finds the same, with what came since.
    bucket.close().unwrap();
    let bucket = rig.open();
    assert_eq!(bucket.status().degraded.as_deref(), Some(&*damage));
    others_are_readable(&bucket);
    assert_eq!(read(&bucket, "new").unwrap(), b"content");
    assert_eq!(read(&bucket, "large").unwrap(), content(9, 100_000));
    assert!(rig.remote.inner().is_empty(), "nothing was sent");
}

#[test]
fn accepted_damage_lets_the_rest_drain_and_keeps_a_copy() {
    let rig = damaged();
    let bucket = rig.open();
    bucket.put(&key("new"), "content").unwrap();
    bucket.accept_damage().unwrap();
    assert_eq!(bucket.status().degraded, None);
    bucket.flush(Some(PATIENCE)).unwrap();
    for name in NAMES.into_iter().filter(|name| *name != "k2") {
        assert_eq!(rig.at_remote(name).unwrap(), of(name));
    }
    assert_eq!(rig.at_remote("new").unwrap(), b"content");
    assert_eq!(rig.at_remote("k2"), None);
    assert!(!rig.files_in("quarantine").is_empty());
    bucket.accept_damage().unwrap();
}

#[test]
fn accepted_damage_stays_accepted_after_reopening() {
    for in_good_order in [true, false] {
        let rig = damaged();
        let bucket = rig.open();
        rig.faults.down(true);
        bucket.accept_damage().unwrap();
        if in_good_order {
            bucket.close().unwrap();
        } else {
            drop(bucket);
        }
        let bucket = rig.open();
        assert_eq!(bucket.status().degraded, None);
        others_are_readable(&bucket);
        bucket.put(&key("new"), "content").unwrap();
        drop(bucket);
        let bucket = rig.open();
        assert_eq!(bucket.status().degraded, None);
        rig.faults.down(false);
        bucket.flush(Some(PATIENCE)).unwrap();
        assert_eq!(rig.at_remote("k4").unwrap(), of("k4"));
        assert_eq!(rig.at_remote("new").unwrap(), b"content");
    }
}

#[test]
fn other_damage_than_the_accepted_is_told() {
    let rig = damaged();
    rig.faults.down(true);
    let bucket = rig.open();
    bucket.accept_damage().unwrap();
    bucket.close().unwrap();
    damage_log(&rig, &of("k3"));
    let bucket = rig.open();
    assert!(bucket.status().degraded.is_some());
    assert_eq!(read(&bucket, "k4").unwrap(), of("k4"));
}

#[test]
fn a_damaged_blob_is_never_sent_and_can_be_replaced() {
    let rig = Rig::down();
    let bucket = rig.open();
    bucket.put(&key("a"), content(1, 100_000)).unwrap();
    bucket.put(&key("b"), content(2, 100)).unwrap();
    bucket.close().unwrap();
    flip(&rig.files_in("blobs")[0], 50_000);
    let bucket = rig.open();
    rig.faults.down(false);
    let status = until(&bucket, |status| status.pending_ops == 1 && !status.refused.is_empty());
    assert_eq!((&*status.refused[0].key, status.refused[0].kind), ("a", "content_gone"));
    let error = bucket.flush(Some(PATIENCE)).unwrap_err();
    assert!(matches!(&error, StoreError::ContentGone { count: 1, key: k } if *k == key("a")));
    assert!(!error.to_string().contains("safe"), "{error}");
    assert_ne!(error.durability(), Durability::Safe);
    assert_eq!(rig.at_remote("a"), None);
    assert_eq!(rig.at_remote("b").unwrap(), content(2, 100));
    bucket.put(&key("a"), content(3, 100_000)).unwrap();
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(rig.at_remote("a").unwrap(), content(3, 100_000));
}

#[test]
fn a_blob_that_is_gone_is_told_and_does_not_stop_the_others() {
    let rig = Rig::down();
    let bucket = rig.open();
    bucket.put(&key("a"), content(1, 100_000)).unwrap();
    bucket.close().unwrap();
    std::fs::remove_file(&rig.files_in("blobs")[0]).unwrap();
    let bucket = rig.open();
    assert!(matches!(bucket.get(&key("a")), Err(StoreError::Io { .. })));
    bucket.put(&key("b"), "content").unwrap();
    rig.faults.down(false);
    until(&bucket, |status| status.pending_ops == 1 && !status.refused.is_empty());
    assert_eq!(rig.at_remote("a"), None);
    assert_eq!(rig.at_remote("b").unwrap(), b"content");
}

#[test]
fn a_damaged_catalog_loses_nothing() {
    let damages: [fn(&Path); 3] = [
        |path| flip(path, 20),
        |path| std::fs::write(path, "").unwrap(),
        |path| std::fs::remove_file(path).unwrap(),
    ];
    for damage in damages {
        let rig = Rig::new();
        let bucket = rig.open();
        bucket.put(&key("drained"), "content").unwrap();
        bucket.flush(Some(PATIENCE)).unwrap();
        rig.faults.down(true);
        bucket.put(&key("pending"), "content").unwrap();
        bucket.close().unwrap();
        for entry in std::fs::read_dir(rig.dir()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("catalog-") {
                damage(&path);
            }
        }
        let bucket = rig.open();
        assert_eq!(bucket.status().degraded, None);
        assert_eq!(read(&bucket, "pending").unwrap(), b"content");
        assert_eq!(bucket.acknowledged(&key("pending")).map(|(_, len)| len), Some(7));
        bucket.put(&key("drained"), "newer").unwrap();
        rig.faults.down(false);
        bucket.flush(Some(PATIENCE)).unwrap();
        assert_eq!(rig.at_remote("pending").unwrap(), b"content");
        assert_eq!(rig.at_remote("drained").unwrap(), b"newer");
    }
}

#[test]
fn damage_to_the_newest_record_is_told_too() {
    let rig = Rig::down();
    let bucket = rig.open();
    bucket.put(&key("k0"), of("k0")).unwrap();
    bucket.put(&key("k1"), of("k1")).unwrap();
    bucket.close().unwrap();
    damage_log(&rig, &of("k1"));
    let bucket = rig.open();
    assert!(bucket.status().degraded.is_some());
    assert_eq!(read(&bucket, "k0").unwrap(), of("k0"));
    bucket.accept_damage().unwrap();
    rig.faults.down(false);
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(rig.at_remote("k0").unwrap(), of("k0"));
}

/// The record that names a blob may be what is damaged: then the blob is the only copy of its content.
#[test]
fn the_blob_of_a_damaged_record_is_kept_when_the_damage_is_accepted() {
    let rig = Rig::down();
    let bucket = rig.open();
    bucket.put(&key("large"), content(3, 100_000)).unwrap();
    bucket.put(&key("small"), of("k1")).unwrap();
    bucket.close().unwrap();
    let blob = rig.files_in("blobs").pop().unwrap();
    damage_log(&rig, blob.file_name().unwrap().as_encoded_bytes());
    let bucket = rig.open();
    bucket.accept_damage().unwrap();
    bucket.close().unwrap();
    rig.open().close().unwrap();
    let kept = rig.dir().join("quarantine").join(blob.file_name().unwrap());
    assert_eq!(std::fs::read(kept).unwrap(), content(3, 100_000));
}
