//! What must hold of the decoder whatever the bytes: one function for each fuzz target.
//!
//! Compiled for fuzzing and for tests alone. The targets in `fuzz/` and their twins in
//! `src/tests/` call the same functions, so that a plain `cargo test` checks the same on fewer inputs.

mod log;
pub(crate) mod manifest;
pub(crate) mod segment;

use crc32fast::Hasher;

pub use self::log::open_log;
pub use self::manifest::manifest;
pub use self::segment::segment;
use crate::frame::{self, Entry, Outline};

/// Checks the decoder of frames on `data` as it is, and on `data` with its checks put right.
///
/// No fuzzer guesses a CRC, so bytes alone would never get past the first check. What is put right
/// is the check of header and table, and in a second copy also the length of the body and the check
/// of each record.
///
/// # Panics
///
/// When the decoder breaks a promise.
pub fn decode_frame(data: &[u8]) {
    check(data, &frame::outline);
}

/// A decoder of frames: bytes, seed, offset.
pub(crate) type Decoder<'a> = &'a dyn Fn(&[u8], &Hasher, u64) -> Option<Outline>;

/// How far `data` gets a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// It is a frame as it stands.
    pub(crate) raw: bool,
    /// It is a frame once everything that can be is put right.
    pub(crate) repaired: bool,
}

/// [`decode_frame`] for any decoder, so that a test can show that a bad one is caught.
pub(crate) fn check(data: &[u8], decode: Decoder<'_>) -> Reached {
    let raw = check_one(data, decode);
    if let Some(bytes) = with_header_check(data.to_vec()) {
        check_one(&bytes, decode);
    }
    let repaired = with_all_checks(data).is_some_and(|bytes| check_one(&bytes, decode));
    Reached { raw, repaired }
}

/// The offset at which every input is decoded.
pub(crate) const OFFSET: u64 = 4_096;

/// The identity that every input is decoded under.
pub(crate) fn seed() -> Hasher {
    let mut seed = Hasher::new();
    seed.update(b"a log, a segment and a salt");
    seed
}

/// Every promise, on one input; true when it is a frame.
fn check_one(bytes: &[u8], decode: Decoder<'_>) -> bool {
    let decoded = decode(bytes, &seed(), OFFSET);
    let expected = Expected::read(bytes).filter(|expected| expected.crc == le_u32(bytes));
    let (frame, expected) = match (decoded, expected) {
        (None, None) => return false,
        (Some(frame), Some(expected)) => (frame, expected),
        (None, Some(expected)) => panic!("refused, but should be {expected:?}"),
        (Some(frame), None) => panic!("accepted, but is no frame: {frame:?}"),
    };
    check_fields(bytes, &frame, &expected);
    check_length(bytes, &frame, decode);
    check_round_trip(bytes, &frame, &expected);
    check_place(bytes, decode);
    check_flips(bytes, &frame, decode);
    true
}

fn check_fields(bytes: &[u8], frame: &Outline, expected: &Expected) {
    assert_eq!(frame.kind as u8, bytes[16]);
    assert_eq!(frame.len % frame::ALIGN, 0);
    assert_eq!(frame.payload_start, expected.table_end);
    let entries = frame.entries(bytes).map(|entry| (u64::from(entry.len), entry.crc));
    assert!(entries.eq(expected.entries.iter().copied()), "{frame:?} is not {expected:?}");
    assert_eq!(frame.count, expected.entries.len());

    // The payloads tile the rest of the body, and each is judged by its own check.
    let mut at = expected.table_end;
    for ((payload, intact), entry) in frame.payloads(bytes).zip(frame.entries(bytes)) {
        assert_eq!(payload, &bytes[at..at + entry.len as usize]);
        assert_eq!(intact, crc32fast::hash(payload) == entry.crc);
        at += payload.len();
    }
    assert_eq!(frame.payloads(bytes).count(), frame.count);
    assert_eq!(at, expected.body_end);
}

/// A frame ends where it says: bytes behind it change nothing, and one too few is no frame.
fn check_length(bytes: &[u8], frame: &Outline, decode: Decoder<'_>) {
    let header = bytes.first_chunk().expect("a frame has a header");
    assert_eq!(frame::claim(header), frame::Claim::Len(frame.len));
    assert_eq!(decode(&bytes[..frame.len], &seed(), OFFSET).as_ref(), Some(frame));
    assert_eq!(decode(&bytes[..frame.len - 1], &seed(), OFFSET), None);
}

/// There is one spelling for each frame: what was decoded encodes to the same bytes. Padding is
/// written as zeros and not looked at, which is why it is left out.
fn check_round_trip(bytes: &[u8], frame: &Outline, expected: &Expected) {
    let entries: Vec<Entry> = frame.entries(bytes).collect();
    let mut again = Vec::new();
    frame::encode(
        &mut again,
        &seed(),
        OFFSET,
        frame.kind,
        frame.first_lsn,
        frame.synced,
        &entries,
        &bytes[frame.payload_start..expected.body_end],
    );
    assert_eq!(again.len(), frame.len);
    assert_eq!(&again[..expected.body_end], &bytes[..expected.body_end]);
    assert!(again[expected.body_end..].iter().all(|&byte| byte == 0));
}

/// A frame at another place or of another log is no frame. One differing bit never escapes a CRC, so
/// this holds always and not only nearly so.
fn check_place(bytes: &[u8], decode: Decoder<'_>) {
    assert_eq!(decode(bytes, &seed(), OFFSET ^ frame::ALIGN as u64), None);
    let mut other = Hasher::new();
    other.update(b"a log, a segment and a salu"); // `t` with its lowest bit set.
    assert_eq!(decode(bytes, &other, OFFSET), None);
}

/// A flipped bit in what the header's check covers costs the frame, and one in a payload costs that
/// record alone.
fn check_flips(bytes: &[u8], frame: &Outline, decode: Decoder<'_>) {
    let bit = 1 << (bytes.len() % 8);
    // What does not move the end of the table, and with it the end of what is checked.
    let last_of_table = frame.payload_start - 1;
    let mut flipped = bytes.to_vec();
    for at in (0..4).chain(8..16).chain(20..24).chain([last_of_table]) {
        flipped[at] ^= bit;
        assert_eq!(decode(&flipped, &seed(), OFFSET), None, "bit flipped in byte {at}");
        flipped[at] ^= bit;
    }
    // The records before are empty, so the first byte of all payloads is this one's.
    if let Some(hit) = frame.entries(bytes).position(|entry| entry.len > 0) {
        flipped[frame.payload_start] ^= bit;
        assert_eq!(decode(&flipped, &seed(), OFFSET).as_ref(), Some(frame));
        let pairs = frame.payloads(bytes).zip(frame.payloads(&flipped));
        for (n, ((_, before), (_, after))) in pairs.enumerate() {
            assert!(if n == hit { !(before && after) } else { before == after }, "record {n}");
        }
    }
}

/// What the page of the format says about `bytes`, read as plainly as it is written there.
#[derive(Debug)]
struct Expected {
    /// Length and check of each record.
    entries: Vec<(u64, u32)>,
    table_end: usize,
    body_end: usize,
    /// What the first four bytes should be.
    crc: u32,
}

impl Expected {
    fn read(bytes: &[u8]) -> Option<Self> {
        let expected = Self::read_table(bytes)?;
        let body_len = le_u32(bytes.get(4..8)?) as usize;
        let payload_len: u64 = expected.entries.iter().map(|(len, _)| len).sum();
        let kind_fits = match bytes[16] {
            1 => !expected.entries.is_empty(),
            3 => expected.entries.len() == 1,
            2 | 5 => body_len == 0,
            _ => false,
        };
        let whole = (frame::HEADER_LEN + body_len).div_ceil(8) * 8;
        let fits = kind_fits
            && body_len <= LONGEST_BODY
            && whole <= bytes.len()
            && (expected.table_end as u64) + payload_len == (frame::HEADER_LEN + body_len) as u64
            && expected.entries.iter().all(|(len, _)| *len <= LONGEST_RECORD);
        fits.then_some(expected)
    }

    /// Reads header and table alone: the lengths may contradict each other.
    fn read_table(bytes: &[u8]) -> Option<Self> {
        let count = usize::from(*bytes.get(17)?)
            | usize::from(*bytes.get(18)?) << 8
            | usize::from(*bytes.get(19)?) << 16;
        let mut rest = bytes.get(frame::HEADER_LEN..)?;
        let mut entries = Vec::new();
        for _ in 0..count {
            let used = rest.iter().position(|byte| byte & 0x80 == 0)? + 1;
            let digits = &rest[..used];
            // The shortest spelling: five digits at most, and the last of several is not zero.
            if used > 5 || (used > 1 && digits[used - 1] == 0) {
                return None;
            }
            let value =
                digits.iter().rev().fold(0, |value, digit| value * 128 + u64::from(digit & 0x7f));
            if !(1..=4).contains(&(value % 8)) {
                return None;
            }
            entries.push((value / 8, le_u32(rest.get(used..used + 4)?)));
            rest = &rest[used + 4..];
        }
        let table_end = bytes.len() - rest.len();
        let mut hasher = seed();
        hasher.update(&OFFSET.to_le_bytes());
        hasher.update(&bytes[4..table_end]);
        let body_end = frame::HEADER_LEN + le_u32(&bytes[4..8]) as usize;
        Some(Self { entries, table_end, body_end, crc: hasher.finalize() })
    }
}

/// `bytes` with the check of header and table put right.
fn with_header_check(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let crc = Expected::read_table(&bytes)?.crc;
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    Some(bytes)
}

/// `data` with the length of the body and every check put right, where there are bytes enough.
fn with_all_checks(data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = data.to_vec();
    let table = Expected::read_table(&bytes)?;
    let payload_len: u64 = table.entries.iter().map(|(len, _)| len).sum();
    let body_end = table.table_end + usize::try_from(payload_len).ok()?;
    // Padding may be missing; records may not.
    if body_end > bytes.len() {
        return None;
    }
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes[4..8].copy_from_slice(&((body_end - frame::HEADER_LEN) as u32).to_le_bytes());
    let (mut entry_at, mut payload_at) = (frame::HEADER_LEN, table.table_end);
    for (len, _) in &table.entries {
        let payload_end = payload_at + *len as usize;
        let crc = crc32fast::hash(&bytes[payload_at..payload_end]);
        let used = bytes[entry_at..].iter().position(|byte| byte & 0x80 == 0)? + 1;
        bytes[entry_at + used..entry_at + used + 4].copy_from_slice(&crc.to_le_bytes());
        (entry_at, payload_at) = (entry_at + used + 4, payload_end);
    }
    with_header_check(bytes)
}

fn le_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// 16 MiB, and what a frame may have beside one such record.
const LONGEST_RECORD: u64 = 16 * 1_024 * 1_024;
const LONGEST_BODY: usize = 17 * 1_024 * 1_024;
