//! [`Medium`]: the active segment as the [`SyncMethod`] writes to it.
//!
//! Whatever the method, the same bytes reach the same places. Zeros always go through the page cache and
//! are synced before a group may rely on them; groups take the way of the method.

use std::io;
use std::path::PathBuf;

use bucket_vfs::{DurableWrites, Vfs, VfsFile};

use crate::frame::GROUP_LEN;
use crate::sync::Arc;
use crate::sync_method::SyncMethod;

/// Zeros are written in pieces of this size. What is written in one piece may be cached in one piece, and
/// every later sync of a few bytes looks through the whole of it: on ext4, pieces of 1 MiB make the sync of a
/// small record a tenth slower than pieces of 4 KiB, and those make one of 64 KiB a fifth slower. With 32 KiB
/// both are as fast as can be.
pub(crate) const ZEROS_PIECE: usize = 32 << 10;

/// What is written directly starts and ends at multiples of this, and zeros end at them.
pub(crate) const BLOCK: u64 = 4_096;

/// A segment that is being written.
#[derive(Debug)]
pub(crate) struct Medium {
    /// The file by way of the page cache. It stays open, so that no error of a sync is missed.
    file: Arc<dyn VfsFile>,
    path: PathBuf,
    way: Way,
    /// Something went into the page cache that no sync has covered.
    unsynced: bool,
}

#[derive(Debug)]
enum Way {
    /// Writes go into the page cache, and a sync follows.
    Sync,
    /// What the method wants, not opened yet. Until then as `Sync`.
    Unopened(SyncMethod),
    /// Writes are durable when they return.
    Durable(Arc<dyn VfsFile>),
    /// The same in whole blocks, past the page cache.
    Direct(Arc<dyn VfsFile>, Blocks),
}

impl Medium {
    pub(crate) const fn new(file: Arc<dyn VfsFile>, path: PathBuf, method: SyncMethod) -> Self {
        let way = match method {
            SyncMethod::Fdatasync => Way::Sync,
            method => Way::Unopened(method),
        };
        Self { file, path, way, unsynced: false }
    }

    /// Opens what the method needs, falling back to what there is. An error leaves things as they were.
    pub(crate) fn open(&mut self, vfs: &dyn Vfs) -> io::Result<()> {
        while let Way::Unopened(method) = self.way {
            let (writes, less) = match method {
                SyncMethod::Fdatasync => {
                    self.way = Way::Sync;
                    break;
                }
                SyncMethod::ODsync => (DurableWrites::Cached, SyncMethod::Fdatasync),
                SyncMethod::ODirectODsync => (DurableWrites::Direct, SyncMethod::ODsync),
            };
            self.way = match vfs.open_durable(&self.path, writes) {
                Ok(file) if writes == DurableWrites::Cached => Way::Durable(file),
                Ok(file) if BLOCK.is_multiple_of(file.alignment() as u64) => {
                    Way::Direct(file, Blocks::default())
                }
                // It wants larger blocks than zeros are written in.
                Ok(_) => Way::Unopened(less),
                Err(error) if error.kind() == io::ErrorKind::Unsupported => Way::Unopened(less),
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    /// The method as far as it is known what there is.
    pub(crate) const fn method(&self) -> SyncMethod {
        match self.way {
            Way::Sync => SyncMethod::Fdatasync,
            Way::Unopened(method) => method,
            Way::Durable(_) => SyncMethod::ODsync,
            Way::Direct(..) => SyncMethod::ODirectODsync,
        }
    }

    /// Writes ahead of the end, where no group is yet.
    pub(crate) fn fill(&mut self, zeros: &[u8], offset: u64) -> io::Result<()> {
        self.unsynced = true;
        self.file.write_all_at(zeros, offset)
    }

    /// Has zeros there without writing them, where groups are synced by a call of its own: what is written
    /// there costs such a sync more, and a write that is durable by itself more still.
    pub(crate) fn allocate(&mut self, offset: u64, len: u64) -> io::Result<()> {
        match self.way {
            Way::Durable(_) | Way::Direct(..) => Err(io::ErrorKind::Unsupported.into()),
            Way::Sync | Way::Unopened(_) => {
                self.unsynced = true;
                self.file.allocate(offset, len)
            }
        }
    }

    /// Writes a group at the end of what was written. It is durable once [`Medium::sync`] has returned as
    /// well, which then may have nothing to do.
    pub(crate) fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.settle()?;
        match &mut self.way {
            Way::Sync | Way::Unopened(_) => {
                self.unsynced = true;
                self.file.write_all_at(bytes, offset)
            }
            Way::Durable(file) => file.write_all_at(bytes, offset),
            Way::Direct(file, blocks) => blocks.write(&**file, &*self.file, bytes, offset),
        }
    }

    /// Makes the zeros durable, where the next write is durable by itself: it covers itself alone, and
    /// the zeros behind it have to be there with it, for a file that ends earlier was cut.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        match self.way {
            Way::Durable(_) | Way::Direct(..) => self.sync(),
            Way::Sync | Way::Unopened(_) => Ok(()),
        }
    }

    /// Gives up what the file has behind `len`.
    pub(crate) fn shorten(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    /// Makes everything that was written durable. An error is final.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.file.sync_data()?;
            self.unsynced = false;
        }
        Ok(())
    }
}

/// Memory in whole, aligned blocks, which begins with what the last block of the file holds so far.
///
/// The block is written again with the same bytes and new ones behind them, as the page cache would do.
#[derive(Debug, Default)]
struct Blocks {
    memory: Vec<u8>,
    /// Where the end of the file's content was when the last write returned; its block is kept.
    end: Option<u64>,
}

impl Blocks {
    fn write(
        &mut self,
        direct: &dyn VfsFile,
        cached: &dyn VfsFile,
        bytes: &[u8],
        offset: u64,
    ) -> io::Result<()> {
        let block = offset / BLOCK * BLOCK;
        let head = (offset - block) as usize;
        let end = head + bytes.len();
        let len = end.next_multiple_of(BLOCK as usize);
        let blocks = self.at_least(len);
        if self.end != Some(offset) && head > 0 {
            // The first write behind what another descriptor has written.
            cached.read_exact_at(&mut self.memory[blocks..blocks + head], block)?;
        }
        self.end = None;
        let memory = &mut self.memory[blocks..blocks + len];
        memory[head..end].copy_from_slice(bytes);
        memory[end..].fill(0);
        direct.write_all_at(memory, block)?;
        let kept = end / BLOCK as usize * BLOCK as usize;
        memory.copy_within(kept..end, 0);
        self.end = Some(offset + bytes.len() as u64);
        if self.memory.len() > 4 * GROUP_LEN {
            self.resize(0);
        }
        Ok(())
    }

    /// Makes room for `len` bytes, keeps the first block, and returns where the bytes start.
    fn at_least(&mut self, len: usize) -> usize {
        let start = start(&self.memory);
        if start + len <= self.memory.len() { start } else { self.resize(len) }
    }

    /// Takes other memory. What std allocates is aligned to nothing in particular, so there is a block
    /// more of it than is used.
    fn resize(&mut self, len: usize) -> usize {
        let block = BLOCK as usize;
        let new = vec![0; len.next_power_of_two().max(16 * block) + block];
        let old = std::mem::replace(&mut self.memory, new);
        let (from, to) = (start(&old), start(&self.memory));
        if let Some(first) = old.get(from..from + block) {
            self.memory[to..to + block].copy_from_slice(first);
        }
        to
    }
}

/// Where the first whole block starts.
fn start(memory: &[u8]) -> usize {
    memory.as_ptr().addr().wrapping_neg() % BLOCK as usize
}
