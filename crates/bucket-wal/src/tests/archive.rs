//! The archive: what is removed from the log is there, and what a sink does not take stays.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bucket_core::ByteCount;
use bucket_vfs::OpenMode;
use bucket_vfs::sim::{SimDisk, Survivors};

use crate::{ArchiveDir, ArchiveSink, Lsn, SealedSegment, Verdict, Wal, WalError, WalOptions};

fn options(disk: &SimDisk) -> WalOptions {
    let options = Wal::options().segment_size(ByteCount::kib(64)).unwrap();
    options.vfs(disk.mount()).housekeeping_by_hand(true)
}

fn archive(disk: &SimDisk) -> Arc<ArchiveDir> {
    Arc::new(ArchiveDir::new("/archive").vfs(disk.mount()))
}

/// Appends and takes checkpoints so that most of the log is not needed.
fn churn(wal: &Wal) -> Lsn {
    let last = (0..60_u8).map(|n| wal.append(&vec![n | 1; 5_000]).unwrap()).max().unwrap();
    (0..2).for_each(|_| wal.checkpoint(last, b"").unwrap());
    last
}

/// The records of a directory that look like those of a log.
fn records(disk: &SimDisk, dir: &str) -> BTreeMap<u64, Vec<u8>> {
    let mut found = BTreeMap::new();
    let range = Lsn::new(1)..=Lsn::new(u64::MAX);
    let inspection = options(disk).inspect_records(dir, range, &mut |record| {
        found.insert(record.lsn.get(), record.payload);
        ControlFlow::Continue(())
    });
    assert_eq!(inspection.unwrap().verdict(), Verdict::Whole);
    found
}

/// A sink that fails when it is told to.
#[derive(Debug)]
struct Moody {
    inner: ArchiveDir,
    fails: AtomicBool,
    calls: AtomicUsize,
}

impl ArchiveSink for Moody {
    fn archive(&self, segment: &SealedSegment) -> io::Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::HostUnreachable.into());
        }
        self.inner.archive(segment)
    }
}

/// The log gives a segment up once its copy is durable, and its copy is only where its directory is.
#[test]
fn an_archive_whose_directory_somebody_else_made_survives_a_power_loss() {
    let disk = SimDisk::new();
    let (vfs, dir) = (disk.mount(), Path::new("/other/archive"));
    vfs.create_dir(Path::new("/other")).unwrap();
    vfs.create_dir(dir).unwrap();
    let archive = Arc::new(ArchiveDir::new(dir).vfs(vfs));
    // Syncs the root, as the parent of its own directory.
    let (wal, _) = options(&disk).archive(archive).open(Path::new("/log")).unwrap();
    let last = churn(&wal);
    wal.housekeep().unwrap();
    assert!(wal.stats().archived > 0);
    disk.crash(Survivors::None);
    let mut all = records(&disk, "/other/archive");
    all.extend(records(&disk, "/log"));
    assert!(all.keys().copied().eq(1..=last.get()));
}

#[test]
fn what_the_log_gives_up_is_in_the_archive_and_can_be_read_like_a_log() {
    let disk = SimDisk::new();
    let (wal, _) = options(&disk).archive(archive(&disk)).open(Path::new("/log")).unwrap();
    let last = churn(&wal);
    assert!(wal.read(Lsn::new(1)).is_ok(), "a checkpoint does not wait for the archive");
    wal.housekeep().unwrap();
    let stats = wal.stats();
    assert!(stats.archived >= 4 && stats.archive_failures == 0, "{stats:?}");
    assert!(wal.read(Lsn::new(1)).is_err());
    let archived = records(&disk, "/archive");
    let mut all = archived.clone();
    all.extend(records(&disk, "/log"));
    assert!(all.keys().copied().eq(1..=last.get()));
    assert!(all.iter().all(|(lsn, payload)| *payload == vec![(lsn - 1) as u8 | 1; 5_000]));
    // As a log of its own, it goes on where the archive ends.
    drop(wal);
    let (restored, recovery) = options(&disk).open(Path::new("/archive")).unwrap();
    assert!(recovery.report().is_clean());
    assert_eq!(restored.reader(Lsn::new(1)).count(), archived.len());
}

#[test]
fn a_sink_that_fails_keeps_the_segments_and_is_asked_again() {
    let disk = SimDisk::new();
    let sink = Arc::new(Moody {
        inner: ArchiveDir::new("/archive").vfs(disk.mount()),
        fails: AtomicBool::new(true),
        calls: AtomicUsize::new(0),
    });
    let options = options(&disk).archive(Arc::clone(&sink) as Arc<dyn ArchiveSink>);
    let (wal, _) = options.lifecycle(true).open(Path::new("/log")).unwrap();
    let settle = |wal: &Wal| {
        wal.pending().into_iter().for_each(|op| drop(wal.complete(op).unwrap()));
        wal.sync().unwrap();
    };
    churn(&wal);
    settle(&wal);
    wal.housekeep().unwrap();
    assert!(wal.read(Lsn::new(1)).is_ok(), "nobody has it but the log");
    let (calls, failures) = (sink.calls.load(Ordering::SeqCst), wal.stats().archive_failures);
    assert!(calls > 0 && failures == calls as u64 && wal.stats().archived == 0);
    sink.fails.store(false, Ordering::SeqCst);
    churn(&wal);
    settle(&wal);
    wal.housekeep().unwrap();
    assert!(wal.stats().archived >= 4);
    assert!(wal.read(Lsn::new(1)).is_err());
    assert!(records(&disk, "/archive").contains_key(&1));
    // It remembers what it has archived, and does not hand it out again.
    wal.checkpoint(wal.durable_lsn(), b"").unwrap();
    let calls = sink.calls.load(Ordering::SeqCst);
    wal.housekeep().unwrap();
    assert_eq!(sink.calls.load(Ordering::SeqCst), calls);
}

#[test]
fn a_segment_that_comes_again_is_recognized_and_another_one_is_refused() {
    let disk = SimDisk::new();
    let (wal, _) = options(&disk).open(Path::new("/log")).unwrap();
    churn(&wal);
    wal.close().unwrap();
    let copy = |from: &str, to: &str| {
        let vfs = disk.mount();
        let source = vfs.open(Path::new(from), OpenMode::Read).unwrap();
        let mut bytes = vec![0; source.len().unwrap() as usize];
        source.read_exact_at(&mut bytes, 0).unwrap();
        let file = vfs.open(Path::new(to), OpenMode::CreateNew).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
    };
    let newest = |wal: &Wal| wal.reader(Lsn::new(1)).last().unwrap().unwrap().lsn;
    let segment = |disk: &SimDisk| {
        let found = options(disk).inspect("/log").unwrap();
        found.segments.first().unwrap().path.clone()
    };
    let oldest = segment(&disk);
    let name = oldest.file_name().unwrap().to_str().unwrap().to_owned();
    disk.mount().create_dir(Path::new("/archive")).unwrap();
    // A whole copy from before a crash.
    copy(&format!("/log/{name}"), &format!("/archive/{name}"));
    let again = disk.fork();
    let trim = |disk: &SimDisk| {
        let (wal, _) = options(disk).archive(archive(disk)).open(Path::new("/log")).unwrap();
        churn(&wal);
        wal.housekeep().unwrap();
        (wal.stats().archived, wal.stats().archive_failures, newest(&wal))
    };
    let (archived, failures, _) = trim(&again);
    assert!(archived > 0 && failures == 0);
    // One flipped bit in it.
    disk.crash(Survivors::All);
    disk.flip_bit(format!("/archive/{name}"), 8 * 6_000).unwrap();
    disk.drop_caches();
    let (archived, failures, _) = trim(&disk);
    assert_eq!(archived, 0);
    assert!(failures > 0);
    assert_eq!(segment(&disk), oldest, "it stays where it is");
}

/// It went to the archive on the caller's thread, beside the housekeeping and however slow it is.
#[test]
fn a_checkpoint_that_finds_no_space_leaves_the_archive_to_the_housekeeping() {
    let (disk, elsewhere) = (SimDisk::new(), SimDisk::new());
    let sink = Arc::new(Moody {
        inner: ArchiveDir::new("/archive").vfs(elsewhere.mount()),
        fails: AtomicBool::new(false),
        calls: AtomicUsize::new(0),
    });
    let options = options(&disk).archive(Arc::clone(&sink) as Arc<dyn ArchiveSink>);
    let (wal, _) = options.open("/log").unwrap();
    let last = churn(&wal);
    disk.set_capacity(Some(0));
    // Longer than a file in reserve.
    let refused = wal.checkpoint(last, vec![1; 60_000].as_slice()).unwrap_err();
    assert!(matches!(refused, WalError::NoSpace { .. }), "{refused}");
    assert_eq!(sink.calls.load(Ordering::SeqCst), 0);

    let before = wal.stats().log_bytes;
    wal.housekeep().unwrap();
    let stats = wal.stats();
    assert!(stats.archived >= 4 && stats.log_bytes < before, "{stats:?}");
}
