//! What opening tells: the numbers in the report, and the text of it for people.

use std::path::PathBuf;

use super::damaging::{flip, frame_of, log, options};
use crate::{Damage, DamageKind, Lsn, RecoveryPolicy, RecoveryReport, TailState, Wal, WalError};

/// A log whose first segment has a damaged record, opened: what the report says of what is there.
fn opened(damaged: usize, policy: RecoveryPolicy) -> (tempfile::TempDir, Wal, RecoveryReport) {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 150);
    flip(&dir.path().join("seg-0000000000000001.wal"), frame_of(damaged) + 500);
    let (wal, recovery) = options(policy).open(dir.path()).unwrap();
    let report = recovery.report().clone();
    (dir, wal, report)
}

fn damage() -> Damage {
    let (path, kind) = (PathBuf::from("/log/seg"), DamageKind::Record);
    Damage { path, offset: 4_096, kind, first_lsn: Lsn::new(7), records: 2 }
}

fn empty() -> RecoveryReport {
    RecoveryReport {
        policy: RecoveryPolicy::Strict,
        segments: 0,
        first_lsn: None,
        last_lsn: Lsn::ZERO,
        tail: TailState::Clean,
        copied_records: 0,
        unreadable_checkpoints: 0,
        unreadable_bytes: 0,
        damage: Vec::new(),
        quarantined: Vec::new(),
    }
}

#[test]
fn the_report_of_a_whole_log_has_its_segments_and_its_first_and_last_record() {
    let dir = tempfile::tempdir().unwrap();
    let (_, recovery) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
    assert_eq!(*recovery.report(), empty());
    log(dir.path(), 150);
    let (_, recovery) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
    // The newest record, which nothing vouched for, is copied into a fourth segment.
    let (first_lsn, last_lsn) = (Some(Lsn::new(1)), Lsn::new(150));
    let expected =
        RecoveryReport { segments: 4, first_lsn, last_lsn, copied_records: 1, ..empty() };
    assert_eq!(*recovery.report(), expected);
}

#[test]
fn the_report_has_the_first_record_before_the_damage_and_none_that_was_cut_off() {
    let (_dir, wal, report) = opened(10, RecoveryPolicy::Salvage);
    let there = (report.segments, report.first_lsn, report.last_lsn, report.copied_records);
    assert_eq!(there, (2, Some(Lsn::new(1)), Lsn::new(150), 140), "{report}");
    assert_eq!(wal.reader(Lsn::new(1)).count(), 149);

    let (_dir, wal, report) = opened(10, RecoveryPolicy::PointInTime);
    let there = (report.segments, report.first_lsn, report.last_lsn, report.copied_records);
    assert_eq!(there, (2, Some(Lsn::new(1)), Lsn::new(150), 0), "{report}");
    assert_eq!(wal.reader(Lsn::new(1)).count(), 9);
    for lsn in 10..=151 {
        assert!(matches!(wal.read(Lsn::new(lsn)), Err(WalError::NotFound { .. })), "{lsn}");
    }

    // The first of all: what is behind it in the file is not there any more.
    let (_dir, wal, report) = opened(1, RecoveryPolicy::PointInTime);
    assert_eq!((report.segments, report.first_lsn), (2, None), "{report}");
    assert_eq!(wal.reader(Lsn::new(1)).count(), 0);
}

#[test]
fn damage_is_told_with_the_record_and_the_loss_where_they_are_known() {
    let known = damage();
    let text = "/log/seg: byte 4096: the content of a record does not validate";
    assert_eq!(known.to_string(), format!("{text}, from record 7, 2 lost"));
    let nobody_can_tell = Damage { records: 0, ..damage() };
    assert_eq!(nobody_can_tell.to_string(), format!("{text}, from record 7"));
    let no_record = Damage { first_lsn: Lsn::ZERO, ..damage() };
    assert_eq!(no_record.to_string(), format!("{text}, 2 lost"));
    let neither = Damage { first_lsn: Lsn::ZERO, records: 0, ..damage() };
    assert_eq!(neither.to_string(), text);
}

#[test]
fn every_kind_of_damage_has_a_text_of_its_own() {
    let texts = [
        (DamageKind::Chain, "the records before it are others than the next segment follows"),
        (DamageKind::Checkpoint, "no checkpoint can be read"),
        (DamageKind::Frame, "no valid frame where one was durable"),
        (DamageKind::Header, "the header does not validate"),
        (DamageKind::Identity, "it belongs to another log"),
        (DamageKind::Missing, "the file is gone"),
        (DamageKind::Order, "a record number is out of order"),
        (DamageKind::Record, "the content of a record does not validate"),
        (DamageKind::Tail, "the newest record does not validate"),
    ];
    for (kind, text) in texts {
        assert_eq!(kind.to_string(), text);
    }
}

#[test]
fn the_report_tells_what_there_is_and_is_silent_of_what_there_is_not() {
    assert_eq!(empty().to_string(), "0 segments");
    let whole = RecoveryReport {
        segments: 3,
        first_lsn: Some(Lsn::new(5)),
        last_lsn: Lsn::new(90),
        ..empty()
    };
    assert_eq!(whole.to_string(), "3 segments, records 5 to 90");
    let all = RecoveryReport {
        tail: TailState::Damaged,
        copied_records: 4,
        unreadable_checkpoints: 1,
        unreadable_bytes: 4_096,
        damage: vec![damage(), Damage { records: 0, ..damage() }],
        quarantined: vec!["/log/quarantine/seg.0".into(), "/log/quarantine/seg.1".into()],
        ..whole
    };
    let text = "3 segments, records 5 to 90, damaged tail, 4 newest records copied and synced, \
                1 unreadable checkpoints, 4096 bytes could not be read\n\
                /log/seg: byte 4096: the content of a record does not validate, from record 7, 2 lost\n\
                /log/seg: byte 4096: the content of a record does not validate, from record 7\n\
                kept as /log/quarantine/seg.0\n\
                kept as /log/quarantine/seg.1";
    assert_eq!(all.to_string(), text);
    let torn = RecoveryReport { tail: TailState::Torn, ..empty() };
    assert_eq!(torn.to_string(), "0 segments, torn tail (nothing in it was acknowledged)");
    assert_eq!((all.damaged_records(), all.is_clean(), torn.is_clean()), (2, false, true));
}
