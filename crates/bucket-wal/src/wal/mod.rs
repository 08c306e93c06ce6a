//! [`Wal`]: the log itself. What is done with it stands in a file for each purpose.

mod append;
mod keep;
mod read;
mod replicate;

use std::path::Path;

use bucket_core::{Clock, SystemClock};
use bucket_vfs::{LockError, VfsLock, create_dir_durable};

use crate::commit::Shared;
use crate::error::WalError;
use crate::options::{RecoveryPolicy, WalOptions};
use crate::recovery::{Recovery, recover};
use crate::stats::WalStats;
use crate::sync::Arc;
use crate::tuning;

/// A durable log of records. Clones share one log.
///
/// Appending from several threads shares syncs: whoever waits first writes and syncs for all who have
/// come by then. No thread runs in the background unless [`Wal::submit`] was used.
///
/// Dropping the last clone is like a crash: it gives up the lock and loses nothing that was
/// acknowledged; tickets that still wait get [`WalError::Closed`]. [`Wal::close`] writes what is
/// buffered and says whether all went well.
#[derive(Clone, Debug)]
pub struct Wal {
    pub(crate) shared: Arc<Shared>,
    /// Tickets, readers and the committer thread share the state; only clones of the log own it.
    #[expect(dead_code, reason = "held for its drop")]
    owner: Arc<Owner>,
}

/// Gives the log up when the last clone is dropped.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Wal {
    /// Opens the log in `dir` with the default options.
    ///
    /// # Errors
    ///
    /// As [`WalOptions::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<(Self, Recovery), WalError> {
        Self::options().open(dir)
    }

    /// The default options, to be changed.
    pub fn options() -> WalOptions {
        WalOptions::new()
    }

    pub(crate) fn open_with(
        dir: &Path,
        mut options: WalOptions,
    ) -> Result<(Self, Recovery), WalError> {
        let lock = claim(dir, &options)?;
        if options.sync_method.is_none() {
            options.sync_method = tuning::stored(&*options.vfs, dir);
        }
        let clock = SystemClock::new();
        let start = clock.now();
        let recovered = recover(dir, &options)?;
        let mut recovery = recovered.recovery.clone();
        let (lifecycle, planted) = (options.lifecycle, options.planted);
        let salvage = options.recovery != RecoveryPolicy::Strict;
        let shared = Shared::new(dir.to_owned(), options, lock, recovered);
        let owner = Arc::new(Owner(Arc::clone(&shared)));
        if lifecycle {
            let needed_from = shared.checkpoints()?.needed_from();
            recovery.pending = shared.restore_lifecycle(needed_from, salvage, planted)?;
        }
        let log_bytes = shared.index().lock().bytes();
        shared.telemetry.opened(recovery.report(), log_bytes, clock.now().since(start));
        Ok((Self { shared, owner }, recovery))
    }

    /// What the log has done since it was opened.
    pub fn stats(&self) -> WalStats {
        self.shared.stats()
    }

    /// Writes what is buffered, marks the end as clean, and gives up the lock. Further calls on other
    /// clones return [`WalError::Closed`].
    ///
    /// # Errors
    ///
    /// [`WalError::Poisoned`] or [`WalError::NoSpace`] when what was buffered could not be made
    /// durable. What was acknowledged before is safe.
    pub fn close(self) -> Result<(), WalError> {
        self.shared.close()
    }

    /// How many batches are kept for those who may ask for their outcome.
    #[cfg(all(test, not(bucket_loom)))]
    pub(crate) fn remembered(&self) -> usize {
        self.shared.remembered()
    }

    /// Looks, for a while, until somebody waits for the leader, or until `thread` does not wait any more.
    #[cfg(all(test, not(bucket_loom)))]
    pub(crate) fn until_it_waits<T>(&self, thread: &std::thread::ScopedJoinHandle<'_, T>) {
        for _ in 0..1_000_000_u32 {
            if thread.is_finished() || self.shared.waits_for_a_turn() == Some(true) {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Makes sure that the directory is there, and takes its lock.
pub(crate) fn claim(dir: &Path, options: &WalOptions) -> Result<Box<dyn VfsLock>, WalError> {
    let vfs = &*options.vfs;
    create_dir_durable(vfs, dir, WalError::io)?;
    vfs.lock(&dir.join("LOCK"), &options.holder).map_err(|error| match error {
        LockError::Held { holder } => WalError::Locked { path: dir.to_owned(), holder },
        LockError::Io(error) => WalError::io("lock", dir, error),
        // The enum may grow; whatever it says, the lock is not ours.
        _ => WalError::Locked { path: dir.to_owned(), holder: String::new() },
    })
}
