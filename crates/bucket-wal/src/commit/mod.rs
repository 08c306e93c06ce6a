//! Group commit: who writes, who waits, and who is woken.
//!
//! Appending reserves a number and copies the record into the open batch, under a short lock. Whoever
//! waits first becomes the leader: it takes the batch, writes and syncs it with the lock released,
//! while the next batch fills; then it hands the lead to a waiter of that next batch *before* it wakes
//! its own, so that the disk is not idle while threads are being scheduled.
//!
//! Under a policy that does not sync for each record, a batch is written first and becomes durable with
//! a later sync; until then its waiters wait for that.

mod accept;
mod account;
mod committer;
mod end;
mod exclusive;
mod gather;
mod lead;
mod panicked;
mod poison;
mod state;
mod ticket;
mod wait;
mod watch;

use std::fmt;
use std::path::PathBuf;
use std::sync::Weak;

use bucket_core::SystemClock;
use bucket_vfs::{Vfs, VfsLock};

use self::committer::Committer;
use self::gather::Gather;
use self::state::{Batch, Unsynced};
use self::watch::Watchers;
use crate::error::WalError;
use crate::format::Features;
use crate::index::Index;
use crate::keep::{Checkpoints, Keep, Rules};
use crate::options::{SyncPolicy, WalOptions};
use crate::planted::{Bug, Planted};
use crate::recovery::Recovered;
use crate::spares::Spares;
use crate::stats::WalStats;
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering};
use crate::telemetry::Telemetry;
use crate::writer::{Group, Writer};

pub(crate) use self::accept::Records;
pub(crate) use self::state::State;
pub use self::ticket::Ticket;
pub(crate) use self::watch::More;

/// What the clones of a log, its tickets and its readers share.
pub(crate) struct Shared {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) dir: PathBuf,
    policy: SyncPolicy,
    write_through: bool,
    segment_bytes: u64,
    pub(crate) clock: SystemClock,
    pub(crate) state: Mutex<State>,
    /// Mirrors `State::durable`, for reading without the lock.
    durable: AtomicU64,
    index: Mutex<Index>,
    /// Used by the leader alone; the lock is never contended.
    writer: Mutex<Writer>,
    pub(crate) spares: Arc<Spares>,
    pub(crate) rules: Rules,
    pub(crate) checkpoints: Mutex<Checkpoints>,
    /// One more than the newest record that is known to be elsewhere; 0 when nobody ever said so.
    pub(crate) replicated: AtomicU64,
    /// Held by whoever copies forward and archives.
    pub(crate) housekeeper: Mutex<()>,
    pub(crate) keeper: Condvar,
    pub(crate) weak: Weak<Self>,
    committer: Condvar,
    /// For those who wait for the leader to be done, whatever it did.
    pub(crate) turn: Condvar,
    /// For the leader who waits for others to come along.
    gathered: Condvar,
    /// For those who follow the log.
    grown: Condvar,
    pub(crate) planted: Planted,
    pub(crate) telemetry: Telemetry,
}

impl Shared {
    pub(crate) fn new(
        dir: PathBuf,
        options: WalOptions,
        lock: Box<dyn VfsLock>,
        recovered: Recovered,
    ) -> Arc<Self> {
        let Recovered { recovery, mut index, writer, log_id, next_lsn, .. } = recovered;
        let Recovered { manifests, spares, reserve, .. } = recovered;
        let newest = manifests.readable.first();
        let behind = (next_lsn - 1).saturating_sub(newest.map_or(0, |newest| newest.durable_lsn));
        let taken = newest.map_or(0, |newest| newest.taken);
        let mut keep = Keep::new(&options, behind, taken, Arc::clone(&spares));
        keep.log_bytes = index.bytes();
        let replicated = newest.and_then(|newest| newest.replicated_lsn);
        let (rules, telemetry) = (Rules::new(&options), Telemetry::new(&dir));
        let vfs = options.vfs;
        index.use_vfs(Arc::clone(&vfs));
        Arc::new_cyclic(|weak| Self {
            vfs,
            dir,
            policy: options.sync_policy,
            write_through: options.write_through,
            segment_bytes: options.segment_bytes,
            clock: SystemClock::new(),
            state: Mutex::new(State {
                open: Batch::new(next_lsn),
                spare: Group::default(),
                written: Vec::new(),
                next_lsn,
                written_lsn: next_lsn - 1,
                durable: next_lsn - 1,
                epoch: writer.epoch(),
                features: writer.features(),
                unsynced: Unsynced::default(),
                uncounted: (0, 0),
                room: writer.room(),
                leading: false,
                turn_waiters: 0,
                gather: Gather::default(),
                gap: false,
                poison: None,
                doomed: None,
                closed: false,
                committer: Committer::None,
                watchers: Watchers::default(),
                lock: Some(lock),
                stats: WalStats {
                    sync_method: writer.method(),
                    damage_found: recovery.report().damage.len() as u64,
                    damaged_records: recovery.report().damaged_records(),
                    unreadable_checkpoints: recovery.report().unreadable_checkpoints as u64,
                    ..WalStats::default()
                },
                lifecycle: None,
                keep,
            }),
            durable: AtomicU64::new(next_lsn - 1),
            index: Mutex::new(index),
            writer: Mutex::new(writer),
            spares,
            rules,
            checkpoints: Mutex::new(Checkpoints::new(log_id, &manifests, reserve)),
            replicated: AtomicU64::new(replicated.map_or(0, |lsn| lsn.saturating_add(1))),
            housekeeper: Mutex::new(()),
            keeper: Condvar::new(),
            weak: weak.clone(),
            committer: Condvar::new(),
            turn: Condvar::new(),
            gathered: Condvar::new(),
            grown: Condvar::new(),
            planted: options.planted,
            telemetry,
        })
    }

    pub(crate) fn durable(&self) -> u64 {
        // Acquire: whoever sees the number sees the index entry of the record.
        self.durable.load(Ordering::Acquire)
    }

    /// The newest number that was given.
    pub(crate) fn newest(&self) -> Result<u64, WalError> {
        let state = self.state.lock();
        state.check()?;
        Ok(state.next_lsn - 1)
    }

    pub(crate) fn written(&self) -> u64 {
        self.state.lock().written_lsn
    }

    /// What a checkpoint may vouch for: what is durable.
    pub(crate) fn vouched_for(&self) -> u64 {
        if self.planted.has(Bug::CheckpointBeforeData) {
            return self.state.lock().next_lsn - 1;
        }
        self.durable()
    }

    /// The epoch of the newest segment.
    pub(crate) fn epoch(&self) -> u64 {
        self.state.lock().epoch
    }

    /// The features of the format that are turned on.
    pub(crate) fn features(&self) -> Features {
        self.state.lock().features
    }

    pub(crate) const fn index(&self) -> &Mutex<Index> {
        &self.index
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("dir", &self.dir).finish_non_exhaustive()
    }
}
