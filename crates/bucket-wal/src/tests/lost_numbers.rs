//! Numbers that were given and lost with their records: no policy gives them again.

use std::fs;
use std::path::{Path, PathBuf};

use bucket_vfs::{OpenMode, StdVfs};

use super::damaging::{flip, frame_of, log, options};
use super::refusing_vfs::{Op, Refusing};
use crate::manifest;
use crate::sync::Arc;
use crate::{DamageKind, Lsn, RecoveryPolicy, Wal, WalError};

/// A record has no fewer bytes than this in its segment.
const SHORTEST: u64 = 5;

/// Appends `count` records of 1 000 bytes: 59 fill a segment.
fn fill(wal: &Wal, count: u64) -> Lsn {
    for _ in 0..count {
        wal.append(&[7; 1_000]).unwrap();
    }
    wal.durable_lsn()
}

fn segment(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("seg-{id:016x}.wal"))
}

/// Opens with salvage, and tells the number of the next record.
fn next_after_salvage(dir: &Path) -> u64 {
    let (wal, recovery) = options(RecoveryPolicy::Salvage).open(dir).unwrap();
    assert!(!recovery.report().is_clean());
    let next = wal.append(b"next").unwrap();
    assert_eq!(wal.read(next).unwrap().payload, b"next");
    next.get()
}

/// The checkpoint tells of a record that was there, and not of those behind it.
#[test]
fn a_newest_segment_that_is_gone_may_have_had_as_many_records_as_fit_into_one() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
    fill(&wal, 60);
    wal.checkpoint(Lsn::new(1), b"").unwrap();
    let newest = fill(&wal, 40);
    drop(wal);
    fs::remove_file(segment(dir.path(), 2)).unwrap();
    let next = next_after_salvage(dir.path());
    assert!(next > newest.get() && next > (4 << 30) / SHORTEST, "{next}");
}

/// Nothing is left but the checkpoint, whether it needs records or none of those that it knows.
#[test]
fn a_log_without_its_segments_is_damaged_and_opens_with_new_numbers() {
    for replay_from in [1, 61] {
        let dir = tempfile::tempdir().unwrap();
        let (wal, _) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
        fill(&wal, 60);
        wal.checkpoint(Lsn::new(replay_from), b"").unwrap();
        let newest = fill(&wal, 40).get();
        drop(wal);
        for id in 1..=2 {
            let _ = fs::remove_file(segment(dir.path(), id));
        }
        match options(RecoveryPolicy::Strict).open(dir.path()) {
            Err(WalError::MissingSegment { .. }) => {}
            other => panic!("from {replay_from}: {other:?}"),
        }
        let next = next_after_salvage(dir.path());
        assert!(next > newest, "number {next} was given before, up to {newest}");
    }
}

/// Nothing is left but a checkpoint that cannot be read.
#[test]
fn a_log_of_which_nothing_can_be_read_opens_with_new_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
    fill(&wal, 20);
    wal.checkpoint(Lsn::new(1), b"").unwrap();
    let newest = fill(&wal, 20).get();
    drop(wal);
    fs::remove_file(segment(dir.path(), 1)).unwrap();
    flip(&manifest::path_of(dir.path(), 1), 100);
    options(RecoveryPolicy::Strict).open(dir.path()).unwrap_err();
    let next = next_after_salvage(dir.path());
    assert!(next > newest, "number {next} was given before, up to {newest}");
}

/// Nothing is known of its records but how many bytes they have.
#[test]
fn a_newest_segment_without_a_header_may_have_had_records_of_no_length() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::options().open(dir.path()).unwrap();
    let given = wal.append_batch(std::iter::repeat_n(&b""[..], 40_000)).unwrap().get();
    drop(wal);
    let newest = segment(dir.path(), 1);
    let written = fs::read(&newest).unwrap();
    let written = written.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1;
    // They are read in pieces, and more than one is needed.
    assert!(written > 3 << 16, "{written}");
    flip(&newest, 20);
    let next = next_after_salvage(dir.path());
    assert!(next > given, "number {next} was given before, up to {given}");
    assert_eq!(
        next,
        written.div_ceil(SHORTEST) + 1,
        "no more are left out than may have been given"
    );
}

/// What is left of the file does not say how many records there were.
#[test]
fn a_newest_segment_that_was_cut_may_have_had_as_many_records_as_fit_into_one() {
    // In a frame, behind a frame, behind the header, in the header, and before it.
    for len in [frame_of(31) + 20, frame_of(31), frame_of(4), 4_096, 4_000, 0] {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), 159);
        let (wal, _) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
        let newest = fill(&wal, 50).get();
        drop(wal);
        let path = segment(dir.path(), 4);
        assert!(path.exists() && !segment(dir.path(), 5).exists());
        fs::File::options().write(true).open(&path).unwrap().set_len(len as u64).unwrap();
        let strict = options(RecoveryPolicy::Strict).open(dir.path());
        assert!(strict.is_err_and(|error| error.is_damage()), "cut to {len} bytes");
        let next = next_after_salvage(dir.path());
        assert!(
            next > newest,
            "cut to {len} bytes, number {next} was given before, up to {newest}"
        );
    }
}

/// The header of a copy vouches for records, and zeros are there, with room behind them.
#[test]
fn a_newest_segment_of_zeros_may_have_had_as_many_records_as_fit_into_one() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 10);
    let (wal, _) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
    let newest = fill(&wal, 5).get();
    drop(wal);
    let path = segment(dir.path(), 2);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096..].fill(0);
    fs::write(&path, bytes).unwrap();
    let next = next_after_salvage(dir.path());
    assert!(next > newest, "number {next} was given before, up to {newest}");
}

/// What follows the damage says which numbers come next.
#[test]
fn damage_before_the_newest_segment_leaves_no_numbers_out() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 150);
    flip(&segment(dir.path(), 1), frame_of(10) + 500);
    assert_eq!(next_after_salvage(dir.path()), 151);
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 150);
    fs::remove_file(segment(dir.path(), 2)).unwrap();
    assert_eq!(next_after_salvage(dir.path()), 151);
}

/// No segment is left, and the checkpoint, which is no segment, is damaged as well.
#[test]
fn a_log_of_which_nothing_validates_opens_with_new_numbers() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 20);
    let (wal, _) = options(RecoveryPolicy::Strict).open(dir.path()).unwrap();
    wal.checkpoint(Lsn::new(1), b"").unwrap();
    wal.close().unwrap();
    flip(&dir.path().join("ckpt-0000000000000001.man"), 70);
    for id in 1..=2 {
        flip(&segment(dir.path(), id), 20);
    }
    let strict = options(RecoveryPolicy::Strict).open(dir.path());
    assert!(matches!(strict, Err(WalError::Corrupt { kind: DamageKind::Checkpoint, .. })));
    assert!(next_after_salvage(dir.path()) > 20);
}

/// The header could be read, and then the file cannot be opened: nobody knows how many records it had.
#[test]
fn a_segment_that_cannot_be_opened_is_not_taken_for_one_without_records() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 100);
    let newest = segment(dir.path(), 2);
    flip(&newest, 20);
    let vfs = Refusing::on(Arc::new(StdVfs::new()));
    vfs.refuse(Op::Open(OpenMode::Read), &newest, 1);
    let opened = options(RecoveryPolicy::Salvage).vfs(vfs.clone()).open(dir.path());
    assert!(vfs.has_refused());
    match opened {
        Err(WalError::Io { op: "read", path, .. }) => assert_eq!(path, newest),
        other => panic!("{other:?}"),
    }
    assert!(newest.exists() && !segment(dir.path(), 3).exists(), "nothing was changed");
    assert!(next_after_salvage(dir.path()) > 100);
}
