//! What is there after the log was closed and opened again, and what is not.

use bucket_core::ByteCount;
use bucket_wal::{Lsn, Wal};
use bucket_wal_openraft::LogStoreError;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{RaftLogReader, Vote};

use crate::support::{Store, entry, log_id, run, view};

fn open(dir: &std::path::Path) -> Store {
    let options = Wal::options().segment_size(ByteCount::kib(64)).unwrap();
    Store::open_with(options, dir).unwrap().0
}

#[test]
fn everything_is_there_again_and_is_read_from_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let before = run(async {
        store.save_vote(&Vote::new(3, 2)).await.unwrap();
        for index in 0..40 {
            store.blocking_append([entry(1, index, &"x".repeat(10_000))]).await.unwrap();
        }
        store.truncate(log_id(1, 30)).await.unwrap();
        store.blocking_append((30..50).map(|n| entry(2, n, "of term 2"))).await.unwrap();
        store.save_committed(Some(log_id(1, 20))).await.unwrap();
        view(&mut store).await
    });
    assert_eq!(before.entries.len(), 50);
    store.close().unwrap();
    let mut store = open(dir.path());
    assert_eq!(run(view(&mut store)), before);
    // A part that lies in the files and a part in memory.
    run(store.blocking_append([entry(2, 50, "new")])).unwrap();
    let mut reader = run(store.get_log_reader());
    let entries = run(reader.try_get_log_entries(28..=50)).unwrap();
    let found: Vec<_> = entries.iter().map(|entry| entry.log_id).collect();
    let expected: Vec<_> = (28..=50).map(|n| log_id(if n < 30 { 1 } else { 2 }, n)).collect();
    assert_eq!(found, expected);
}

#[test]
fn purging_frees_files_and_keeps_the_vote_that_was_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    run(async {
        store.save_vote(&Vote::new_committed(5, 1)).await.unwrap();
        for index in 0..60 {
            store.blocking_append([entry(5, index, &"x".repeat(10_000))]).await.unwrap();
        }
        store.save_committed(Some(log_id(5, 59))).await.unwrap();
    });
    let segments = store.stats().segments;
    run(async {
        // The log keeps what the checkpoint before the newest needs.
        store.purge(log_id(5, 50)).await.unwrap();
        store.purge(log_id(5, 55)).await.unwrap();
    });
    assert!(store.stats().segments < segments / 3, "{} of {segments}", store.stats().segments);
    let before = run(view(&mut store));
    assert_eq!(before.vote, Some(Vote::new_committed(5, 1)));
    assert_eq!(before.entries.len(), 4);
    store.close().unwrap();
    let mut store = open(dir.path());
    assert_eq!(run(view(&mut store)), before);
    // A snapshot from the leader leads beyond the log.
    run(store.purge(log_id(6, 100))).unwrap();
    assert_eq!(run(view(&mut store)).last, Some(log_id(6, 100)));
    run(store.blocking_append([entry(6, 101, "behind it")])).unwrap();
    let before = run(view(&mut store));
    store.close().unwrap();
    assert_eq!(run(view(&mut open(dir.path()))), before);
}

#[test]
fn the_older_checkpoint_will_do_when_the_newest_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    run(async {
        for index in 0..20 {
            store.blocking_append([entry(1, index, &"x".repeat(10_000))]).await.unwrap();
        }
        store.purge(log_id(1, 5)).await.unwrap();
        store.save_vote(&Vote::new(8, 3)).await.unwrap();
        store.purge(log_id(2, 90)).await.unwrap();
        store.blocking_append([entry(2, 91, "behind it")]).await.unwrap();
    });
    let before = run(view(&mut store));
    store.close().unwrap();
    let files = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path());
    let newest = files.filter(|path| path.extension().is_some_and(|end| end == "man")).max();
    std::fs::write(newest.unwrap(), b"damaged").unwrap();
    assert_eq!(run(view(&mut open(dir.path()))), before);
}

#[test]
fn an_entry_that_is_there_already_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    run(store.blocking_append([entry(1, 0, "a"), entry(1, 1, "b")])).unwrap();
    let error = run(store.blocking_append([entry(1, 2, "c"), entry(1, 1, "d")])).unwrap_err();
    assert!(error.to_string().contains("entry 1 cannot be appended"), "{error}");
    run(store.blocking_append([entry(1, 2, "e")])).unwrap();
    assert_eq!(run(view(&mut store)).entries[2].1, "e");
}

#[test]
fn an_entry_that_was_purged_is_acknowledged_and_stays_purged() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    run(store.purge(log_id(3, 5))).unwrap();
    run(store.blocking_append([entry(3, 5, "old"), entry(3, 6, "new")])).unwrap();
    let before = run(view(&mut store));
    assert_eq!(before.entries, [(log_id(3, 6), "new".to_owned())]);
    store.close().unwrap();
    assert_eq!(run(view(&mut open(dir.path()))), before);
}

#[test]
fn the_log_of_another_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path()).unwrap();
    wal.append(b"something else").unwrap();
    wal.close().unwrap();
    let refused = Store::open(dir.path()).unwrap_err();
    assert!(matches!(refused, LogStoreError::Foreign { lsn } if lsn == Lsn::new(1)), "{refused}");
}
