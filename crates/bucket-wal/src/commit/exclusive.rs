//! What needs the log for itself: finishing a segment, a new epoch, taking records back.
//!
//! It waits until everything that was accepted is durable, and appending waits for it.

use super::lead::Lead;
use super::state::Batch;
use super::{Shared, State};
use crate::error::WalError;
use crate::index::Segment;
use crate::lsn::Lsn;
use crate::recovery::carry::{Job, carry};
use crate::scan::{FrameRef, Known, scan};
use crate::segment::{self, Ending, Header};
use crate::sync::{Arc, MutexGuard, Ordering};
use crate::writer::{CommitError, NewSegment, Writer};

impl Shared {
    /// Finishes the newest segment.
    pub(crate) fn seal(&self) -> Result<(), WalError> {
        let mut state = self.alone()?;
        let (sealed, room, ending) = self.unless_it_panics_alone(&mut state, |_| {
            let mut writer = self.writer.lock();
            // The seal belongs to the segment.
            (writer.seal(), writer.room(), writer.ending())
        });
        state.room = room;
        if let Some(newest) = self.index.lock().newest_mut()
            && newest.header.segment_id == ending.segment_id
        {
            newest.extend(Vec::new(), ending.data_len);
        }
        self.end_alone(state, sealed)
    }

    /// Begins a segment for a higher epoch.
    pub(crate) fn begin_epoch(&self, epoch: u64) -> Result<(), WalError> {
        let mut state = self.alone()?;
        if epoch <= state.epoch {
            return Err(WalError::StaleEpoch { epoch, current: state.epoch });
        }
        let begun = self.begin_alone(&mut state, |writer, next| writer.begin_epoch(epoch, next));
        if begun.is_ok() {
            state.epoch = epoch;
        }
        self.tell_of_rotation(&self.end_alone(state, begun)?);
        Ok(())
    }

    /// Turns on the features that this version knows: in a segment first, which decides, and then in a
    /// checkpoint, which still says so when the segment is damaged.
    pub(crate) fn finalize(&self) -> Result<(), WalError> {
        let _work = self.begin_work()?;
        let mut checkpoints = self.checkpoints()?;
        let mut state = self.alone()?;
        let features = state.features.and(self.rules.known);
        if features == state.features {
            drop(state);
        } else {
            let begun =
                self.begin_alone(&mut state, |writer, next| writer.begin_features(features, next));
            if begun.is_ok() {
                state.features = features;
            }
            self.tell_of_rotation(&self.end_alone(state, begun)?);
        }
        if checkpoints.lacks(features) { self.repeat(&mut checkpoints, 0) } else { Ok(()) }
    }

    /// Begins a segment at once, and returns its header.
    fn begin_alone(
        &self,
        state: &mut State,
        begin: impl FnOnce(&mut Writer, u64) -> Result<NewSegment, CommitError>,
    ) -> Result<Header, CommitError> {
        let (begun, room) = self.unless_it_panics_alone(state, |state| {
            let mut writer = self.writer.lock();
            (begin(&mut writer, state.next_lsn), writer.room())
        });
        state.room = room;
        let segment = begun?;
        state.gap = false;
        let header = segment.0.clone();
        self.begin(state, segment);
        Ok(header)
    }

    /// Takes back all records after `lsn`.
    pub(crate) fn truncate_after(self: &Arc<Self>, lsn: u64) -> Result<(), WalError> {
        let _turn = self.housekeeper.lock();
        let checkpoints = self.checkpoints()?;
        let mut state = self.alone()?;
        if lsn >= state.next_lsn - 1 {
            return Ok(());
        }
        // What was settled by then is not all there any more once a checkpoint has let go of it.
        let is_tracked = state.lifecycle.is_some();
        let settled = if is_tracked { checkpoints.durable_lsn() + 1 } else { 0 };
        let replay_from = checkpoints.replay_from().max(settled);
        if lsn.saturating_add(1) < replay_from {
            return Err(WalError::Checkpointed {
                lsn: Lsn::new(lsn),
                replay_from: Lsn::new(replay_from),
            });
        }
        let truncated = self.unless_it_panics_alone(&mut state, |state| self.truncate(state, lsn));
        self.tell_of_rotation(&self.end_alone(state, truncated)?);
        if is_tracked {
            // Settlements that were taken back, and copies, count no more.
            self.restore_lifecycle(checkpoints.needed_from(), false, self.planted)?;
        }
        Ok(())
    }

    /// Returns the header of the segment that goes on.
    fn truncate(&self, state: &mut State, lsn: u64) -> Result<Header, CommitError> {
        let refused = CommitError::NotWritten;
        let held = self.index.lock().segment_of(lsn + 1);
        let Some((header, path, end)) = held else {
            return Err(refused(WalError::NotFound { lsn: Lsn::new(lsn) }));
        };
        let opened = self.vfs.open(&path, bucket_vfs::OpenMode::Read);
        let file = opened.map_err(|error| refused(WalError::io("open", &path, error)))?;
        let known = Known { path: &path, data_len: Some(end), durable_lsn: 0 };
        let found = scan(&*file, &header, known).map_err(refused)?;
        if let Some(damage) = found.damage.first() {
            return Err(refused(damage.error(header.segment_id)));
        }
        // The last frame that begins no later than what is taken back, if that is in it.
        let after = found.frames.partition_point(|frame| frame.first_lsn <= lsn + 1);
        let (cut, next_lsn, chain) = match after.checked_sub(1) {
            Some(at) => (found.frames[at].offset, found.frames[at].first_lsn, found.chains[at]),
            None => (segment::HEADER_LEN, header.first_lsn, header.prev_chain),
        };
        let frames: Vec<(usize, FrameRef)> = found.frames[after.saturating_sub(1)..after]
            .iter()
            .filter(|frame| frame.first_lsn <= lsn)
            .map(|frame| (0, *frame))
            .collect();

        let mut writer = self.writer.lock();
        let newest_id = writer.ending().segment_id;
        let job = Job {
            vfs: &*self.vfs,
            dir: &self.dir,
            planted: self.planted,
            log_id: header.log_id,
            segment_id: newest_id + 1,
            epoch: state.epoch + 1,
            features: state.features,
            salt: writer.salt().map_err(refused)?,
            ending: Ending { segment_id: header.segment_id, data_len: cut, next_lsn, chain },
            is_damage: false,
            headers: std::slice::from_ref(&header),
            frames: &frames,
            until: lsn + 1,
            next_lsn: lsn + 1,
        };
        let begun = carry(&job)?;
        let void = {
            let mut index = self.index.lock();
            let void = index.cut(header.segment_id, cut);
            let path = self.dir.join(segment::file_name(begun.header.segment_id));
            let (header, file) = (begun.header.clone(), Some(begun.file.clone()));
            let (frames, end) = (begun.frames.clone(), begun.ending.data_len);
            index.insert(Segment { header, path, file, frames, end });
            void
        };
        let header = begun.header.clone();
        state.epoch = header.epoch;
        writer.adopt(begun);
        state.room = writer.room();
        drop(writer);
        state.next_lsn = lsn + 1;
        (state.written_lsn, state.durable, state.gap) = (lsn, lsn, false);
        state.open = Batch::new(lsn + 1);
        // Release: the partner of the load in `durable`.
        self.durable.store(lsn, Ordering::Release);
        for path in void {
            // Best effort: they do not count any more, and the next opening tries again.
            let _ = self.vfs.remove_file(&path);
        }
        Ok(header)
    }

    /// Waits until nothing is under way, and keeps it so while the guard lives.
    fn alone(&self) -> Result<MutexGuard<'_, State>, WalError> {
        let mut state = self.state.lock();
        loop {
            state.check()?;
            if !state.leading && state.is_all_durable() && state.open.group.entries.is_empty() {
                return Ok(state);
            }
            state = self.lead_or_wait(state, Lead::Sync);
        }
    }

    fn end_alone<T>(
        &self,
        mut state: MutexGuard<'_, State>,
        result: Result<T, CommitError>,
    ) -> Result<T, WalError> {
        match result {
            Ok(done) => Ok(done),
            Err(CommitError::NotWritten(error)) => Err(error),
            Err(error) => {
                self.poison(&mut state, &error);
                let poisoned = state.check();
                drop(state);
                self.tell_of_poison(&error);
                Err(poisoned.err().unwrap_or(WalError::Closed))
            }
        }
    }
}
