//! The keeper: checkpoints of the bucket, and the thread that takes them.

use std::time::Duration;

use crate::bucket::catalog::Catalog;
use crate::bucket::error::StoreError;
use crate::bucket::inner::Inner;
use crate::bucket::status;
use crate::planted::Bug;

/// A checkpoint is due when the log has grown by this much.
const CHECKPOINT_BYTES: u64 = 64 << 20;

#[derive(Debug)]
pub(crate) struct CheckpointState {
    pub(crate) generation: u64,
    pub(crate) log_bytes: u64,
}

impl Inner {
    /// Writes the catalog down, so that what it knows need not be replayed, and trims the log.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        let mut checkpoints = self.checkpoints.lock();
        let state = self.state.lock();
        if state.degraded.is_some() || state.faulted {
            return Ok(());
        }
        // What the catalog knows is durable, and what is durable and not in it is replayed. What is
        // pending is the log's business.
        let next = self.wal.durable_lsn().next();
        let replay_from = state.engine.oldest_unapplied().map_or(next, |oldest| oldest.min(next));
        let encoded = state.catalog.encode();
        drop(state);
        let generation = checkpoints.generation + 1;
        if self.config.planted.has(Bug::CheckpointBeforeData) {
            self.wal.checkpoint(replay_from, &generation.to_le_bytes())?;
        }
        // The catalog first: the checkpoint names it.
        Catalog::write(&*self.vfs, &self.dir, generation, &encoded)
            .map_err(|error| StoreError::io("write the catalog in", &self.dir, error))?;
        self.wal.checkpoint(replay_from, &generation.to_le_bytes())?;
        checkpoints.generation = generation;
        checkpoints.log_bytes = self.wal.stats().log_bytes;
        Ok(())
    }

    fn checkpoint_is_due(&self) -> bool {
        let log_bytes = self.wal.stats().log_bytes;
        log_bytes > self.checkpoints.lock().log_bytes.saturating_add(CHECKPOINT_BYTES)
    }

    /// The loop of the keeper: writes `status.json` when something changed, takes checkpoints when they
    /// are due, and forgets keys that nothing late can change any more.
    pub(crate) fn keep(&self) {
        let mut last = None;
        let mut state = self.state.lock();
        while !state.stopping {
            state.engine.sweep(self.clock.now());
            drop(state);
            status::publish(self, true, &mut last);
            if self.checkpoint_is_due() {
                // What cannot be written now is tried again; nothing is lost meanwhile.
                let _ = self.checkpoint();
            }
            state = self.state.lock();
            if !state.stopping {
                self.tick.wait_for(&mut state, Duration::from_secs(1));
            }
        }
    }
}
