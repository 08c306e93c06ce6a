//! [`State`]: where a log stands, under one lock; and [`Batch`], the records that are on their way through
//! it.

use bucket_core::Tick;
use bucket_vfs::VfsLock;

use super::committer::Committer;
use super::gather::Gather;
use super::poison::Poison;
use super::ticket::Done;
use super::watch::Watchers;
use crate::format::Features;
use crate::keep::Keep;
use crate::lifecycle::Lifecycle;
use crate::stats::WalStats;
use crate::sync::Arc;
use crate::writer::Group;

/// Where the log stands.
pub(crate) struct State {
    pub(super) open: Batch,
    /// The memory of the batch before, for the next.
    pub(super) spare: Group,
    /// Batches that are written and not durable, the oldest first, as far as anybody has a ticket of them.
    pub(super) written: Vec<Arc<Done>>,
    pub(crate) next_lsn: u64,
    pub(super) written_lsn: u64,
    pub(super) durable: u64,
    pub(super) epoch: u64,
    pub(super) features: Features,
    /// What was accepted and is not durable.
    pub(super) unsynced: Unsynced,
    /// What was written and is not durable; counted once it is.
    pub(super) uncounted: (u64, u64),
    /// Bytes that the writer can take without asking for space, and the same with the reserve. Kept by
    /// leaders, read by those who accept records that nobody waits for.
    pub(super) room: (u64, u64),
    // Invariant: at most one thread holds `leading`, and only it touches the writer.
    pub(super) leading: bool,
    pub(super) turn_waiters: u64,
    pub(super) gather: Gather,
    /// The numbers since the last written frame were given up.
    pub(super) gap: bool,
    pub(super) poison: Option<Poison>,
    /// Something beside the leader panicked: the log is poisoned once the leader's turn is over.
    pub(super) doomed: Option<Arc<std::io::Error>>,
    pub(super) closed: bool,
    pub(super) committer: Committer,
    pub(super) watchers: Watchers,
    pub(super) lock: Option<Box<dyn VfsLock>>,
    pub(super) stats: WalStats,
    /// Of a log that keeps account of what is pending.
    pub(crate) lifecycle: Option<Lifecycle>,
    pub(crate) keep: Keep,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unsynced {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// When the oldest of them was accepted.
    pub(super) since: Tick,
    /// A bound of the policy was reached.
    pub(super) due: bool,
}

/// The records that the next commit will write.
pub(super) struct Batch {
    pub(super) first_lsn: u64,
    pub(super) group: Group,
    pub(super) done: Arc<Done>,
}

impl State {
    /// Takes the open batch, and opens the next in the memory of the one before.
    pub(super) fn take_open(&mut self) -> Batch {
        let group = std::mem::take(&mut self.spare);
        let next = Batch { group, ..Batch::new(self.next_lsn) };
        std::mem::replace(&mut self.open, next)
    }

    /// The batch is written.
    pub(super) fn took(&mut self, batch: Batch) {
        let (records, bytes) = batch.weight();
        self.gap = false;
        self.written_lsn = batch.first_lsn + records - 1;
        self.uncounted.0 += records;
        self.uncounted.1 += bytes;
        self.stats.groups += 1;
        // Tickets are made with the state locked, and of the open batch alone: without one there is nobody
        // to tell. Under a policy that seldom syncs, thousands of such batches would pile up here.
        if Arc::strong_count(&batch.done) > 1 {
            self.written.push(batch.done);
        }
        self.spare = batch.group.cleared();
    }

    /// Everything that was written is durable.
    pub(crate) const fn is_all_durable(&self) -> bool {
        self.written_lsn == self.durable
    }

    /// The batch was refused, and its numbers are left out.
    pub(super) fn gave_up(&mut self, batch: &Batch) {
        let (records, bytes) = batch.weight();
        self.gap = true;
        if let Some(lifecycle) = &mut self.lifecycle {
            lifecycle.refused(batch.first_lsn, batch.first_lsn + records - 1);
        }
        self.stats.refused += records;
        self.unsynced.records = self.unsynced.records.saturating_sub(records);
        self.unsynced.bytes = self.unsynced.bytes.saturating_sub(bytes);
    }
}

impl Batch {
    pub(super) fn new(first_lsn: u64) -> Self {
        Self { first_lsn, group: Group::default(), done: Arc::new(Done::new()) }
    }

    /// How many records it has, and how many bytes of content.
    pub(super) const fn weight(&self) -> (u64, u64) {
        (self.group.entries.len() as u64, self.group.payloads.len() as u64)
    }
}
