//! Replaying with one thread and several, in order and in parts, over damage and over errors.

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bucket_core::ByteCount;

use crate::sync::Mutex;
use crate::{Lsn, ReplayError, Wal, WalError};

const COUNT: u64 = 3_000;

/// The content of record `n`; some are longer than a piece.
fn content(n: u64) -> Vec<u8> {
    let len = if n.is_multiple_of(701) { 700_000 } else { n * 37 % 2_500 };
    vec![n as u8; len as usize]
}

/// A log of about 8 MB in segments of 2 MiB, so that pieces are parts of segments.
fn log(dir: &Path) -> Wal {
    let options = Wal::options().segment_size(ByteCount::mib(2)).unwrap();
    let (wal, _) = options.open(dir).unwrap();
    for n in 1..=COUNT {
        let ticket = wal.submit(&content(n)).unwrap();
        if n.is_multiple_of(7) {
            ticket.wait().unwrap();
        }
    }
    wal.sync().unwrap();
    assert!(wal.stats().segments > 3);
    wal
}

/// Every number that a replay in order hands over.
fn replay(wal: &Wal, from: u64, threads: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    let replayed = wal.replay(Lsn::new(from)).threads(threads).ordered(|record| {
        assert!(record.payload == content(record.lsn.get()), "record {}", record.lsn);
        seen.push(record.lsn.get());
        Ok::<_, Infallible>(())
    });
    assert_eq!(replayed.unwrap().records, seen.len() as u64);
    seen
}

#[test]
fn any_number_of_threads_hands_over_every_record_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let wal = log(dir.path());
    for unmarked in [false, true] {
        for threads in [1, 2, 5] {
            for from in [0, 1, 700, 1_402, COUNT, COUNT + 1] {
                if unmarked {
                    wal.shared.index().lock().unmark();
                }
                let seen = replay(&wal, from, threads);
                assert!(seen.into_iter().eq(from.max(1)..=COUNT), "{threads} threads from {from}");
            }
        }
    }
    let mut seen = Vec::new();
    let replay = wal.replay(Lsn::new(10)).until(Lsn::new(20)).threads(2);
    let done = replay.ordered(|record| {
        seen.push(record.lsn.get());
        Ok::<_, Infallible>(())
    });
    let done = done.unwrap();
    assert!(seen.into_iter().eq(10..=20));
    assert_eq!(done.payload_bytes, (10..=20).map(|n| content(n).len() as u64).sum::<u64>());
}

#[test]
fn an_empty_log_is_replayed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path()).unwrap();
    for threads in [1, 3] {
        assert!(replay(&wal, 1, threads).is_empty());
    }
}

#[test]
fn progress_grows_to_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let wal = log(dir.path());
    for threads in [1, 2] {
        let mut seen = Vec::new();
        let replay = wal.replay(Lsn::new(1)).threads(threads).on_progress(|p| seen.push(p));
        replay.ordered(|_| Ok::<_, Infallible>(())).unwrap();
        assert!(seen.len() > 6, "{seen:?}");
        assert!(seen.windows(2).all(|pair| pair[0].bytes <= pair[1].bytes));
        let last = seen.last().unwrap();
        assert!(last.total_bytes > 6_000_000 && last.bytes == last.total_bytes, "{last:?}");
    }
}

#[test]
fn the_first_error_of_the_function_ends_the_replay() {
    let dir = tempfile::tempdir().unwrap();
    let wal = log(dir.path());
    for threads in [1, 2, 4] {
        let mut last = 0;
        let result = wal.replay(Lsn::new(1)).threads(threads).ordered(|record| {
            last = record.lsn.get();
            if last == 1_234 { Err("no") } else { Ok(()) }
        });
        let Err(ReplayError::Apply { lsn, error: "no" }) = result else { panic!("{result:?}") };
        assert_eq!((lsn.get(), last), (1_234, 1_234));
    }
}

#[test]
fn within_a_part_records_come_in_order_and_a_key_stays_in_its_part() {
    let dir = tempfile::tempdir().unwrap();
    let wal = log(dir.path());
    for (threads, parts) in [(1, 1), (1, 3), (2, 7), (3, 2), (4, 4)] {
        let seen: Vec<_> = (0..parts).map(|_| Mutex::new(Vec::new())).collect();
        let replay = wal.replay(Lsn::new(1)).threads(threads);
        let done = replay.partitioned(
            parts,
            |record| record.lsn.get() % 50,
            |part, record| {
                assert!(record.payload == content(record.lsn.get()));
                seen[part].lock().push(record.lsn.get());
                Ok::<_, Infallible>(())
            },
        );
        assert_eq!(done.unwrap().records, COUNT);
        let seen: Vec<_> = seen.into_iter().map(|seen| seen.into_inner()).collect();
        let mut part_of = [None; 50];
        for (part, lsns) in seen.iter().enumerate() {
            assert!(lsns.windows(2).all(|pair| pair[0] < pair[1]), "part {part}");
            assert!(parts == 1 || lsns.len() < COUNT as usize, "everything is in one part");
            for lsn in lsns {
                let known = *part_of[(lsn % 50) as usize].get_or_insert(part);
                assert_eq!(known, part, "the key of record {lsn}");
            }
        }
    }
}

#[test]
fn of_several_errors_in_parts_the_lowest_counts_and_all_before_it_were_handed_over() {
    let dir = tempfile::tempdir().unwrap();
    let wal = log(dir.path());
    for _ in 0..20 {
        let before = AtomicU64::new(0);
        let result = wal.replay(Lsn::new(1)).threads(3).partitioned(
            6,
            |record| record.lsn.get(),
            |_, record| {
                let n = record.lsn.get();
                if n < 1_500 {
                    before.fetch_add(1, Ordering::SeqCst);
                }
                if n >= 1_500 && n.is_multiple_of(10) { Err(n) } else { Ok(()) }
            },
        );
        let Err(ReplayError::Apply { error: 1_500, .. }) = result else { panic!("{result:?}") };
        assert_eq!(before.into_inner(), 1_499);
    }
}

#[test]
fn a_damaged_place_ends_the_replay_or_is_told_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let wal = log(dir.path());
    let spot = wal.shared.index().lock().seek(200).unwrap();
    let path = dir.path().join(crate::segment::file_name(1));
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_at(&[0xff; 4], spot.at + 8).unwrap();
    for threads in [1, 2, 4] {
        let mut last = 0;
        let result = wal.replay(Lsn::new(1)).threads(threads).ordered(|record| {
            last = record.lsn.get();
            Ok::<_, Infallible>(())
        });
        let Err(ReplayError::Wal(WalError::Corrupt { first_lsn, .. })) = result else {
            panic!("{result:?}")
        };
        assert_eq!(first_lsn.get(), last + 1);

        let (mut told, mut seen) = (Vec::new(), Vec::new());
        let replay = wal.replay(Lsn::new(1)).threads(threads).on_damage(|error| told.push(error));
        let done = replay.ordered(|record| {
            seen.push(record.lsn.get());
            Ok::<_, Infallible>(())
        });
        let done = done.unwrap();
        assert_eq!((done.damaged, told.len()), (1, 1));
        let lost: Vec<_> = (1..=COUNT).filter(|n| !seen.contains(n)).collect();
        assert!((1..=7).contains(&lost.len()) && lost[0] == last + 1, "{lost:?}");
        let parts = wal.replay(Lsn::new(1)).threads(threads).on_damage(|_| ()).partitioned(
            3,
            |record| record.lsn.get(),
            |_, _| Ok::<_, Infallible>(()),
        );
        assert_eq!(parts.unwrap().records, COUNT - lost.len() as u64);
    }
}

#[test]
fn a_panic_of_the_function_reaches_the_caller_and_hangs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let wal = log(dir.path());
    let ordered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wal.replay(Lsn::new(1)).threads(3).ordered(|record| {
            assert!(record.lsn.get() < 1_000, "on purpose");
            Ok::<_, Infallible>(())
        })
    }));
    assert!(ordered.is_err());
    let parts = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wal.replay(Lsn::new(1)).threads(3).partitioned(
            3,
            |record| record.lsn.get(),
            |_, record| {
                assert!(record.lsn.get() != 1_000, "on purpose");
                Ok::<_, Infallible>(())
            },
        )
    }));
    assert!(parts.is_err());
}
