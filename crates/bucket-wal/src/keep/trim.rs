//! Letting go of segments: to the archive first, if there is one, then off the disk.

use bucket_vfs::OpenMode;

use crate::archive::SealedSegment;
use crate::commit::Shared;
use crate::error::WalError;
use crate::keep::Checkpoints;
use crate::planted::Bug;
use crate::segment;
use crate::spares::Spare;
use crate::sync::Arc;

impl Shared {
    /// Removes the segments that no kept checkpoint needs, the oldest first; returns how many. The newest
    /// stays. A sink that fails keeps its segment and those after it, and is counted.
    pub(super) fn trim(&self) -> Result<u64, WalError> {
        let mut removed = 0;
        loop {
            let mut checkpoints = self.checkpoints()?;
            let keep_from = self.keep_from(&checkpoints);
            let oldest = self.index().lock().oldest_before(keep_from);
            let Some((source, end, next_lsn)) = oldest else { break };
            let id = source.header.segment_id;
            if let Some(sink) = &self.rules.archive
                && id >= checkpoints.archived_before
            {
                // The sink takes as long as it takes; checkpoints go on meanwhile.
                drop(checkpoints);
                let file = source.open(self.index())?;
                let result = sink.archive(&SealedSegment::new(&source, file, end, next_lsn));
                self.telemetry.archived(id, &result);
                let mut state = self.state.lock();
                if result.is_err() {
                    state.keep.done.archive_failures += 1;
                    return Ok(removed);
                }
                state.keep.done.archived += 1;
                drop(state);
                checkpoints = self.checkpoints()?;
                checkpoints.archived_before = id + 1;
            }
            drop(source);
            self.remove(&mut checkpoints, id)?;
            drop(checkpoints);
            let (segments, bytes) = self.index().lock().size();
            self.telemetry.trimmed(id, segments, bytes);
            removed += 1;
        }
        self.renew_reserve()?;
        Ok(removed)
    }

    /// Whether there is a segment that nobody needs and that could not go.
    pub(super) fn is_held_up(&self) -> Result<bool, WalError> {
        let keep_from = self.keep_from(&*self.checkpoints()?);
        Ok(self.index().lock().oldest_before(keep_from).is_some())
    }

    /// The first record that anybody needs.
    fn keep_from(&self, checkpoints: &Checkpoints) -> u64 {
        if self.planted.has(Bug::EvictUndrained) && !checkpoints.kept.is_empty() {
            return self.durable();
        }
        let replicated = self.replicated().map_or(u64::MAX, |lsn| lsn + 1);
        checkpoints.keep_from(self.rules.keep).min(replicated)
    }

    /// Takes a segment off the disk, or keeps its file for another. Readers that have it open go on.
    fn remove(&self, checkpoints: &mut Checkpoints, id: u64) -> Result<(), WalError> {
        let sync = || {
            let synced = self.vfs.sync_dir(&self.dir);
            synced.map_err(|error| WalError::io("sync", &self.dir, error))
        };
        if checkpoints.names_pending {
            // A checkpoint that came back after a crash would miss its segments.
            sync()?;
            checkpoints.names_pending = false;
        }
        // First out of the index, so that nobody opens a file that is not there.
        let removed = self.index().lock().remove_oldest(id);
        let Some(segment) = removed else { return Ok(()) };
        let log_bytes = self.index().lock().bytes();
        let len = self.vfs.open(&segment.path, OpenMode::Read).and_then(|file| file.len());
        let len = len.unwrap_or(u64::MAX);
        // Whoever reads the file must not see it change. Nobody opens it any more.
        let is_read = Arc::strong_count(segment.source()) > 1 || segment.opened().is_some();
        let spare = self.dir.join(segment::spare_name(id));
        let is_spare = !is_read && self.spares.wants(len) && self.has_space_for(log_bytes, len);
        let is_kept = is_spare || !is_read && !checkpoints.reserve.is_whole();
        let removed = if is_kept {
            self.vfs.rename(&segment.path, &spare)
        } else {
            self.vfs.remove_file(&segment.path)
        };
        if let Err(error) = removed {
            let error = WalError::io("remove", &segment.path, error);
            self.index().lock().put_back(segment);
            return Err(error);
        }
        self.state.lock().keep.log_bytes = log_bytes;
        if !self.planted.has(Bug::ReuseBeforeGone) {
            // One by one: a crash must not leave an older segment and take a newer one.
            sync()?;
        }
        // The old name is gone for good: nothing that is written to the file can come back under it.
        if !is_kept {
            return Ok(());
        }
        // Its space goes from hand to hand: were it given back, whoever fills the disk would take it.
        if checkpoints.reserve.make_from(&*self.vfs, &self.dir, &spare) {
            return Ok(());
        }
        if !is_spare || !self.spares.keep(Spare { path: spare.clone(), len, is_used: true }) {
            // Another has come meanwhile. Best effort: the next opening tries again.
            let _ = self.vfs.remove_file(&spare);
        }
        Ok(())
    }

    /// Whether the log stays within its bound, if it has one, with a spare of this length.
    fn has_space_for(&self, log_bytes: u64, len: u64) -> bool {
        let limit = self.state.lock().log_limit();
        let bytes = log_bytes.saturating_add(self.spares.bytes()).saturating_add(len);
        limit.is_none_or(|limit| bytes <= limit)
    }
}
