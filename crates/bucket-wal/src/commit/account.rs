//! What the log says of itself: its figures, and the events of a turn, told with the state unlocked.

use std::time::Duration;

use super::Shared;
use super::lead::Lead;
use super::state::Batch;
use crate::error::WalError;
use crate::lifecycle::Lifecycle;
use crate::lsn::Lsn;
use crate::options::SyncPolicy;
use crate::segment::Header;
use crate::stats::WalStats;
use crate::writer::{CommitError, Committed};

impl Shared {
    pub(crate) fn stats(&self) -> WalStats {
        let now = self.rules.unix_ms();
        let state = self.state.lock();
        let index = self.index.lock();
        let done = state.keep.done;
        let age = (done.newest_checkpoint > 0).then(|| now.saturating_sub(done.newest_checkpoint));
        let (pending, pending_bytes) = state.lifecycle.as_ref().map_or((0, 0), Lifecycle::size);
        WalStats {
            checkpoints: done.checkpoints,
            checkpoint_age: age.map(Duration::from_millis),
            checkpoint_failures: done.failures,
            pending,
            pending_bytes,
            survivors: done.survivors,
            archived: done.archived,
            archive_failures: done.archive_failures,
            segments: index.len() as u64,
            log_bytes: index.bytes(),
            spare_bytes: self.spares.bytes(),
            reused: self.spares.reused(),
            written_lsn: Lsn::new(state.written_lsn),
            durable_lsn: Lsn::new(state.durable),
            ..state.stats
        }
    }

    #[cfg(all(test, not(bucket_loom)))]
    pub(crate) fn remembered(&self) -> usize {
        self.state.lock().written.len()
    }

    /// Whether somebody waits until the leader is done; `None` when the state is taken at the moment.
    #[cfg(all(test, not(bucket_loom)))]
    pub(crate) fn waits_for_a_turn(&self) -> Option<bool> {
        Some(self.state.try_lock()?.turn_waiters > 0)
    }

    /// Somebody came upon damage while reading.
    pub(crate) fn found_damage(&self, error: &WalError) {
        self.state.lock().stats.damage_read += 1;
        self.telemetry.damage_read(error);
    }

    /// Says what a turn of a leader came to, with the state unlocked.
    pub(super) fn tell_of_turn(
        &self,
        batch: Option<&Batch>,
        wrote: &Result<Option<Committed>, CommitError>,
        synced: &Result<(), CommitError>,
        how: Lead,
        took: Duration,
    ) {
        let weight = batch.map(Batch::weight);
        let written = weight.filter(|_| wrote.is_ok());
        self.telemetry.turn(written, how == Lead::Sync && synced.is_ok(), took);
        if let Ok(Some(Committed { new_segment: Some((header, _)), .. })) = wrote {
            self.tell_of_rotation(header);
        }
        match (wrote, synced) {
            (Err(CommitError::NotWritten(_)), _) if self.policy == SyncPolicy::Always => {
                self.telemetry.refused(weight.map_or(0, |(records, _)| records));
            }
            (Err(error), _) | (_, Err(error)) => self.tell_of_poison(error),
            (Ok(_), Ok(())) => {}
        }
    }

    pub(super) fn tell_of_rotation(&self, header: &Header) {
        let index = self.index.lock();
        // It may not be known yet.
        let others = index.len() - usize::from(index.contains(header.segment_id));
        let bytes = index.bytes();
        drop(index);
        self.telemetry.rotated(header.segment_id, header.first_lsn, others + 1, bytes);
    }

    pub(super) fn tell_of_poison(&self, error: &CommitError) {
        self.telemetry.poisoned(self.durable(), &error.source());
    }
}
