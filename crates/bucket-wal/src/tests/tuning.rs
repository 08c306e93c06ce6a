//! Tuning: what it stores, what opening makes of that, and what is left when it is interrupted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bucket_core::testing::ManualClock;
use bucket_core::{Clock, Tick};
use bucket_vfs::sim::{Fault, FaultKind, SimDisk, Survivors};
use bucket_vfs::{DirEntry, DurableWrites, LockError, OpenMode, StdVfs, Vfs, VfsFile, VfsLock};

use crate::{SyncMethod, Wal, WalError, WalOptions, tuning};

const DIR: &str = "/log";

#[test]
fn opening_uses_what_tuning_has_stored_unless_told_otherwise() {
    let disk = SimDisk::new();
    let open = |options: WalOptions| {
        let (wal, _) = options.vfs(disk.mount()).open(DIR).unwrap();
        wal.append(b"one").unwrap();
        wal.stats().sync_method
    };
    assert_eq!(open(Wal::options()), SyncMethod::Fdatasync);
    store(&disk, b"sync_method o_dsync");
    assert_eq!(open(Wal::options()), SyncMethod::ODsync);
    assert_eq!(open(Wal::options().sync_method(SyncMethod::Fdatasync)), SyncMethod::Fdatasync);
    let explicit = Wal::options().sync_method(SyncMethod::ODirectODsync);
    assert_eq!(open(explicit), SyncMethod::ODirectODsync);
    store(&disk, b"sync_method telepathy");
    assert_eq!(open(Wal::options()), SyncMethod::Fdatasync);
    disk.mount().remove_file(&Path::new(DIR).join(tuning::FILE)).unwrap();
    assert_eq!(open(Wal::options()), SyncMethod::Fdatasync);
}

/// What [`WalOptions::tune`] writes, with a line of its own choice.
fn store(disk: &SimDisk, line: &[u8]) {
    let mut text = b"bucket-wal tuning 1\n".to_vec();
    text.extend_from_slice(line);
    let check = crc32fast::hash(&[&text[..], b"\n"].concat());
    text.extend_from_slice(format!("\ncheck {check:08x}\n").as_bytes());
    bucket_vfs::write_atomic(&*disk.mount(), &Path::new(DIR).join(tuning::FILE), &text).unwrap();
}

#[test]
fn tuning_stores_the_fastest_and_the_next_opening_uses_it() {
    for (fastest, [dsync, direct]) in [
        (SyncMethod::Fdatasync, [99, 100]),
        (SyncMethod::ODsync, [80, 99]),
        (SyncMethod::ODirectODsync, [80, 70]),
    ] {
        let disk = SimDisk::new();
        let clock = Arc::new(ManualClock::new());
        let micros = [100, dsync, direct].map(Duration::from_micros);
        let vfs = Arc::new(Slow { inner: disk.mount(), clock: Arc::clone(&clock), micros });
        let options = Wal::options().vfs(vfs);
        let tuning = tuning::tune(&options, Path::new(DIR), &*clock).unwrap();
        assert_eq!(tuning.sync_method, fastest, "{tuning}");
        assert_eq!(tuning.figures.len(), 9);
        assert!(tuning.figures.iter().all(|figure| figure.time.is_some()), "{tuning}");
        assert!(clock.now().since(Tick::ZERO) < Duration::from_secs(2));
        // Nothing is left but the answer, and it survives a loss of power.
        disk.crash(Survivors::None);
        let files: Vec<_> = disk.durable_files().into_iter().map(|(path, _)| path).collect();
        let name = |name| Path::new(DIR).join(name);
        assert_eq!(
            files.iter().filter(|path| **path != name("LOCK")).collect::<Vec<_>>(),
            [&name(tuning::FILE)]
        );
        let (wal, _) = Wal::options().vfs(disk.mount()).open(DIR).unwrap();
        assert_eq!(wal.stats().sync_method, fastest);
    }
}

#[test]
fn tuning_is_refused_beside_a_living_owner_and_keeps_what_there_was_when_it_fails() {
    let disk = SimDisk::new();
    store_in_new_log(&disk, b"sync_method o_dsync");
    let options = Wal::options().vfs(disk.mount());
    let (wal, _) = options.clone().open(DIR).unwrap();
    assert!(matches!(options.tune(DIR), Err(WalError::Locked { .. })));
    drop(wal);
    disk.inject(Fault::new(FaultKind::SyncErrorDropped).after(5));
    let clock = ManualClock::new();
    let failed = tuning::tune(&options, Path::new(DIR), &clock);
    assert!(matches!(failed, Err(WalError::Io { .. })), "{failed:?}");
    let left = disk.mount().read_dir(Path::new(DIR)).unwrap();
    assert!(left.iter().all(|entry| !entry.name.to_string_lossy().ends_with(".tmp")), "{left:?}");
    let (wal, _) = options.open(DIR).unwrap();
    assert_eq!(wal.stats().sync_method, SyncMethod::ODsync);
}

fn store_in_new_log(disk: &SimDisk, line: &[u8]) {
    disk.mount().create_dir(Path::new(DIR)).unwrap();
    store(disk, line);
}

#[test]
fn what_an_interrupted_tuning_left_behind_is_removed_by_opening_and_the_log_is_whole() {
    let disk = SimDisk::new();
    let options = Wal::options().vfs(disk.mount());
    let (wal, _) = options.clone().open(DIR).unwrap();
    let lsn = wal.append(b"one").unwrap();
    wal.close().unwrap();
    disk.power_off_at(disk.operations() + 200);
    tuning::tune(&options, Path::new(DIR), &ManualClock::new()).unwrap_err();
    assert!(disk.is_off());
    disk.crash(Survivors::All);
    let names = || {
        let entries = disk.mount().read_dir(Path::new(DIR)).unwrap();
        entries.into_iter().map(|entry| PathBuf::from(entry.name)).collect::<Vec<_>>()
    };
    assert!(names().iter().any(|name| name.extension().is_some_and(|e| e == "tmp")));
    let (wal, recovery) = Wal::options().vfs(disk.mount()).open(DIR).unwrap();
    assert!(recovery.report().is_clean());
    assert_eq!(wal.read(lsn).unwrap().payload, b"one");
    assert!(names().iter().all(|name| name.extension().is_none_or(|e| e != "tmp")));
}

/// A disk on which a durable write takes a time of its own by each method, by a clock that stands still
/// otherwise.
#[derive(Debug)]
struct Slow {
    inner: Arc<dyn Vfs>,
    clock: Arc<ManualClock>,
    /// By sync, through the page cache, directly.
    micros: [Duration; 3],
}

#[derive(Debug)]
struct SlowFile {
    inner: Arc<dyn VfsFile>,
    clock: Arc<ManualClock>,
    write: Duration,
    sync: Duration,
}

impl Slow {
    fn file(&self, inner: Arc<dyn VfsFile>, write: Duration) -> Arc<dyn VfsFile> {
        let sync = self.micros[0];
        Arc::new(SlowFile { inner, clock: Arc::clone(&self.clock), write, sync })
    }
}

impl Vfs for Slow {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        Ok(self.file(self.inner.open(path, mode)?, Duration::ZERO))
    }

    fn open_durable(&self, path: &Path, writes: DurableWrites) -> io::Result<Arc<dyn VfsFile>> {
        let nth = if writes == DurableWrites::Cached { 1 } else { 2 };
        Ok(self.file(self.inner.open_durable(path, writes)?, self.micros[nth]))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn VfsLock>, LockError> {
        self.inner.lock(path, holder)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        self.inner.available_bytes(path)
    }
}

impl VfsFile for SlowFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.clock.advance(self.write);
        self.inner.write_all_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.clock.advance(self.sync);
        self.inner.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn alignment(&self) -> usize {
        self.inner.alignment()
    }
}

/// The real clock and the real disk; what is fastest there is not for a test to say.
#[test]
fn a_real_disk_can_be_tuned() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let tuning = Wal::options().vfs(Arc::new(StdVfs::new())).tune(&log).unwrap();
    println!("{tuning}");
    assert_eq!(tuning::stored(&StdVfs::new(), &log), Some(tuning.sync_method));
}
