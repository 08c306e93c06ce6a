//! Reading what a disk gives back in part, under a policy that steps over damage: a block that cannot be
//! read is taken for one with other content, and the checks say what that damages.
//!
//! The content is not zeros, which would say that nothing was ever written there.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use bucket_vfs::{DirEntry, LockError, OpenMode, Vfs, VfsFile, VfsLock};

use crate::sync::{Arc, Mutex};

/// Files whose reading does not fail.
#[derive(Debug)]
pub(crate) struct Lenient {
    vfs: Arc<dyn Vfs>,
    lost: Arc<Lost>,
}

/// The blocks that could not be read, each with the file.
#[derive(Debug)]
pub(crate) struct Lost(Mutex<BTreeSet<(PathBuf, u64)>>);

#[derive(Debug)]
struct LenientFile {
    file: Arc<dyn VfsFile>,
    path: PathBuf,
    lost: Arc<Lost>,
}

/// What is read again by itself, and given up by itself.
const BLOCK: u64 = 4_096;
/// What is read instead: no frame and no header begins like this.
const FILL: u8 = 0xee;

impl Lenient {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, lost: Arc<Lost>) -> Self {
        Self { vfs, lost }
    }
}

impl Lost {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(BTreeSet::new()))
    }

    /// How many bytes could not be read.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.lock().len() as u64 * BLOCK
    }
}

impl VfsFile for LenientFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let whole = self.file.read_at(buf, offset);
        if !whole.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
            return whole;
        }
        // Where the file ends, nothing is made up.
        let left = usize::try_from(self.file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = buf.len().min(left);
        let mut done = 0;
        while done < want {
            let at = offset + done as u64;
            let n = ((BLOCK - at % BLOCK) as usize).min(want - done);
            let piece = &mut buf[done..done + n];
            if self.file.read_exact_at(piece, at).is_err() {
                piece.fill(FILL);
                self.lost.0.lock().insert((self.path.clone(), at / BLOCK));
            }
            done += n;
        }
        Ok(done)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Vfs for Lenient {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let file = self.vfs.open(path, mode)?;
        if mode != OpenMode::Read {
            return Ok(file);
        }
        Ok(Arc::new(LenientFile { file, path: path.to_owned(), lost: Arc::clone(&self.lost) }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.vfs.create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.vfs.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.vfs.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.vfs.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.vfs.sync_dir(path)
    }

    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn VfsLock>, LockError> {
        self.vfs.lock(path, holder)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        self.vfs.available_bytes(path)
    }
}
