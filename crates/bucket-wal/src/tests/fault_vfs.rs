//! A file layer that fails on demand: full disk, failing syncs.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bucket_vfs::{DirEntry, DurableWrites, LockError, OpenMode, StdVfs, Vfs, VfsFile, VfsLock};

use crate::sync::Mutex;

#[derive(Debug)]
pub(super) struct FaultVfs {
    faults: Arc<Faults>,
}

#[derive(Debug)]
pub(super) struct Faults {
    /// No file may grow beyond this length.
    pub(super) max_len: AtomicU64,
    pub(super) fail_sync: AtomicBool,
    pub(super) fail_sync_dir: AtomicBool,
    pub(super) syncs: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) reads: AtomicU64,
    /// The byte at this offset of any file cannot be read.
    pub(super) unreadable: AtomicU64,
    /// Files whose writes are durable are opened through the page cache; not at all unless set.
    pub(super) takes_cached: AtomicBool,
    /// The same past the page cache.
    pub(super) takes_direct: AtomicBool,
    /// Runs when the first segment is next opened for reading, before it is.
    pub(super) before_open: Mutex<Option<Hook>>,
}

pub(super) struct Hook(pub(super) Box<dyn FnOnce() + Send>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

impl FaultVfs {
    pub(super) fn new() -> (Arc<Self>, Arc<Faults>) {
        let faults = Arc::new(Faults {
            max_len: AtomicU64::new(u64::MAX),
            fail_sync: AtomicBool::new(false),
            fail_sync_dir: AtomicBool::new(false),
            syncs: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            unreadable: AtomicU64::new(u64::MAX),
            takes_cached: AtomicBool::new(false),
            takes_direct: AtomicBool::new(false),
            before_open: Mutex::new(None),
        });
        (Arc::new(Self { faults: Arc::clone(&faults) }), faults)
    }
}

#[derive(Debug)]
struct FaultFile {
    inner: Arc<dyn VfsFile>,
    faults: Arc<Faults>,
}

impl VfsFile for FaultFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.faults.reads.fetch_add(1, Ordering::SeqCst);
        let unreadable = self.faults.unreadable.load(Ordering::SeqCst);
        if (offset..offset + buf.len() as u64).contains(&unreadable) {
            return Err(io::Error::other("planted read failure"));
        }
        self.inner.read_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.faults.writes.fetch_add(1, Ordering::SeqCst);
        if offset + buf.len() as u64 > self.faults.max_len.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.write_all_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.syncs.fetch_add(1, Ordering::SeqCst);
        if self.faults.fail_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("planted sync failure"));
        }
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

impl Vfs for FaultVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        if mode == OpenMode::Read && path.ends_with(crate::segment::file_name(1)) {
            let hook = self.faults.before_open.lock().take();
            if let Some(Hook(run)) = hook {
                run();
            }
        }
        let inner = StdVfs::new().open(path, mode)?;
        Ok(Arc::new(FaultFile { inner, faults: Arc::clone(&self.faults) }))
    }

    fn open_durable(&self, path: &Path, writes: DurableWrites) -> io::Result<Arc<dyn VfsFile>> {
        let takes = match writes {
            DurableWrites::Cached => &self.faults.takes_cached,
            _ => &self.faults.takes_direct,
        };
        if !takes.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let inner = StdVfs::new().open_durable(path, writes)?;
        Ok(Arc::new(FaultFile { inner, faults: Arc::clone(&self.faults) }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        StdVfs::new().create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        StdVfs::new().read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        StdVfs::new().rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        StdVfs::new().remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if self.faults.fail_sync_dir.load(Ordering::SeqCst) {
            return Err(io::Error::other("planted sync failure"));
        }
        StdVfs::new().sync_dir(path)
    }

    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn VfsLock>, LockError> {
        StdVfs::new().lock(path, holder)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        StdVfs::new().available_bytes(path)
    }
}
