//! Writing a group as frames, and making durable what was written.

use std::io;

use super::group::encoded_bound;
use super::outcome::poisoned;
use super::{CommitError, Committed, Group, Unit, Writer};
use crate::error::WalError;
use crate::frame::{self, FrameKind, GROUP_LEN, MAX_COUNT};
use crate::medium::BLOCK;
use crate::planted::Bug;
use crate::scan::FrameRef;
use crate::seal::Seal;
use crate::segment::{self, Ending, ROOM};

impl Writer {
    /// Writes the group as frames. `gap` says that numbers before `first_lsn` were given up, so that the
    /// numbering may jump; `keep_room` that the reserve stays, unless the group may use it.
    pub(crate) fn write(
        &mut self,
        first_lsn: u64,
        gap: bool,
        group: &Group,
        keep_room: bool,
    ) -> Result<Committed, CommitError> {
        let keep = if keep_room && !group.reserved { ROOM } else { 0 };
        let new_segment = self.make_room(first_lsn, encoded_bound(group), keep)?;
        let active = match &mut self.active {
            Some(active) => active,
            // `make_room` leaves an active segment behind.
            None => return Err(CommitError::NotWritten(WalError::Closed)),
        };

        let mut frames = Vec::new();
        let mut chain = self.last.chain;
        self.buf.clear();
        let (start, synced) = (active.end, active.synced);
        if gap && first_lsn != active.header.first_lsn {
            let (kind, at) = (FrameKind::Gap, start);
            frame::encode(&mut self.buf, &active.seed, at, kind, first_lsn, synced, &[], &[]);
        }
        let (mut lsn, mut units, mut entries, mut payloads) = (
            first_lsn,
            group.units.as_slice(),
            group.entries.as_slice(),
            group.payloads.as_slice(),
        );
        while !units.is_empty() {
            let (n, count, bytes) = one_frame(units);
            units = &units[n..];
            let offset = start + self.buf.len() as u64;
            frames.push(FrameRef { first_lsn: lsn, offset });
            let (kind, seed) = (FrameKind::Data, &active.seed);
            let (now, later) = entries.split_at(count);
            let (body, rest) = payloads.split_at(bytes);
            let buf = &mut self.buf;
            let rows = frame::encode(buf, seed, offset, kind, lsn, synced, now, body);
            chain = segment::extend_chain(chain, &buf[rows]);
            lsn += count as u64;
            (entries, payloads) = (later, rest);
        }

        active.medium.write(&self.buf, start).map_err(poisoned)?;
        active.end = start + self.buf.len() as u64;
        active.seal.records += group.entries.len() as u64;
        active.remember(&frames, Seal::stretch(self.segment_bytes));
        let segment_id = active.header.segment_id;
        self.last = Ending { segment_id, data_len: active.end, next_lsn: lsn, chain };
        if self.buf.capacity() > 4 * GROUP_LEN {
            self.buf = Vec::new();
        }
        Ok(Committed { new_segment, frames, end: active.end })
    }

    /// Makes everything that was written durable. An error is final: what the sync should have covered
    /// may be lost although a second one would succeed.
    pub(crate) fn sync(&mut self) -> Result<(), CommitError> {
        if let Some(active) = &mut self.active
            && active.synced < active.end
        {
            let mut synced = active.medium.sync();
            if synced.is_err() && self.planted.has(Bug::RetrySync) {
                synced = active.medium.sync();
            }
            if !self.planted.has(Bug::IgnoreFailedSync) {
                synced.map_err(poisoned)?;
            }
            active.synced = active.end;
        }
        Ok(())
    }

    /// Writes a frame that promises that everything so far is durable, and syncs it, so that the next
    /// opening can trust the newest record without copying it. `gap` says that the numbers before
    /// `next_lsn` were given up, and nothing was written since.
    pub(crate) fn promise(&mut self, next_lsn: u64, gap: bool) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        self.buf.clear();
        let end = active.end;
        if gap {
            let kind = FrameKind::Gap;
            frame::encode(&mut self.buf, &active.seed, end, kind, next_lsn, end, &[], &[]);
        }
        let (kind, at) = (FrameKind::Sync, end + self.buf.len() as u64);
        frame::encode(&mut self.buf, &active.seed, at, kind, next_lsn, end, &[], &[]);
        active.medium.write(&self.buf, end)?;
        active.medium.sync()?;
        active.end += self.buf.len() as u64;
        active.synced = active.end;
        self.last.data_len = active.end;
        let needed = (active.end + ROOM).next_multiple_of(BLOCK);
        if active.header.is_reused && needed < active.zeroed {
            // So that the next opening need not look through what was there before. Best effort.
            if active.medium.shorten(needed).is_ok() {
                active.zeroed = needed;
            }
        }
        Ok(())
    }
}

/// How many of the units go into one frame, and how many records and payload bytes they have.
fn one_frame(units: &[Unit]) -> (usize, usize, usize) {
    let (mut n, mut count, mut bytes) = (0, 0, 0);
    for unit in units {
        let (more, len) = (unit.count as usize, unit.bytes as usize);
        if n > 0 && (bytes + len > GROUP_LEN || count + more > MAX_COUNT) {
            break;
        }
        n += 1;
        count += more;
        bytes += len;
    }
    (n, count, bytes)
}
