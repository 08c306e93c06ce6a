//! A file layer that remembers which operations were done, and refuses one that is named to it.

use std::io;
use std::path::{Path, PathBuf};

use bucket_vfs::{DirEntry, LockError, OpenMode, Vfs, VfsFile, VfsLock};

use crate::sync::{Arc, Mutex};

/// What is done with a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    CreateDir,
    Open(OpenMode),
    Remove,
    SyncDir,
}

#[derive(Debug)]
pub(crate) struct Refusing {
    disk: Arc<dyn Vfs>,
    refusal: Mutex<Option<Refusal>>,
    done: Mutex<Vec<(Op, PathBuf)>>,
}

#[derive(Debug)]
struct Refusal {
    op: Op,
    path: PathBuf,
    /// So many are done before.
    skip: u64,
}

impl Refusing {
    pub(crate) fn on(disk: Arc<dyn Vfs>) -> Arc<Self> {
        Arc::new(Self { disk, refusal: Mutex::new(None), done: Mutex::new(Vec::new()) })
    }

    /// Refuses the operation once, after it was done `skip` times: permission denied.
    pub(crate) fn refuse(&self, op: Op, path: impl Into<PathBuf>, skip: u64) {
        *self.refusal.lock() = Some(Refusal { op, path: path.into(), skip });
    }

    /// Whether what was to be refused has been.
    pub(crate) fn has_refused(&self) -> bool {
        self.refusal.lock().is_none()
    }

    /// What was done or refused since this was last asked.
    pub(crate) fn done(&self) -> Vec<(Op, PathBuf)> {
        std::mem::take(&mut *self.done.lock())
    }

    fn begin(&self, op: Op, path: &Path) -> io::Result<()> {
        self.done.lock().push((op, path.to_owned()));
        let mut refusal = self.refusal.lock();
        match &mut *refusal {
            Some(named) if named.op == op && named.path == path => {
                if named.skip == 0 {
                    *refusal = None;
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                named.skip -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Vfs for Refusing {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        self.begin(Op::Open(mode), path)?;
        self.disk.open(path, mode)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.begin(Op::CreateDir, path)?;
        self.disk.create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.begin(Op::Remove, path)?;
        self.disk.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.begin(Op::SyncDir, path)?;
        self.disk.sync_dir(path)
    }

    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn VfsLock>, LockError> {
        self.disk.lock(path, holder)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.available_bytes(path)
    }
}
