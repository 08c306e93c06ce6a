//! A segment that is being made and cannot be finished: no name is given, and nothing is left behind.

use std::io;
use std::path::{Path, PathBuf};

use bucket_vfs::sim::{Fault, FaultKind, SimDisk};
use bucket_vfs::{OpenMode, Vfs};

use super::refusing_vfs::{Op, Refusing};
use crate::draft::Draft;
use crate::format::Features;
use crate::planted::Planted;
use crate::segment::{self, HEADER_LEN, Header};
use crate::writer::CommitError;
use crate::{WalError, sync::Arc};

const LOG: &str = "/log";
const ID: u64 = 1;

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.mount().create_dir(Path::new(LOG)).unwrap();
    disk
}

fn names(disk: &SimDisk) -> Vec<PathBuf> {
    let entries = disk.mount().read_dir(Path::new(LOG)).unwrap();
    entries.into_iter().map(|entry| entry.name.into()).collect()
}

fn path(extension: &str) -> PathBuf {
    Path::new(LOG).join(segment::file_name(ID)).with_extension(extension)
}

fn begin(vfs: &dyn Vfs) -> Result<Draft<'_>, WalError> {
    Draft::begin(vfs, Path::new(LOG), ID)
}

fn publish(draft: Draft<'_>) -> Result<(), CommitError> {
    let header = Header {
        log_id: 1,
        segment_id: ID,
        first_lsn: 1,
        epoch: 0,
        prev_segment_id: 0,
        prev_data_len: 0,
        prev_next_lsn: 0,
        prev_chain: 0,
        salt: 0,
        durable_len: HEADER_LEN,
        keeps_evidence: false,
        is_reused: false,
        features: Features::NONE,
    };
    draft.publish(&header, Planted::default()).map(drop)
}

#[track_caller]
fn assert_denied(error: &WalError) {
    match error {
        WalError::Io { op: "create", path: of, source } => {
            assert_eq!((of, source.kind()), (&path("wal"), io::ErrorKind::PermissionDenied));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_of_which_nobody_knows_whether_it_is_taken_is_not_given() {
    let disk = disk();
    let vfs = Refusing::on(disk.mount());
    let draft = begin(&*vfs).unwrap();
    assert_eq!(names(&disk), [path("tmp").file_name().unwrap()]);
    vfs.refuse(Op::Open(OpenMode::Read), path("wal"), 0);
    match publish(draft) {
        Err(CommitError::NotWritten(error)) => assert_denied(&error),
        other => panic!("{other:?}"),
    }
    assert!(names(&disk).is_empty(), "{:?}", names(&disk));
    publish(begin(&*vfs).unwrap()).unwrap();
    assert_eq!(names(&disk), [path("wal").file_name().unwrap()]);
}

#[test]
fn a_name_that_is_taken_is_left_to_whom_it_belongs() {
    let disk = disk();
    let vfs = disk.mount();
    let draft = begin(&*vfs).unwrap();
    let other = vfs.open(&path("wal"), OpenMode::CreateNew).unwrap();
    other.write_all_at(b"of another process", 0).unwrap();
    let fenced = publish(draft);
    assert!(matches!(fenced, Err(CommitError::NotWritten(WalError::Fenced { .. }))), "{fenced:?}");
    assert_eq!(names(&disk), [path("wal").file_name().unwrap()]);
    assert_eq!(other.len().unwrap(), 18);
}

#[test]
fn a_draft_that_cannot_be_written_or_is_given_up_leaves_no_file() {
    let disk = disk();
    let vfs = disk.mount();
    disk.inject(Fault::new(FaultKind::WriteError).on(".tmp"));
    assert!(matches!(begin(&*vfs), Err(WalError::Io { op: "write", .. })));
    assert!(names(&disk).is_empty(), "{:?}", names(&disk));
    drop(begin(&*vfs).unwrap());
    assert!(names(&disk).is_empty(), "{:?}", names(&disk));
    disk.inject(Fault::new(FaultKind::SyncErrorKept).on(".tmp"));
    assert!(matches!(publish(begin(&*vfs).unwrap()), Err(CommitError::NotWritten(_))));
    assert!(names(&disk).is_empty(), "{:?}", names(&disk));
}

#[test]
fn a_left_over_that_cannot_be_removed_is_told_of() {
    let disk = disk();
    let vfs = Refusing::on(disk.mount());
    vfs.refuse(Op::Remove, path("tmp"), 0);
    assert_denied(&begin(&*vfs).unwrap_err());
    assert!(names(&disk).is_empty(), "{:?}", names(&disk));
    // One that can be is replaced.
    let old = disk.mount().open(&path("tmp"), OpenMode::CreateNew).unwrap();
    old.write_all_at(&[1; 10_000], 0).unwrap();
    publish(begin(&*vfs).unwrap()).unwrap();
    let file: Arc<_> = disk.mount().open(&path("wal"), OpenMode::Read).unwrap();
    assert_eq!(file.len().unwrap(), HEADER_LEN);
}
