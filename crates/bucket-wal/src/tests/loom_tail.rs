//! Models of following a log: whoever waits for more is woken, and a durable tail shows nothing before
//! it is on disk. The files, the bounds and what is left out are those of [`super::loom_commit`].

use std::sync::atomic::Ordering::SeqCst;

use loom::thread::{self, JoinHandle};

use super::loom_commit::{Disk, RECORDS, begin, explore, lazy};
use crate::{Lsn, ReadLevel, Wal, WalError, WalOptions};

#[test]
fn a_durable_tail_is_woken_and_shows_nothing_before_it_is_synced() {
    explore(3, || two_follow_one(Wal::options()));
}

/// One thread appends, another waits for what it appends and looks whether that was synced.
fn two_follow_one(options: WalOptions) {
    let (wal, disk) = begin(options);
    let follower = follow(&wal, &disk, ReadLevel::Durable);
    let writer = {
        let wal = wal.clone();
        thread::spawn(move || [RECORDS[0], RECORDS[1]].map(|record| wal.append(record).unwrap()))
    };
    assert_eq!(writer.join().unwrap(), [Lsn::new(2), Lsn::new(3)]);
    for (nth, (payload, synced)) in follower.join().unwrap().into_iter().enumerate() {
        assert_eq!(payload, RECORDS[nth]);
        assert!(synced, "shown before it was synced");
    }
}

/// A leader that only writes must neither wake a durable tail into showing that, nor swallow the wake-up
/// that the sync then owes it.
#[test]
fn a_durable_tail_waits_for_the_sync_that_another_thread_asks_for() {
    explore(3, || write_then_sync(lazy()));
}

fn write_then_sync(options: WalOptions) {
    let (wal, disk) = begin(options);
    wal.sync().unwrap();
    let follower = follow(&wal, &disk, ReadLevel::Durable);
    let writer = {
        let wal = wal.clone();
        thread::spawn(move || {
            wal.append(RECORDS[0]).unwrap();
            wal.append(RECORDS[1]).unwrap();
            wal.sync().unwrap();
        })
    };
    writer.join().unwrap();
    let seen = follower.join().unwrap();
    assert!(seen.iter().all(|(_, synced)| *synced), "shown before it was synced");
    assert!(seen.iter().map(|(payload, _)| payload).eq(&RECORDS[..2]));
}

#[test]
fn a_written_tail_is_woken_by_a_leader_that_only_writes() {
    explore(3, || {
        let (wal, disk) = begin(lazy());
        let follower = follow(&wal, &disk, ReadLevel::Written);
        let writer = {
            let wal = wal.clone();
            thread::spawn(move || {
                [RECORDS[0], RECORDS[1]].map(|record| wal.append(record).unwrap())
            })
        };
        writer.join().unwrap();
        let seen = follower.join().unwrap();
        assert!(seen.iter().map(|(payload, _)| payload).eq(&RECORDS[..2]));
    });
}

#[test]
fn a_future_is_woken_by_the_commit_that_comes_while_it_registers() {
    explore(3, || {
        let (wal, disk) = begin(Wal::options());
        let mut tail = wal.tail(Lsn::new(2), ReadLevel::Durable);
        let writer = {
            let wal = wal.clone();
            thread::spawn(move || wal.append(RECORDS[0]).unwrap())
        };
        loom::future::block_on(tail.changed());
        let record = tail.try_next().unwrap().unwrap();
        assert_eq!(record.payload, RECORDS[0]);
        assert!(disk.has_synced(RECORDS[0]), "shown before it was synced");
        writer.join().unwrap();
    });
}

#[test]
fn a_tail_that_waits_ends_when_the_log_is_dropped_and_has_all_that_was_durable() {
    explore(3, || {
        let (wal, _disk) = begin(Wal::options());
        let tail = wal.tail(Lsn::new(1), ReadLevel::Durable);
        let follower =
            thread::spawn(move || tail.map(|record| record.unwrap().lsn).collect::<Vec<_>>());
        let writer = thread::spawn(move || wal.append(RECORDS[0]).unwrap());
        writer.join().unwrap();
        assert_eq!(follower.join().unwrap(), [Lsn::new(1), Lsn::new(2)]);
    });
}

#[test]
fn a_tail_that_waits_hears_of_a_failed_sync() {
    explore(3, || {
        let (wal, disk) = begin(Wal::options());
        disk.0.fail_sync.store(true, SeqCst);
        let mut tail = wal.tail(Lsn::new(2), ReadLevel::Written);
        let follower = thread::spawn(move || (tail.next(), tail.next().is_none()));
        let writer = {
            let wal = wal.clone();
            thread::spawn(move || wal.append(RECORDS[0]).unwrap_err())
        };
        writer.join().unwrap();
        let (first, ended) = follower.join().unwrap();
        assert!(matches!(first, Some(Err(WalError::Poisoned { .. }))) && ended, "{first:?}");
    });
}

/// A thread that waits for two records and looks at each whether it was synced.
fn follow(wal: &Wal, disk: &Disk, level: ReadLevel) -> JoinHandle<Vec<(Vec<u8>, bool)>> {
    let (wal, tail, disk) = (wal.clone(), wal.tail(Lsn::new(2), level), disk.clone());
    thread::spawn(move || {
        // A model that hangs must not drop its last handle in the thread that notices.
        let _owned = wal;
        let seen = tail.take(2).map(|record| {
            let payload = record.unwrap().payload;
            let synced = disk.has_synced(&payload);
            (payload, synced)
        });
        seen.collect()
    })
}

/// The same models with a bug planted, which loom has to find.
#[cfg(bucket_planted)]
mod planted {
    use super::super::loom_commit::planted::finds;
    use super::*;
    use crate::Bug;

    #[test]
    fn a_tail_that_is_not_woken_is_found() {
        finds("deadlock", || two_follow_one(Wal::options().planted(Bug::NoTailWake)));
    }

    #[test]
    fn a_tail_that_shows_what_was_only_written_is_found() {
        finds("shown before it was synced", || write_then_sync(lazy().planted(Bug::TailAhead)));
    }
}
