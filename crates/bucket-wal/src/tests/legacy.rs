//! Logs in the form in which the original writes them, whole and hurt, surveyed and brought over.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::legacy::{Finding, FindingKind, LegacyError, LineError, MAX_LINE_LEN, Survey};
use crate::{Lsn, Wal};

/// Writes the old form: the fields, their order and the spaces are those of Python's `json.dumps`.
struct Old {
    dir: tempfile::TempDir,
}

impl Old {
    fn new() -> Self {
        let old = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(old.dir.path().join("segments")).unwrap();
        fs::create_dir(old.dir.path().join("checkpoints")).unwrap();
        old
    }

    fn path(&self, segment: &str) -> PathBuf {
        self.dir.path().join("segments").join(segment)
    }

    fn write(&self, segment: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(segment), content).unwrap();
    }

    /// A checkpoint of what the segment is now.
    fn checkpoint(&self, segment: &str, sequence_number: u64) {
        let sum = Sha256::digest(fs::read(self.path(segment)).unwrap());
        let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!(
            "{{\n  \"checkpoint_id\": \"0123456789abcdef\",\n  \"timestamp\": 17000000{sequence_number:02}.5,\n  \
             \"sequence_number\": {sequence_number},\n  \"operations_count\": 10,\n  \
             \"file_path\": \"/home/me/.wal/segments/{segment}\",\n  \"checksum\": \"{sum}\"\n}}"
        );
        let name = format!("checkpoint_17000000{sequence_number:02}_{sequence_number:010}.json");
        fs::write(self.dir.path().join("checkpoints").join(name), text).unwrap();
    }

    fn survey(&self) -> (Survey, Vec<Finding>) {
        let mut findings = Vec::new();
        let mut say = |finding: &Finding| findings.push(finding.clone());
        let found =
            Wal::options().survey_legacy(self.dir.path(), &mut say, &mut |_, _| {}).unwrap();
        assert_eq!(found.findings, findings.len() as u64);
        assert_eq!(found.losses, findings.iter().filter(|f| f.kind.is_loss()).count() as u64);
        (found, findings)
    }

    /// The records of the new log.
    fn import(&self) -> Vec<String> {
        let to = tempfile::tempdir().unwrap();
        let (found, _) = self.survey();
        let count = found.import(Wal::options(), to.path(), &mut |_| {}).unwrap();
        assert_eq!(count, found.operations());
        records(to.path())
    }
}

fn records(dir: &Path) -> Vec<String> {
    let (wal, _) = Wal::open(dir).unwrap();
    wal.reader(Lsn::new(1)).map(|r| String::from_utf8(r.unwrap().payload).unwrap()).collect()
}

fn line(n: u64) -> String {
    line_of(n, r#"{"op": "put", "key": "\u00e9"}"#)
}

fn line_of(n: u64, operation: &str) -> String {
    format!(r#"{{"sequence_number": {n}, "timestamp": 1700000000.{n}, "operation": {operation}}}"#)
}

fn lines(range: impl Iterator<Item = u64>) -> String {
    range.map(|n| line(n) + "\n").collect()
}

const FIRST: &str = "wal_1700000000000_0000000000.log";
const SECOND: &str = "wal_1700000001000_0000000005.log";

fn kinds(findings: &[Finding]) -> Vec<(Option<u64>, FindingKind)> {
    findings.iter().map(|finding| (finding.line, finding.kind.clone())).collect()
}

#[test]
fn operations_of_a_segment_that_grew_after_its_checkpoint_are_kept_and_the_loss_is_explained() {
    let old = Old::new();
    old.write(FIRST, lines(1..=10));
    old.checkpoint(FIRST, 10);
    old.write(FIRST, lines(1..=15));
    let (found, findings) = old.survey();
    assert_eq!((found.operations(), found.original_would_recover), (15, 0));
    assert_eq!(kinds(&findings), [(None, FindingKind::Grown { operations: 15 })]);
    assert!(findings[0].to_string().ends_with(
        "segment grew after its checkpoint: 15 operations that the original would have dropped were kept"
    ));
    assert_eq!(found.losses, 0);
    assert_eq!(old.import(), (1..=15).map(line).collect::<Vec<_>>());
}

#[test]
fn what_a_checkpoint_covers_is_brought_over_although_the_original_skips_it() {
    let old = Old::new();
    old.write(FIRST, lines(1..=5));
    old.checkpoint(FIRST, 5);
    old.write(SECOND, lines(6..=8));
    let (found, findings) = old.survey();
    assert_eq!((found.operations(), found.original_would_recover), (8, 3));
    assert_eq!(findings, []);
    assert_eq!(old.import().len(), 8);
}

#[test]
fn a_line_that_was_changed_is_told_from_a_segment_that_grew() {
    let old = Old::new();
    old.write(FIRST, lines(1..=10));
    old.checkpoint(FIRST, 10);
    old.write(FIRST, lines(1..=12).replacen("put", "pin", 1));
    let (found, findings) = old.survey();
    assert_eq!(kinds(&findings), [(None, FindingKind::Changed)]);
    assert_eq!((found.operations(), found.losses), (12, 1));
}

#[test]
fn every_bad_line_is_reported_with_its_place_and_the_others_are_kept() {
    let old = Old::new();
    let mut content = lines(1..=2).into_bytes();
    content.extend(b"garbage\n\n{\"sequence_number\": 3, \"timestamp\": 1.0}\n\xff\xfe\n");
    content.extend(vec![b'x'; MAX_LINE_LEN + 10]);
    content.extend(b"\n");
    content.extend(line_of(3, "NaN").bytes());
    content.extend(b"\n");
    content.extend(line_of(4, r#""\ud800""#).bytes());
    content.extend(b"\n");
    content.extend(&line(5).as_bytes()[..40]);
    old.write(FIRST, content);
    let (found, findings) = old.survey();
    assert_eq!(
        kinds(&findings),
        [
            (Some(3), FindingKind::BadLine(LineError::NotJson { at: 0 })),
            (Some(4), FindingKind::BadLine(LineError::Empty)),
            (Some(5), FindingKind::BadLine(LineError::NoOperation)),
            (Some(6), FindingKind::BadLine(LineError::NotUtf8 { at: 0 })),
            (Some(7), FindingKind::BadLine(LineError::TooLong)),
            (Some(8), FindingKind::NotStrict),
            (Some(9), FindingKind::NotStrict),
            (Some(10), FindingKind::Torn(LineError::NotJson { at: 40 })),
        ]
    );
    assert_eq!((found.operations(), found.losses), (4, 6));
    assert_eq!(old.import(), [line(1), line(2), line_of(3, "NaN"), line_of(4, r#""\ud800""#)]);
}

#[test]
fn the_longest_line_that_is_taken_fits_a_record_and_one_more_byte_does_not() {
    let old = Old::new();
    let with_len = |len: usize| {
        let empty = line_of(1, r#""""#).len();
        line_of(1, &format!("\"{}\"", "y".repeat(len - empty)))
    };
    old.write(FIRST, with_len(MAX_LINE_LEN) + "\n");
    assert_eq!(old.import()[0].len(), MAX_LINE_LEN);
    old.write(FIRST, with_len(MAX_LINE_LEN + 1) + "\n");
    let (_, findings) = old.survey();
    assert_eq!(kinds(&findings), [(Some(1), FindingKind::BadLine(LineError::TooLong))]);
}

#[test]
fn a_last_line_without_its_end_is_kept_when_it_is_whole() {
    let old = Old::new();
    old.write(FIRST, lines(1..=2).trim_end());
    let (found, findings) = old.survey();
    assert_eq!(kinds(&findings), [(Some(2), FindingKind::NoLineEnd)]);
    assert_eq!((found.losses, old.import().len()), (0, 2));
}

#[test]
fn of_two_equal_lines_one_is_kept_and_of_two_that_differ_both() {
    let old = Old::new();
    let other = line_of(2, "\"other\"");
    old.write(
        FIRST,
        [line(3), line(1), line(2), line(2), other.clone(), line(6)].join("\n") + "\n",
    );
    let (found, findings) = old.survey();
    assert_eq!(
        kinds(&findings),
        [
            (Some(4), FindingKind::Duplicate { sequence_number: 2 }),
            (Some(5), FindingKind::Conflict { sequence_number: 2 }),
            (Some(6), FindingKind::Missing { first: 4, last: 5 }),
        ]
    );
    assert_eq!(found.losses, 1);
    assert_eq!(old.import(), [line(1), line(2), other, line(3), line(6)]);
}

#[test]
fn numbers_that_begin_again_come_after_what_was_written_before() {
    let old = Old::new();
    old.write(FIRST, lines(1..=5));
    let again = |n| line_of(n, "\"again\"");
    old.write(SECOND, [again(1), again(2)].join("\n") + "\n");
    let (found, findings) = old.survey();
    assert_eq!(kinds(&findings), [(None, FindingKind::Restarted)]);
    assert_eq!(found.losses, 0);
    let expected: Vec<_> = (1..=5).map(line).chain([again(1), again(2)]).collect();
    assert_eq!(old.import(), expected);
}

#[test]
fn a_clock_that_went_back_does_not_turn_the_order_round_and_a_copied_segment_is_no_restart() {
    let old = Old::new();
    old.write(SECOND, lines(1..=3));
    old.write(FIRST, lines(4..=6));
    assert_eq!(old.import(), (1..=6).map(line).collect::<Vec<_>>());

    old.write("wal_1700000002000_0000000000.log", lines(2..=3));
    let (found, findings) = old.survey();
    let duplicate = |n| FindingKind::Duplicate { sequence_number: n };
    assert_eq!(kinds(&findings), [(Some(1), duplicate(2)), (Some(2), duplicate(3))]);
    assert_eq!(found.operations(), 6);
}

#[test]
fn other_files_are_named_and_a_bad_checkpoint_is_no_obstacle() {
    let old = Old::new();
    old.write(FIRST, lines(1..=1));
    old.write("notes.txt", "x");
    fs::create_dir(old.path("wal_2.log")).unwrap();
    let checkpoints = old.dir.path().join("checkpoints");
    fs::write(checkpoints.join("checkpoint_1_1.json"), "{").unwrap();
    old.write(SECOND, "");
    old.checkpoint(SECOND, 9);
    fs::remove_file(old.path(SECOND)).unwrap();
    let (found, findings) = old.survey();
    let names: Vec<_> = findings.iter().map(|finding| finding.kind.name()).collect();
    assert_eq!(names, ["unknown", "skipped", "bad_checkpoint", "segment_gone"]);
    assert_eq!((found.operations(), found.losses), (1, 2));
}

#[test]
fn a_target_with_content_is_refused_and_left_alone() {
    let old = Old::new();
    old.write(FIRST, lines(1..=3));
    let (found, _) = old.survey();
    let to = tempfile::tempdir().unwrap();
    found.import(Wal::options(), to.path().join("new"), &mut |_| {}).unwrap();
    let again = found.import(Wal::options(), to.path().join("new"), &mut |_| {});
    assert!(matches!(again, Err(LegacyError::NotEmpty { .. })), "{again:?}");
    assert_eq!(records(&to.path().join("new")).len(), 3);
    // The directory above holds a directory that is none of a log's.
    let foreign = found.import(Wal::options(), to.path(), &mut |_| {});
    assert!(matches!(foreign, Err(LegacyError::NotEmpty { .. })), "{foreign:?}");
    assert!(!to.path().join("LOCK").exists());
}

#[test]
fn a_segment_that_changes_between_survey_and_import_stops_it() {
    let old = Old::new();
    old.write(FIRST, lines(1..=3));
    let (found, _) = old.survey();
    old.write(FIRST, lines(2..=4));
    let to = tempfile::tempdir().unwrap();
    let result = found.import(Wal::options(), to.path(), &mut |_| {});
    assert!(matches!(result, Err(LegacyError::Changed { offset: 0, .. })), "{result:?}");
}

#[test]
fn a_directory_without_segments_is_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let result = Wal::options().survey_legacy(dir.path(), &mut |_| {}, &mut |_, _| {});
    assert!(matches!(result, Err(LegacyError::NotALog { .. })), "{result:?}");
}
