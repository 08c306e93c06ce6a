//! Scanning one segment: which frames are there, and what the first thing that is no frame means.
//!
//! Five rules tell an interrupted write from damage. Something invalid at offset X is damage when
//! (1) a later segment says that bytes beyond X count, (2) a valid frame after X promises that X was
//! durable, (3) a checkpoint says that the record at X was durable, or (4) no 512-byte chunk of the
//! frame at X is still zero, so that no write of whole sectors can have been interrupted there.
//! Otherwise (5) it is a torn tail: nothing in it was acknowledged. A file that is shorter than the room
//! that is kept behind durable records was cut. Rule 2 is Pebble's, the look at the sectors is etcd's.

use std::io;
use std::path::Path;

use crc32fast::Hasher;

use bucket_vfs::VfsFile;

use crate::error::WalError;
use crate::frame::{self, ALIGN, Claim, Frame, FrameKind};
use crate::lsn::Lsn;
use crate::options::RecoveryPolicy;
use crate::recovery::{Damage, DamageKind, TailState};
use crate::segment::{HEADER_LEN, Header, ROOM};

/// A frame of records at a place in a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameRef {
    pub(crate) first_lsn: u64,
    pub(crate) offset: u64,
}

/// What a segment holds.
#[derive(Debug)]
pub(crate) struct SegmentScan {
    pub(crate) frames: Vec<FrameRef>,
    /// Where the last valid frame ends.
    pub(crate) end: u64,
    /// The number after the last record.
    pub(crate) next_lsn: u64,
    /// Bytes before this offset are known to be durable.
    pub(crate) proven: u64,
    pub(crate) damage: Vec<Damage>,
    pub(crate) tail: TailState,
}

/// What the scan is told about the segment from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub(crate) path: &'a Path,
    /// The bytes that count, when a later segment says so.
    pub(crate) data_len: Option<u64>,
    /// The newest record that a checkpoint calls durable.
    pub(crate) durable_lsn: u64,
    pub(crate) policy: RecoveryPolicy,
}

/// The work that looking for frames after damage may cost, so that crafted content cannot make it
/// quadratic.
const RESYNC_BUDGET: usize = 256 << 20;
const SECTOR: u64 = 512;

pub(crate) fn scan(
    file: &dyn VfsFile,
    header: &Header,
    known: Known<'_>,
) -> Result<SegmentScan, WalError> {
    let mut frames = Vec::new();
    let mut found = scan_with(file, header, known, &mut |frame, offset, _| {
        if frame.kind == FrameKind::Data {
            frames.push(FrameRef { first_lsn: frame.first_lsn, offset });
        }
    })?;
    found.frames = frames;
    Ok(found)
}

/// As [`scan`], but every frame goes to `visit`, with its offset and which of its records (from 0) are
/// damaged, and none is remembered.
pub(crate) fn scan_with(
    file: &dyn VfsFile,
    header: &Header,
    known: Known<'_>,
    visit: &mut dyn FnMut(&Frame, u64, &[u64]),
) -> Result<SegmentScan, WalError> {
    let read = |error| WalError::io("read", known.path, error);
    let file_len = file.len().map_err(read)?;
    let limit = known.data_len.unwrap_or(file_len);
    let mut window = Window::new(file, limit.min(file_len));
    let seed = header.seed();
    let mut found = SegmentScan {
        frames: Vec::new(),
        end: HEADER_LEN,
        next_lsn: header.first_lsn,
        proven: header.durable_len.clamp(HEADER_LEN, limit.max(HEADER_LEN)),
        damage: Vec::new(),
        tail: TailState::Clean,
    };

    loop {
        let at = found.end;
        let problem = match frame_at(&mut window, &seed, at).map_err(read)? {
            At::End if known.data_len == Some(at) => return Ok(found),
            At::End if known.data_len.is_none() && !found.was_cut(header, file_len, file_len) => {
                return Ok(found);
            }
            At::Frame(frame, bad) if follows(&frame, found.next_lsn) => {
                if bad.is_empty() {
                    visit(&frame, at, &bad);
                    found.take(&frame, at);
                    continue;
                }
                // The header is intact and a payload is not: an interrupted write of several
                // sectors, or damage to single records.
                let durable = known.data_len.is_some()
                    || frame.first_lsn + bad[0] <= known.durable_lsn
                    || resync(&mut window, &seed, at + frame.len as u64, at, frame.next_lsn())
                        .map_err(read)?
                        .is_some_and(|found| found.promises);
                if durable {
                    let first = frame.first_lsn + bad[0];
                    found.report(known, at, DamageKind::Record, first, bad.len() as u64)?;
                    visit(&frame, at, &bad);
                    found.take(&frame, at);
                    continue;
                }
                DamageKind::Record
            }
            At::Frame(..) => DamageKind::Order,
            At::End | At::Nothing => DamageKind::Frame,
        };

        let resync =
            resync(&mut window, &seed, at + ALIGN as u64, at, found.next_lsn).map_err(read)?;
        let durable = known.data_len.is_some()
            || resync.as_ref().is_some_and(|found| found.promises)
            || found.next_lsn <= known.durable_lsn;
        if !durable {
            if at < file_len && window.is_zero_from(at).map_err(read)? {
                return Ok(found);
            }
            let claimed_end = claimed_end(&mut window, at).map_err(read)?;
            if found.was_cut(header, file_len, claimed_end)
                || !can_be_torn(&mut window, at).map_err(read)?
            {
                if known.policy == RecoveryPolicy::Strict {
                    return Err(WalError::DamagedTail {
                        path: known.path.to_owned(),
                        offset: at,
                        first_lsn: Lsn::new(found.next_lsn),
                    });
                }
                found.tail = TailState::Damaged;
                found.report(known, at, DamageKind::Tail, found.next_lsn, 1)?;
                return Ok(found);
            }
            found.tail = TailState::Torn;
            return Ok(found);
        }
        match resync {
            Some(next) => {
                let lost = next.first_lsn.saturating_sub(found.next_lsn);
                found.report(known, at, problem, found.next_lsn, lost)?;
                found.end = next.offset;
                found.next_lsn = next.first_lsn;
            }
            None => {
                let lost = (known.durable_lsn + 1).saturating_sub(found.next_lsn);
                found.report(known, at, problem, found.next_lsn, lost)?;
                found.end = known.data_len.unwrap_or(at);
                return Ok(found);
            }
        }
    }
}

impl SegmentScan {
    fn take(&mut self, frame: &Frame, at: u64) {
        self.end = at + frame.len as u64;
        self.next_lsn = frame.next_lsn();
        // A promise about bytes after the frame would be a lie.
        self.proven = self.proven.max(frame.synced.min(at));
    }

    /// Whether the file lost its end: durable records are followed by room that is durable with them.
    fn was_cut(&self, header: &Header, file_len: u64, needed: u64) -> bool {
        self.proven > header.durable_len && needed >= file_len && file_len < self.proven + ROOM
    }

    fn report(
        &mut self,
        known: Known<'_>,
        offset: u64,
        kind: DamageKind,
        first_lsn: u64,
        records: u64,
    ) -> Result<(), WalError> {
        let (path, first_lsn) = (known.path.to_owned(), Lsn::new(first_lsn));
        if known.policy == RecoveryPolicy::Strict {
            return Err(WalError::Corrupt { path, offset, kind, first_lsn });
        }
        self.damage.push(Damage { path, offset, kind, first_lsn, records });
        Ok(())
    }
}

/// Records continue without a gap; a gap frame may jump forward.
fn follows(frame: &Frame, next_lsn: u64) -> bool {
    match frame.kind {
        FrameKind::Data | FrameKind::Seal | FrameKind::Sync => frame.first_lsn == next_lsn,
        FrameKind::Gap => frame.first_lsn >= next_lsn,
    }
}

enum At {
    /// Fewer bytes are left than a frame has.
    End,
    /// A frame, and which of its payloads (from 0) are damaged.
    Frame(Frame, Vec<u64>),
    Nothing,
}

fn frame_at(window: &mut Window<'_>, seed: &Hasher, at: u64) -> io::Result<At> {
    let Some(header) = window.bytes(at, frame::HEADER_LEN)? else { return Ok(At::End) };
    let claim = frame::claim(header.first_chunk().unwrap_or(&[0; frame::HEADER_LEN]));
    let Claim::Len(len) = claim else { return Ok(At::Nothing) };
    let Some(bytes) = window.bytes(at, len)? else { return Ok(At::Nothing) };
    Ok(match frame::decode(bytes, seed, at) {
        Some(frame) => {
            let bad = (0..).zip(frame.payloads(bytes)).filter(|(_, (_, intact))| !intact);
            let bad = bad.map(|(n, _)| n).collect();
            At::Frame(frame, bad)
        }
        None => At::Nothing,
    })
}

/// The next valid frame after a damaged place.
struct Resync {
    offset: u64,
    first_lsn: u64,
    /// Some valid frame after the place promises that the place was durable.
    promises: bool,
}

/// Looks for valid frames from `from` on: the first one, and whether any promises that `damaged` was
/// durable. Stops when the budget is spent, and then assumes the worst: a promise.
fn resync(
    window: &mut Window<'_>,
    seed: &Hasher,
    from: u64,
    damaged: u64,
    min_lsn: u64,
) -> io::Result<Option<Resync>> {
    let (mut at, mut budget) = (from, RESYNC_BUDGET);
    let mut first: Option<Resync> = None;
    while let Some(header) = window.bytes(at, frame::HEADER_LEN)? {
        let claim = frame::claim(header.first_chunk().unwrap_or(&[0; frame::HEADER_LEN]));
        let mut step = ALIGN as u64;
        if let Claim::Len(len) = claim
            && let Some(bytes) = window.bytes(at, len)?
        {
            // Decoding hashes no more than the table, which is no longer than the frame.
            budget = budget.saturating_sub(len);
            if let Some(frame) = frame::decode(bytes, seed, at)
                && frame.first_lsn >= min_lsn
            {
                let promises = frame.synced > damaged;
                let resync = first.get_or_insert(Resync {
                    offset: at,
                    first_lsn: frame.first_lsn,
                    promises: false,
                });
                resync.promises |= promises;
                if promises {
                    break;
                }
                step = frame.len as u64;
            }
            if budget == 0 {
                if let Some(resync) = &mut first {
                    resync.promises = true;
                }
                break;
            }
        }
        at += step;
    }
    Ok(first)
}

/// Where the frame at `at` says that it ends; 0 when it says nothing.
fn claimed_end(window: &mut Window<'_>, at: u64) -> io::Result<u64> {
    let Some(header) = window.bytes(at, frame::HEADER_LEN)? else { return Ok(u64::MAX) };
    Ok(match frame::claim(header.first_chunk().unwrap_or(&[0; frame::HEADER_LEN])) {
        Claim::Len(len) => at + len as u64,
        Claim::Nonsense | Claim::Unwritten => 0,
    })
}

/// Rule 4: whether a write of whole sectors that was interrupted can have left what is at `at`.
fn can_be_torn(window: &mut Window<'_>, at: u64) -> io::Result<bool> {
    let Some(header) = window.bytes(at, frame::HEADER_LEN)? else { return Ok(true) };
    let claim = frame::claim(header.first_chunk().unwrap_or(&[0; frame::HEADER_LEN]));
    let len = match claim {
        Claim::Unwritten => return Ok(true),
        // The header itself is damaged: judge the sectors that it lies in.
        Claim::Nonsense => frame::HEADER_LEN,
        Claim::Len(len) => len,
    };
    let (mut start, end) = (at, at + len as u64);
    while start < end {
        let chunk_end = end.min((start / SECTOR + 1) * SECTOR);
        match window.bytes(start, (chunk_end - start) as usize)? {
            Some(chunk) if chunk.iter().any(|&byte| byte != 0) => start = chunk_end,
            // Still zero, or beyond the end of the file: this chunk was never written.
            _ => return Ok(true),
        }
    }
    Ok(false)
}

/// A view of a file that reads ahead, and bounds what it allocates by the longest frame.
pub(crate) struct Window<'a> {
    file: &'a dyn VfsFile,
    len: u64,
    start: u64,
    buf: Vec<u8>,
}

impl<'a> Window<'a> {
    const AHEAD: usize = 1 << 20;

    pub(crate) const fn new(file: &'a dyn VfsFile, len: u64) -> Self {
        Self { file, len, start: 0, buf: Vec::new() }
    }

    /// The `n` bytes at `offset`, or `None` when the file has fewer.
    pub(crate) fn bytes(&mut self, offset: u64, n: usize) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(n as u64).filter(|end| *end <= self.len) else {
            return Ok(None);
        };
        if offset < self.start || end > self.start + self.buf.len() as u64 {
            let want = n.max(Self::AHEAD).min((self.len - offset) as usize);
            self.buf.resize(want, 0);
            self.start = offset;
            if let Err(error) = self.file.read_exact_at(&mut self.buf, offset) {
                self.buf.clear();
                return Err(error);
            }
        }
        let from = (offset - self.start) as usize;
        Ok(Some(&self.buf[from..from + n]))
    }

    fn is_zero_from(&mut self, mut offset: u64) -> io::Result<bool> {
        while offset < self.len {
            let n = (self.len - offset).min(4_096) as usize;
            if self.bytes(offset, n)?.is_some_and(|bytes| bytes.iter().any(|&byte| byte != 0)) {
                return Ok(false);
            }
            offset += n as u64;
        }
        Ok(true)
    }
}
