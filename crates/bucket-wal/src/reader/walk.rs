//! [`Walk`]: the records of one segment, from frame to frame.

use std::io;

use crate::error::WalError;
use crate::frame::{self, ALIGN, Claim, FrameKind, HEADER_LEN, Outline};
use crate::lsn::Lsn;
use crate::reader::{RecordRef, Source, Window};
use crate::recovery::DamageKind;
use crate::sync::Arc;

/// The records of one segment, from frame to frame. Header, table and content of each are checked.
#[derive(Debug)]
pub(crate) struct Walk {
    source: Arc<Source>,
    window: Window,
    /// The next frame starts here.
    at: u64,
    end: u64,
    /// The next record has this number or a later one.
    expected: u64,
    frame: Option<InFrame>,
}

/// A frame, of which some records were looked at.
#[derive(Clone, Copy, Debug)]
struct InFrame {
    outline: Outline,
    offset: u64,
    /// How many records were looked at, and where the next one has its entry and its content.
    done: usize,
    table_at: usize,
    payload_at: usize,
}

/// What a step of a walk came to.
#[derive(Debug)]
pub(crate) enum Step {
    /// A record, to be had from [`Walk::record`].
    Record(Found),
    /// Something that cannot be read; the next step goes on behind it.
    Damaged(WalError),
    /// The file could not be read; the next step would try the same again.
    Failed(WalError),
    /// The next record has a number above the limit.
    Beyond,
    /// No more frames.
    End,
}

/// Where a record is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) lsn: u64,
    pub(crate) kind: frame::RecordKind,
    pub(crate) offset: u64,
    pub(crate) len: usize,
}

/// What looking for a frame behind damage may cost in hashed bytes.
const RESYNC_BUDGET: usize = 64 << 20;

impl Walk {
    /// Starts at a frame, before which no record has the number `first_lsn` or a later one.
    pub(crate) const fn new(
        source: Arc<Source>,
        window: Window,
        at: u64,
        end: u64,
        first_lsn: u64,
    ) -> Self {
        Self { source, window, at, end, expected: first_lsn, frame: None }
    }

    pub(crate) const fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Where the next frame starts.
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    /// Frames now end later than was known.
    pub(crate) const fn grow(&mut self, end: u64) {
        self.end = end;
    }

    /// Goes on elsewhere in the segment.
    pub(crate) const fn jump(&mut self, at: u64, first_lsn: u64) {
        (self.at, self.expected, self.frame) = (at, first_lsn, None);
    }

    /// Goes on with what is written from now on.
    pub(crate) const fn give_up(&mut self) {
        (self.at, self.frame) = (self.end, None);
    }

    /// Gives the memory back.
    pub(crate) fn into_window(self) -> Window {
        self.window
    }

    /// The next record whose number lies between `from` and `limit`.
    pub(crate) fn step(&mut self, from: u64, limit: u64) -> Step {
        loop {
            if let Some(frame) = &mut self.frame {
                if frame.done < frame.outline.count {
                    let lsn = frame.outline.first_lsn + frame.done as u64;
                    if lsn > limit {
                        return Step::Beyond;
                    }
                    let table_end = frame.outline.payload_start;
                    let table = frame.offset + frame.table_at as u64;
                    let table = self.window.bytes(table, table_end - frame.table_at);
                    // The table has validated, so that there is an entry.
                    let Some((entry, used)) = frame::entry(table) else { return Step::End };
                    let (offset, len) =
                        (frame.offset + frame.payload_at as u64, entry.len as usize);
                    frame.done += 1;
                    frame.table_at += used;
                    frame.payload_at += len;
                    self.expected = lsn + 1;
                    if lsn < from {
                        continue;
                    }
                    if crc32fast::hash(self.window.bytes(offset, len)) != entry.crc {
                        let at = frame.offset;
                        return Step::Damaged(self.corrupt(DamageKind::Record, at, lsn));
                    }
                    return Step::Record(Found { lsn, kind: entry.kind, offset, len });
                }
                self.frame = None;
            }
            if self.at >= self.end {
                return Step::End;
            }
            if self.expected > limit {
                return Step::Beyond;
            }
            match self.frame_at(self.at) {
                Ok(Some(outline)) => {
                    let offset = self.at;
                    self.at += outline.len as u64;
                    if outline.kind != FrameKind::Data || outline.next_lsn() <= from {
                        self.expected = self.expected.max(outline.next_lsn());
                        continue;
                    }
                    self.frame = Some(InFrame {
                        outline,
                        offset,
                        done: 0,
                        table_at: HEADER_LEN,
                        payload_at: outline.payload_start,
                    });
                }
                Ok(None) => {
                    let (at, lsn) = (self.at, self.expected);
                    return match self.resync() {
                        Ok(()) => Step::Damaged(self.corrupt(DamageKind::Frame, at, lsn)),
                        Err(error) => Step::Failed(self.failed(error)),
                    };
                }
                Err(error) => return Step::Failed(self.failed(error)),
            }
        }
    }

    /// The record that the last step has found.
    pub(crate) fn record(&self, found: &Found) -> RecordRef<'_> {
        let payload = self.window.bytes(found.offset, found.len);
        RecordRef { lsn: Lsn::new(found.lsn), kind: found.kind, payload }
    }

    /// The next record has this number or a later one.
    pub(crate) const fn expected(&self) -> u64 {
        self.expected
    }

    /// Skips frames whose records all come before `lsn`, believing what they say of themselves. Whoever
    /// does not find the record then has to walk.
    pub(crate) fn hop(&mut self, lsn: u64) -> io::Result<()> {
        let (mut at, mut expected) = (self.at, self.expected);
        while self.window.fill(at, HEADER_LEN, self.end)? {
            let header = self.window.bytes(at, HEADER_LEN);
            let Some(header) = header.first_chunk() else { break };
            let Claim::Len(len) = frame::claim(header) else { break };
            let next = frame::claimed_next_lsn(header);
            if next > lsn || next < expected || at + len as u64 > self.end {
                break;
            }
            at += len as u64;
            expected = next;
        }
        // What is skipped last says the least: the frame after it has to hold the record.
        (self.at, self.expected) = (at, expected);
        Ok(())
    }

    /// The number and place of each frame of records from here on.
    pub(crate) fn next_frame(&mut self) -> io::Result<Option<(u64, u64)>> {
        while self.at < self.end {
            let Some(outline) = self.frame_at(self.at)? else {
                self.resync()?;
                continue;
            };
            let offset = self.at;
            self.at += outline.len as u64;
            self.expected = self.expected.max(outline.next_lsn());
            if outline.kind == FrameKind::Data {
                return Ok(Some((outline.first_lsn, offset)));
            }
        }
        Ok(None)
    }

    /// Where the next frame ends, if it is there with all of its contents, in a file of the length `len`.
    pub(crate) fn whole_frame(&mut self, len: u64) -> io::Result<Option<u64>> {
        let known = std::mem::replace(&mut self.end, len);
        let outline = self.frame_at(self.at);
        self.end = known;
        let Some(outline) = outline? else { return Ok(None) };
        let frame = self.window.bytes(self.at, outline.len);
        let (mut table, mut payloads) =
            (&frame[HEADER_LEN..outline.payload_start], &frame[outline.payload_start..]);
        for _ in 0..outline.count {
            let Some((entry, used)) = frame::entry(table) else { return Ok(None) };
            let (payload, rest) = payloads.split_at(entry.len as usize);
            if crc32fast::hash(payload) != entry.crc {
                return Ok(None);
            }
            (table, payloads) = (&table[used..], rest);
        }
        Ok(Some(self.at + outline.len as u64))
    }

    /// Where the first frame behind the one at the current place ends, which is not whole; `None` when
    /// nothing was written here, or nothing that validates comes after it.
    pub(crate) fn frame_behind(&mut self, len: u64) -> io::Result<Option<u64>> {
        if !self.window.fill(self.at, HEADER_LEN, len)?
            || self.window.bytes(self.at, HEADER_LEN).iter().all(|&byte| byte == 0)
        {
            return Ok(None);
        }
        let (at, known) = (self.at, std::mem::replace(&mut self.end, len));
        let found = self.resync();
        let frame = if self.at < len { self.frame_at(self.at) } else { Ok(None) };
        let end = frame.map(|frame| frame.map(|frame| self.at + frame.len as u64));
        (self.at, self.end) = (at, known);
        found.and(end)
    }

    /// Has everything read again.
    pub(crate) const fn forget(&mut self) {
        if self.frame.is_none() {
            self.window.forget();
        }
    }

    /// The frame at `at`, in memory as a whole; `None` when there is none that validates.
    fn frame_at(&mut self, at: u64) -> io::Result<Option<Outline>> {
        if !self.window.fill(at, HEADER_LEN, self.end)? {
            return Ok(None);
        }
        let Some(header) = self.window.bytes(at, HEADER_LEN).first_chunk() else { return Ok(None) };
        let Claim::Len(len) = frame::claim(header) else { return Ok(None) };
        if !self.window.fill(at, len, self.end)? {
            return Ok(None);
        }
        Ok(frame::outline(self.window.bytes(at, len), &self.source.seed, at))
    }

    /// Looks for a frame behind the damage at the current place, or gives the rest of the segment up.
    fn resync(&mut self) -> io::Result<()> {
        let (mut at, mut budget) = (self.at + ALIGN as u64, RESYNC_BUDGET);
        while budget > 0 && self.window.fill(at, HEADER_LEN, self.end)? {
            let header = self.window.bytes(at, HEADER_LEN).first_chunk();
            if let Some(Claim::Len(len)) = header.map(frame::claim)
                && at + len as u64 <= self.end
            {
                budget = budget.saturating_sub(len);
                if self.frame_at(at)?.is_some_and(|frame| frame.first_lsn >= self.expected) {
                    self.at = at;
                    return Ok(());
                }
            }
            at += ALIGN as u64;
        }
        self.at = self.end;
        Ok(())
    }

    fn corrupt(&self, kind: DamageKind, offset: u64, lsn: u64) -> WalError {
        let (path, first_lsn) = (self.source.path.clone(), Lsn::new(lsn));
        WalError::Corrupt { path, offset, kind, first_lsn }
    }

    fn failed(&self, error: io::Error) -> WalError {
        WalError::io("read", &self.source.path, error)
    }
}
