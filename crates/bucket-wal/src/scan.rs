//! Scanning one segment: which frames are there, and what the first thing that is no frame means.
//!
//! Five rules tell an interrupted write from damage. Something invalid at offset X is damage when
//! (1) a later segment says that bytes beyond X count, (2) the header or a valid frame after X promises
//! that X was durable, (3) a checkpoint says that the record at X was durable, or (4) no 512-byte chunk of the
//! frame at X is still zero, so that no write of whole sectors can have been interrupted there.
//! Otherwise (5) it is a torn tail: nothing in it was acknowledged. In a file that was used again what is
//! not written is old and not zero, so that rule 4 says nothing there. A file that is shorter than the room
//! that is kept behind durable records was cut. Rule 2 is Pebble's, the look at the sectors is etcd's.

use std::io;
use std::path::Path;

use crc32fast::Hasher;

use bucket_vfs::VfsFile;

use crate::error::WalError;
use crate::frame::{self, ALIGN, Claim, Entry, FrameKind, Outline};
use crate::lsn::Lsn;
use crate::recovery::{Damage, DamageKind, TailState};
use crate::seal::Seal;
use crate::segment::{Ending, HEADER_LEN, Header, MAX_LSN, ROOM};

/// A frame of records at a place in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameRef {
    pub(crate) first_lsn: u64,
    pub(crate) offset: u64,
}

/// What a segment holds.
#[derive(Debug)]
pub(crate) struct SegmentScan {
    pub(crate) frames: Vec<FrameRef>,
    /// The chain before each of the frames.
    pub(crate) chains: Vec<u32>,
    /// Records that can be read.
    pub(crate) records: u64,
    /// The chain at the end; `None` once frames are lost.
    pub(crate) chain: Option<u32>,
    /// The last frame is a seal.
    pub(crate) is_sealed: bool,
    /// Its seal was believed; `frames` are some of its frames.
    pub(crate) is_unread: bool,
    /// The chain before the first damage.
    pub(crate) chain_at_damage: Option<u32>,
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
}

/// A valid frame, as it is visited.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) frame: &'a Outline,
    /// All of it.
    bytes: &'a [u8],
    pub(crate) offset: u64,
    /// Which of its records (from 0) are damaged.
    pub(crate) bad: &'a [u64],
    /// The chain before it; 0 when that is not known.
    chain: u32,
}

/// The work that looking for frames after damage may cost in one segment, so that crafted content cannot
/// make it quadratic. When it is spent, the rest of the segment is given up as damaged.
const RESYNC_BUDGET: usize = 256 << 20;
/// No segment is longer: the longest size that is allowed, and a group and what is ahead of it.
const LONGEST: u64 = (4 << 30) + (64 << 20);
/// A segment with more damaged places than this is given up from there on, so that the list stays short.
const MAX_DAMAGE: usize = 4_096;
const SECTOR: u64 = 512;

pub(crate) fn scan(
    file: &dyn VfsFile,
    header: &Header,
    known: Known<'_>,
) -> Result<SegmentScan, WalError> {
    let (mut frames, mut chains) = (Vec::new(), Vec::new());
    let mut found = scan_with(file, header, known, &mut |seen| {
        if seen.frame.kind == FrameKind::Data {
            frames.push(FrameRef { first_lsn: seen.frame.first_lsn, offset: seen.offset });
            chains.push(seen.chain);
        }
    })?;
    (found.frames, found.chains) = (frames, chains);
    Ok(found)
}

/// As [`scan`], but every frame goes to `visit`, and none is remembered.
pub(crate) fn scan_with(
    file: &dyn VfsFile,
    header: &Header,
    known: Known<'_>,
    visit: &mut dyn FnMut(&Seen<'_>),
) -> Result<SegmentScan, WalError> {
    let read = |error| WalError::io("read", known.path, error);
    let file_len = file.len().map_err(read)?;
    let limit = known.data_len.unwrap_or(file_len);
    let mut window = Window::new(file, limit.min(file_len));
    let seed = header.seed();
    let mut found = SegmentScan {
        frames: Vec::new(),
        chains: Vec::new(),
        records: 0,
        chain: Some(header.prev_chain),
        is_sealed: false,
        is_unread: false,
        chain_at_damage: None,
        end: HEADER_LEN,
        next_lsn: header.first_lsn,
        // Not bounded by the file: it may have lost its end.
        proven: header.durable_len.min(known.data_len.unwrap_or(u64::MAX)).max(HEADER_LEN),
        damage: Vec::new(),
        tail: TailState::Clean,
    };
    // Twice over a long segment: linear, where nothing in it is zero either.
    let len = usize::try_from(file_len.min(limit).min(LONGEST)).unwrap_or(usize::MAX);
    let budget = RESYNC_BUDGET.max(len.saturating_mul(2));
    let mut search = Search { seed: &seed, budget };

    loop {
        let at = found.end;
        let problem = match frame_at(&mut window, &seed, at, found.chain) {
            Err(error) => return Err(read(error)),
            Ok(At::Frame(frame, bad, chain)) if bad.is_empty() && found.may_follow(&frame) => {
                let before = found.chain.unwrap_or_default();
                show(&mut window, &frame, at, &bad, before, visit).map_err(read)?;
                found.take(&frame, at, 0, chain);
                continue;
            }
            Ok(At::End) if known.data_len == Some(at) => return Ok(found),
            Ok(At::End)
                if known.data_len.is_none()
                    && at >= found.proven
                    && !found.was_cut(header, file_len, file_len) =>
            {
                return Ok(found);
            }
            Ok(At::Frame(frame, bad, chain)) if found.may_follow(&frame) => {
                let before = found.chain.unwrap_or_default();
                // The header is intact and a payload is not: an interrupted write of several
                // sectors, or damage to single records.
                let after = (at + frame.len as u64, frame.next_lsn());
                let mut durable = known.data_len.is_some()
                    || at < found.proven
                    || frame.first_lsn + bad[0] <= known.durable_lsn;
                if !durable {
                    let next = search.next_frame(&mut window, after, at, true).map_err(read)?;
                    durable = search.is_spent() || next.is_some_and(|next| next.promises);
                }
                if durable {
                    let first = frame.first_lsn + bad[0];
                    found.report(known, at, DamageKind::Record, first, bad.len() as u64);
                    show(&mut window, &frame, at, &bad, before, visit).map_err(read)?;
                    found.take(&frame, at, bad.len(), chain);
                    continue;
                }
                DamageKind::Record
            }
            Ok(At::Frame(..)) => DamageKind::Order,
            Ok(At::End | At::Nothing) => DamageKind::Frame,
        };

        let mut durable =
            known.data_len.is_some() || at < found.proven || found.next_lsn <= known.durable_lsn;
        let after = (at + ALIGN as u64, found.next_lsn);
        let next = search.next_frame(&mut window, after, at, !durable).map_err(read)?;
        durable |= search.is_spent() || next.as_ref().is_some_and(|next| next.promises);
        if !durable {
            if !header.is_reused && at < file_len && window.is_zero_from(at).map_err(read)? {
                return Ok(found);
            }
            let claimed_end = claimed_end(&mut window, at).map_err(read)?;
            if found.was_cut(header, file_len, claimed_end)
                || !header.is_reused && !can_be_torn(&mut window, at).map_err(read)?
            {
                found.tail = TailState::Damaged;
                found.report(known, at, DamageKind::Tail, found.next_lsn, 1);
                return Ok(found);
            }
            if !header.is_reused || claims(&mut window, at, found.next_lsn).map_err(read)? {
                found.tail = TailState::Torn;
            }
            return Ok(found);
        }
        match next {
            Some(next) if !search.is_spent() => {
                let lost = next.first_lsn.saturating_sub(found.next_lsn);
                found.report(known, at, problem, found.next_lsn, lost);
                found.end = next.offset;
                found.next_lsn = next.first_lsn;
                found.chain = None;
                if found.damage.len() >= MAX_DAMAGE {
                    search.budget = 0;
                }
            }
            _ => {
                let lost = (known.durable_lsn + 1).saturating_sub(found.next_lsn);
                found.report(known, at, problem, found.next_lsn, lost);
                found.end = known.data_len.unwrap_or(at);
                found.chain = None;
                return Ok(found);
            }
        }
    }
}

impl SegmentScan {
    /// What the seal says of a segment that was not read.
    pub(crate) fn of_seal(seal: Seal, ending: Ending) -> Self {
        Self {
            frames: seal.index,
            chains: Vec::new(),
            records: seal.records,
            chain: Some(seal.chain),
            is_sealed: true,
            is_unread: true,
            chain_at_damage: None,
            end: ending.data_len,
            next_lsn: seal.next_lsn,
            proven: ending.data_len,
            damage: Vec::new(),
            tail: TailState::Clean,
        }
    }

    /// Records continue without a gap; a gap frame may jump forward, and nothing follows a seal.
    fn may_follow(&self, frame: &Outline) -> bool {
        let number_fits = match frame.kind {
            FrameKind::Data | FrameKind::Seal | FrameKind::Sync => frame.first_lsn == self.next_lsn,
            FrameKind::Gap => frame.first_lsn >= self.next_lsn,
        };
        number_fits && !self.is_sealed && frame.next_lsn() <= MAX_LSN
    }

    fn take(&mut self, frame: &Outline, at: u64, bad: usize, chain: Option<u32>) {
        self.chain = chain;
        if frame.kind == FrameKind::Data {
            self.records += (frame.count - bad) as u64;
        }
        self.is_sealed = frame.kind == FrameKind::Seal;
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
    ) {
        if self.damage.is_empty() {
            self.chain_at_damage = self.chain;
        }
        let (path, first_lsn) = (known.path.to_owned(), Lsn::new(first_lsn));
        self.damage.push(Damage { path, offset, kind, first_lsn, records });
    }
}

/// Has a frame visited that was just validated.
fn show(
    window: &mut Window<'_>,
    frame: &Outline,
    offset: u64,
    bad: &[u64],
    chain: u32,
    visit: &mut dyn FnMut(&Seen<'_>),
) -> io::Result<()> {
    if let Some(bytes) = window.bytes(offset, frame.len)? {
        visit(&Seen { frame, bytes, offset, bad, chain });
    }
    Ok(())
}

impl Seen<'_> {
    /// What its table says of its records.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.frame.entries(self.bytes)
    }
}

enum At {
    /// Fewer bytes are left than a frame has.
    End,
    /// A frame, which of its payloads (from 0) are damaged, and the chain behind it.
    Frame(Outline, Vec<u64>, Option<u32>),
    Nothing,
}

fn frame_at(window: &mut Window<'_>, seed: &Hasher, at: u64, chain: Option<u32>) -> io::Result<At> {
    let Some(header) = window.bytes(at, frame::HEADER_LEN)? else { return Ok(At::End) };
    let claim = frame::claim(header.first_chunk().unwrap_or(&[0; frame::HEADER_LEN]));
    let Claim::Len(len) = claim else { return Ok(At::Nothing) };
    let Some(bytes) = window.bytes(at, len)? else { return Ok(At::Nothing) };
    Ok(match frame::outline_of(bytes, seed, at) {
        Some(frame) => {
            let mut bad = Vec::new();
            for (n, (_, intact)) in (0..).zip(frame.payloads(bytes)) {
                if !intact {
                    bad.push(n);
                }
            }
            let chain = chain.map(|chain| frame.extend_chain(chain, bytes));
            At::Frame(frame, bad, chain)
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

/// Looks for valid frames after damage, within a budget.
struct Search<'a> {
    seed: &'a Hasher,
    budget: usize,
}

impl Search<'_> {
    const fn is_spent(&self) -> bool {
        self.budget == 0
    }

    /// The first valid frame from `after` on, a place and the lowest number it may have; and, if
    /// `for_promise`, whether it or any behind it promises that `damaged` was durable.
    fn next_frame(
        &mut self,
        window: &mut Window<'_>,
        after: (u64, u64),
        damaged: u64,
        for_promise: bool,
    ) -> io::Result<Option<Resync>> {
        let (mut at, min_lsn) = after;
        let mut first: Option<Resync> = None;
        while let Some(&header) =
            window.bytes(at, frame::HEADER_LEN)?.and_then(|bytes| bytes.first_chunk())
        {
            let claim = frame::claim(&header);
            let (mut step, mut cost) = (ALIGN, ALIGN);
            if claim == Claim::Unwritten {
                // The same is so as long as a whole header is zero.
                step = (window.zeros_at(at) - frame::HEADER_LEN) / ALIGN * ALIGN + ALIGN;
                cost = step;
            }
            // What is older than the place cannot follow it, and need not be checked: a file that was used
            // again is full of that.
            if let Claim::Len(len) = claim
                && frame::claimed_first_lsn(&header) >= min_lsn
                && let Some(bytes) = window.bytes(at, len)?
            {
                // Decoding hashes no more than the table, which is no longer than the frame.
                cost = len;
                if let Some(frame) = frame::outline(bytes, self.seed, at)
                    && frame.first_lsn >= min_lsn
                {
                    let promises = frame.synced > damaged;
                    let first_lsn = frame.first_lsn;
                    let next = first.get_or_insert(Resync { offset: at, first_lsn, promises });
                    next.promises |= promises;
                    if promises || !for_promise {
                        break;
                    }
                    step = frame.len;
                }
            }
            self.budget = self.budget.saturating_sub(cost);
            if self.is_spent() {
                break;
            }
            at += step as u64;
        }
        Ok(first)
    }
}

/// Whether what is at `at` calls itself a frame that follows; old content does not.
fn claims(window: &mut Window<'_>, at: u64, next_lsn: u64) -> io::Result<bool> {
    let header = window.bytes(at, frame::HEADER_LEN)?;
    Ok(header.is_some_and(|header| frame::claimed_first_lsn(header) == next_lsn))
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
    const AHEAD: usize = 256 << 10;

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
            if self.bytes(offset, n)?.is_some_and(|bytes| leading_zeros(bytes) < n) {
                return Ok(false);
            }
            offset += n as u64;
        }
        Ok(true)
    }

    /// How many of the bytes that were read ahead are zero, from `offset` on.
    fn zeros_at(&self, offset: u64) -> usize {
        let from = offset.checked_sub(self.start).map_or(usize::MAX, |from| from as usize);
        self.buf.get(from..).map_or(0, leading_zeros)
    }
}

/// How many bytes at the start are zero. There are megabytes of them behind the end of a log.
fn leading_zeros(bytes: &[u8]) -> usize {
    let is_zero = |chunk: &&[u8; 64]| chunk.iter().fold(0, |seen, byte| seen | byte) == 0;
    let zeros = 64 * bytes.as_chunks().0.iter().take_while(is_zero).count();
    zeros + bytes[zeros..].iter().take_while(|&&byte| byte == 0).count()
}

#[cfg(all(test, not(bucket_loom)))]
mod tests {
    use super::*;

    #[test]
    fn zeros_end_at_the_first_byte_that_is_none() {
        for len in [0, 1, 63, 64, 65, 200] {
            let mut bytes = vec![0; len];
            assert_eq!(leading_zeros(&bytes), len);
            for at in (0..len).rev() {
                bytes[at] = 1;
                assert_eq!(leading_zeros(&bytes), at, "of {len}");
            }
        }
    }
}
