//! The seal: the last frame of a finished segment, which says what is in it.
//!
//! Whoever opens the log later need not read a sealed segment to know its records: the seal has their
//! count, the chain behind them and an index to start reading from. A segment without a seal is as good,
//! and is read instead.

use std::io;

use bucket_vfs::VfsFile;

use crate::frame::{self, Entry, FrameKind, le_u32, le_u64};
use crate::scan::FrameRef;
use crate::segment::{Ending, HEADER_LEN, Header};

/// What a seal says of its segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seal {
    /// The number after the last record.
    pub(crate) next_lsn: u64,
    pub(crate) records: u64,
    pub(crate) chain: u32,
    /// The first frames of stretches of about the same length.
    pub(crate) index: Vec<FrameRef>,
}

/// Bytes before the index in the body, and after it.
const FIXED_LEN: usize = 16;
const TRAILER_LEN: usize = 8;
/// The trailer with the longest padding.
const LAST_LEN: usize = TRAILER_LEN + frame::ALIGN - 1;
const ROW_LEN: usize = 16;
const MAGIC: [u8; 4] = *b"SEAL";
/// A segment has about this many entries at most, so that the seal fits into the room that is kept.
const MAX_ROWS: u64 = 1_024;
/// Stretches are no shorter.
const MIN_STRETCH: u64 = 64 << 10;

impl Seal {
    /// How far apart the frames of the index are for segments of this size.
    pub(crate) fn stretch(segment_bytes: u64) -> u64 {
        (segment_bytes / (MAX_ROWS - 1)).max(MIN_STRETCH)
    }

    /// Appends the seal as a frame for `offset` to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, header: &Header, offset: u64, synced: u64) {
        let mut body = Vec::with_capacity(FIXED_LEN + self.index.len() * ROW_LEN + TRAILER_LEN);
        body.extend_from_slice(&self.records.to_le_bytes());
        body.extend_from_slice(&self.chain.to_le_bytes());
        body.extend_from_slice(&(self.index.len() as u32).to_le_bytes());
        for frame in &self.index {
            body.extend_from_slice(&frame.first_lsn.to_le_bytes());
            body.extend_from_slice(&frame.offset.to_le_bytes());
        }
        // The next header says where the segment ends; this leads from there back to the seal's start. The
        // padding behind it is zeros, and the magic does not end in one.
        let len = frame::HEADER_LEN + row_len(body.len() + TRAILER_LEN) + body.len() + TRAILER_LEN;
        let len = len.next_multiple_of(frame::ALIGN);
        body.extend_from_slice(&(len as u32).to_le_bytes());
        body.extend_from_slice(&MAGIC);
        let (seed, kind, entries) = (header.seed(), FrameKind::Seal, [Entry::of(&body)]);
        frame::encode(out, &seed, offset, kind, self.next_lsn, synced, &entries, &body);
    }

    /// The seal at the end of a segment that ends as `ending` says, when it has one that validates and
    /// fits.
    pub(crate) fn read(
        file: &dyn VfsFile,
        header: &Header,
        ending: Ending,
    ) -> io::Result<Option<Self>> {
        let end = ending.data_len;
        if end > file.len()? || end < HEADER_LEN + (frame::HEADER_LEN + LAST_LEN) as u64 {
            return Ok(None);
        }
        let mut last = [0; LAST_LEN];
        file.read_exact_at(&mut last, end - LAST_LEN as u64)?;
        let used = last.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
        let Some(trailer) = last[..used].last_chunk::<TRAILER_LEN>() else { return Ok(None) };
        let len = le_u32(trailer) as usize;
        if trailer[4..] != MAGIC || len > MAX_LEN || len as u64 > end - HEADER_LEN {
            return Ok(None);
        }
        let (mut bytes, offset) = (vec![0; len], end - len as u64);
        file.read_exact_at(&mut bytes, offset)?;
        let seal = frame::outline(&bytes, &header.seed(), offset)
            .filter(|frame| frame.kind == FrameKind::Seal && frame.len == len)
            .and_then(|frame| {
                let (body, is_intact) = frame.payloads(&bytes).next()?;
                is_intact.then(|| Self::decode(frame.first_lsn, body))?
            });
        let fits = |seal: &Self| {
            seal.next_lsn == ending.next_lsn
                && seal.chain == ending.chain
                && seal.next_lsn >= header.first_lsn
                && seal.records <= seal.next_lsn - header.first_lsn
                && seal.index.iter().all(|frame| {
                    (HEADER_LEN..offset).contains(&frame.offset)
                        && (header.first_lsn..seal.next_lsn).contains(&frame.first_lsn)
                })
                && seal.index.is_sorted_by(|a, b| a.first_lsn < b.first_lsn && a.offset < b.offset)
        };
        Ok(seal.filter(fits))
    }

    fn decode(next_lsn: u64, body: &[u8]) -> Option<Self> {
        let (records, chain) = (le_u64(body.get(..8)?), le_u32(body.get(8..12)?));
        let rows = le_u32(body.get(12..FIXED_LEN)?) as usize;
        let rows = body.get(FIXED_LEN..)?.get(..rows.checked_mul(ROW_LEN)?)?;
        let index = rows
            .chunks_exact(ROW_LEN)
            .map(|row| FrameRef { first_lsn: le_u64(row), offset: le_u64(&row[8..]) })
            .collect();
        Some(Self { next_lsn, records, chain, index })
    }
}

/// The length of the row of a record with this many bytes.
const fn row_len(len: usize) -> usize {
    let mut digits = 1;
    let mut value = len << 3;
    while value >= 0x80 {
        value >>= 7;
        digits += 1;
    }
    digits + 4
}

/// No seal is longer.
const MAX_LEN: usize =
    frame::HEADER_LEN + FIXED_LEN + (MAX_ROWS as usize + 1) * ROW_LEN + TRAILER_LEN + 32;
