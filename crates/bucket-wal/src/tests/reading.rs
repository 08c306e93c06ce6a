//! Reading single records and in order, on logs that are whole, hurt, trimmed or not scanned.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use bucket_core::ByteCount;
use proptest::prelude::*;

use super::fault_vfs::FaultVfs;
use crate::index::STRETCH;
use crate::{DamageKind, Lsn, RecordKind, Wal, WalError};

/// The content of record `n`: most are short, some longer than a stretch.
fn content(n: u64) -> Vec<u8> {
    let len = if n.is_multiple_of(97) { 40_000 } else { n * 37 % 1_500 };
    vec![n as u8; len as usize]
}

/// A log of records of [`content`] in segments of 256 KiB.
fn log(dir: &Path, count: u64) -> Wal {
    let options = Wal::options().segment_size(ByteCount::kib(256)).unwrap();
    let (wal, _) = options.open(dir).unwrap();
    for n in 1..=count {
        // Frames of different sizes.
        let ticket = wal.submit(&content(n)).unwrap();
        if n.is_multiple_of(5) {
            ticket.wait().unwrap();
        }
    }
    wal.sync().unwrap();
    wal
}

fn first_segment(dir: &Path) -> fs::File {
    let path = dir.join(crate::segment::file_name(1));
    fs::OpenOptions::new().write(true).read(true).open(path).unwrap()
}

#[test]
fn every_record_is_found_by_its_number_with_marks_and_without() {
    let dir = tempfile::tempdir().unwrap();
    let wal = log(dir.path(), 1_000);
    let stats = wal.stats();
    assert!(stats.segments > 3, "{stats:?}");
    for unmarked in [false, true] {
        if unmarked {
            wal.shared.index().lock().unmark();
            assert_eq!(wal.shared.index().lock().marks(), 0);
        }
        for n in (1..=1_000).rev() {
            let record = wal.read(Lsn::new(n)).unwrap();
            assert_eq!((record.lsn.get(), record.kind), (n, RecordKind::Op));
            assert!(record.payload == content(n), "record {n}");
        }
        for missing in [0, 1_001, u64::MAX] {
            let result = wal.read(Lsn::new(missing));
            assert!(matches!(result, Err(WalError::NotFound { .. })), "{result:?}");
        }
        let marks = wal.shared.index().lock().marks() as u64;
        assert!(marks <= stats.log_bytes / STRETCH + stats.segments, "{marks} marks");
        assert!(marks * 2 * STRETCH > stats.log_bytes / 3, "{marks} marks");
    }
}

#[test]
fn a_reader_starts_anywhere_and_reads_far_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (vfs, faults) = FaultVfs::new();
    drop(log(dir.path(), 1_000));
    let (wal, _) = Wal::options().vfs(vfs).open(dir.path()).unwrap();
    for unmarked in [true, false] {
        if unmarked {
            wal.shared.index().lock().unmark();
        }
        for from in [0, 1, 2, 500, 777, 1_000, 1_001] {
            let found = wal.reader(Lsn::new(from)).map(|record| record.unwrap().lsn.get());
            assert!(found.eq(from.max(1)..=1_000), "from {from}");
        }
    }
    let before = faults.reads.load(Ordering::SeqCst);
    let mut reader = wal.reader(Lsn::new(1));
    let mut bytes = 0;
    while let Some(record) = reader.next_ref() {
        let record = record.unwrap();
        assert!(record.payload == content(record.lsn.get()));
        bytes += record.payload.len() as u64;
    }
    let reads = faults.reads.load(Ordering::SeqCst) - before;
    assert!(reads <= bytes / (256 << 10) + 2 * wal.stats().segments, "{reads} reads");
}

#[test]
fn what_rots_behind_the_back_of_an_open_log_costs_its_frame_alone() {
    let dir = tempfile::tempdir().unwrap();
    let wal = log(dir.path(), 200);
    // In the table of the frame that holds record 103.
    let spot = wal.shared.index().lock().seek(103).unwrap();
    let bytes = fs::read(dir.path().join(crate::segment::file_name(1))).unwrap();
    let (mut at, mut frames) = (spot.at as usize, Vec::new());
    while at < bytes.len() {
        let Some(frame) = crate::frame::outline(&bytes[at..], &spot.source.seed, at as u64) else {
            break;
        };
        frames.push((at as u64, frame.first_lsn..frame.next_lsn()));
        at += frame.len;
    }
    let (at, lost) = frames.iter().find(|(_, lsns)| lsns.contains(&103)).unwrap();
    first_segment(dir.path()).write_at(&[0xff; 4], at + 8).unwrap();

    for unmarked in [false, true] {
        if unmarked {
            wal.shared.index().lock().unmark();
        }
        let (found, errors): (Vec<_>, Vec<_>) = wal.reader(Lsn::new(1)).partition(Result::is_ok);
        let found = found.into_iter().map(|record| record.unwrap().lsn.get());
        assert!(found.eq((1..=200).filter(|n| !lost.contains(n))), "lost more than {lost:?}");
        let [Err(WalError::Corrupt { offset, kind: DamageKind::Frame, first_lsn, .. })] =
            &errors[..]
        else {
            panic!("{errors:?}");
        };
        assert_eq!((*offset, first_lsn.get()), (*at, lost.start));
        for n in 1..=200 {
            match wal.read(Lsn::new(n)) {
                Ok(record) => assert!(!lost.contains(&n) && record.payload == content(n)),
                Err(WalError::Corrupt { .. }) => assert!(lost.contains(&n)),
                Err(error) => panic!("record {n}: {error}"),
            }
        }
    }
}

#[test]
fn a_place_that_the_disk_cannot_read_is_reported_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (vfs, faults) = FaultVfs::new();
    drop(log(dir.path(), 400));
    let (wal, _) = Wal::options().vfs(vfs).open(dir.path()).unwrap();
    faults.unreadable.store(100_000, Ordering::SeqCst);
    let (found, errors): (Vec<_>, Vec<_>) = wal.reader(Lsn::new(1)).partition(Result::is_ok);
    assert!(errors.iter().all(|error| matches!(error, Err(WalError::Io { .. }))), "{errors:?}");
    assert!((1..=6).contains(&errors.len()), "{errors:?}");
    assert!((300..400).contains(&found.len()), "{} found", found.len());
    faults.unreadable.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(wal.reader(Lsn::new(1)).filter_map(Result::ok).count(), 400);
}

#[test]
fn a_reader_keeps_the_segment_that_is_trimmed_under_it_and_goes_on_with_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let wal = log(dir.path(), 1_000);
    let mut reader = wal.reader(Lsn::new(1));
    assert_eq!(reader.next().unwrap().unwrap().lsn.get(), 1);
    let second = wal.shared.index().lock().seek(1).map(|spot| spot.source.header.segment_id + 1);
    wal.checkpoint(Lsn::new(900), b"").unwrap();
    wal.checkpoint(Lsn::new(901), b"").unwrap();
    let left = wal.reader(Lsn::new(1)).next().unwrap().unwrap().lsn.get();
    assert!(left > 300, "nothing was trimmed");
    let rest: Vec<_> = reader.map(|record| record.unwrap()).collect();
    assert!(rest.iter().all(|record| record.payload == content(record.lsn.get())));
    let lsns: Vec<_> = rest.iter().map(|record| record.lsn.get()).collect();
    let jump = lsns.windows(2).position(|pair| pair[1] != pair[0] + 1).unwrap();
    assert!((50..left).contains(&lsns[jump]), "{} before the jump", lsns[jump]);
    assert_eq!((lsns[jump + 1], lsns.last()), (left, Some(&1_000)));
    assert!(second.is_some_and(|id| {
        wal.shared.index().lock().seek(left).unwrap().source.header.segment_id > id
    }));
    assert!(matches!(wal.read(Lsn::new(5)), Err(WalError::NotFound { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever bytes are changed under an open log: no panic, no end of it, no record that is made up.
    #[test]
    fn no_damage_under_an_open_log_makes_a_reader_panic_or_lie(
        hurts in prop::collection::vec((4_096_u64..60_000, prop::collection::vec(any::<u8>(), 1..40)), 1..6),
        unmarked in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let wal = log(dir.path(), 90);
        let file = first_segment(dir.path());
        for (at, bytes) in &hurts {
            file.write_at(bytes, *at).unwrap();
        }
        if unmarked {
            wal.shared.index().lock().unmark();
        }
        let mut last = 0;
        for record in wal.reader(Lsn::new(1)).take(1_000).flatten() {
            prop_assert!(record.lsn.get() > last);
            last = record.lsn.get();
            prop_assert!(record.payload == content(last));
        }
        for n in 1..=90 {
            if let Ok(record) = wal.read(Lsn::new(n)) {
                prop_assert!(record.payload == content(n));
            }
        }
    }
}
