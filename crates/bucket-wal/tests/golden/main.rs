//! Logs as they were written by each version of the format, kept and opened for ever.
//!
//! Each directory `vN/CASE` is a log, beside a text `EXPECTED` that says what is in it. They are never
//! changed; a new format gets new ones beside them, made by [`make`]:
//!
//! ```text
//! BUCKET_WAL_GOLDEN=$PWD/crates/bucket-wal/tests/golden/v2 cargo test -p bucket-wal --test golden
//! ```
#![cfg(not(bucket_loom))]

mod describe;
mod make;

use std::fs;
use std::path::{Path, PathBuf};

use bucket_wal::{RecoveryPolicy, Wal};

/// The version that this one writes.
const NEWEST: &str = "v1";

#[test]
fn every_log_that_was_kept_opens_and_holds_what_it_held() {
    let mut seen = Vec::new();
    for version in folders(&root()) {
        for case in folders(&version) {
            let expected = read_expected(&case);
            let lifecycle = expected.starts_with("lifecycle: yes");
            let found = describe::describe(&log_of(&case), lifecycle);
            assert_same(&case, &found, &expected);
            let name = case.strip_prefix(root()).expect("it is below");
            seen.push(name.to_string_lossy().replace('\\', "/"));
        }
    }
    // Whoever loses one of them loses the proof that it can be read.
    let kept = make::CASES.iter().map(|case| format!("v1/{}", case.name));
    let missing: Vec<_> = kept.filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} are gone");
}

#[test]
fn a_log_that_was_kept_goes_on() {
    for version in folders(&root()) {
        for case in folders(&version) {
            let (dir, log) = copy(&log_of(&case));
            let lifecycle = read_expected(&case).starts_with("lifecycle: yes");
            let options = Wal::options().recovery(RecoveryPolicy::Salvage).lifecycle(lifecycle);
            let (wal, recovery) =
                options.clone().open(&log).expect("salvage opens whatever there is");
            let last = recovery.report().last_lsn;
            let lsn = wal.append(b"after all these years").expect("the disk is healthy");
            assert_eq!(lsn.get(), last.get() + 1, "{}", case.display());
            wal.close().expect("the disk is healthy");
            let (wal, recovery) = options
                .recovery(RecoveryPolicy::Strict)
                .open(&log)
                .unwrap_or_else(|error| panic!("{}: {error}", case.display()));
            assert!(recovery.report().is_clean(), "{}", recovery.report());
            let record = wal.read(lsn).expect("it was acknowledged");
            assert_eq!(record.payload, b"after all these years");
            drop((wal, dir));
        }
    }
}

/// Also makes the directories of a new format, when asked to.
#[test]
fn what_this_version_writes_reads_like_what_was_kept() {
    for case in make::CASES {
        let dir = tempfile::tempdir().expect("there is a temporary folder");
        let log = dir.path().join("log");
        (case.make)(&log);
        make::pack(&log, case.is_whole_file);
        let found = describe::describe(&log, case.lifecycle);
        if let Some(to) = std::env::var_os("BUCKET_WAL_GOLDEN") {
            let to = PathBuf::from(to).join(case.name);
            fs::create_dir_all(to.parent().expect("it has a name")).expect("it can be made");
            // What is kept is never replaced.
            fs::create_dir(&to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
            copy_into(&log, &to.join("log"));
            fs::write(to.join("EXPECTED"), found).expect("the folder is new");
            continue;
        }
        let kept = root().join(NEWEST).join(case.name);
        assert_same(&kept, &found, &read_expected(&kept));
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn log_of(case: &Path) -> PathBuf {
    case.join("log")
}

fn read_expected(case: &Path) -> String {
    let path = case.join("EXPECTED");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names the first line that differs.
fn assert_same(case: &Path, found: &str, expected: &str) {
    let (mut found, mut expected) = (found.lines(), expected.lines());
    loop {
        match (found.next(), expected.next()) {
            (None, None) => return,
            (found, expected) => assert_eq!(found, expected, "{}", case.display()),
        }
    }
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).unwrap_or_else(|error| panic!("{}: {error}", of.display()));
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let mut folders: Vec<_> = paths.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// A log to work on, so that the kept one stays as it is.
fn copy(log: &Path) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("there is a temporary folder");
    let to = dir.path().join("log");
    copy_into(log, &to);
    (dir, to)
}

fn copy_into(from: &Path, to: &Path) {
    fs::create_dir(to).expect("nothing has that name");
    for entry in fs::read_dir(from).expect("the log is there") {
        let entry = entry.expect("it can be listed");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("the disk is healthy");
    }
}
