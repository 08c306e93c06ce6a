//! The file system on a [`SimDisk`]: [`Vfs`] and [`VfsFile`] over its tree.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::{Doing, FaultKind, eio, no_space};
use super::image::{Change, SECTOR};
use super::tree::{File, Id, Inode};
use super::{SimDisk, State};
use crate::vfs::{DirEntry, DurableWrites, EntryKind, LockError, OpenMode, Vfs, VfsFile, VfsLock};

/// One mount of the disk.
#[derive(Debug)]
pub(super) struct SimVfs {
    disk: SimDisk,
    epoch: u64,
}

impl SimVfs {
    pub(super) const fn new(disk: SimDisk, epoch: u64) -> Self {
        Self { disk, epoch }
    }

    fn file(&self, id: Id, path: &Path) -> SimFile {
        let (disk, epoch, path) = (self.disk.clone(), self.epoch, path.to_owned());
        SimFile { disk, epoch, id, path, durable: None }
    }

    /// An open file that exists.
    fn found(&self, path: &Path) -> io::Result<SimFile> {
        let state = self.disk.state();
        state.check(self.epoch)?;
        let id = state.tree.find(path)?;
        state.tree.file(id)?;
        Ok(self.file(id, path))
    }

    /// Runs a change of names; it is under way with its effect pending.
    fn change_names<T>(
        &self,
        doing: Doing,
        verb: &str,
        path: &Path,
        change: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let (mut state, hit) = self.disk.begin(self.epoch, doing, path)?;
        if hit == Some(FaultKind::NoSpace) {
            return Err(no_space());
        }
        let done = change(&mut state)?;
        state.count(|| format!("{verb} {}", path.display()))?;
        Ok(done)
    }

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        let id = self.change_names(Doing::Create, "create", path, |state| {
            let (dir, name) = state.tree.parent(path)?;
            state.tree.create(dir, name, Inode::File(File::default()))
        })?;
        Ok(self.file(id, path))
    }
}

impl Vfs for SimVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        if mode == OpenMode::CreateNew {
            return Ok(Arc::new(self.create(path)?));
        }
        Ok(Arc::new(self.found(path)?))
    }

    fn open_durable(&self, path: &Path, writes: DurableWrites) -> io::Result<Arc<dyn VfsFile>> {
        Ok(Arc::new(SimFile { durable: Some(writes), ..self.found(path)? }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change_names(Doing::Create, "create directory", path, |state| {
            let (dir, name) = state.tree.parent(path)?;
            let (live, durable) = Default::default();
            state.tree.create(dir, name, Inode::Directory { live, durable })?;
            Ok(())
        })
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.disk.state();
        state.check(self.epoch)?;
        let names = state.tree.live_names(state.tree.find(path)?)?;
        let entry = |(name, &id): (&std::ffi::OsString, &Id)| match state.tree.file(id) {
            Ok(file) => DirEntry::new(name, EntryKind::File, file.live.len()),
            Err(_) => DirEntry::new(name, EntryKind::Directory, 0),
        };
        Ok(names.iter().map(entry).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change_names(Doing::Name, "rename to", to, |state| {
            let (from, to) = (state.tree.parent(from)?, state.tree.parent(to)?);
            state.tree.rename(from, to)
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change_names(Doing::Name, "remove", path, |state| {
            let (dir, name) = state.tree.parent(path)?;
            state.tree.remove(dir, name)
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let (mut state, hit) = self.disk.begin(self.epoch, Doing::SyncDir, path)?;
        let dir = state.tree.find(path)?;
        state.tree.live_names(dir)?;
        state.count(|| format!("sync directory {}", path.display()))?;
        if hit != Some(FaultKind::SyncIgnored) {
            state.tree.sync_dir(dir);
        }
        Ok(())
    }

    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn VfsLock>, LockError> {
        let found = {
            let state = self.disk.state();
            state.check(self.epoch).map_err(LockError::Io)?;
            state.tree.find(path).ok()
        };
        let file = match found {
            Some(id) => self.file(id, path),
            None => self.create(path).map_err(LockError::Io)?,
        };
        let token = {
            let mut state = self.disk.state();
            if state.locks.contains_key(&file.id) {
                let text = state.tree.file(file.id).map_err(LockError::Io)?.live.to_vec();
                let holder = String::from_utf8_lossy(&text).trim().to_owned();
                return Err(LockError::Held { holder });
            }
            state.next_lock += 1;
            let token = state.next_lock;
            state.locks.insert(file.id, token);
            token
        };
        let lock = SimLock { disk: self.disk.clone(), id: file.id, token };
        let text = holder.as_bytes();
        if file.write_all_at(text, 0).and_then(|()| file.set_len(text.len() as u64)).is_err() {
            // As on a real disk: the lock is held all the same.
            let _ = file.set_len(0);
        }
        Ok(Box::new(lock))
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        let state = self.disk.state();
        state.check(self.epoch)?;
        state.tree.find(path)?;
        Ok(state.room(1 << 50))
    }
}

/// An open file. It stays usable without its name, and not beyond a crash.
struct SimFile {
    disk: SimDisk,
    epoch: u64,
    id: Id,
    path: PathBuf,
    /// Its writes are durable when they return.
    durable: Option<DurableWrites>,
}

impl SimFile {
    /// Direct I/O is refused unless everything about it is aligned, as disks refuse it.
    fn check_alignment(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let align = self.alignment();
        let fits = buf.as_ptr().addr().is_multiple_of(align)
            && buf.len().is_multiple_of(align)
            && offset.is_multiple_of(align as u64);
        if fits { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

impl VfsFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check_alignment(buf, offset)?;
        let (state, hit) = self.disk.begin(self.epoch, Doing::Read, &self.path)?;
        if hit == Some(FaultKind::ReadError) {
            return Err(eio());
        }
        let n = state.tree.file(self.id)?.live.read(buf, offset);
        if hit == Some(FaultKind::ReadFlip)
            && let Some(byte) = buf[..n].get_mut(n / 2)
        {
            *byte ^= 0x10;
        }
        Ok(n)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check_alignment(buf, offset)?;
        let doing = if self.durable.is_some() { Doing::DurableWrite } else { Doing::Write };
        let (mut state, hit) = self.disk.begin(self.epoch, doing, &self.path)?;
        // The page cache takes whole blocks, so a short write ends at the boundary of one.
        let whole = |len: usize| {
            let end = (offset + len as u64) / SECTOR * SECTOR;
            end.saturating_sub(offset) as usize
        };
        let half = buf.len() / 2;
        let grows =
            (offset + buf.len() as u64).saturating_sub(state.tree.file(self.id)?.live.len());
        let missing = (grows - state.room(grows)) as usize;
        let mut medium = None;
        // Where the bytes end on the medium.
        let mut end = offset + buf.len() as u64;
        let (written, error) = match hit {
            Some(FaultKind::WriteError) => (0, Some(eio())),
            Some(FaultKind::ShortWrite) => (whole(half), Some(eio())),
            Some(FaultKind::NoSpace) => (whole(half), Some(no_space())),
            _ if missing > 0 => (whole(buf.len().saturating_sub(missing)), Some(no_space())),
            Some(FaultKind::BitFlip) => {
                let mut data = buf.to_vec();
                if let Some(byte) = data.get_mut(half) {
                    *byte ^= 0x10;
                }
                medium = Some(Change::Bytes { offset, data: data.into() });
                (buf.len(), None)
            }
            Some(FaultKind::MisdirectedWrite) => {
                medium = Some(Change::Bytes { offset: offset + SECTOR, data: buf.into() });
                end += SECTOR;
                (buf.len(), None)
            }
            _ => (buf.len(), None),
        };
        if written > 0 {
            state.tree.file_mut(self.id)?.write(&buf[..written], offset, medium);
        }
        state.count(|| {
            let path = self.path.display();
            let durably = if self.durable.is_some() { " durably" } else { "" };
            format!("write {path}{durably} at {offset}, {} bytes", buf.len())
        })?;
        if let Some(error) = error {
            return Err(error);
        }
        if let Some(writes) = self.durable {
            let file = state.tree.file_mut(self.id)?;
            match hit {
                Some(FaultKind::SyncErrorDropped | FaultKind::SyncErrorKept) => {
                    let kept = hit == Some(FaultKind::SyncErrorKept);
                    file.fail_sync_range(offset, end, kept && writes == DurableWrites::Cached);
                    return Err(eio());
                }
                Some(FaultKind::SyncIgnored) => {}
                _ => file.sync_range(offset, end),
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut state, hit) = self.disk.begin(self.epoch, Doing::Sync, &self.path)?;
        state.count(|| format!("sync {}", self.path.display()))?;
        let file = state.tree.file_mut(self.id)?;
        match hit {
            Some(FaultKind::SyncErrorDropped | FaultKind::SyncErrorKept) => {
                file.fail_sync(hit == Some(FaultKind::SyncErrorKept));
                return Err(eio());
            }
            Some(FaultKind::SyncIgnored) => {}
            _ => file.sync(),
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (mut state, hit) = self.disk.begin(self.epoch, Doing::SetLen, &self.path)?;
        let grows = len.saturating_sub(state.tree.file(self.id)?.live.len());
        if hit == Some(FaultKind::NoSpace) || state.room(grows) < grows {
            return Err(no_space());
        }
        state.tree.file_mut(self.id)?.set_len(len);
        state.count(|| format!("set length of {} to {len}", self.path.display()))
    }

    /// As growing the file: nothing is written, and until a sync the length can be lost.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.set_len(self.len()?.max(offset + len))
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.check(self.epoch)?;
        Ok(state.tree.file(self.id)?.live.len())
    }

    fn alignment(&self) -> usize {
        if self.durable == Some(DurableWrites::Direct) { 4_096 } else { 1 }
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A held lock. After a crash the disk has forgotten it, and the next holder has another token.
#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    id: Id,
    token: u64,
}

impl VfsLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.locks.get(&self.id) == Some(&self.token) {
            state.locks.remove(&self.id);
        }
    }
}
