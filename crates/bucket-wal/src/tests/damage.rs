//! Files that were damaged: every case is a typed error or a smaller log, never a panic and never a
//! record that was not written.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::damaging::{flip, frame_of, log, options};
use crate::{DamageKind, Lsn, RecoveryPolicy, TailState, Wal, WalError};

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn a_flipped_bit_in_a_durable_record_is_corruption_and_salvage_loses_that_record_alone() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 10);
    let path = segments(dir.path()).remove(0);
    flip(&path, frame_of(4) + 500);
    let before = fs::read(&path).unwrap();
    match options(RecoveryPolicy::Strict).open(dir.path()) {
        Err(WalError::Corrupt { kind: DamageKind::Record, first_lsn, offset, .. }) => {
            assert_eq!((first_lsn, offset), (Lsn::new(4), frame_of(4) as u64));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&path).unwrap(), before, "evidence was changed");

    let (wal, recovery) = options(RecoveryPolicy::Salvage).open(dir.path()).unwrap();
    assert_eq!(recovery.report().damage.len(), 1);
    let readable: Vec<_> = wal.reader(Lsn::new(1)).filter_map(Result::ok).collect();
    assert_eq!(readable.len(), 9);
    assert!(matches!(wal.read(Lsn::new(4)), Err(WalError::NotFound { .. })));
    assert_eq!(wal.read(Lsn::new(5)).unwrap().payload, [5; 1_000]);
}

#[test]
fn a_flipped_bit_in_a_frame_header_costs_that_frame() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 10);
    flip(&segments(dir.path())[0], frame_of(4) + 9);
    let error = options(RecoveryPolicy::Strict).open(dir.path()).unwrap_err();
    assert!(matches!(error, WalError::Corrupt { kind: DamageKind::Frame, .. }), "{error}");
    let (wal, _) = options(RecoveryPolicy::Salvage).open(dir.path()).unwrap();
    assert_eq!(wal.reader(Lsn::new(1)).filter_map(Result::ok).count(), 9);
}

#[test]
fn damage_to_the_newest_record_is_not_mistaken_for_an_interrupted_write() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 10);
    flip(&segments(dir.path())[0], frame_of(10) + 500);
    let error = options(RecoveryPolicy::Strict).open(dir.path()).unwrap_err();
    assert!(matches!(error, WalError::DamagedTail { .. }), "{error}");
}

#[test]
fn an_interrupted_write_is_a_torn_tail_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 10);
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    // The second sector of the newest frame never reached the disk.
    let hole = frame_of(10).next_multiple_of(512);
    bytes[hole..hole + 512].fill(0);
    fs::write(&path, bytes).unwrap();
    let (wal, recovery) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
    assert_eq!(recovery.report().tail, TailState::Torn);
    assert_eq!(wal.durable_lsn(), Lsn::new(9));
    assert_eq!(wal.append(b"next").unwrap(), Lsn::new(10));
    drop(wal);
    let (wal, _) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
    assert_eq!(wal.read(Lsn::new(10)).unwrap().payload, b"next");
}

/// Opening copies what nothing vouches for; from then on the header of the copy vouches for it.
#[test]
fn damage_to_what_opening_has_copied_is_not_mistaken_for_an_interrupted_write() {
    let (end, sector) = (frame_of(2), 4_608..5_120);
    for (hole, len) in
        [(frame_of(1)..end, end), (sector, end), (0..0, frame_of(1)), (0..0, end - 9)]
    {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), 10);
        drop(options(RecoveryPolicy::Strict).open(dir.path()).unwrap());
        let copy = segments(dir.path()).remove(1);
        let mut bytes = fs::read(&copy).unwrap();
        assert_eq!(bytes.len(), end, "the newest record alone");
        bytes[hole.clone()].fill(0);
        bytes.truncate(len);
        fs::write(&copy, bytes).unwrap();
        let strict = options(RecoveryPolicy::Strict).open(dir.path());
        assert!(strict.is_err_and(|error| error.is_damage()), "{hole:?} of {len}");
        let (wal, recovery) = options(RecoveryPolicy::Salvage).open(dir.path()).unwrap();
        assert!(!recovery.report().is_clean());
        assert_eq!(wal.reader(Lsn::new(1)).count(), 9);
        assert!(wal.append(b"next").unwrap() > Lsn::new(10), "{hole:?} of {len}");
    }
}

#[test]
fn damage_to_one_record_of_a_batch_that_opening_has_copied_costs_that_one() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 9);
    let (wal, _) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
    wal.append_batch([10, 11, 12].map(|n| [n; 1_000]).iter().map(|record| &record[..])).unwrap();
    drop(wal);
    drop(options(RecoveryPolicy::Strict).open(dir.path()).unwrap());
    let copy = segments(dir.path()).remove(2);
    let mut bytes = fs::read(&copy).unwrap();
    // In the second of them.
    assert_eq!(bytes[5_300..5_800], [11; 500]);
    bytes[5_300..5_800].fill(0);
    fs::write(&copy, bytes).unwrap();
    let strict = options(RecoveryPolicy::Strict).open(dir.path());
    assert!(strict.is_err_and(|error| error.is_damage()));
    let (wal, recovery) = options(RecoveryPolicy::Salvage).open(dir.path()).unwrap();
    assert_eq!(recovery.report().damaged_records(), 1, "{}", recovery.report());
    let found = wal.reader(Lsn::new(8)).map(|record| record.unwrap().lsn.get());
    assert_eq!(found.collect::<Vec<_>>(), [8, 9, 10, 12]);
}

#[test]
fn a_truncated_segment_is_noticed_wherever_it_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 10);
    let path = segments(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    for len in (0..frame_of(10)).step_by(61) {
        fs::write(&path, &whole[..len]).unwrap();
        match options(RecoveryPolicy::Strict).open(dir.path()) {
            Err(error) => assert!(error.is_damage(), "cut at {len}: {error}"),
            // With fewer than two whole records nothing vouches for the first.
            Ok((wal, _)) => {
                assert!(len < frame_of(3), "cut at {len} went unnoticed");
                assert!(wal.durable_lsn() < Lsn::new(3));
                drop(wal);
                for path in segments(dir.path()) {
                    fs::remove_file(path).unwrap();
                }
            }
        }
    }
}

#[test]
fn an_empty_segment_and_a_missing_segment_are_named() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 200);
    let paths = segments(dir.path());
    assert!(paths.len() >= 3);
    let middle = fs::read(&paths[1]).unwrap();
    fs::write(&paths[1], b"").unwrap();
    match options(RecoveryPolicy::Strict).open(dir.path()) {
        Err(WalError::Corrupt { kind: DamageKind::Header, path, .. }) => assert_eq!(path, paths[1]),
        other => panic!("{other:?}"),
    }
    fs::remove_file(&paths[1]).unwrap();
    match options(RecoveryPolicy::Strict).open(dir.path()) {
        Err(WalError::MissingSegment { segment_id: 2, .. }) => {}
        other => panic!("{other:?}"),
    }
    let (wal, recovery) = options(RecoveryPolicy::Salvage).open(dir.path()).unwrap();
    assert!(!recovery.report().damage.is_empty());
    assert!(wal.reader(Lsn::new(1)).filter_map(Result::ok).count() > 50);
    drop(wal);
    fs::write(&paths[1], middle).unwrap();
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path()).unwrap();
    let first = wal.append(b"one").unwrap();
    wal.checkpoint(first, b"older").unwrap();
    let second = wal.append(b"two").unwrap();
    wal.checkpoint(second, b"newer").unwrap();
    wal.close().unwrap();
    flip(&dir.path().join("ckpt-0000000000000002.man"), 70);
    let (wal, recovery) = Wal::open(dir.path()).unwrap();
    assert_eq!(recovery.checkpoint().unwrap().state.bytes(), b"older");
    assert_eq!(recovery.report().unreadable_checkpoints, 1);
    assert_eq!(wal.reader(recovery.replay_from()).count(), 2);
    drop(wal);
    flip(&dir.path().join("ckpt-0000000000000001.man"), 70);
    assert!(matches!(Wal::open(dir.path()), Err(WalError::Corrupt { .. })));
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    log(dir.path(), 200);
    log(other.path(), 200);
    fs::copy(&segments(other.path())[1], &segments(dir.path())[1]).unwrap();
    match options(RecoveryPolicy::Strict).open(dir.path()) {
        Err(WalError::Corrupt { kind: DamageKind::Identity, .. }) => {}
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done to the bytes of a segment, opening does not panic, and every record that can
    /// be read is one that was written.
    #[test]
    fn no_damage_makes_a_record_up(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), 20);
        let path = segments(dir.path()).remove(0);
        let mut bytes = fs::read(&path).unwrap();
        for (at, value) in edits {
            let at = at.index(frame_of(21));
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&path, bytes).unwrap();
        for policy in [RecoveryPolicy::Strict, RecoveryPolicy::Salvage] {
            let Ok((wal, _)) = options(policy).open(dir.path()) else { continue };
            for record in wal.reader(Lsn::new(1)).filter_map(Result::ok) {
                prop_assert_eq!(record.payload, vec![record.lsn.get() as u8; 1_000]);
            }
        }
    }
}
