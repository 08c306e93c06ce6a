//! Leading: one thread writes the open batch, and syncs for everybody who waits, with the state unlocked;
//! then it hands the lead on.

use bucket_core::Tick;

use super::state::{Batch, Unsynced};
use super::ticket::Done;
use super::{Shared, State};
use crate::index::Segment;
use crate::options::SyncPolicy;
use crate::planted::Bug;
use crate::segment;
use crate::sync::{Arc, MutexGuard, Ordering};
use crate::writer::{CommitError, Committed, NewSegment, encoded_bound};

/// How far a leader goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    /// Writes what was accepted and makes everything durable.
    Sync,
    /// Writes what was accepted.
    Write,
}

impl Shared {
    /// Leads, or waits until whoever leads is done.
    pub(super) fn lead_or_wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        how: Lead,
    ) -> MutexGuard<'a, State> {
        if !state.leading {
            return self.lead(state, how);
        }
        state.turn_waiters += 1;
        self.turn.wait(&mut state);
        state.turn_waiters -= 1;
        state
    }

    /// Commits the open batch, if there is anything in it, and syncs if that is asked for. The caller
    /// holds the state, and nobody leads.
    pub(super) fn lead<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        how: Lead,
    ) -> MutexGuard<'a, State> {
        state.leading = true;
        let batch = (!state.open.group.entries.is_empty()).then(|| state.take_open());
        let gap = state.gap;
        if let Some(batch) = &batch {
            // What it takes at most is not there for those who come meanwhile; an empty segment takes one
            // group of any length, and nothing after a long one.
            let taken = encoded_bound(&batch.group);
            let rest = self.segment_bytes.saturating_sub(segment::HEADER_LEN + taken);
            state.room.0 = state.room.0.saturating_sub(taken).min(rest);
            state.room.1 = state.room.1.saturating_sub(taken).min(rest);
        }
        // Room for what was accepted without waiting is there already.
        let keep = self.policy == SyncPolicy::Always;
        drop(state);

        let start = self.stopwatch();
        let turn = self.unless_it_panics(batch.as_ref().map(|batch| &batch.done), || {
            let mut writer = self.writer.lock();
            let early = how == Lead::Sync && self.planted.has(Bug::AcknowledgeBeforeSync);
            let mut synced = if early { writer.sync() } else { Ok(()) };
            let write = |batch: &Batch| writer.write(batch.first_lsn, gap, &batch.group, keep);
            let wrote = batch.as_ref().map(write).transpose();
            let broken = matches!(wrote, Err(CommitError::Poisoned(_)));
            if how == Lead::Sync && !broken && !early {
                synced = writer.sync();
            }
            (wrote, synced, writer.room(), writer.method())
        });
        let (wrote, mut synced, room, method) = turn;
        let took = self.stopwatch().since(start);
        self.tell_of_turn(batch.as_ref(), &wrote, &synced, how, took);

        let mut state = self.state.lock();
        state.room = room;
        state.stats.sync_method = method;
        let mut refused = None;
        match (wrote, batch) {
            (Ok(committed), Some(batch)) => {
                if let Some(committed) = committed {
                    self.enter(&mut state, committed);
                }
                state.took(batch);
            }
            (Err(error @ CommitError::NotWritten(_)), Some(batch))
                if self.policy != SyncPolicy::Always =>
            {
                // It was accepted, and there may be nobody left to hear that it is not.
                state.written.push(batch.done);
                synced = Err(error);
            }
            (Err(CommitError::NotWritten(error)), Some(batch)) => {
                state.gave_up(&batch);
                refused = Some((batch.done, error));
            }
            (Err(CommitError::Poisoned(source)), Some(batch)) => {
                state.written.push(batch.done);
                synced = Err(CommitError::Poisoned(source));
            }
            (_, None) => {}
        }
        match (how, synced) {
            (Lead::Sync, Ok(())) => {
                let records = state.uncounted.0;
                state.gather.learn(records, took);
                let durable = self.is_durable(&mut state);
                self.end_turn(&mut state);
                durable.into_iter().for_each(|done| done.finish(Ok(())));
            }
            (_, Ok(())) => self.end_turn(&mut state),
            (_, Err(error)) => self.poison(&mut state, &error),
        }
        if let Some((done, error)) = refused {
            done.finish(Err(error));
        }
        state
    }

    /// Makes the frames of a commit known to readers, who see them once they are durable.
    fn enter(&self, state: &mut State, committed: Committed) {
        if let Some(segment) = committed.new_segment {
            self.begin(state, segment);
        }
        let mut index = self.index.lock();
        if let Some(newest) = index.newest_mut() {
            state.keep.log_bytes += committed.end.saturating_sub(newest.end);
            newest.extend(committed.frames, committed.end);
        }
    }

    /// Makes a new segment known.
    pub(super) fn begin(&self, state: &mut State, (header, file): NewSegment) {
        let path = self.dir.join(segment::file_name(header.segment_id));
        let (frames, end) = (Vec::new(), segment::HEADER_LEN);
        state.keep.log_bytes += end;
        self.index.lock().insert(Segment { header, path, file: Some(file), frames, end });
    }

    /// Everything that was written is durable. Returns those who wait for that.
    fn is_durable(&self, state: &mut State) -> Vec<Arc<Done>> {
        state.durable = state.written_lsn;
        let (records, bytes) = std::mem::take(&mut state.uncounted);
        state.stats.records += records;
        state.stats.payload_bytes += bytes;
        state.stats.syncs += 1;
        if let Some(lifecycle) = &mut state.lifecycle {
            lifecycle.durable(state.durable);
        }
        self.keep_up(state, records, bytes);
        let (records, bytes) = state.open.weight();
        // What came meanwhile counts from now on: a sync more often than needed at worst.
        state.unsynced = Unsynced { records, bytes, since: self.start_of(records), due: false };
        // Release: the partner of the load in `durable`.
        self.durable.store(state.durable, Ordering::Release);
        std::mem::take(&mut state.written)
    }

    /// The next leader is found before those are woken who may go on.
    pub(super) fn end_turn(&self, state: &mut State) {
        if let Some(source) = state.doomed.take() {
            return self.poison(state, &CommitError::Poisoned(source));
        }
        state.leading = false;
        self.tell(state);
        if !self.planted.has(Bug::NoHandOver) {
            // A waiter of something written needs a leader who syncs, and that one writes as well.
            let next = state.written.iter().find(|done| done.has_waiters());
            next.unwrap_or(&state.open.done).wake_one();
        }
        if state.turn_waiters > 0 {
            self.turn.notify_all();
        }
        state.release_if_idle();
    }

    /// Now, if there is anything whose age matters.
    fn start_of(&self, records: u64) -> Tick {
        use bucket_core::Clock;
        if records == 0 || self.policy == SyncPolicy::Always {
            Tick::ZERO
        } else {
            self.clock.now()
        }
    }
}
