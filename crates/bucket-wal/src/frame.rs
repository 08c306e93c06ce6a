//! Frames: one commit group each, as bytes. Pure functions; the format is in `docs/wal-format.md`.
//!
//! A frame's check covers its header and its table of records and is seeded with the identity of the
//! segment and the offset, so that a frame that is stale, copied or misplaced does not validate. Each
//! record has a check of its own in the table, so that a damaged payload costs one record.

use std::ops::Range;

use crc32fast::Hasher;

use crate::{planted, segment};

/// Fixed part at the start of every frame.
pub(crate) const HEADER_LEN: usize = 24;
/// Frames start at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// A group is split into frames of about this many payload bytes.
pub(crate) const GROUP_LEN: usize = 1 << 20;
/// The longest record; keeps a hostile length from becoming a large allocation.
pub(crate) const MAX_RECORD_LEN: usize = 16 << 20;
/// No frame has a longer body: one record of the longest kind, or a full group with its table.
const MAX_BODY_LEN: usize = MAX_RECORD_LEN + GROUP_LEN;
/// The count is stored in 24 bits.
pub(crate) const MAX_COUNT: usize = (1 << 24) - 1;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Records.
    Data = 1,
    /// No records; numbering continues at the frame's number.
    Gap = 2,
    /// One record without a number: what the finished segment holds, for whoever opens it later.
    Seal = 3,
    /// No records; carries the sync promise alone.
    Sync = 5,
}

/// What a record is. Three bits of its table entry; the other values are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordKind {
    /// What the application appended.
    Op = 1,
    /// Says that an earlier operation is done.
    Complete = 2,
    /// Says that an earlier operation was given up, and why.
    Abort = 3,
    /// An operation that was copied forward so that its old segment could go.
    Survivor = 4,
}

/// One entry of a frame's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: RecordKind,
    pub(crate) len: u32,
    pub(crate) crc: u32,
}

impl Entry {
    /// The entry for an operation. The caller has checked the length against [`MAX_RECORD_LEN`].
    pub(crate) fn of(payload: &[u8]) -> Self {
        Self::new(RecordKind::Op, payload)
    }

    /// The entry for a payload of any kind.
    pub(crate) fn new(kind: RecordKind, payload: &[u8]) -> Self {
        Self { kind, len: payload.len() as u32, crc: crc32fast::hash(payload) }
    }
}

/// Appends a frame for `offset` to `out` and returns where in it the rows of its table are. `payloads`
/// is the concatenation that `entries` describe.
#[expect(clippy::too_many_arguments, reason = "the fields of a frame, each used once")]
pub(crate) fn encode(
    out: &mut Vec<u8>,
    seed: &Hasher,
    offset: u64,
    kind: FrameKind,
    first_lsn: u64,
    synced: u64,
    entries: &[Entry],
    payloads: &[u8],
) -> Range<usize> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    for entry in entries {
        push_varint(out, u64::from(entry.len) << 3 | entry.kind as u64);
        out.extend_from_slice(&entry.crc.to_le_bytes());
    }
    let table_end = out.len();
    out.extend_from_slice(payloads);
    let body_len = out.len() - start - HEADER_LEN;
    out.resize(out.len().next_multiple_of(ALIGN), 0);

    let header = &mut out[start..table_end];
    header[4..8].copy_from_slice(&(body_len as u32).to_le_bytes());
    header[8..16].copy_from_slice(&first_lsn.to_le_bytes());
    header[16] = kind as u8;
    header[17..20].copy_from_slice(&(entries.len() as u32).to_le_bytes()[..3]);
    header[20..24].copy_from_slice(&((synced / ALIGN as u64) as u32).to_le_bytes());
    let crc = checksum(seed, offset, &header[4..]);
    header[..4].copy_from_slice(&crc.to_le_bytes());
    start + HEADER_LEN..table_end
}

/// What the first bytes of a place in a segment say about the frame there, unverified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nothing was written here.
    Unwritten,
    /// No frame starts like this.
    Nonsense,
    /// A frame of this whole length may be here.
    Len(usize),
}

/// Reads the claimed length of a frame from its first [`HEADER_LEN`] bytes.
pub(crate) fn claim(header: &[u8; HEADER_LEN]) -> Claim {
    if [0, 8, 16].iter().all(|&at| le_u64(&header[at..]) == 0) {
        return Claim::Unwritten;
    }
    let body_len = le_u32(&header[4..8]) as usize;
    let count = le_u32(&[header[17], header[18], header[19], 0]) as usize;
    let kind_fits = match kind(header[16]) {
        // A record takes at least an entry of five bytes.
        Some(FrameKind::Data) => count > 0 && count <= body_len / 5,
        Some(FrameKind::Seal) => count == 1,
        Some(FrameKind::Gap | FrameKind::Sync) => count == 0 && body_len == 0,
        None => false,
    };
    if !kind_fits || body_len > MAX_BODY_LEN {
        return Claim::Nonsense;
    }
    Claim::Len((HEADER_LEN + body_len).next_multiple_of(ALIGN))
}

/// The number of the first record that the frame with this header claims to have.
pub(crate) fn claimed_first_lsn(header: &[u8]) -> u64 {
    header.get(8..16).map_or(0, le_u64)
}

/// The number after the last record that the frame with this header claims to have.
pub(crate) fn claimed_next_lsn(header: &[u8; HEADER_LEN]) -> u64 {
    let count = le_u32(&[header[17], header[18], header[19], 0]);
    let numbered = if header[16] == FrameKind::Data as u8 { count } else { 0 };
    le_u64(&header[8..16]).saturating_add(u64::from(numbered))
}

/// Where the parts of a frame are, whose header and table have validated. Payloads have not been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(crate) kind: FrameKind,
    pub(crate) first_lsn: u64,
    /// Everything before this offset was durable when the frame was written.
    pub(crate) synced: u64,
    pub(crate) count: usize,
    /// Where the payloads start within the frame.
    pub(crate) payload_start: usize,
    /// The whole frame with padding.
    pub(crate) len: usize,
}

/// Verifies header and table of the frame that `bytes` is said to hold; `bytes` has the claimed length.
/// `None` when anything about them is wrong. Allocates nothing.
pub(crate) fn outline(bytes: &[u8], seed: &Hasher, offset: u64) -> Option<Outline> {
    let Claim::Len(len) = claim(bytes.first_chunk()?) else { return None };
    outline_of(bytes.get(..len)?, seed, offset)
}

/// The same of exactly as many bytes as its [`claim`] says.
pub(crate) fn outline_of(bytes: &[u8], seed: &Hasher, offset: u64) -> Option<Outline> {
    let (header, len) = (bytes.first_chunk::<HEADER_LEN>()?, bytes.len());
    let body_len = le_u32(&header[4..8]) as usize;
    let count = le_u32(&[header[17], header[18], header[19], 0]) as usize;
    let body_end = HEADER_LEN + body_len;

    // Walk the table without trusting it: every step is bounded by the body.
    let (mut at, mut payload_len) = (HEADER_LEN, 0_u64);
    for _ in 0..count {
        let (value, used) = varint(&bytes[at..body_end])?;
        at += used + 4;
        payload_len += value >> 3;
        record_kind(value)?;
        if at > body_end || value >> 3 > MAX_RECORD_LEN as u64 {
            return None;
        }
    }
    if (at as u64) + payload_len != body_end as u64 {
        return None;
    }
    if checksum(seed, offset, &bytes[4..at]) != le_u32(&header[..4]) {
        return None;
    }
    Some(Outline {
        kind: kind(header[16])?,
        first_lsn: le_u64(&header[8..16]),
        synced: u64::from(le_u32(&header[20..24])) * ALIGN as u64,
        count,
        payload_start: at,
        len,
    })
}

/// The entry at the start of `table`, the rest of one that has validated, and how long it is.
pub(crate) fn entry(table: &[u8]) -> Option<(Entry, usize)> {
    let (value, used) = varint(table)?;
    let crc = le_u32(table.get(used..used + 4)?);
    Some((Entry { kind: record_kind(value)?, len: (value >> 3) as u32, crc }, used + 4))
}

impl Outline {
    /// The number that follows the frame's last record.
    pub(crate) fn next_lsn(&self) -> u64 {
        let numbered = if self.kind == FrameKind::Data { self.count as u64 } else { 0 };
        self.first_lsn.saturating_add(numbered)
    }

    /// The chain behind the frame's records, which follow those that `chain` is about.
    pub(crate) fn extend_chain(&self, chain: u32, bytes: &[u8]) -> u32 {
        if self.kind != FrameKind::Data {
            return chain;
        }
        segment::extend_chain(chain, &bytes[HEADER_LEN..self.payload_start])
    }

    /// What the table of the frame, all of whose bytes these are, says of its records.
    pub(crate) fn entries<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = Entry> + use<'a> {
        let mut table = bytes.get(HEADER_LEN..self.payload_start).unwrap_or_default();
        std::iter::from_fn(move || {
            let (entry, used) = entry(table)?;
            table = &table[used..];
            Some(entry)
        })
    }

    /// The payloads of the frame, each with whether its own check holds.
    pub(crate) fn payloads<'a>(
        &self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], bool)> + use<'a> {
        let mut at = self.payload_start;
        self.entries(bytes).map(move |entry| {
            let payload = &bytes[at..at + entry.len as usize];
            at += payload.len();
            (payload, crc32fast::hash(payload) == entry.crc)
        })
    }
}

fn kind(byte: u8) -> Option<FrameKind> {
    match byte {
        1 => Some(FrameKind::Data),
        2 => Some(FrameKind::Gap),
        3 => Some(FrameKind::Seal),
        5 => Some(FrameKind::Sync),
        // The upper half is flags: 0x80 is reserved for sealed payloads. Unknown is refused.
        _ => None,
    }
}

/// The kind in the lowest bits of a table entry.
const fn record_kind(value: u64) -> Option<RecordKind> {
    match value & 7 {
        1 => Some(RecordKind::Op),
        2 => Some(RecordKind::Complete),
        3 => Some(RecordKind::Abort),
        4 => Some(RecordKind::Survivor),
        _ => None,
    }
}

/// The check of a frame. Nearly all are of some forty bytes, which the hasher, made for long inputs, would
/// go through one by one; that took a quarter of the time of reading 1 KiB records.
fn checksum(seed: &Hasher, offset: u64, covered: &[u8]) -> u32 {
    let offset = offset.to_le_bytes();
    let place = if planted::is_unseeded() { &[] } else { &offset[..] };
    let crc = crc_of_few(seed.clone().finalize(), place);
    if covered.len() < FEW {
        return crc_of_few(crc, covered);
    }
    let mut hasher = Hasher::new_with_initial(crc);
    hasher.update(covered);
    hasher.finalize()
}

/// Below so many bytes [`crc_of_few`] is the faster one.
pub(crate) const FEW: usize = 128;

/// CRC-32 (IEEE), eight bytes at a time: "slicing by 8", Kounavis and Berry 2005.
pub(crate) fn crc_of_few(crc: u32, bytes: &[u8]) -> u32 {
    let mut crc = !crc;
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let word = u64::from_le_bytes(*eight) ^ u64::from(crc);
        crc = (0..8).fold(0, |crc, n| crc ^ CRC_TABLES[7 - n][(word >> (8 * n)) as usize & 0xff]);
    }
    let (fours, rest) = rest.as_chunks::<4>();
    for four in fours {
        let word = u32::from_le_bytes(*four) ^ crc;
        crc = (0..4).fold(0, |crc, n| crc ^ CRC_TABLES[3 - n][(word >> (8 * n)) as usize & 0xff]);
    }
    for byte in rest {
        crc = crc >> 8 ^ CRC_TABLES[0][((crc ^ u32::from(*byte)) & 0xff) as usize];
    }
    !crc
}

/// What a byte does to the check when so many bytes follow it.
static CRC_TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut n = 0;
    while n < 256 {
        let (mut crc, mut bit) = (n as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][n] = crc;
        n += 1;
    }
    let mut t = 1;
    while t < 8 {
        let mut n = 0;
        while n < 256 {
            let before = tables[t - 1][n];
            tables[t][n] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            n += 1;
        }
        t += 1;
    }
    tables
};

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A LEB128 number of at most five bytes, which is more than any length needs. Only the shortest
/// spelling is one, so that no two frames mean the same.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (n, &byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            let is_shortest = n == 0 || byte != 0;
            return is_shortest.then_some((value, n + 1));
        }
    }
    None
}

pub(crate) fn le_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

pub(crate) fn le_u64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(records: &[Vec<u8>], offset: u64) -> Vec<u8> {
        let entries: Vec<_> = records.iter().map(|record| Entry::of(record)).collect();
        let mut out = Vec::new();
        encode(&mut out, &seed(), offset, FrameKind::Data, 7, 4_096, &entries, &records.concat());
        out
    }

    fn seed() -> Hasher {
        let mut seed = Hasher::new();
        seed.update(b"identity");
        seed
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..40),
        ) {
            let bytes = frame(&records, 4_096);
            let decoded = outline(&bytes, &seed(), 4_096).unwrap();
            prop_assert_eq!(decoded.len, bytes.len());
            prop_assert_eq!((decoded.first_lsn, decoded.synced), (7, 4_096));
            let payloads: Vec<_> = decoded.payloads(&bytes).collect();
            prop_assert!(payloads.iter().all(|(_, intact)| *intact));
            prop_assert!(payloads.iter().map(|(payload, _)| *payload).eq(records.iter()));
        }

        #[test]
        fn one_flipped_bit_costs_the_frame_or_one_record(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..9),
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let mut bytes = frame(&records, 64);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            if let Some(decoded) = outline(&bytes, &seed(), 64) {
                let damaged = decoded.payloads(&bytes).filter(|(_, intact)| !intact).count();
                // Zero when the bit was padding.
                prop_assert!(damaged <= 1);
            }
        }

        #[test]
        fn the_check_of_few_bytes_is_that_of_many(
            start in any::<u32>(),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut hasher = Hasher::new_with_initial(start);
            hasher.update(&bytes);
            prop_assert_eq!(crc_of_few(start, &bytes), hasher.finalize());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = outline(&bytes, &seed(), 0);
        }
    }

    #[test]
    fn a_frame_elsewhere_or_of_another_segment_is_no_frame() {
        let bytes = frame(&[b"record".to_vec()], 64);
        assert!(outline(&bytes, &seed(), 64).is_some());
        assert!(outline(&bytes, &seed(), 72).is_none());
        assert!(outline(&bytes, &Hasher::new(), 64).is_none());
    }

    #[test]
    fn the_overhead_of_a_lone_record_is_at_most_36_bytes() {
        for len in [128, 1_024] {
            assert!(frame(&[vec![1; len]], 64).len() - len <= 36);
        }
        let group = vec![vec![1; 128]; 64];
        assert!(frame(&group, 64).len() - 64 * 128 <= 8 * 64);
    }
}
