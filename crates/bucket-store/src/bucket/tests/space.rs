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
    for n in 0..20_000_usize {
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
    assert!(written > 200 * SEGMENT && stats.survivors > 50, "{written} in {stats:?}");
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
