//! What a log does for its users, healthy and under faults.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};

use bucket_core::ByteCount;
use bucket_vfs::sim::{SimDisk, Survivors};

use super::fault_vfs::FaultVfs;
use super::refusing_vfs::{Op, Refusing};
use crate::{Lsn, TailState, Wal, WalError};

fn payloads(wal: &Wal) -> Vec<Vec<u8>> {
    wal.reader(Lsn::new(1)).map(|record| record.unwrap().payload).collect()
}

/// The name of a directory that nobody synced goes with the power, and all that is in it.
#[test]
fn a_log_whose_first_opening_died_early_keeps_what_it_acknowledges() {
    let disk = SimDisk::new();
    disk.mount().create_dir(Path::new("/log")).unwrap();
    let open = || Wal::options().vfs(disk.mount()).open(Path::new("/log")).unwrap().0;
    let wal = open();
    wal.append(b"acknowledged").unwrap();
    disk.crash(Survivors::None);
    drop(wal);
    assert_eq!(payloads(&open()), [b"acknowledged"]);
}

/// Whoever keeps its state in a directory that a service manager made may not look into the parent.
#[test]
fn a_parent_that_may_not_be_opened_hinders_only_who_makes_the_directory() {
    let disk = SimDisk::new();
    let vfs = Refusing::on(disk.mount());
    let open = || {
        vfs.refuse(Op::SyncDir, "/", 0);
        Wal::options().vfs(vfs.clone()).open(Path::new("/log"))
    };
    let error = open().unwrap_err();
    assert!(matches!(error, WalError::Io { op: "sync", .. }), "{error:?}");
    let (wal, _) = open().unwrap();
    wal.append(b"record").unwrap();
}

#[test]
fn what_was_appended_is_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path()).unwrap();
    for n in 1..=100_u64 {
        assert_eq!(wal.append(&n.to_le_bytes()).unwrap(), Lsn::new(n));
    }
    drop(wal);
    let (wal, recovery) = Wal::open(dir.path()).unwrap();
    assert!(recovery.report().is_clean());
    assert_eq!(recovery.report().tail, TailState::Clean);
    let found = payloads(&wal);
    assert!(found.iter().zip(1..).all(|(payload, n): (_, u64)| payload[..] == n.to_le_bytes()));
    assert_eq!(found.len(), 100);
    assert_eq!(wal.append(b"more").unwrap(), Lsn::new(101));
    assert_eq!(wal.read(Lsn::new(57)).unwrap().payload, 57_u64.to_le_bytes());
}

#[test]
fn after_a_clean_close_nothing_needs_to_be_copied_and_before_it_the_newest_group_is() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path()).unwrap();
    wal.append(b"one").unwrap();
    wal.append(b"two").unwrap();
    drop(wal);
    let (wal, recovery) = Wal::open(dir.path()).unwrap();
    // The second record's frame vouches for the first; nothing vouches for the second.
    assert_eq!(recovery.report().copied_records, 1);
    wal.append(b"three").unwrap();
    wal.close().unwrap();
    let (wal, recovery) = Wal::open(dir.path()).unwrap();
    assert_eq!(recovery.report().copied_records, 0);
    assert_eq!(payloads(&wal), [&b"one"[..], b"two", b"three"]);
}

#[test]
fn threads_share_syncs_and_each_record_is_durable_when_its_append_returns() {
    let dir = tempfile::tempdir().unwrap();
    let (vfs, faults) = FaultVfs::new();
    let (wal, _) = Wal::options().vfs(vfs).open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let wal = &wal;
            scope.spawn(move || {
                for n in 0..200_u64 {
                    let lsn = wal.append(&(thread << 32 | n).to_le_bytes()).unwrap();
                    assert!(wal.durable_lsn() >= lsn);
                }
            });
        }
    });
    let stats = wal.stats();
    assert_eq!(stats.records, 1_600);
    assert!(stats.groups < 1_600, "no group had two records");
    // One sync a group, and one for the header of the segment.
    assert_eq!(faults.syncs.load(Ordering::SeqCst), stats.groups + 1);
    drop(wal);
    let (wal, _) = Wal::open(dir.path()).unwrap();
    let mut last = [None; 8];
    for payload in payloads(&wal) {
        let value = u64::from_le_bytes(payload.try_into().unwrap());
        let (thread, n) = ((value >> 32) as usize, value & 0xffff_ffff);
        assert_eq!(last[thread].map_or(0, |last: u64| last + 1), n, "order within a thread");
        last[thread] = Some(n);
    }
    assert_eq!(last, [Some(199); 8]);
}

#[test]
fn a_segment_that_is_full_is_followed_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Wal::options().segment_size(ByteCount::kib(64)).unwrap().open(dir.path());
    let (wal, _) = open().unwrap();
    for n in 0..100_u8 {
        wal.append(&vec![n; 5_000]).unwrap();
    }
    assert!(wal.stats().segments >= 8);
    drop(wal);
    let (wal, recovery) = open().unwrap();
    assert!(recovery.report().is_clean());
    assert!(payloads(&wal).iter().zip(0..).all(|(payload, n)| *payload == vec![n; 5_000]));
    // A record that is longer than a segment has one of its own.
    let long = vec![9; 200_000];
    let lsn = wal.append(&long).unwrap();
    assert_eq!(wal.read(lsn).unwrap().payload, long);
}

#[test]
fn a_checkpoint_moves_the_start_of_replay_and_trims_what_the_older_one_does_not_need() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Wal::options().segment_size(ByteCount::kib(64)).unwrap().open(dir.path());
    let (wal, _) = open().unwrap();
    let append = |count| (0..count).map(|_| wal.append(&[7; 5_000]).unwrap()).max().unwrap();
    let first = append(100);
    wal.checkpoint(first, b"first").unwrap();
    let before = wal.stats().segments;
    let second = append(100);
    wal.checkpoint(second, b"second").unwrap();
    assert!(wal.stats().segments < before + 8);
    assert!(matches!(wal.read(Lsn::new(1)), Err(WalError::NotFound { .. })));
    assert_eq!(wal.read(first).unwrap().lsn, first, "the older checkpoint needs it");
    drop(wal);
    let (_wal, recovery) = open().unwrap();
    let checkpoint = recovery.checkpoint().unwrap();
    assert_eq!((checkpoint.replay_from, checkpoint.state.bytes()), (second, &b"second"[..]));
}

#[test]
fn a_second_opening_is_refused_and_told_who_holds_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::options().holder("the first").open(dir.path()).unwrap();
    match Wal::open(dir.path()) {
        Err(WalError::Locked { holder, .. }) => assert_eq!(holder, "the first"),
        other => panic!("{other:?}"),
    }
    wal.close().unwrap();
    Wal::open(dir.path()).unwrap();
}

#[test]
fn a_failed_sync_poisons_for_good_and_every_waiter_hears_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (vfs, faults) = FaultVfs::new();
    let (wal, _) = Wal::options().vfs(vfs).open(dir.path()).unwrap();
    let safe = wal.append(b"safe").unwrap();
    faults.fail_sync.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| wal.append(b"lost"))).collect();
        for thread in threads {
            let error = thread.join().unwrap().unwrap_err();
            let WalError::Poisoned { durable_lsn, .. } = error else { panic!("{error:?}") };
            assert_eq!(durable_lsn, safe);
        }
    });
    faults.fail_sync.store(false, Ordering::SeqCst);
    let syncs = faults.syncs.load(Ordering::SeqCst);
    assert!(matches!(wal.append(b"late"), Err(WalError::Poisoned { .. })));
    assert_eq!(faults.syncs.load(Ordering::SeqCst), syncs, "a sync was tried again");
    assert_eq!(wal.read(safe).unwrap().payload, b"safe");
}

#[test]
fn a_full_disk_refuses_before_acceptance_and_the_log_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (vfs, faults) = FaultVfs::new();
    let (wal, _) = Wal::options().vfs(vfs).open(dir.path()).unwrap();
    wal.append(b"before").unwrap();
    faults.max_len.store(100 << 10, Ordering::SeqCst);
    let error = std::iter::from_fn(|| Some(wal.append(&[1; 4_000])))
        .take(100)
        .find_map(Result::err)
        .unwrap();
    assert!(matches!(error, WalError::NoSpace { .. }), "{error}");
    // What frees space may still be written.
    wal.submit_reserved(b"settled").unwrap().wait().unwrap();
    faults.max_len.store(u64::MAX, Ordering::SeqCst);
    let after = wal.append(b"after").unwrap();
    drop(wal);
    let (wal, recovery) = Wal::open(dir.path()).unwrap();
    assert!(recovery.report().is_clean(), "{}", recovery.report());
    let found = payloads(&wal);
    assert_eq!(found.first().unwrap(), b"before");
    assert_eq!(found[found.len() - 2..], [b"settled".to_vec(), b"after".to_vec()]);
    assert_eq!(wal.read(after).unwrap().payload, b"after");
}

/// The new segment has its name when the sync of its directory fails, and its header declares void what
/// the old one takes from then on. The log went on in the old one, and what it acknowledged was gone after
/// the next opening.
#[test]
fn a_rotation_whose_directory_sync_fails_poisons_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (vfs, faults) = FaultVfs::new();
    let options = Wal::options().segment_size(ByteCount::kib(64)).unwrap();
    let (wal, _) = options.vfs(vfs).open(dir.path()).unwrap();
    let mut newest = wal.append(&[1; 40_000]).unwrap();
    faults.fail_sync_dir.store(true, Ordering::SeqCst);
    let error = wal.append(&[2; 40_000]).unwrap_err();
    assert!(matches!(error, WalError::Poisoned { durable_lsn, .. } if durable_lsn == newest));
    faults.fail_sync_dir.store(false, Ordering::SeqCst);
    // Whatever else it says: what it takes must be there.
    newest = wal.append(b"small").unwrap_or(newest);
    drop(wal);
    let (wal, recovery) = Wal::open(dir.path()).unwrap();
    assert!(recovery.report().is_clean(), "{}", recovery.report());
    assert_eq!(wal.reader(Lsn::new(1)).last().unwrap().unwrap().lsn, newest);
}

/// The segment had its name, and the zeros that were to follow did not fit: nobody was told of it, its
/// records were looked for in the one before, and it was never trimmed, so that later the log missed what
/// had been trimmed after it.
#[test]
fn a_segment_that_is_begun_on_a_full_disk_is_known_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (vfs, faults) = FaultVfs::new();
    let options = Wal::options().segment_size(ByteCount::kib(64)).unwrap();
    let (wal, _) = options.vfs(vfs).open(dir.path()).unwrap();
    wal.append(&[1; 40_000]).unwrap();
    faults.max_len.store(10 << 10, Ordering::SeqCst);
    let error = wal.append(&[2; 40_000]).unwrap_err();
    assert!(matches!(error, WalError::NoSpace { .. }), "{error}");
    faults.max_len.store(u64::MAX, Ordering::SeqCst);
    let after = wal.append(b"after").unwrap();
    assert_eq!(wal.read(after).unwrap().payload, b"after");
    assert_eq!(wal.stats().segments, 2);
    let mut newest = after;
    for _ in 0..6 {
        newest = wal.append(&[3; 40_000]).unwrap();
        wal.checkpoint(newest, b"").unwrap();
    }
    drop(wal);
    let (wal, _) = Wal::open(dir.path()).unwrap();
    assert_eq!(wal.read(newest).unwrap().payload, [3; 40_000]);
}

/// A clean end is a promise with the next number. After a refusal that number is not the one after the
/// newest record, and the promise looked like damage: a log that was closed on a full disk never opened
/// again.
#[test]
fn a_log_that_was_closed_after_a_refusal_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let (vfs, faults) = FaultVfs::new();
    let (wal, _) = Wal::options().vfs(vfs).open(dir.path()).unwrap();
    wal.append(b"before").unwrap();
    faults.max_len.store(100 << 10, Ordering::SeqCst);
    while wal.append(&[1; 4_000]).is_ok() {}
    let newest = wal.durable_lsn();
    wal.close().unwrap();
    let (wal, recovery) = Wal::open(dir.path()).unwrap();
    let report = recovery.report();
    assert!(report.is_clean() && report.tail == TailState::Clean, "{report}");
    assert_eq!(report.copied_records, 0, "{report}");
    assert_eq!(wal.reader(Lsn::new(1)).last().unwrap().unwrap().lsn, newest);
    assert!(wal.append(b"after").unwrap() > newest);
}

/// Zeros ahead of large groups would double what the disk has to take.
#[test]
fn a_large_group_has_its_space_allocated_and_is_refused_whole_without_it() {
    let disk = SimDisk::new();
    let (wal, _) = Wal::options().vfs(disk.mount()).open(Path::new("/log")).unwrap();
    wal.append(b"before").unwrap();
    disk.keep_history();
    let (large, first) = (vec![7; 1 << 20], disk.operations());
    for _ in 0..4 {
        wal.append(&large).unwrap();
    }
    let done: Vec<_> = (first..disk.operations()).map(|n| disk.describe(n + 1)).collect();
    let of = |what: &str| done.iter().filter(|done| done.starts_with(what)).count();
    // One write and one sync each, and room ahead now and then.
    assert_eq!((of("write"), of("sync")), (4, 4), "{done:#?}");

    disk.set_capacity(Some(8 << 20));
    let error = std::iter::from_fn(|| Some(wal.append(&large))).take(8).find_map(Result::err);
    assert!(matches!(error, Some(WalError::NoSpace { .. })), "{error:?}");
    wal.submit_reserved(b"settled").unwrap().wait().unwrap();
    disk.crash(Survivors::None);
    // Opening copies what nothing vouches for, which takes space.
    disk.set_capacity(None);
    let (wal, recovery) = Wal::options().vfs(disk.mount()).open(Path::new("/log")).unwrap();
    assert!(recovery.report().is_clean(), "{}", recovery.report());
    assert_eq!(payloads(&wal).last().unwrap(), b"settled");
}

#[test]
fn a_ticket_is_a_future_and_needs_no_waiter() {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path()).unwrap();
    let tickets: Vec<_> = (0..100_u8).map(|n| wal.submit(&[n]).unwrap()).collect();
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    for (ticket, n) in tickets.into_iter().zip(1..) {
        let mut ticket = pin!(ticket);
        let lsn = loop {
            match ticket.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(lsn) => break lsn.unwrap(),
                Poll::Pending => std::thread::park(),
            }
        };
        assert_eq!(lsn, Lsn::new(n));
    }
    assert!(wal.stats().groups < 100);
}

#[test]
fn a_closed_log_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path()).unwrap();
    let clone = wal.clone();
    wal.close().unwrap();
    assert!(matches!(clone.append(b"x"), Err(WalError::Closed)));
    assert!(matches!(clone.checkpoint(Lsn::ZERO, b""), Err(WalError::Closed)));
}

#[test]
fn a_record_that_is_too_long_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path()).unwrap();
    let error = wal.append(&vec![0; (16 << 20) + 1]).unwrap_err();
    assert!(matches!(error, WalError::RecordTooLarge { .. }));
    assert_eq!(wal.append(&vec![3; 16 << 20]).unwrap(), Lsn::new(1));
    assert_eq!(wal.read(Lsn::new(1)).unwrap().payload.len(), 16 << 20);
}
