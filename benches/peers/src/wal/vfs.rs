//! Files that count what is written and take their time to sync.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
        Ok(Arc::new(WatchedFile { inner, counts, sync: self.sync }))
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
    sync: Duration,
}

impl VfsFile for WatchedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.counts.bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.inner.write_all_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
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
