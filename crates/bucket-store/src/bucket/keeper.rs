//! The keeper: checkpoints of the bucket, a log that is no longer than it has to be, and the thread that
//! sees to both.

use std::time::Duration;

use bucket_core::Tick;
use bucket_wal::{Lsn, WalStats};

use crate::bucket::catalog::Catalog;
use crate::bucket::error::StoreError;
use crate::bucket::inner::{Inner, State};
use crate::bucket::status;
use crate::planted::Bug;

/// What a record takes of the log beside its content, at most.
const OVERHEAD: u64 = 48;
/// How often the keeper looks around when nothing calls it.
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct CheckpointState {
    /// Counts the catalogs that were written.
    pub(crate) generation: u64,
    /// How long the log was after the newest checkpoint of this opening, or has been since, if it was
    /// shorter.
    log_bytes: u64,
    /// Where that checkpoint has replay start.
    replay_from: Lsn,
}

impl CheckpointState {
    /// As found at an opening: whatever is in the log counts as new.
    pub(crate) fn new(generation: u64) -> Self {
        Self { generation, log_bytes: 0, replay_from: Lsn::ZERO }
    }
}

impl Inner {
    /// Writes the catalog down, so that what it knows need not be replayed, and trims the log.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        let mut checkpoints = self.checkpoints.lock();
        let state = self.state.lock();
        if !may_trim(&state) {
            return Ok(());
        }
        let replay_from = self.replay_from(&state);
        let encoded = state.catalog.encode();
        drop(state);
        let generation = checkpoints.generation + 1;
        if self.config.planted.has(Bug::CheckpointBeforeData) {
            self.wal.checkpoint(replay_from, &generation.to_le_bytes())?;
        }
        // The catalog first: the checkpoint names it.
        Catalog::write(&*self.vfs, &self.dir, generation, encoded)
            .map_err(|error| StoreError::io("write the catalog in", &self.dir, error))?;
        self.wal.checkpoint(replay_from, &generation.to_le_bytes())?;
        checkpoints.generation = generation;
        checkpoints.log_bytes = self.wal.stats().log_bytes;
        checkpoints.replay_from = replay_from;
        Ok(())
    }

    /// The first record that the catalog has not heard of: what it knows is durable. What is pending it need
    /// not know, that is the log's business.
    fn replay_from(&self, state: &State) -> Lsn {
        let next = self.wal.durable_lsn().next();
        state.engine.oldest_unapplied().map_or(next, |oldest| oldest.min(next))
    }

    /// Notes that the log was given a record of this length, and calls the keeper when it should look.
    pub(crate) fn logged(&self, state: &mut State, len: usize) {
        state.logged += len as u64 + OVERHEAD;
        if self.log_has_grown(state) {
            self.tick.notify_one();
        }
    }

    /// Whether the log has grown by so much since the keeper looked that it should look again: by a
    /// sixteenth of a segment.
    pub(crate) fn log_has_grown(&self, state: &State) -> bool {
        state.logged >= self.config.segment_size.get() / 16
    }

    /// Keeps the log within its bound: twice what is pending, and two segments.
    ///
    /// The log copies forward what is pending, but no further than the newest checkpoint has replay start,
    /// so checkpoints are taken before it comes to that.
    pub(crate) fn keep_log(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        state.logged = 0;
        if !may_trim(&state) {
            return Ok(());
        }
        let replay_from = self.replay_from(&state);
        drop(state);
        let due = self.checkpoint_is_due(replay_from);
        let taken = if due { self.checkpoint() } else { Ok(()) };
        let mut checkpoints = self.checkpoints.lock();
        if checkpoints.generation > 0 {
            // Also when no other checkpoint could be written: perhaps something can go all the same. Before
            // the first, the log thinks that nobody needs what is settled, and no catalog knows of it.
            self.wal.housekeep()?;
        }
        checkpoints.log_bytes = checkpoints.log_bytes.min(self.wal.stats().log_bytes);
        taken
    }

    /// A checkpoint costs a catalog, so it is due only when the log is close to its bound, and has grown by
    /// a quarter of a segment since the last; or when the log is longer than it should be, and the last one
    /// holds it back.
    fn checkpoint_is_due(&self, replay_from: Lsn) -> bool {
        let (stats, segment) = (self.wal.stats(), self.config.segment_size.get());
        let last = self.checkpoints.lock();
        let grown = stats.log_bytes.saturating_sub(last.log_bytes);
        let bytes = stats.log_bytes.saturating_add(stats.spare_bytes);
        let beside_pending = bytes.saturating_sub(weight(&stats).saturating_mul(2));
        (beside_pending > segment + segment / 2 && grown >= segment / 4)
            || (beside_pending > segment * 2 && replay_from > last.replay_from)
    }

    /// The loop of the keeper: keeps the log short, writes `status.json` when something changed, and
    /// forgets keys that nothing late can change any more.
    pub(crate) fn keep(&self) {
        let (mut last, mut next) = (None, Tick::ZERO);
        let mut state = self.state.lock();
        while !state.stopping {
            let now = self.clock.now();
            let is_time = now >= next;
            if is_time {
                next = now.after(PERIOD);
                state.engine.sweep(now);
            }
            drop(state);
            if is_time {
                status::publish(self, true, &mut last);
            }
            // What cannot be written now is tried again; nothing is lost meanwhile.
            let _ = self.keep_log();
            state = self.state.lock();
            if !state.stopping && !self.log_has_grown(&state) {
                let has_waited = self.tick.wait_for(&mut state, PERIOD).timed_out();
                if has_waited {
                    // Also where the clock stands still.
                    next = Tick::ZERO;
                }
            }
        }
    }
}

/// Damage that nobody has looked at keeps its evidence.
const fn may_trim(state: &State) -> bool {
    state.degraded.is_none() && !state.faulted
}

/// What is pending, as the log counts it.
pub(crate) const fn weight(stats: &WalStats) -> u64 {
    stats.pending_bytes.saturating_add(stats.pending.saturating_mul(OVERHEAD))
}
