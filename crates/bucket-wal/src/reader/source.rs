//! [`Source`]: a segment to be read. Whoever holds its file can read on when the log trims it.

use std::path::PathBuf;
use std::sync::Weak;

use bucket_vfs::{OpenMode, VfsFile};
use crc32fast::Hasher;

use crate::error::WalError;
use crate::index::Index;
use crate::segment::Header;
use crate::sync::{Arc, Mutex};

/// A segment to be read.
pub(crate) struct Source {
    pub(crate) header: Header,
    pub(crate) path: PathBuf,
    pub(crate) seed: Hasher,
    /// For as long as anybody has it open.
    file: Mutex<Option<Weak<dyn VfsFile>>>,
}

impl Source {
    pub(crate) fn new(header: Header, path: PathBuf, file: Option<&Arc<dyn VfsFile>>) -> Self {
        let (seed, file) = (header.seed(), Mutex::new(file.map(Arc::downgrade)));
        Self { header, path, seed, file }
    }

    /// The open file, shared with others who read it. Opens it with the index unlocked.
    pub(crate) fn open(&self, index: &Mutex<Index>) -> Result<Arc<dyn VfsFile>, WalError> {
        if let Some(file) = self.file.lock().as_ref().and_then(Weak::upgrade) {
            return Ok(file);
        }
        let vfs = index.lock().vfs().ok_or(WalError::Closed)?;
        let opened = vfs.open(&self.path, OpenMode::Read);
        let opened = opened.map_err(|error| WalError::io("open", &self.path, error))?;
        *self.file.lock() = Some(Arc::downgrade(&opened));
        index.lock().keep_open(Arc::clone(&opened));
        Ok(opened)
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}
