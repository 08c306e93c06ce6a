//! What is reported as flushed is on the disk: no acknowledgement comes before its sync.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bucket_vfs::sim::{Fault, FaultKind, SimDisk};
use bucket_wal_openraft::LogStoreError;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{RaftLogReader, Vote};

use crate::held_vfs::{Gate, HeldVfs};
use crate::support::{Store, entry, log_id, options, run};

/// A store with three entries whose syncs can be held.
fn held() -> (Store, Arc<Gate>) {
    let (vfs, gate) = HeldVfs::new(SimDisk::new().mount());
    let (mut store, _) = Store::open_with(options(vfs), "/raft").unwrap();
    run(store.blocking_append((0..3).map(|n| entry(1, n, "old")))).unwrap();
    (store, gate)
}

/// Polls once, as an executor would that has other things to do.
fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn an_append_is_readable_at_once_and_acknowledged_after_its_sync() {
    let (store, gate) = held();
    gate.close();
    let (mut appending, mut reading) = (store.clone(), store.clone());
    let mut appended = pin!(appending.blocking_append([entry(1, 3, "new")]));
    assert!(poll(appended.as_mut()).is_pending());
    gate.wait_for_sync();
    assert!(poll(appended.as_mut()).is_pending(), "acknowledged while its sync was held");
    let entries = run(reading.try_get_log_entries(2..)).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>(), [2, 3]);
    gate.open();
    run(appended).unwrap();
}

#[test]
fn a_vote_a_truncation_and_a_purge_return_after_their_sync() {
    let (store, gate) = held();
    let (mut voting, mut truncating, mut purging) = (store.clone(), store.clone(), store.clone());
    let vote = Vote::new(7, 1);

    gate.close();
    let mut saved = pin!(voting.save_vote(&vote));
    assert!(poll(saved.as_mut()).is_pending());
    gate.wait_for_sync();
    assert!(poll(saved.as_mut()).is_pending());
    gate.open();
    run(saved).unwrap();

    gate.close();
    let mut truncated = pin!(truncating.truncate(log_id(1, 2)));
    assert!(poll(truncated.as_mut()).is_pending());
    gate.wait_for_sync();
    assert!(poll(truncated.as_mut()).is_pending());
    gate.open();
    run(truncated).unwrap();

    gate.close();
    let mut purged = pin!(purging.purge(log_id(1, 0)));
    assert!(poll(purged.as_mut()).is_pending());
    gate.wait_for_sync();
    assert!(poll(purged.as_mut()).is_pending());
    gate.open();
    run(purged).unwrap();
}

#[test]
fn appends_that_come_during_a_sync_share_the_next_one() {
    let (store, gate) = held();
    gate.close();
    let mut first_store = store.clone();
    let mut first = pin!(first_store.blocking_append([entry(1, 3, "first")]));
    assert!(poll(first.as_mut()).is_pending());
    gate.wait_for_sync();
    let before = gate.passed();
    let mut stores: Vec<_> = (4..104).map(|n| (n, store.clone())).collect();
    let mut rest: Vec<_> = stores
        .iter_mut()
        .map(|(n, store)| Box::pin(store.blocking_append([entry(1, *n, "rest")])))
        .collect();
    for append in &mut rest {
        assert!(poll(append.as_mut()).is_pending());
    }
    gate.open();
    run(async {
        first.await.unwrap();
        for append in rest {
            append.await.unwrap();
        }
    });
    // The one that was held, and one for the hundred.
    assert_eq!(gate.passed() - before, 2);
}

#[test]
fn a_committed_log_id_waits_for_nothing_and_is_there_after_closing() {
    let disk = SimDisk::new();
    let (vfs, gate) = HeldVfs::new(disk.mount());
    let (mut store, _) = Store::open_with(options(vfs), "/raft").unwrap();
    run(store.blocking_append([entry(1, 0, "a")])).unwrap();
    gate.close();
    assert!(poll(pin!(store.save_committed(Some(log_id(1, 0))))).is_ready());
    gate.open();
    store.close().unwrap();
    let (mut store, _) = Store::open_with(options(disk.mount()), "/raft").unwrap();
    assert_eq!(run(store.read_committed()).unwrap(), Some(log_id(1, 0)));
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    let disk = SimDisk::new();
    let (mut store, _) = Store::open_with(options(disk.mount()), "/raft").unwrap();
    run(store.blocking_append([entry(1, 0, "safe")])).unwrap();
    disk.inject(Fault::new(FaultKind::SyncErrorKept).on("seg-"));
    run(store.blocking_append([entry(1, 1, "lost")])).unwrap_err();
    let error = run(store.blocking_append([entry(1, 2, "after")])).unwrap_err();
    let ended = LogStoreError::Ended { source: bucket_wal::WalError::Closed };
    let expected = ended.to_string();
    assert!(error.to_string().contains(&expected), "{error}");
    run(store.save_vote(&Vote::new(2, 1))).unwrap_err();
    run(store.truncate(log_id(1, 0))).unwrap_err();
    run(store.purge(log_id(1, 0))).unwrap_err();
    drop(store);
    disk.kill();
    let (mut store, _) = Store::open_with(options(disk.mount()), "/raft").unwrap();
    assert_eq!(run(store.get_log_state()).unwrap().last_purged_log_id, None);
    assert!(run(store.get_log_state()).unwrap().last_log_id >= Some(log_id(1, 0)));
}
