//! Following a log while it is written, synced, trimmed, closed and poisoned.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bucket_core::ByteCount;

use super::fault_vfs::FaultVfs;
use crate::{Follower, Lsn, ReadLevel, SyncPolicy, Tail, Wal, WalError};

/// Long enough never to be reached by a test that passes.
const EVER: Duration = Duration::from_secs(600);

fn numbers(tail: &mut Tail) -> Vec<u64> {
    std::iter::from_fn(|| tail.try_next()).map(|record| record.unwrap().lsn.get()).collect()
}

#[derive(Default)]
struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_tail_yields_what_is_there_and_then_what_comes_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let options = Wal::options().segment_size(ByteCount::kib(64)).unwrap();
    let (wal, _) = options.open(dir.path()).unwrap();
    for _ in 0..50 {
        wal.append(&[7; 1_000]).unwrap();
    }
    let tail = wal.tail(Lsn::new(3), ReadLevel::Durable);
    let follower = std::thread::spawn(move || {
        tail.take(298).map(|record| record.unwrap().lsn.get()).collect::<Vec<_>>()
    });
    for _ in 50..300 {
        wal.append(&[8; 1_000]).unwrap();
    }
    assert!(follower.join().unwrap().into_iter().eq(3..=300));
    assert!(wal.stats().segments > 3);
    // From a record that is yet to come.
    let mut tail = wal.tail(Lsn::new(302), ReadLevel::Durable);
    wal.append(b"301").unwrap();
    assert!(tail.try_next().is_none());
    wal.append(b"302").unwrap();
    assert_eq!(tail.next_timeout(EVER).unwrap().unwrap().payload, b"302");
    assert_eq!(tail.position(), Lsn::new(303));
}

#[test]
fn a_durable_tail_waits_for_the_sync_and_a_written_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let options = Wal::options().sync_policy(SyncPolicy::None).unwrap().write_through(true);
    let (wal, _) = options.open(dir.path()).unwrap();
    let mut durable = wal.tail(Lsn::new(1), ReadLevel::Durable);
    let mut written = wal.tail(Lsn::new(1), ReadLevel::Written);
    wal.append(b"one").unwrap();
    wal.append(b"two").unwrap();
    assert!(durable.try_next().is_none());
    assert!(durable.next_timeout(Duration::from_millis(1)).is_none() && !durable.is_ended());
    assert_eq!(numbers(&mut written), [1, 2]);
    wal.sync().unwrap();
    assert_eq!(numbers(&mut durable), [1, 2]);
    assert!(written.try_next().is_none());
}

#[test]
fn a_tail_ends_after_what_is_durable_when_the_log_is_closed_or_dropped() {
    for close in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (wal, _) = Wal::open(dir.path()).unwrap();
        let mut late = wal.tail(Lsn::new(1), ReadLevel::Durable);
        let early = wal.tail(Lsn::new(1), ReadLevel::Written);
        let follower = std::thread::spawn(move || early.map(Result::unwrap).count());
        wal.append(b"one").unwrap();
        wal.append(b"two").unwrap();
        if close {
            wal.close().unwrap()
        } else {
            drop(wal)
        }
        assert_eq!(follower.join().unwrap(), 2);
        assert_eq!(numbers(&mut late), [1, 2]);
        assert!(late.is_ended() && late.next().is_none());
    }
}

#[test]
fn a_tail_of_a_poisoned_log_yields_what_is_durable_and_then_the_error_once() {
    for level in [ReadLevel::Durable, ReadLevel::Written] {
        let dir = tempfile::tempdir().unwrap();
        let (vfs, faults) = FaultVfs::new();
        let (wal, _) = Wal::options().vfs(vfs).open(dir.path()).unwrap();
        wal.append(b"one").unwrap();
        let mut tail = wal.tail(Lsn::new(1), level);
        let waiting = wal.tail(Lsn::new(2), level);
        let follower = std::thread::spawn(move || waiting.collect::<Vec<_>>());
        faults.fail_sync.store(true, Ordering::SeqCst);
        wal.append(b"two").unwrap_err();
        assert_eq!(tail.next().unwrap().unwrap().lsn, Lsn::new(1));
        let error = tail.next().unwrap().unwrap_err();
        assert!(
            matches!(error, WalError::Poisoned { durable_lsn, .. } if durable_lsn == Lsn::new(1))
        );
        assert!(tail.next().is_none() && tail.is_ended());
        let seen = follower.join().unwrap();
        assert!(matches!(seen[..], [Err(WalError::Poisoned { .. })]), "{seen:?}");
    }
}

#[test]
fn a_future_is_woken_by_the_commit_and_dropping_it_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path()).unwrap();
    let count = Arc::new(CountingWaker::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut cx = Context::from_waker(&waker);
    let mut tail = wal.tail(Lsn::new(1), ReadLevel::Durable);
    for _ in 0..3 {
        assert!(pin!(tail.changed()).poll(&mut cx).is_pending());
    }
    wal.append(b"one").unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "one waker a tail");
    wal.append(b"two").unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "nobody waits");
    assert!(pin!(tail.changed()).poll(&mut cx).is_ready());
    assert!(pin!(tail.changed()).poll(&mut cx).is_ready(), "until it is read");
    assert_eq!(numbers(&mut tail), [1, 2]);
    assert!(pin!(tail.changed()).poll(&mut cx).is_pending());
    let mut other = wal.tail(Lsn::new(3), ReadLevel::Durable);
    assert!(other.poll_changed(&mut cx).is_pending());
    drop(other);
    drop(wal);
    assert_eq!(count.0.load(Ordering::SeqCst), 2, "a tail that is gone is not woken");
    assert!(pin!(tail.changed()).poll(&mut cx).is_ready());
    assert!(tail.try_next().is_none() && tail.is_ended());
}

#[test]
fn refused_numbers_and_trimmed_records_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let (vfs, faults) = FaultVfs::new();
    let options = Wal::options().segment_size(ByteCount::kib(64)).unwrap().vfs(vfs);
    let (wal, _) = options.open(dir.path()).unwrap();
    wal.append(&[1; 1_000]).unwrap();
    let mut tail = wal.tail(Lsn::new(1), ReadLevel::Durable);
    faults.max_len.store(0, Ordering::SeqCst);
    assert!(matches!(wal.append(&[2; 200_000]), Err(WalError::NoSpace { .. })));
    faults.max_len.store(u64::MAX, Ordering::SeqCst);
    wal.append(&[3; 1_000]).unwrap();
    assert_eq!(numbers(&mut tail), [1, 3]);
    let mut late = wal.tail(Lsn::new(1), ReadLevel::Durable);
    for _ in 0..200 {
        wal.append(&[4; 1_000]).unwrap();
    }
    wal.checkpoint(Lsn::new(150), b"").unwrap();
    wal.checkpoint(Lsn::new(151), b"").unwrap();
    let found = numbers(&mut late);
    assert!((2..150).contains(&found[0]), "{found:?}");
    assert!(found.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert_eq!(found.last(), Some(&203));
    assert_eq!(numbers(&mut tail), found, "one that fell behind is no worse off");
}

fn follow(follower: &mut Follower) -> Vec<u64> {
    std::iter::from_fn(|| follower.try_next().unwrap()).map(|record| record.lsn.get()).collect()
}

#[test]
fn a_log_is_followed_from_outside_across_segments_trims_and_another_opening() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Wal::options().segment_size(ByteCount::kib(64)).unwrap();
    let mut follower = Wal::options().follow(dir.path(), Lsn::new(2));
    assert!(follow(&mut follower).is_empty());
    let (wal, _) = options().open(dir.path()).unwrap();
    let mut next = 2;
    for round in 1..=30_u64 {
        for n in 0..10 {
            wal.append(&vec![n; (round * 97) as usize]).unwrap();
        }
        let seen = follow(&mut follower);
        assert!(seen.iter().copied().eq(next..=round * 10), "{seen:?}");
        next = round * 10 + 1;
    }
    assert!(wal.stats().segments > 3);
    wal.checkpoint(Lsn::new(300), b"").unwrap();
    let mut late = Wal::options().follow(dir.path(), Lsn::new(1));
    assert_eq!(late.try_next().unwrap().unwrap().lsn.get(), 1);
    wal.checkpoint(Lsn::new(301), b"").unwrap();
    // The newest record is copied into a segment of its own, and comes once.
    drop(wal);
    let (wal, recovery) = options().open(dir.path()).unwrap();
    assert_eq!(recovery.report().last_lsn.get(), 300);
    wal.append(b"301").unwrap();
    assert_eq!(follow(&mut follower), [301]);
    let seen = follow(&mut late);
    assert_eq!((seen[0], seen.last()), (2, Some(&301)));
    assert!(seen.windows(2).filter(|pair| pair[1] != pair[0] + 1).count() == 1, "{seen:?}");
}

#[test]
fn a_follower_waits_for_a_frame_that_is_half_there_and_passes_over_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path()).unwrap();
    for n in 1..=5_u8 {
        wal.append(&[n; 1_000]).unwrap();
    }
    let path = dir.path().join(crate::segment::file_name(1));
    let whole = std::fs::read(&path).unwrap();
    let frame = |n: usize| 4_096 + (n - 1) * 1_032;
    // The newest frame without its second half, as if it were being written.
    let mut half = whole.clone();
    half[frame(5) + 500..].fill(0);
    std::fs::write(&path, half).unwrap();
    let mut follower = Wal::options().follow(dir.path(), Lsn::new(1));
    assert_eq!(follow(&mut follower), [1, 2, 3, 4]);
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(follow(&mut follower), [5]);

    for (at, lost) in [(frame(2) + 9, 2), (frame(3) + 600, 3)] {
        let mut hurt = whole.clone();
        hurt[at] ^= 1;
        std::fs::write(&path, hurt).unwrap();
        let mut follower = Wal::options().follow(dir.path(), Lsn::new(1));
        let (mut seen, mut errors) = (Vec::new(), 0);
        loop {
            match follower.try_next() {
                Ok(Some(record)) => seen.push(record.lsn.get()),
                Ok(None) => break,
                Err(WalError::Corrupt { first_lsn, .. }) if first_lsn.get() == lost => errors += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(errors, 1);
        assert!(seen.into_iter().eq((1..=5).filter(|n| *n != lost)));
    }
}
