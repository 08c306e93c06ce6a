//! What the catalog knows after a restart is what it knew before.

use bucket_remote::Version;

use super::{PATIENCE, Rig, content, key, until};
use crate::bucket::Bucket;
use crate::bucket::record::Settlement;

/// The version that the bucket believes the remote to have.
fn version_of(bucket: &Bucket, name: &str) -> Option<Version> {
    bucket.inner.state.lock().catalog.get(name)?.remote.clone()
}

/// Replay took the settlement of a put that was never sent for one without a version, and the next put
/// was sent without the condition that the old version gives.
#[test]
fn a_put_that_was_replaced_leaves_the_version_as_it_was() {
    let rig = Rig::new();
    let bucket = rig.open();
    bucket.put(&key("a"), "first").unwrap();
    bucket.flush(Some(PATIENCE)).unwrap();
    let version = version_of(&bucket, "a");
    assert!(version.is_some());
    rig.faults.fail(1_000, bucket_remote::RemoteErrorKind::Throttled);
    bucket.put(&key("a"), "second").unwrap();
    until(&bucket, |status| status.last_error.is_some());
    bucket.put(&key("a"), "third").unwrap();
    until(&bucket, |status| (status.settled, status.pending_ops) == (2, 1));
    assert_eq!(version_of(&bucket, "a"), version);
    drop(bucket);
    let bucket = rig.reopen(|| rig.builder().workers(0));
    assert_eq!(bucket.status().pending_ops, 1);
    assert_eq!(version_of(&bucket, "a"), version);
}

/// A thread that settles may be at any point when the keeper takes a checkpoint.
#[test]
fn a_checkpoint_leaves_to_replay_what_its_catalog_does_not_know() {
    let rig = Rig::down();
    let bucket = rig.builder().workers(0).open(rig.dir()).unwrap();
    let lsn = bucket.put(&key("a"), "content").unwrap().lsn;
    let version = Some(Version::new("v1"));
    let note = Settlement { key: key("a"), version: version.clone() }.encode();
    let mut state = bucket.inner.state.lock();
    let ticket = bucket.inner.wal.complete_with(lsn, &note).unwrap();
    state.engine.settling(ticket.lsn());
    drop(state);
    bucket.inner.checkpoint().unwrap();
    ticket.wait().unwrap();
    bucket.inner.checkpoint().unwrap();
    drop(bucket);
    let bucket = rig.reopen(|| rig.builder().workers(0));
    assert_eq!(bucket.status().pending_ops, 0);
    assert_eq!(version_of(&bucket, "a"), version);
}

/// The record of the put lies before the place that replay starts from, or is gone.
#[test]
fn a_settlement_behind_a_checkpoint_says_which_key_it_is_about() {
    let rig = Rig::down();
    let bucket = rig.open();
    bucket.put(&key("a"), content(1, 100)).unwrap();
    bucket.inner.checkpoint().unwrap();
    rig.faults.down(false);
    bucket.flush(Some(PATIENCE)).unwrap();
    let version = version_of(&bucket, "a");
    assert!(version.is_some());
    drop(bucket);
    let bucket = rig.reopen(|| rig.builder().workers(0));
    assert_eq!(bucket.status().pending_ops, 0);
    assert_eq!(version_of(&bucket, "a"), version);
}
