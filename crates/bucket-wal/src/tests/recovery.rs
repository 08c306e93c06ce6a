//! Policies that step over damage: what they keep, what they leave, and that the log is whole afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::damaging::{flip, frame_of, log, options};
use crate::{
    DamageKind, Lsn, Recovery, RecoveryPolicy, SegmentEnd, TailState, Verdict, VerifyOnOpen, Wal,
    WalError,
};

fn segment(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("seg-{id:016x}.wal"))
}

fn records(wal: &Wal) -> BTreeMap<u64, u8> {
    let records = wal.reader(Lsn::new(1)).map(|record| record.unwrap());
    records.map(|record| (record.lsn.get(), record.payload[0])).collect()
}

/// Opens, checks that a strict opening is content from then on, and that the log takes records whose
/// numbers were never given before.
fn stepped_over(dir: &Path, policy: RecoveryPolicy, given: u64) -> (Recovery, BTreeMap<u64, u8>) {
    let (wal, recovery) = options(policy).open(dir).unwrap();
    let found = records(&wal);
    assert!(found.iter().all(|(lsn, content)| *lsn == u64::from(*content)), "{found:?}");
    let next = wal.append(b"next").unwrap();
    assert!(next.get() > given, "number {next} was given before, up to {given}");
    drop(wal);
    let (wal, again) = options(RecoveryPolicy::Strict).open(dir).unwrap();
    assert!(again.report().is_clean());
    let mut now = records(&wal);
    assert_eq!(now.remove(&next.get()), Some(b'n'));
    assert_eq!(now, found);
    drop(wal);
    assert_ne!(Wal::options().inspect(dir).unwrap().verdict(), Verdict::Damaged);
    (recovery, found)
}

#[test]
fn salvage_carries_over_what_is_readable_behind_damage_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 150);
    let damaged = segment(dir.path(), 1);
    flip(&damaged, frame_of(10) + 500);
    flip(&damaged, frame_of(20) + 9);
    let evidence = fs::read(&damaged).unwrap();
    let (recovery, found) = stepped_over(dir.path(), RecoveryPolicy::Salvage, 150);
    let expected: Vec<_> = (1..=150).filter(|n| *n != 10 && *n != 20).collect();
    assert_eq!(found.into_keys().collect::<Vec<_>>(), expected);
    let report = recovery.report();
    let kinds: Vec<_> = report.damage.iter().map(|damage| damage.kind).collect();
    assert_eq!(kinds, [DamageKind::Record, DamageKind::Frame]);
    // The damaged segment and the two behind it, as they were.
    assert_eq!(report.quarantined.len(), 3);
    assert_eq!(fs::read(&report.quarantined[0]).unwrap(), evidence);
    assert!(report.to_string().contains("kept as"), "{report}");
}

#[test]
fn point_in_time_stops_at_the_damage_and_keeps_the_rest_as_evidence() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 150);
    flip(&segment(dir.path(), 2), frame_of(3) + 500);
    let (recovery, found) = stepped_over(dir.path(), RecoveryPolicy::PointInTime, 150);
    assert_eq!(found.into_keys().collect::<Vec<_>>(), (1..=61).collect::<Vec<_>>());
    assert_eq!(recovery.report().quarantined.len(), 2);
    assert_eq!(recovery.report().policy, RecoveryPolicy::PointInTime);
}

#[test]
fn a_newest_segment_without_a_header_costs_its_records_and_its_name_is_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 150);
    let newest = segment(dir.path(), 3);
    flip(&newest, 20);
    match options(RecoveryPolicy::Strict).open(dir.path()) {
        Err(WalError::Corrupt { kind: DamageKind::Header, path, .. }) => assert_eq!(path, newest),
        other => panic!("{other:?}"),
    }
    for policy in [RecoveryPolicy::Salvage, RecoveryPolicy::PointInTime] {
        let copy = tempfile::tempdir().unwrap();
        for n in 1..=3 {
            fs::copy(segment(dir.path(), n), segment(copy.path(), n)).unwrap();
        }
        let (_, found) = stepped_over(copy.path(), policy, 150);
        assert_eq!(found.len(), 118);
        assert!(!segment(copy.path(), 3).exists() && segment(copy.path(), 4).exists());
    }
}

#[test]
fn a_missing_segment_is_stepped_over_wherever_it_was() {
    for missing in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), 150);
        let (wal, _) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
        wal.checkpoint(Lsn::new(1), b"").unwrap();
        drop(wal);
        // Opening has copied the newest record into the fourth segment.
        fs::remove_file(segment(dir.path(), missing)).unwrap();
        let strict = options(RecoveryPolicy::Strict).open(dir.path());
        assert!(
            matches!(strict, Err(WalError::MissingSegment { segment_id, .. }) if segment_id == missing)
        );
        let (_, found) = stepped_over(dir.path(), RecoveryPolicy::Salvage, 150);
        let lost = [1..60, 60..119, 119..150][missing as usize - 1].clone();
        let expected: Vec<_> = (1..=150).filter(|n| !lost.contains(n)).collect();
        assert_eq!(found.into_keys().collect::<Vec<_>>(), expected, "{missing}");
    }
}

#[test]
fn a_checkpoint_tells_that_the_newest_segment_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 150);
    let (wal, _) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
    wal.append(&[151; 1_000]).unwrap();
    wal.checkpoint(Lsn::new(1), b"").unwrap();
    wal.close().unwrap();
    fs::remove_file(segment(dir.path(), 4)).unwrap();
    let strict = options(RecoveryPolicy::Strict).open(dir.path());
    assert!(strict.is_err_and(|error| error.is_damage()));
    // The newest record of the third segment is still in its old place.
    let (_, found) = stepped_over(dir.path(), RecoveryPolicy::Salvage, 151);
    assert_eq!(found.into_keys().collect::<Vec<_>>(), (1..=150).collect::<Vec<_>>());
}

#[test]
fn a_damaged_tail_is_left_out_and_the_record_before_it_stays() {
    for policy in [RecoveryPolicy::Salvage, RecoveryPolicy::PointInTime] {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), 10);
        flip(&segment(dir.path(), 1), frame_of(10) + 500);
        let (recovery, found) = stepped_over(dir.path(), policy, 10);
        assert_eq!(recovery.report().tail, TailState::Damaged);
        assert_eq!(found.into_keys().collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
    }
}

#[test]
fn a_stranger_among_the_segments_is_moved_away_and_costs_nothing() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    log(dir.path(), 100);
    log(other.path(), 20);
    fs::copy(segment(other.path(), 1), segment(dir.path(), 9)).unwrap();
    fs::write(segment(dir.path(), 9), {
        let mut bytes = fs::read(segment(other.path(), 1)).unwrap();
        bytes[40] = 9;
        let crc = crc32fast::hash(&bytes[..4_092]);
        bytes[4_092..4_096].copy_from_slice(&crc.to_le_bytes());
        bytes
    })
    .unwrap();
    match options(RecoveryPolicy::Strict).open(dir.path()) {
        Err(WalError::Corrupt { kind: DamageKind::Identity, .. }) => {}
        other => panic!("{other:?}"),
    }
    let (recovery, found) = stepped_over(dir.path(), RecoveryPolicy::Salvage, 100);
    assert_eq!(found.len(), 100);
    assert_eq!(recovery.report().quarantined.len(), 1);
}

/// One that was trimmed away, and whose name has come back without those behind it.
#[test]
fn a_segment_that_no_longer_counts_is_removed_and_one_that_is_evidence_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 150);
    let trimmed = fs::read(segment(dir.path(), 1)).unwrap();
    let (wal, _) =
        options(RecoveryPolicy::Strict).keep_checkpoints(1).unwrap().open(dir.path()).unwrap();
    wal.checkpoint(Lsn::new(140), b"").unwrap();
    wal.close().unwrap();
    assert!(!segment(dir.path(), 2).exists());
    for policy in [RecoveryPolicy::Strict, RecoveryPolicy::Salvage] {
        fs::write(segment(dir.path(), 1), &trimmed).unwrap();
        let (_, recovery) = options(policy).open(dir.path()).unwrap();
        assert!(recovery.report().is_clean() && recovery.report().quarantined.is_empty());
        assert!(!segment(dir.path(), 1).exists() && !dir.path().join("quarantine").exists());
    }

    // Salvage has replaced these, and was interrupted before it had moved them away.
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 150);
    flip(&segment(dir.path(), 1), frame_of(10) + 500);
    let evidence = [2, 3].map(|id| (id, fs::read(segment(dir.path(), id)).unwrap()));
    drop(options(RecoveryPolicy::Salvage).open(dir.path()).unwrap());
    for (id, bytes) in &evidence {
        fs::write(segment(dir.path(), *id), bytes).unwrap();
    }
    let (_, recovery) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
    let kept = recovery.report().quarantined.iter().map(|kept| fs::read(kept).unwrap());
    assert!(kept.eq(evidence.iter().map(|(_, bytes)| bytes.clone())));
    assert!(evidence.iter().all(|(id, _)| !segment(dir.path(), *id).exists()));
}

#[test]
fn without_any_readable_checkpoint_salvage_starts_at_the_first_record_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 150);
    let (wal, _) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
    wal.checkpoint(Lsn::new(100), b"").unwrap();
    wal.checkpoint(Lsn::new(130), b"").unwrap();
    wal.close().unwrap();
    assert!(!segment(dir.path(), 1).exists());
    for generation in 1..=2 {
        flip(&dir.path().join(format!("ckpt-{generation:016x}.man")), 70);
    }
    let strict = options(RecoveryPolicy::Strict).open(dir.path());
    assert!(matches!(strict, Err(WalError::Corrupt { kind: DamageKind::Checkpoint, .. })));
    let (_, found) = stepped_over(dir.path(), RecoveryPolicy::Salvage, 150);
    assert_eq!(found.into_keys().collect::<Vec<_>>(), (60..=150).collect::<Vec<_>>());
}

#[test]
fn an_older_copy_of_a_segment_does_not_pass_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
    for n in 1..=20 {
        wal.append(&[n; 1_000]).unwrap();
    }
    let older = fs::read(segment(dir.path(), 1)).unwrap();
    for n in 21..=100 {
        wal.append(&[n; 1_000]).unwrap();
    }
    drop(wal);
    fs::write(segment(dir.path(), 1), older).unwrap();
    for verify in [VerifyOnOpen::Full, VerifyOnOpen::TailOnly] {
        let opened = options(RecoveryPolicy::Strict).verify_on_open(verify).open(dir.path());
        assert!(opened.is_err_and(|error| error.is_damage()), "{verify:?}");
    }
}

#[test]
fn seals_are_believed_as_far_as_asked_and_the_records_read_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 200);
    let inspection = Wal::options().inspect(dir.path()).unwrap();
    let ends: Vec<_> = inspection.segments.iter().map(|segment| segment.end).collect();
    assert!(ends.starts_with(&[SegmentEnd::Sealed; 3]), "{ends:?}");
    // Only a full verification reads the damaged record.
    flip(&segment(dir.path(), 2), frame_of(5) + 500);
    let open = |verify| options(RecoveryPolicy::Strict).verify_on_open(verify).open(dir.path());
    for verify in [VerifyOnOpen::Full, VerifyOnOpen::SinceCheckpoint] {
        assert!(open(verify).is_err_and(|error| error.is_damage()), "{verify:?}");
    }
    let (wal, recovery) = open(VerifyOnOpen::TailOnly).unwrap();
    assert_eq!(recovery.report().last_lsn, Lsn::new(200));
    let read: Vec<_> = wal.reader(Lsn::new(1)).collect();
    assert_eq!(read.iter().filter(|record| record.is_ok()).count(), 199);
    assert!(matches!(wal.read(Lsn::new(64)), Err(WalError::Corrupt { .. })));
    assert_eq!(wal.read(Lsn::new(65)).unwrap().payload, [65; 1_000]);
    assert_eq!(wal.read(Lsn::new(1)).unwrap().payload, [1; 1_000]);
    // From the checkpoint on nothing is damaged.
    wal.checkpoint(Lsn::new(150), b"").unwrap();
    wal.close().unwrap();
    let (_, recovery) = open(VerifyOnOpen::SinceCheckpoint).unwrap();
    assert!(recovery.report().is_clean());
    assert!(open(VerifyOnOpen::Full).is_err_and(|error| error.is_damage()));
}

#[test]
fn a_seal_that_lies_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 100);
    let path = segment(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    let used = whole.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    for at in (frame_of(60)..used).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        let options = options(RecoveryPolicy::Strict).verify_on_open(VerifyOnOpen::TailOnly);
        // The segment is read instead, and the damaged seal is found there.
        assert!(options.open(dir.path()).is_err_and(|error| error.is_damage()), "byte {at}");
    }
}

#[test]
fn several_threads_find_what_one_finds() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 250);
    for damage in [false, true] {
        if damage {
            flip(&segment(dir.path(), 2), frame_of(5) + 500);
            flip(&segment(dir.path(), 4), frame_of(7) + 500);
        }
        let open = |threads| {
            let options = options(RecoveryPolicy::Strict).recovery_threads(threads).unwrap();
            options
                .open(dir.path())
                .map(|(wal, _)| records(&wal))
                .map_err(|error| error.to_string())
        };
        let one = open(1);
        assert_eq!(one.is_err(), damage);
        assert_eq!(one, open(3));
    }
    assert!(options(RecoveryPolicy::Strict).recovery_threads(0).is_err());
}
