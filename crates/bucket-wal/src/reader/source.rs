//! [`Source`]: a segment to be read. Whoever holds its file can read on when the log trims it.

use std::path::PathBuf;
use std::sync::Weak;

use bucket_vfs::{OpenMode, VfsFile};
use crc32fast::Hasher;

use crate::error::WalError;
use crate::index::Index;
use crate::reader::Map;
use crate::segment::Header;
use crate::sync::{Arc, Mutex};

/// A segment to be read.
pub(crate) struct Source {
    pub(crate) header: Header,
    pub(crate) path: PathBuf,
    pub(crate) seed: Hasher,
    /// For as long as anybody has it open.
    file: Mutex<Option<Weak<dyn VfsFile>>>,
    /// The same for the file in memory.
    #[cfg(feature = "mmap")]
    map: Mutex<Option<Weak<Map>>>,
}

impl Source {
    pub(crate) fn new(header: Header, path: PathBuf, file: Option<&Arc<dyn VfsFile>>) -> Self {
        let (seed, file) = (header.seed(), Mutex::new(file.map(Arc::downgrade)));
        Self {
            header,
            path,
            seed,
            file,
            #[cfg(feature = "mmap")]
            map: Mutex::new(None),
        }
    }

    /// The file, when anybody has it open.
    pub(crate) fn opened(&self) -> Option<Arc<dyn VfsFile>> {
        self.file.lock().as_ref().and_then(Weak::upgrade)
    }

    /// The open file, shared with others who read it. Opens it with the index unlocked.
    pub(crate) fn open(&self, index: &Mutex<Index>) -> Result<Arc<dyn VfsFile>, WalError> {
        if let Some(file) = self.opened() {
            return Ok(file);
        }
        let vfs = index.lock().vfs().ok_or(WalError::Closed)?;
        let opened = vfs.open(&self.path, OpenMode::Read);
        let opened = opened.map_err(|error| WalError::io("open", &self.path, error))?;
        *self.file.lock() = Some(Arc::downgrade(&opened));
        index.lock().keep_open(Arc::clone(&opened));
        Ok(opened)
    }

    /// The file in memory, shared with others who read it. Only for a segment that is finished, for
    /// nothing in it may change meanwhile. `None` where that cannot be had.
    #[cfg(feature = "mmap")]
    pub(crate) fn map(&self, file: &dyn VfsFile) -> Option<Arc<Map>> {
        let mut map = self.map.lock();
        if let Some(map) = map.as_ref().and_then(Weak::upgrade) {
            return Some(map);
        }
        // Without a map there is still the file.
        let made = Arc::new(file.map().ok().flatten()?);
        *map = Some(Arc::downgrade(&made));
        Some(made)
    }

    #[cfg(not(feature = "mmap"))]
    #[expect(clippy::unused_self, reason = "the feature mmap reads it")]
    pub(crate) fn map(&self, _file: &dyn VfsFile) -> Option<Arc<Map>> {
        None
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}
