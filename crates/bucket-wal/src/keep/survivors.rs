//! Copying what is pending forward, so that the segments that hold little else can go: one operation
//! that is never settled must not pin the log.
//!
//! It starts when the log has more bytes than twice what is pending takes and two segments, and ends
//! when it has less, or after one round through what was there at the start. A round copies at most what
//! is pending and frees the rest, which is at least as much, so that in the long run every byte is
//! copied about once for each byte that is appended.

use crate::commit::{Records, Shared};
use crate::error::WalError;
use crate::frame::{Entry, RecordKind};
use crate::lifecycle::{Copied, Finder, about};
use crate::planted::Bug;
use crate::sync::Arc;

/// What one step of cleaning does.
struct Plan {
    /// Every record before this one is to be of no use.
    before: u64,
    ops: Vec<Copied>,
}

/// A step copies no more than this, or a segment, before it frees something.
const STEP: u64 = 1 << 20;
/// Copies are made durable at least this often.
const BATCH: u64 = 4 << 20;

impl Shared {
    /// Shortens a log that is too long for what is pending.
    pub(super) fn clean(self: &Arc<Self>) -> Result<(), WalError> {
        if !self.state.lock().is_too_long() {
            return Ok(());
        }
        self.spares.release(&*self.vfs);
        if !self.state.lock().is_too_long() {
            return Ok(());
        }
        // What waits for an archive that does not take it is not made shorter by copies.
        self.trim()?;
        // The log grew by a segment while the others were cleaned: there is more to do.
        let mut has_more = false;
        if !self.is_held_up()? {
            let newest = self.newest_segment();
            while let Some(plan) = newest.and_then(|end| self.plan(end)) {
                self.copy_forward(&plan.ops)?;
                self.take_until(plan.before)?;
                if self.trim()? == 0 {
                    break;
                }
                has_more = self.newest_segment() != newest;
            }
        }
        let mut state = self.state.lock();
        if let Some(limit) = state.log_limit() {
            let grown = state.keep.log_bytes.saturating_add(self.rules.segment_bytes);
            let is_stuck = state.keep.log_bytes > limit && !has_more;
            state.keep.clean_above = if is_stuck { grown } else { 0 };
        }
        Ok(())
    }

    /// The number that the newest segment begins with.
    fn newest_segment(&self) -> Option<u64> {
        self.index().lock().segments().next_back().map(|segment| segment.header.first_lsn)
    }

    /// What to copy next; `None` when the log is short enough, or when nothing could go.
    fn plan(&self, end: u64) -> Option<Plan> {
        let bound = self.others_need_from();
        let state = self.state.lock();
        if !state.is_too_long() || state.keep.closing || state.check().is_err() {
            return None;
        }
        let limit = state.log_limit()?;
        let lifecycle = state.lifecycle.as_ref()?;
        let index = self.index().lock();
        let step = self.rules.segment_bytes.max(STEP);
        let mut plan: Option<Plan> = None;
        let (mut len, mut copied) = (state.keep.log_bytes, 0);
        let mut segments = index.segments().peekable();
        while let (Some(segment), Some(next)) = (segments.next(), segments.peek()) {
            let (first, next) = (segment.header.first_lsn, next.header.first_lsn);
            let (ops, weight) = lifecycle.needed_in(first, next);
            let is_enough = plan.is_some() && (len <= limit || copied + weight > step);
            if next > end || next > bound || is_enough {
                break;
            }
            copied += weight;
            len = len.saturating_sub(segment.end).saturating_add(weight);
            let plan = plan.get_or_insert(Plan { before: next, ops: Vec::new() });
            plan.before = next;
            plan.ops.extend(ops);
        }
        plan
    }

    /// What keeps records that no pending operation needs: the application's own checkpoint, and those
    /// whom the log is replicated to.
    fn others_need_from(&self) -> u64 {
        let app = self.checkpoints.lock().app.as_ref().map_or(u64::MAX, |(from, _)| *from);
        app.min(self.replicated().map_or(u64::MAX, |lsn| lsn + 1))
    }

    /// Copies the operations, as far as they are still pending, and returns when all that was accepted
    /// by then is durable: the copies, and the settlements of what was not copied.
    fn copy_forward(self: &Arc<Self>, ops: &[Copied]) -> Result<(), WalError> {
        let mut finder = Finder::new(Arc::clone(self));
        let mut unsynced = 0;
        for copied in ops {
            let record = finder.find(copied.op, copied.at)?;
            let payload = about(copied.op, &record.payload);
            let (payloads, entries) =
                ([payload.as_slice()], [Entry::new(RecordKind::Survivor, &payload)]);
            Records::check(&payloads)?;
            match self.submit(Records::new(&payloads, &entries, false).about(copied.op)) {
                Ok(_ticket) => self.state.lock().keep.done.survivors += 1,
                // Settled meanwhile.
                Err(WalError::NotPending { .. }) => continue,
                Err(error) => return Err(error),
            }
            unsynced += payload.len() as u64;
            if unsynced >= BATCH {
                self.sync()?;
                unsynced = 0;
            }
        }
        if self.planted.has(Bug::SurvivorBeforeDurable) {
            return Ok(());
        }
        self.sync().map(drop)
    }

    /// Takes checkpoints until none that is kept needs a record before `lsn`; at most as many as are
    /// kept.
    fn take_until(&self, lsn: u64) -> Result<(), WalError> {
        let mut checkpoints = self.checkpoints()?;
        for _ in 0..self.rules.keep {
            if checkpoints.keep_from(self.rules.keep) >= lsn {
                break;
            }
            self.take(&mut checkpoints, None)?;
        }
        Ok(())
    }
}

#[cfg(all(test, not(bucket_loom)))]
mod tests {
    use std::path::Path;

    use bucket_core::ByteCount;
    use bucket_vfs::sim::SimDisk;

    use crate::{CheckpointPolicy, Wal};

    /// The thread would do it again at once, and again.
    #[test]
    fn what_cleaning_cannot_shorten_is_left_until_the_log_has_grown() {
        let options = Wal::options().vfs(SimDisk::new().mount()).lifecycle(true);
        let options = options.housekeeping_by_hand(true).checkpoints(CheckpointPolicy::never());
        let options = options.segment_size(ByteCount::kib(64)).unwrap();
        let options = options.keep_checkpoints(1).unwrap();
        let (wal, _) = options.open(Path::new("/log")).unwrap();
        let settle = |n: u64| {
            for _ in 0..n {
                let lsn = wal.append(&[7; 10_000]).unwrap();
                wal.complete(lsn).unwrap().wait().unwrap();
            }
        };
        wal.append(b"pinned").unwrap();
        settle(20);
        wal.checkpoint(wal.durable_lsn(), b"state").unwrap();
        settle(20);
        let before = wal.stats().log_bytes;
        let is_due = || wal.shared.state.lock().is_too_long();
        assert!(is_due());
        wal.housekeep().unwrap();
        // What is left is the application's.
        let left = wal.stats().log_bytes;
        assert!((150_000..before - 150_000).contains(&left), "{left} of {before}");
        assert!(!is_due());
        settle(7);
        assert!(is_due(), "{:?}", wal.stats());
    }
}
