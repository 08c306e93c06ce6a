//! A segment that is being made: complete and synced before it has its name.

use std::io;
use std::path::{Path, PathBuf};

use bucket_vfs::{OpenMode, Vfs, VfsFile};

use crate::error::WalError;
use crate::planted::{Bug, Planted};
use crate::segment::{self, HEADER_LEN, Header};
use crate::spares::Spare;
use crate::sync::Arc;
use crate::writer::CommitError;

/// A file without its header and its name. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    vfs: &'a dyn Vfs,
    dir: &'a Path,
    path: PathBuf,
    temporary: PathBuf,
    file: Arc<dyn VfsFile>,
    is_published: bool,
}

impl<'a> Draft<'a> {
    /// Takes a file that is there already. `None` when it cannot be used.
    pub(crate) fn reuse(vfs: &'a dyn Vfs, dir: &'a Path, id: u64, spare: &Spare) -> Option<Self> {
        let path = dir.join(segment::file_name(id));
        let temporary = spare.path.clone();
        let file = vfs.open(&temporary, OpenMode::Write).ok()?;
        // Shorter than it was: somebody else has it.
        let is_whole = file.len().is_ok_and(|len| len >= spare.len);
        is_whole.then_some(Self { vfs, dir, path, temporary, file, is_published: false })
    }

    /// Makes the file, with its place on the disk for the header.
    pub(crate) fn begin(vfs: &'a dyn Vfs, dir: &'a Path, id: u64) -> Result<Self, WalError> {
        let path = dir.join(segment::file_name(id));
        let temporary = path.with_extension("tmp");
        let io = |error| WalError::io("create", &path, error);
        match vfs.remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let file = vfs.open(&temporary, OpenMode::CreateNew).map_err(io)?;
        let draft = Self { vfs, dir, path, temporary, file, is_published: false };
        draft.write(&vec![0; HEADER_LEN as usize], 0)?;
        Ok(draft)
    }

    /// Writes content.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<(), WalError> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(|error| WalError::io("write", &self.path, error))
    }

    /// Makes it the segment that the header says it is: durable once this returns.
    ///
    /// Refused when a segment of that name exists: then another process writes to this log, where locks do
    /// nothing. Poisoned when it has its name and nobody knows whether that is durable.
    pub(crate) fn publish(
        mut self,
        header: &Header,
        planted: Planted,
    ) -> Result<Arc<dyn VfsFile>, CommitError> {
        self.write(&header.encode(), 0).map_err(CommitError::NotWritten)?;
        let io = |error| CommitError::NotWritten(WalError::io("create", &self.path, error));
        if !planted.has(Bug::ExposeBeforeSync) {
            self.file.sync_data().map_err(io)?;
        }
        match self.vfs.open(&self.path, OpenMode::Read) {
            Ok(_) => {
                return Err(CommitError::NotWritten(WalError::Fenced { path: self.path.clone() }));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
        self.vfs.rename(&self.temporary, &self.path).map_err(io)?;
        self.is_published = true;
        if !planted.has(Bug::NoDirectorySync) {
            let synced = self.vfs.sync_dir(self.dir);
            synced.map_err(|error| CommitError::Poisoned(Arc::new(error)))?;
        }
        Ok(Arc::clone(&self.file))
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.is_published {
            // Best effort: a left-over is removed by the next attempt or the next opening.
            let _ = self.vfs.remove_file(&self.temporary);
        }
    }
}
