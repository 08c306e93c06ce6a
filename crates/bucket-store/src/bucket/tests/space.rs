//! The space that a log takes, beside an operation that never drains.

use std::collections::BTreeMap;

use bucket_core::ByteCount;
use bucket_vfs::sim::SimDisk;

use super::crash::Rig;
use super::{content, key, read};
use crate::bucket::keeper::weight;

const SEGMENT: u64 = 64 << 10;
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
const STUCK: &str = "stuck";

/// The keeper looks whenever the log has grown by a sixteenth of a segment, and holds the log to what is
/// pending at that moment. A segment may be longer than it should be by one record.
#[test]
fn the_log_stays_within_its_bound_while_an_operation_never_drains() {
    let disk = SimDisk::new();
    let rig = Rig::new(disk.clone(), |builder| builder).inline_max(ByteCount::kib(8));
    rig.remote.refuse(key(STUCK));
    let bucket = rig.open().unwrap();
    let mut expected = BTreeMap::new();
    bucket.put(&key(STUCK), content(1, 700)).unwrap();
    expected.insert(STUCK, Some(content(1, 700)));
    let (mut written, mut longest, mut pending) = (0, 0, 0);
    for n in 0..15_000_usize {
        let name = KEYS[n % KEYS.len()];
        let new = (n % 17 != 0).then(|| content(n as u8, n * 37 % 2_000));
        match &new {
            Some(bytes) => bucket.put(&key(name), bytes.clone()).unwrap(),
            None => bucket.delete(&key(name)).unwrap(),
        };
        written += new.as_ref().map_or(0, Vec::len) as u64;
        expected.insert(name, new);
        // Now and then several wait, and older ones are replaced.
        if n % 7 < 4 {
            rig.drain_to(&bucket, 1);
        }
        let grown = bucket.inner.log_has_grown(&bucket.inner.state.lock());
        if grown {
            pending = weight(&bucket.inner.wal.stats());
            bucket.inner.keep_log().unwrap();
        }
        let stats = bucket.inner.wal.stats();
        let bytes = stats.log_bytes + stats.spare_bytes;
        longest = longest.max(bytes);
        let bound = 2 * pending.max(weight(&stats)) + 2 * SEGMENT + SEGMENT / 16 + 4_096;
        assert!(bytes <= bound, "after {n}: {bytes} of {bound}: {stats:?}");
    }
    let stats = bucket.inner.wal.stats();
    assert!(written > 150 * SEGMENT && stats.survivors > 50, "{written} in {stats:?}");
    println!("{written} bytes of content, {longest} of log at most, {} copies", stats.survivors);

    disk.kill();
    drop(bucket);
    let bucket = rig.open().unwrap();
    for (name, content) in expected {
        assert_eq!(read(&bucket, name), content, "{name}");
        let known = bucket.acknowledged(&key(name)).map(|(_, len)| len);
        assert_eq!(known, content.map(|bytes| bytes.len() as u64), "{name}");
    }
}

/// What came in earlier openings counts as well: each alone has too little for a checkpoint.
#[test]
fn openings_that_each_end_in_a_crash_keep_the_log_short_together() {
    let disk = SimDisk::new();
    let rig = Rig::new(disk.clone(), |builder| builder).inline_max(ByteCount::kib(8));
    rig.remote.refuse(key(STUCK));
    for n in 0..80_u8 {
        let bucket = rig.open().unwrap();
        bucket.inner.keep_log().unwrap();
        let stats = bucket.inner.wal.stats();
        let bytes = stats.log_bytes + stats.spare_bytes;
        let bound = 2 * weight(&stats) + 2 * SEGMENT + SEGMENT / 16 + 4_096;
        assert!(bytes <= bound, "in opening {n}: {bytes} of {bound}: {stats:?}");
        if n == 0 {
            bucket.put(&key(STUCK), content(1, 700)).unwrap();
        }
        bucket.put(&key("a"), content(n, 7_000)).unwrap();
        rig.drain_to(&bucket, 1);
        disk.kill();
    }
    let bucket = rig.open().unwrap();
    assert_eq!(read(&bucket, STUCK), Some(content(1, 700)));
    assert_eq!(read(&bucket, "a"), Some(content(79, 7_000)));
}

/// What is pending makes the bound wide. When it has drained the bound is narrow, and next to nothing came
/// since the newest checkpoint, which holds the log back: a record was on its way to the disk then.
#[test]
fn the_log_becomes_short_when_all_has_drained_and_nothing_comes() {
    let rig = Rig::new(SimDisk::new(), |builder| builder).inline_max(ByteCount::kib(32));
    let bucket = rig.open().unwrap();
    let first = bucket.put(&key("a"), content(0, 20_000)).unwrap().lsn;
    bucket.inner.state.lock().engine.settling(first);
    for n in 1..20_u8 {
        bucket.put(&key(&format!("k{n}")), content(n, 20_000)).unwrap();
    }
    bucket.inner.checkpoint().unwrap();
    bucket.inner.state.lock().engine.not_settled(first);
    bucket.inner.keep_log().unwrap();
    assert!(bucket.inner.wal.stats().log_bytes > 20 * 20_000, "all of it is pending");
    rig.drain_to(&bucket, 0);
    bucket.inner.keep_log().unwrap();
    let stats = bucket.inner.wal.stats();
    assert!(stats.log_bytes + stats.spare_bytes <= 2 * (SEGMENT + 20_100), "{stats:?}");
}

/// A look at a log that is too long while a record is on its way changes nothing, and the next can.
#[test]
fn a_look_that_came_to_nothing_does_not_put_off_the_next() {
    let rig = Rig::new(SimDisk::new(), |builder| builder).inline_max(ByteCount::kib(32));
    rig.remote.refuse(key(STUCK));
    let bucket = rig.open().unwrap();
    let first = bucket.put(&key(STUCK), content(0, 700)).unwrap().lsn;
    bucket.inner.state.lock().engine.settling(first);
    for n in 1..20_u8 {
        bucket.put(&key(&format!("k{n}")), content(n, 20_000)).unwrap();
    }
    rig.drain_to(&bucket, 1);
    bucket.inner.keep_log().unwrap();
    assert!(bucket.inner.wal.stats().log_bytes > 19 * 20_000, "all of it is held back");
    bucket.inner.state.lock().engine.not_settled(first);
    bucket.inner.keep_log().unwrap();
    let stats = bucket.inner.wal.stats();
    let bound = 2 * weight(&stats) + 2 * (SEGMENT + 20_100);
    assert!(stats.log_bytes + stats.spare_bytes <= bound, "{stats:?}");
}
