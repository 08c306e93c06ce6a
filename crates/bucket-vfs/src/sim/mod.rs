//! [`SimDisk`]: a disk in memory that loses what a real one may lose, for testing code that must not.
//!
//! A file system promises little before a sync, and a test on a real one never sees how little. This
//! one keeps what is durable apart from what is merely visible, and on demand cuts the power: what was
//! not synced survives in part, in any order, torn at sectors, without its name, or not at all.
//!
//! # Testing your own code
//!
//! Write the code against [`Vfs`], run it once on a disk that keeps its history, and let an
//! [`Explorer`] visit every operation: it cuts the power while the operation is under way, starts your
//! recovery on what is left, and cuts the power in there again. By hand, for a single crash at each:
//!
//! ```
//! use std::path::Path;
//!
//! use bucket_vfs::sim::{SimDisk, Survivors};
//! use bucket_vfs::{OpenMode, Vfs, write_atomic};
//!
//! let disk = SimDisk::new();
//! disk.keep_history();
//! let vfs = disk.mount();
//! let path = Path::new("/state");
//! write_atomic(&*vfs, path, b"old")?;
//! let promised = disk.operations();
//! write_atomic(&*vfs, path, b"new")?;
//!
//! for operation in 1..=disk.operations() {
//!     for seed in 0..20 {
//!         let after = disk.at_operation(operation).expect("the history was kept");
//!         after.crash(Survivors::Random(seed));
//!         // Here your code would recover; a second crash could follow at any of its operations.
//!         let content = after.mount().open(path, OpenMode::Read).and_then(|file| {
//!             let mut content = vec![0; file.len()? as usize];
//!             file.read_exact_at(&mut content, 0)?;
//!             Ok(content)
//!         });
//!         match content {
//!             Ok(content) => assert!(content == b"old" || content == b"new"),
//!             Err(_) => assert!(operation <= promised, "lost after {}", disk.describe(operation)),
//!         }
//!     }
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What it believes
//!
//! - A sync of a file makes its bytes and its length durable, and not its name. A sync of a directory
//!   makes the names in it durable; a rename between two directories is durable once both were synced.
//! - A write through [`Vfs::open_durable`] makes its own sectors durable, with what was written to them
//!   before, and a length that reaches to their end; every other byte of the file waits for its sync.
//!   One that is direct and not aligned to 4 096 bytes, in memory as well, is refused.
//! - What no sync covers survives a crash as any subset that a journaling file system over a disk with
//!   a volatile cache may leave: sectors of 512 bytes are whole, reach the disk in any order, and never
//!   show a write without the earlier writes to the same sector; lengths are decided apart from
//!   content, and what lies between reads as zero; a change to names is atomic, and survives only with
//!   the earlier changes to the same names.
//! - A process that is killed takes nothing with it: what it wrote is still in the page cache. So after
//!   [`SimDisk::kill`] the next one reads bytes that no sync has covered, and after a failed sync even
//!   bytes that will never be on the disk.
//!
//! # What it does not show
//!
//! Content of other files in place of a lost write, reordering across a sync, damage to file system
//! structures, permissions, links. [`FaultKind`] lists what goes wrong on demand.

mod explore;
mod fault;
mod image;
mod random;
mod survive;
mod tree;
mod vfs;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::vfs::Vfs;
use fault::{Doing, Faults};
use tree::{Id, Tree};

pub use explore::{Coverage, Crash, Explorer, Failure};
pub use fault::{Fault, FaultKind};

/// A disk in memory. Clones share it.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

/// What a crash leaves of what no sync has covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Survivors {
    /// Everything, as if the cache had been written in time.
    All,
    /// Nothing.
    None,
    /// A legal subset, the same one for the same seed.
    Random(u64),
}

struct Shared {
    state: Mutex<State>,
    /// Signalled when a thread stalls, and when stalled threads may go on.
    changed: Condvar,
}

struct State {
    tree: Tree,
    faults: Faults,
    capacity: Option<u64>,
    /// Operations that change something, from 1.
    operations: u64,
    /// What each of them was; kept with the history.
    described: Vec<String>,
    /// The tree while each of them was under way, if it is kept.
    history: Option<Vec<Tree>>,
    power_off_at: Option<u64>,
    off: bool,
    /// Counts crashes and kills: what was mounted or opened before does not work any more.
    epoch: u64,
    locks: BTreeMap<Id, u64>,
    next_lock: u64,
    stalled: usize,
    /// Counts releases.
    releases: u64,
}

impl SimDisk {
    /// An empty disk without bounds.
    #[expect(clippy::new_without_default, reason = "a disk is no value with a default")]
    pub fn new() -> Self {
        Self::with_tree(Tree::new())
    }

    fn with_tree(tree: Tree) -> Self {
        let state = State {
            tree,
            faults: Faults::default(),
            capacity: None,
            operations: 0,
            described: Vec::new(),
            history: None,
            power_off_at: None,
            off: false,
            epoch: 0,
            locks: BTreeMap::new(),
            next_lock: 0,
            stalled: 0,
            releases: 0,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }) }
    }

    /// The file system on this disk, as one process sees it: until the next [`SimDisk::crash`] or
    /// [`SimDisk::kill`], after which everything that was mounted or opened fails, and the next process
    /// mounts anew.
    pub fn mount(&self) -> Arc<dyn Vfs> {
        Arc::new(vfs::SimVfs::new(self.clone(), self.state().epoch))
    }

    /// A disk of its own with the same content, durable and pending. Faults, locks, the history and a
    /// planned loss of power stay behind.
    #[must_use = "the copy is the point"]
    pub fn fork(&self) -> Self {
        Self::with_tree(self.state().tree.clone())
    }

    /// How many operations have changed something so far: creations, writes, changes of length, syncs,
    /// renames, removals. Reads do not count, for a crash between two of them is the same crash.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Keeps what the disk holds at every operation from now on. Content is shared, so it costs little.
    pub fn keep_history(&self) {
        let mut state = self.state();
        let before = state.tree.clone();
        // Earlier operations were not kept; they are shown as what they led to.
        state.history = Some(vec![before; state.operations as usize]);
        state.described = vec![String::from("not kept"); state.operations as usize];
    }

    /// A copy of the disk as it was while the operation with this number, from 1, was under way: a
    /// write is pending, a sync has not happened. `None` without history.
    pub fn at_operation(&self, operation: u64) -> Option<Self> {
        let state = self.state();
        let tree = state.history.as_ref()?.get(usize::try_from(operation.checked_sub(1)?).ok()?)?;
        Some(Self::with_tree(tree.clone()))
    }

    /// What the operation with this number was, for a person: `write /log/seg-1 at 4096, 512 bytes`.
    pub fn describe(&self, operation: u64) -> String {
        let described = self.state().described.get((operation as usize).wrapping_sub(1)).cloned();
        described.unwrap_or_else(|| String::from("after the last operation"))
    }

    /// Cuts the power while the operation with this number is under way: it and everything after it
    /// fails, until [`SimDisk::crash`] starts the machine again.
    pub fn power_off_at(&self, operation: u64) {
        self.state().power_off_at = Some(operation);
    }

    /// True once the power is off.
    pub fn is_off(&self) -> bool {
        self.state().off
    }

    /// The machine loses its power, if it has not yet, and starts again: what is pending survives as
    /// `survivors` says, and is durable from then on. Locks are gone; faults that are armed stay so.
    pub fn crash(&self, survivors: Survivors) {
        let mut state = self.state();
        state.tree.crash(survivors);
        self.restart(state);
    }

    /// The process is killed and the machine goes on: nothing is lost, nothing becomes durable. Locks
    /// are gone; faults that are armed stay so.
    pub fn kill(&self) {
        self.restart(self.state());
    }

    fn restart(&self, mut state: MutexGuard<'_, State>) {
        state.epoch += 1;
        state.locks.clear();
        state.off = false;
        state.power_off_at = None;
        state.releases += 1;
        self.shared.changed.notify_all();
    }

    /// The page cache lets go of what is clean: what a failed sync has lost is not shown any longer,
    /// and silent damage on the medium is.
    pub fn drop_caches(&self) {
        let tree = &mut self.state().tree;
        for id in 0..tree.inodes.len() {
            if let Ok(file) = tree.file_mut(id) {
                file.drop_caches();
            }
        }
    }

    /// Arms a fault.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.add(fault);
    }

    /// How many faults wait for their operation. 0 says that all have hit.
    pub fn armed_faults(&self) -> usize {
        self.state().faults.armed()
    }

    /// Disarms all faults.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Bounds the bytes that files may occupy; `None` takes the bound away.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Waits until a thread is held by [`FaultKind::Stall`].
    pub fn wait_until_stalled(&self) {
        let mut state = self.state();
        while state.stalled == 0 {
            self.shared.changed.wait(&mut state);
        }
    }

    /// Lets all stalled operations go on.
    pub fn release(&self) {
        self.state().releases += 1;
        self.shared.changed.notify_all();
    }

    /// A number for everything that is durable: equal content, equal number.
    pub fn digest(&self) -> u64 {
        self.state().tree.digest()
    }

    /// The files that would be found after a crash that spares nothing, with their content.
    pub fn durable_files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.state();
        let files = state.tree.durable_files();
        files.into_iter().map(|(path, image)| (path, image.to_vec())).collect()
    }

    /// Inverts one bit of what is durable in a file, as decay does; `bit` counts from its start. Shown
    /// once the caches are gone.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such file.
    pub fn flip_bit(&self, path: impl AsRef<Path>, bit: u64) -> io::Result<()> {
        let tree = &mut self.state().tree;
        let id = tree.find(path.as_ref())?;
        tree.file_mut(id)?.durable.flip_bit(bit);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock()
    }

    /// Begins an operation: counts it, records it, and says which fault hits it. Fails when whoever
    /// asks was mounted before the last crash, or when the power is off.
    fn begin<'a>(
        &'a self,
        epoch: u64,
        doing: Doing,
        path: &Path,
    ) -> io::Result<(MutexGuard<'a, State>, Option<FaultKind>)> {
        let mut state = self.state();
        state.check(epoch)?;
        let mut hit = state.faults.hit(doing, path);
        if hit == Some(FaultKind::Stall) {
            let releases = state.releases;
            state.stalled += 1;
            self.shared.changed.notify_all();
            while state.releases == releases {
                self.shared.changed.wait(&mut state);
            }
            state.stalled -= 1;
            state.check(epoch)?;
            hit = None;
        }
        Ok((state, hit))
    }
}

impl State {
    fn check(&self, epoch: u64) -> io::Result<()> {
        if self.off || self.epoch != epoch {
            return Err(io::Error::other("the simulated machine was switched off"));
        }
        Ok(())
    }

    /// Counts an operation whose effect, as far as it may survive a crash right now, is in the tree.
    /// Fails when the power goes off during it.
    fn count(&mut self, describe: impl FnOnce() -> String) -> io::Result<()> {
        self.operations += 1;
        if let Some(history) = &mut self.history {
            history.push(self.tree.clone());
            self.described.push(describe());
        }
        if self.power_off_at == Some(self.operations) {
            self.off = true;
            return self.check(self.epoch);
        }
        Ok(())
    }

    /// How many of `wanted` more bytes there is room for.
    fn room(&self, wanted: u64) -> u64 {
        self.capacity.map_or(wanted, |bytes| bytes.saturating_sub(self.tree.used()).min(wanted))
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimDisk")
            .field("operations", &state.operations)
            .field("off", &state.off)
            .finish_non_exhaustive()
    }
}
