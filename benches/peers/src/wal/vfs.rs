//! Files that count what is written, note where, and take their time to sync.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bucket_vfs::{DirEntry, LockError, OpenMode, StdVfs, Vfs, VfsFile, VfsLock};

use crate::harness::{now, pause, since};

/// The file system of the machine, watched.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    inner: StdVfs,
    counts: Arc<Counts>,
    /// How long every sync of a file takes at least.
    sync: Duration,
}

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    bytes: AtomicU64,
    syncs: AtomicU64,
    sync_nanos: AtomicU64,
    files: AtomicU64,
    calls: Mutex<Option<Vec<Call>>>,
}

/// A write, or a sync where `len` is 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// The how manieth file that was opened.
    file: u64,
    offset: u64,
    pub(super) len: usize,
}

impl Call {
    /// A place in one file that has room for all of them.
    pub(super) const fn place(&self) -> u64 {
        // Longer than any segment here.
        self.file * (128 << 20) + self.offset
    }
}

impl Counts {
    /// Bytes written to files, zeros included.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many syncs there were, and how long they took together.
    pub(super) fn syncs(&self) -> (u64, Duration) {
        let nanos = self.sync_nanos.load(Ordering::Relaxed);
        (self.syncs.load(Ordering::Relaxed), Duration::from_nanos(nanos))
    }
}

impl Counts {
    /// Notes the calls from now on.
    pub(super) fn note_calls(&self) {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Vec::with_capacity(1 << 16));
    }

    /// The calls that were noted, as if the first of their files had been opened first.
    pub(super) fn take_calls(&self) -> Vec<Call> {
        let noted = self.calls.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut calls = noted.unwrap_or_default();
        let mut files: Vec<u64> = calls.iter().map(|call| call.file).collect();
        files.sort_unstable();
        files.dedup();
        for call in &mut calls {
            call.file = files.partition_point(|file| *file < call.file) as u64;
        }
        calls
    }

    fn note(&self, file: u64, offset: u64, len: usize) {
        if let Some(calls) = &mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner) {
            calls.push(Call { file, offset, len });
        }
    }
}

impl Watched {
    /// Every sync takes at least `sync`; zero leaves them as they are.
    pub(super) fn new(sync: Duration) -> Self {
        Self { sync, ..Self::default() }
    }

    pub(super) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

impl Vfs for Watched {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let (inner, counts) = (self.inner.open(path, mode)?, self.counts());
        let number = counts.files.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(WatchedFile { inner, counts, number, sync: self.sync }))
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

#[derive(Debug)]
struct WatchedFile {
    inner: Arc<dyn VfsFile>,
    counts: Arc<Counts>,
    number: u64,
    sync: Duration,
}

impl VfsFile for WatchedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.counts.bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.counts.note(self.number, offset, buf.len());
        self.inner.write_all_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.counts.note(self.number, 0, 0);
        let start = now();
        self.inner.sync_data()?;
        pause(self.sync.saturating_sub(since(start)));
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(since(start).as_nanos()).unwrap_or(u64::MAX);
        self.counts.sync_nanos.fetch_add(nanos, Ordering::Relaxed);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        // Nothing is written, so nothing is counted.
        self.inner.allocate(offset, len)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}
