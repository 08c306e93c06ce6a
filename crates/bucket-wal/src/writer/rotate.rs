//! Going from one segment to the next: sealing, beginning, and taking over what recovery has begun.

use bucket_vfs::VfsFile;

use super::outcome::poisoned;
use super::{Active, CommitError, NewSegment, Writer};
use crate::draft::Draft;
use crate::error::is_no_space;
use crate::format::Features;
use crate::medium::Medium;
use crate::planted::Bug;
use crate::scan::FrameRef;
use crate::seal::Seal;
use crate::segment::{self, Ending, HEADER_LEN, Header};
use crate::sync::Arc;

/// A segment that recovery has written, with records in it.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) header: Header,
    pub(crate) file: Arc<dyn VfsFile>,
    pub(crate) frames: Vec<FrameRef>,
    pub(crate) records: u64,
    pub(crate) ending: Ending,
}

impl Writer {
    /// Ends the newest segment with a seal, durable, so that the next record begins a new one. Nothing
    /// happens to a segment without a record.
    pub(crate) fn seal(&mut self) -> Result<(), CommitError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if active.end == HEADER_LEN {
            return Ok(());
        }
        let (next_lsn, chain) = (self.last.next_lsn, self.last.chain);
        let seal = Seal { next_lsn, chain, ..std::mem::take(&mut active.seal) };
        self.buf.clear();
        seal.encode(&mut self.buf, &active.header, active.end, active.synced);
        // Only what the seal itself needs may be missing.
        active.medium.settle().map_err(poisoned)?;
        match active.medium.write(&self.buf, active.end) {
            Ok(()) => active.end += self.buf.len() as u64,
            // A segment without a seal is as good; what was written of it is void by the next header.
            Err(error) if is_no_space(&error) => {}
            Err(error) => return Err(poisoned(error)),
        }
        self.sync()?;
        if let Some(active) = self.active.take() {
            self.last.data_len = active.end;
        }
        Ok(())
    }

    /// Begins a segment for a new epoch, at once, so that the epoch is durable.
    pub(crate) fn begin_epoch(
        &mut self,
        epoch: u64,
        first_lsn: u64,
    ) -> Result<NewSegment, CommitError> {
        let before = std::mem::replace(&mut self.epoch, epoch);
        self.begin_segment(first_lsn).inspect_err(|_| self.epoch = before)
    }

    /// Begins a segment that says that these features are on, at once, so that it is durable.
    pub(crate) fn begin_features(
        &mut self,
        features: Features,
        first_lsn: u64,
    ) -> Result<NewSegment, CommitError> {
        let before = std::mem::replace(&mut self.features, features);
        self.begin_segment(first_lsn).inspect_err(|_| self.features = before)
    }

    /// Ends the newest segment and starts the next.
    ///
    /// The header says how much of the segment before counts, so all of that is durable before the header
    /// can be. The new file has its place on the disk before the old one is sealed, which nothing may
    /// follow: on a full disk the old one still takes what frees space.
    pub(super) fn begin_segment(&mut self, first_lsn: u64) -> Result<NewSegment, CommitError> {
        let (vfs, dir) = (Arc::clone(&self.vfs), self.dir.clone());
        let segment_id = self.last.segment_id + 1;
        let salt = self.entropy.bytes().map_err(CommitError::NotWritten)?;
        let spare = self.spares.take();
        let reused = spare.as_ref().and_then(|spare| Draft::reuse(&*vfs, &dir, segment_id, spare));
        let spare = spare.filter(|_| reused.is_some());
        let draft = match reused {
            Some(draft) => draft,
            None => Draft::begin(&*vfs, &dir, segment_id).map_err(CommitError::NotWritten)?,
        };
        // What is unsynced still, when the bug is planted that the sync comes too late.
        let late = self.planted.has(Bug::HeaderBeforeData).then(|| self.active.take()).flatten();
        self.seal()?;
        self.sync()?;
        let header = Header {
            log_id: self.log_id,
            segment_id,
            first_lsn,
            epoch: self.epoch,
            prev_segment_id: self.last.segment_id,
            prev_data_len: self.last.data_len,
            prev_next_lsn: self.last.next_lsn,
            prev_chain: self.last.chain,
            salt: u32::from_le_bytes(salt),
            durable_len: HEADER_LEN,
            keeps_evidence: false,
            is_reused: spare.as_ref().is_some_and(|spare| spare.is_used),
            features: self.features,
        };
        let file = draft.publish(&header, self.planted)?;
        if spare.is_some() {
            self.spares.was_used();
        }
        if let Some(mut late) = late {
            late.medium.sync().map_err(poisoned)?;
        }
        self.active = Some(Active {
            seed: header.seed(),
            medium: self.medium(&header, &file),
            header: header.clone(),
            end: HEADER_LEN,
            synced: HEADER_LEN,
            zeroed: spare.map_or(HEADER_LEN, |spare| spare.len),
            seal: Seal::default(),
        });
        let (segment_id, data_len) = (header.segment_id, HEADER_LEN);
        self.last = Ending { segment_id, data_len, next_lsn: first_lsn, ..self.last };
        Ok((header, file))
    }

    /// Continues in a segment that recovery has just written.
    pub(crate) fn adopt(&mut self, begun: Begun) {
        let Begun { header, file, frames, records, ending } = begun;
        let epoch = header.epoch;
        let end = ending.data_len;
        let (seed, seal) = (header.seed(), Seal { records, ..Seal::default() });
        let medium = self.medium(&header, &file);
        let mut zeroed = end;
        if self.planted.has(Bug::AppendAfterTail) {
            zeroed = file.len().unwrap_or(end);
        }
        let mut active = Active { seed, header, medium, end, synced: end, zeroed, seal };
        active.remember(&frames, Seal::stretch(self.segment_bytes));
        (self.active, self.last, self.epoch) = (Some(active), ending, epoch);
    }

    fn medium(&self, header: &Header, file: &Arc<dyn VfsFile>) -> Medium {
        let path = self.dir.join(segment::file_name(header.segment_id));
        Medium::new(Arc::clone(file), path, self.method)
    }
}
