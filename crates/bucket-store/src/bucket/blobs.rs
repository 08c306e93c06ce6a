//! Blobs: the content of larger puts, one file each, durable before the record that names it.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bucket_remote::{Body, Digest, ReadAt};
use bucket_vfs::{OpenMode, Vfs, VfsFile, create_dir_durable};
use sha2::Digest as _;
use sha2::Sha256;

use crate::planted::{Bug, Planted};
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering};

/// The directory of blobs.
#[derive(Debug)]
pub(crate) struct Blobs {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    /// Unique for each opening, so that no name is ever used twice.
    incarnation: u128,
    counter: AtomicU64,
    syncs: DirSyncs,
    planted: Planted,
}

impl Blobs {
    pub(crate) fn open(
        vfs: Arc<dyn Vfs>,
        dir: PathBuf,
        incarnation: u128,
        planted: Planted,
    ) -> io::Result<Self> {
        // Without it a power loss takes the directory, and every blob in it whose name was synced.
        create_dir_durable(&*vfs, &dir, |_, _, error| error)?;
        let (counter, syncs) = (AtomicU64::new(0), DirSyncs::default());
        Ok(Self { vfs, dir, incarnation, counter, syncs, planted })
    }

    /// Starts a blob.
    pub(crate) fn create(&self) -> io::Result<BlobWriter<'_>> {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        let name = format!("{:032x}-{n:08x}", self.incarnation);
        let file = self.vfs.open(&self.dir.join(&name), OpenMode::CreateNew)?;
        Ok(BlobWriter { blobs: self, name: Some(name), file, len: 0, hasher: Sha256::new() })
    }

    /// The content of the blob called `name`.
    pub(crate) fn body(&self, name: &str, len: u64) -> io::Result<Body> {
        let file = self.vfs.open(&self.dir.join(name), OpenMode::Read)?;
        Ok(Body::from_range(Arc::new(BlobFile(file)), 0, len))
    }

    /// Removes a blob that no record needs. Not synced: a left-over is collected at the next opening.
    pub(crate) fn remove(&self, name: &str) {
        let _ = self.vfs.remove_file(&self.dir.join(name));
    }

    /// Moves the blobs that no record names to `to`: a damaged record may have named them.
    pub(crate) fn quarantine(&self, needed: &HashSet<String>, to: &Path) -> io::Result<()> {
        for entry in self.vfs.read_dir(&self.dir)? {
            // A blob of this opening may belong to a put that is under way.
            let own = format!("{:032x}-", self.incarnation);
            let foreign = |name: &str| !name.starts_with(&own) && !needed.contains(name);
            if entry.name.to_str().is_none_or(foreign) {
                self.vfs.rename(&self.dir.join(&entry.name), &to.join(&entry.name))?;
            }
        }
        Ok(())
    }

    /// Removes the blobs that no record names: of puts that were never acknowledged, or settled.
    pub(crate) fn collect(&self, needed: &HashSet<String>) -> io::Result<()> {
        for entry in self.vfs.read_dir(&self.dir)? {
            if entry.name.to_str().is_none_or(|name| !needed.contains(name)) {
                self.vfs.remove_file(&self.dir.join(&entry.name))?;
            }
        }
        Ok(())
    }
}

/// A blob being written. Dropping it unfinished removes it.
pub(crate) struct BlobWriter<'a> {
    blobs: &'a Blobs,
    name: Option<String>,
    file: Arc<dyn VfsFile>,
    len: u64,
    hasher: Sha256,
}

impl BlobWriter<'_> {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.len)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Makes the blob durable, with its name.
    pub(crate) fn finish(mut self) -> io::Result<(String, u64, Digest)> {
        if !self.blobs.planted.has(Bug::AcknowledgeBeforeSync) {
            self.file.sync_data()?;
        }
        if !self.blobs.planted.has(Bug::NoDirectorySync) {
            self.blobs.syncs.sync(|| self.blobs.vfs.sync_dir(&self.blobs.dir))?;
        }
        let digest = Digest::new(std::mem::take(&mut self.hasher).finalize().into());
        // The name is there until the blob is finished, which is now.
        Ok((self.name.take().unwrap_or_default(), self.len, digest))
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            self.blobs.remove(name);
        }
    }
}

#[derive(Debug)]
struct BlobFile(Arc<dyn VfsFile>);

impl ReadAt for BlobFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
}

/// Syncs of one directory, shared: who comes while one is running waits for the next, and one of
/// those who wait does it for all.
#[derive(Default)]
struct DirSyncs {
    state: Mutex<Syncs>,
    changed: Condvar,
}

#[derive(Default)]
struct Syncs {
    started: u64,
    finished: u64,
    running: bool,
    /// A sync that failed says nothing about later names, and nothing may be tried twice.
    failed: bool,
}

impl DirSyncs {
    fn sync(&self, run: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock();
        // A sync that starts from now on covers the caller's name.
        let mine = state.started + 1;
        loop {
            if state.failed {
                return Err(io::Error::other("an earlier sync of the blob directory failed"));
            }
            if state.finished >= mine {
                return Ok(());
            }
            if !state.running {
                break;
            }
            self.changed.wait(&mut state);
        }
        state.running = true;
        state.started += 1;
        let started = state.started;
        drop(state);
        let result = run();
        let mut state = self.state.lock();
        state.running = false;
        match result {
            Ok(()) => state.finished = started,
            Err(_) => state.failed = true,
        }
        drop(state);
        self.changed.notify_all();
        result
    }
}

impl fmt::Debug for DirSyncs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirSyncs").finish_non_exhaustive()
    }
}
