//! Looking into a log says what opening it with salvage says, and changes nothing.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bucket_core::ByteCount;
use proptest::prelude::*;

use crate::{
    Damage, Inspection, Lsn, RecoveryPolicy, SegmentEnd, TailState, Verdict, Wal, WalOptions,
};

fn options() -> WalOptions {
    Wal::options().segment_size(ByteCount::kib(64)).unwrap().recovery(RecoveryPolicy::Salvage)
}

/// A log of `count` records of 1 000 bytes in segments of 64 KiB, with a checkpoint in the middle.
fn log(dir: &Path, count: u64) -> Wal {
    let (wal, _) = options().open(dir).unwrap();
    for n in 1..=count {
        wal.append(&[n as u8; 1_000]).unwrap();
        if n == count / 2 {
            wal.checkpoint(Lsn::new(1), b"state").unwrap();
        }
    }
    wal
}

fn look(dir: &Path) -> Inspection {
    options().inspect(dir).unwrap()
}

/// Every file with its content.
fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = content(dir).into_iter().map(|(path, _)| path);
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

#[test]
fn a_living_log_is_seen_whole_and_nothing_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let wal = log(dir.path(), 200);
    let before = content(dir.path());
    let found = look(dir.path());
    assert_eq!(content(dir.path()), before);

    assert_eq!(found.verdict(), Verdict::Whole, "{found}");
    assert!(found.segments.len() > 2, "{found}");
    assert_eq!((found.records(), found.payload_bytes()), (200, 200_000));
    assert_eq!((found.first_lsn(), found.last_lsn()), (Some(Lsn::new(1)), Some(Lsn::new(200))));
    assert_eq!(found.owner, Some(format!("pid {}", std::process::id())));
    let (last, sealed) = found.segments.split_last().unwrap();
    assert_eq!(last.end, SegmentEnd::Clean);
    assert!(sealed.iter().all(|segment| segment.end == SegmentEnd::Sealed), "{found}");
    let checkpoint = &found.checkpoints[0];
    assert!(checkpoint.is_readable);
    assert_eq!((checkpoint.replay_from, checkpoint.state_bytes), (Lsn::new(1), 5));
    wal.close().unwrap();
}

#[test]
fn a_log_that_grows_and_is_trimmed_meanwhile_is_never_called_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = options().open(dir.path()).unwrap();
    wal.append(b"first").unwrap();
    let writer = wal.clone();
    let thread = std::thread::spawn(move || {
        for n in 0..3_000_u64 {
            let lsn = writer.append(&[n as u8; 700]).unwrap();
            if n % 200 == 0 {
                writer.checkpoint(lsn, b"").unwrap();
            }
        }
    });
    let mut looks = 0;
    while !thread.is_finished() {
        // Between listing and opening a segment may go; after four tries that is said.
        if let Ok(found) = options().inspect(dir.path()) {
            assert!(found.verdict() != Verdict::Damaged || found.is_moving, "{found}");
            looks += 1;
        }
    }
    thread.join().unwrap();
    assert!(looks > 0);
    assert_eq!(look(dir.path()).last_lsn(), Some(Lsn::new(3_001)));
}

#[test]
fn records_come_in_order_within_the_range_and_without_the_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    drop(log(dir.path(), 100));
    let path = files(dir.path(), "wal").remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096 + 9 * 1_032 + 500] ^= 1;
    fs::write(&path, bytes).unwrap();

    let read = |range, most: usize| {
        let mut seen = Vec::new();
        let found = options().inspect_records(dir.path(), range, &mut |record| {
            assert_eq!(record.payload, vec![record.lsn.get() as u8; 1_000]);
            seen.push(record.lsn.get());
            if seen.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (seen, found.unwrap())
    };
    let (seen, found) = read(Lsn::new(1)..=Lsn::new(u64::MAX), usize::MAX);
    assert_eq!(seen, (1..=100).filter(|n| *n != 10).collect::<Vec<_>>());
    assert_eq!(found.damage.len(), 1);
    assert_eq!((found.damage[0].first_lsn, found.damage[0].records), (Lsn::new(10), 1));
    assert_eq!(found.segments[0].damaged_records, 1);
    assert_eq!(read(Lsn::new(60)..=Lsn::new(62), usize::MAX).0, [60, 61, 62]);
    let (seen, found) = read(Lsn::new(5)..=Lsn::new(100), 3);
    assert_eq!((seen, found.records()), (vec![5, 6, 7], 99));
}

#[test]
fn an_unreadable_checkpoint_is_damage_also_beside_a_readable_one() {
    let dir = tempfile::tempdir().unwrap();
    let wal = log(dir.path(), 10);
    wal.checkpoint(Lsn::new(2), b"later").unwrap();
    drop(wal);
    let path = files(dir.path(), "man").pop().unwrap();
    fs::write(&path, b"not a checkpoint").unwrap();
    let found = look(dir.path());
    assert_eq!(found.verdict(), Verdict::Damaged);
    assert_eq!(found.checkpoints.iter().filter(|c| c.is_readable).count(), 1);
}

/// What was done to a file.
#[derive(Clone, Debug)]
enum Harm {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Remove,
    Zero(prop::sample::Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Harm::Cut),
        (any::<prop::sample::Index>(), 0_u8..8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        Just(Harm::Remove),
        any::<prop::sample::Index>().prop_map(Harm::Zero),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The oracle is recovery itself, on the same bytes afterwards.
    #[test]
    fn inspection_and_salvage_agree_on_damaged_files(
        harms in prop::collection::vec((any::<prop::sample::Index>(), harm()), 1..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        drop(log(dir.path(), 150));
        for (which, harm) in harms {
            let mut files = files(dir.path(), "wal");
            files.extend(self::files(dir.path(), "man"));
            if files.is_empty() {
                continue;
            }
            let path = &files[which.index(files.len())];
            let mut bytes = fs::read(path).unwrap();
            match harm {
                _ if bytes.is_empty() => continue,
                Harm::Cut(at) => bytes.truncate(at.index(bytes.len())),
                Harm::Flip(at, bit) => {
                    let at = at.index(bytes.len());
                    bytes[at] ^= 1 << bit;
                }
                Harm::Remove => {
                    fs::remove_file(path).unwrap();
                    continue;
                }
                Harm::Zero(at) => {
                    let at = at.index(bytes.len());
                    let end = bytes.len().min(at + 2_000);
                    bytes[at..end].fill(0);
                }
            }
            fs::write(path, bytes).unwrap();
        }

        let before = content(dir.path());
        let found = look(dir.path());
        prop_assert_eq!(content(dir.path()), before);
        let mut seen = Vec::new();
        let range = Lsn::new(0)..=Lsn::new(u64::MAX);
        options().inspect_records(dir.path(), range, &mut |record| {
            seen.push((record.lsn, record.payload));
            ControlFlow::Continue(())
        })
        .unwrap();
        prop_assert_eq!(seen.len() as u64, found.records());

        let (wal, recovery) = options().open(dir.path()).unwrap();
        let report = recovery.report();
        let key = |damage: &Damage| format!("{damage:?}");
        let mut ours: Vec<_> = found.damage.iter().map(key).collect();
        let mut theirs: Vec<_> = report.damage.iter().map(key).collect();
        ours.sort();
        theirs.sort();
        prop_assert_eq!(ours, theirs);
        let tail = found.segments.iter().rev().find(|s| s.end != SegmentEnd::Unreadable);
        if let Some(tail) = tail {
            prop_assert_eq!(tail.end == SegmentEnd::Torn, report.tail == TailState::Torn);
        }
        let theirs: Vec<_> = wal
            .reader(Lsn::new(1))
            .flatten()
            .map(|record| (record.lsn, record.payload))
            .collect();
        prop_assert_eq!(seen, theirs);
    }
}
