//! Room for what is to be written: zeros or allocated space ahead of the end of the segment, so that a sync
//! changes no metadata and a group finds its place.

use super::{Active, CommitError, NewSegment, Writer};
use crate::error::{WalError, is_no_space};
use crate::medium::{BLOCK, ZEROS_PIECE};
use crate::segment::{self, HEADER_LEN, ROOM};

impl Writer {
    /// How many bytes can be written without asking the file system for space, and the same with the
    /// reserve.
    pub(crate) fn room(&self) -> (u64, u64) {
        let Some(active) = &self.active else { return (0, 0) };
        let zeroed = active.zeroed - active.end;
        let left = if active.end == HEADER_LEN {
            u64::MAX // A single group may be longer than a segment should be.
        } else {
            self.segment_bytes.saturating_sub(active.end)
        };
        (zeroed.saturating_sub(ROOM).min(left), zeroed.min(left))
    }

    /// Makes sure that `need` bytes fit: begins a segment if needed, which syncs the one before, and has
    /// zeros where they will go and for `keep` more.
    pub(crate) fn make_room(
        &mut self,
        first_lsn: u64,
        need: u64,
        keep: u64,
    ) -> Result<Option<NewSegment>, CommitError> {
        let full = self
            .active
            .as_ref()
            .is_none_or(|active| active.end > HEADER_LEN && active.end + need > self.segment_bytes);
        if full {
            match self.begin_segment(first_lsn) {
                Ok(segment) => self.begun = Some(segment),
                // What frees space may go on in the zeros behind a segment that is long enough already.
                Err(CommitError::NotWritten(WalError::NoSpace { .. }))
                    if keep == 0 && self.reaches(need) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(active) = &mut self.active else { return Ok(None) };

        let not_written = |active: &Active, op, error| {
            let path = self.dir.join(segment::file_name(active.header.segment_id));
            CommitError::NotWritten(WalError::io(op, &path, error))
        };
        if let Err(error) = active.medium.open(&*self.vfs) {
            return Err(not_written(active, "open", error));
        }
        self.method = active.medium.method();
        let end = active.end + need;
        if end + keep > active.zeroed {
            let ahead = active.end.clamp(AHEAD_MIN, AHEAD_MAX);
            // Zeros end at whole blocks, so that writing a block whole never makes the file longer.
            let until = (end + ahead).next_multiple_of(BLOCK);
            // Where it fails, for whatever reason, zeros are tried, and say how much room there is.
            if need >= ALLOCATE_FROM
                && active.medium.allocate(active.zeroed, until - active.zeroed).is_ok()
            {
                active.zeroed = until;
            }
            let zeros = vec![0; ZEROS_PIECE];
            while active.zeroed < until {
                let step = active.zeroed / BLOCK * BLOCK + zeros.len() as u64;
                let n = (step.min(until) - active.zeroed) as usize;
                match active.medium.fill(&zeros[..n], active.zeroed) {
                    Ok(()) => active.zeroed += n as u64,
                    // Less room ahead than wished for is enough.
                    Err(_) if end + keep <= active.zeroed => break,
                    Err(error) if is_no_space(&error) && self.spares.release(&*self.vfs) => {}
                    Err(error) => return Err(not_written(active, "extend", error)),
                }
            }
        }
        Ok(self.begun.take())
    }

    /// Whether this many bytes fit behind the end without asking the file system for space.
    fn reaches(&self, need: u64) -> bool {
        self.active.as_ref().is_some_and(|active| active.end + need <= active.zeroed)
    }
}

/// Zeros are written ahead by as much as the segment already holds, within these bounds.
const AHEAD_MIN: u64 = 64 << 10;
const AHEAD_MAX: u64 = 4 << 20;
/// A group of at least this many bytes has space allocated instead of zeros written, if the file system can:
/// it fills whole blocks, so that zeros would double what the disk has to take, for a sync that is cheaper
/// by less than that. Measured, both cost the same at 32 to 64 KiB, and zeros twice as much at 512 KiB.
const ALLOCATE_FROM: u64 = 32 << 10;
