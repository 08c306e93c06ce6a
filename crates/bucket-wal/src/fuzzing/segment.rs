//! What must hold of the scan of a segment, whatever bytes follow its header.

use std::path::{Path, PathBuf};

use bucket_vfs::sim::SimDisk;
use bucket_vfs::{OpenMode, VfsFile};
use crc32fast::Hasher;

use crate::format::Features;
use crate::frame::{self, FrameKind, Outline};
use crate::reader::{Place, load};
use crate::scan::{Known, SegmentScan, scan};
use crate::seal::Seal;
use crate::segment::{self, HEADER_LEN, Header, MAX_LSN};
use crate::sync::Arc;
use crate::{TailState, WalError};

/// Reads `data` as a segment and scans it.
///
/// The first byte says how. With its lowest bit set, the checks and numbers of frames are put right,
/// one frame behind the other, so that what they say is believed; with the next, a later segment says where it
/// ends; with the third, the fields of the header come from `data` as well. Then come the length that the
/// later segment states (2 bytes), a number that a checkpoint calls durable (1), the fields, and the frames.
///
/// # Panics
///
/// When the scan breaks a promise: it fails, names frames that are not there or are out of order, takes bytes
/// in that are no frame without calling it damage, or differs from what its records and its seal say.
pub fn segment(data: &[u8]) {
    check(data, &scan);
}

/// A scan: file, header, what is known from outside.
pub(crate) type Scanner<'a> =
    &'a dyn Fn(&dyn VfsFile, &Header, Known<'_>) -> Result<SegmentScan, WalError>;

/// What `data` turned out to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) frames: usize,
    pub(crate) is_damaged: bool,
    pub(crate) is_torn: bool,
    pub(crate) has_seal: bool,
}

/// [`segment`] for any scan, so that a test can show that a bad one is caught.
pub(crate) fn check(data: &[u8], scan: Scanner<'_>) -> Scanned {
    let Some((&[how, len_low, len_high, durable], mut body)) = data.split_first_chunk() else {
        return Scanned::default();
    };
    let mut bytes = header().encode();
    if how & FIELDS != 0 {
        let Some((fields, rest)) = body.split_at_checked(FIELDS_LEN) else {
            return Scanned::default();
        };
        bytes[FIELDS_AT..FIELDS_AT + FIELDS_LEN].copy_from_slice(fields);
        let (checked, check) = bytes.split_at_mut(HEADER_LEN as usize - 4);
        check.copy_from_slice(&crc32fast::hash(checked).to_le_bytes());
        body = rest;
    }
    let Ok(header) = Header::decode(&bytes, Features::KNOWN) else { return Scanned::default() };
    let again = Header::decode(&header.encode(), Features::KNOWN);
    assert_eq!(again.as_ref(), Ok(&header), "a header says what it was read as");
    bytes.extend_from_slice(body);
    if how & REPAIRED != 0 {
        repair(&mut bytes, &header);
    }

    let (file, path) = file_with(&bytes);
    let stated = HEADER_LEN + u64::from(u16::from_le_bytes([len_low, len_high]));
    let data_len = (how & SUCCEEDED != 0).then_some(stated);
    let known = Known { path: &path, data_len, durable_lsn: u64::from(durable) };
    let found = scan(&*file, &header, known).expect("the disk is healthy");
    check_scan(&bytes, &header, known, &found);
    if found.damage.is_empty() {
        check_whole(&bytes, &header, &found);
        check_records(&file, &path, &header, &found);
    }
    let has_seal = check_seal(&*file, &header, known, &found, how & REPAIRED != 0);
    Scanned {
        frames: found.frames.len(),
        is_damaged: !found.damage.is_empty(),
        is_torn: found.tail == TailState::Torn,
        has_seal,
    }
}

/// The first byte of an input.
pub(crate) const REPAIRED: u8 = 1;
pub(crate) const SUCCEEDED: u8 = 2;
pub(crate) const FIELDS: u8 = 4;
/// What of the header comes from an input: flags, identity, numbers.
const FIELDS_AT: usize = 16;
pub(crate) const FIELDS_LEN: usize = 88;

/// The header of every input that does not bring its own fields.
pub(crate) fn header() -> Header {
    Header {
        log_id: 1 << 77 | 3,
        segment_id: 3,
        first_lsn: 20,
        epoch: 1,
        prev_segment_id: 2,
        prev_data_len: 9_000,
        prev_next_lsn: 20,
        prev_chain: 0x0bad_cafe,
        salt: 0x5a17_5a17,
        durable_len: HEADER_LEN,
        keeps_evidence: false,
        is_reused: false,
        features: Features::NONE,
    }
}

/// What is found lies in the file, in order, and every frame of it is one.
fn check_scan(bytes: &[u8], header: &Header, known: Known<'_>, found: &SegmentScan) {
    let limit = known.data_len.unwrap_or(bytes.len() as u64);
    assert!((HEADER_LEN..=limit.max(HEADER_LEN)).contains(&found.end), "{found:?}");
    assert!(
        found.proven <= found.end || !found.damage.is_empty(),
        "durable, and not there: {found:?}"
    );
    assert!((header.first_lsn..=MAX_LSN).contains(&found.next_lsn));
    assert!(found.damage.is_sorted_by_key(|damage| damage.offset));
    assert!(
        found.damage.iter().all(|damage| damage.offset >= HEADER_LEN && damage.offset <= limit)
    );
    assert_eq!(found.frames.len(), found.chains.len());
    assert!(found.frames.is_sorted_by(|a, b| a.offset < b.offset && a.first_lsn < b.first_lsn));
    assert_eq!(found.tail == TailState::Damaged, found.damage.last().is_some_and(is_tail));
    for at in &found.frames {
        assert!(at.offset < found.end && at.first_lsn >= header.first_lsn);
        let frame = frame_at(bytes, header, at.offset).expect("a frame was found there");
        assert_eq!((frame.kind, frame.first_lsn), (FrameKind::Data, at.first_lsn));
        assert!(frame.next_lsn() <= found.next_lsn);
    }
}

fn is_tail(damage: &crate::Damage) -> bool {
    damage.kind == crate::DamageKind::Tail
}

/// Without damage, the frames tile the segment up to its end, and the numbers and the chain go on from one to
/// the next.
fn check_whole(bytes: &[u8], header: &Header, found: &SegmentScan) {
    let (mut at, mut next, mut chain) = (HEADER_LEN, header.first_lsn, header.prev_chain);
    let (mut frames, mut records, mut is_sealed) = (0, 0, false);
    while at < found.end {
        assert!(!is_sealed, "nothing follows a seal");
        let frame = frame_at(bytes, header, at).expect("a segment without damage is all frames");
        match frame.kind {
            FrameKind::Data => {
                assert_eq!((at, next), (found.frames[frames].offset, frame.first_lsn));
                assert_eq!(chain, found.chains[frames]);
                let rows = at as usize + frame::HEADER_LEN..at as usize + frame.payload_start;
                chain = segment::extend_chain(chain, &bytes[rows]);
                frames += 1;
                records += frame.count as u64;
            }
            FrameKind::Gap => assert!(frame.first_lsn >= next),
            FrameKind::Seal | FrameKind::Sync => assert_eq!(frame.first_lsn, next),
        }
        is_sealed = frame.kind == FrameKind::Seal;
        (next, at) = (frame.next_lsn(), at + frame.len as u64);
    }
    assert_eq!((at, next, Some(chain)), (found.end, found.next_lsn, found.chain));
    assert_eq!((frames, records), (found.frames.len(), found.records));
    assert_eq!(is_sealed, found.is_sealed);
}

/// Without damage, every record can be read where it was found.
fn check_records(file: &Arc<dyn VfsFile>, path: &Path, header: &Header, found: &SegmentScan) {
    let mut count = 0;
    for frame in &found.frames {
        let place = Place {
            header: header.clone(),
            file: Arc::clone(file),
            path: path.to_owned(),
            first_lsn: frame.first_lsn,
            offset: frame.offset,
        };
        for (lsn, record) in (frame.first_lsn..).zip(load(&place).expect("it was just seen")) {
            assert_eq!(record.expect("it was found intact").lsn.get(), lsn);
            count += 1;
        }
    }
    assert_eq!(count, found.records);
}

/// A seal that is believed says nothing impossible, and nothing wrong where only the log itself can have
/// written it. Whether there was one.
fn check_seal(
    file: &dyn VfsFile,
    header: &Header,
    known: Known<'_>,
    found: &SegmentScan,
    is_forged: bool,
) -> bool {
    let (data_len, next_lsn) = (known.data_len.unwrap_or(found.end), found.next_lsn);
    let (segment_id, chain) = (header.segment_id, found.chain.unwrap_or_default());
    let ending = segment::Ending { segment_id, data_len, next_lsn, chain };
    let Some(seal) = Seal::read(file, header, ending).expect("the disk is healthy") else {
        return false;
    };
    assert!(seal.index.iter().all(|row| row.offset < data_len && row.first_lsn < next_lsn));
    if found.damage.is_empty() && !is_forged {
        assert!(found.is_sealed);
        assert_eq!(seal.records, found.records);
    }
    true
}

fn frame_at(bytes: &[u8], header: &Header, at: u64) -> Option<Outline> {
    frame::outline(bytes.get(at as usize..)?, &header.seed(), at)
}

/// Puts number, length and checks of the frames right, one behind the other, as far as there are bytes.
fn repair(bytes: &mut [u8], header: &Header) {
    let (mut at, mut next) = (HEADER_LEN as usize, header.first_lsn);
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| rest.len() >= frame::HEADER_LEN) {
        let is_unwritten = rest[..frame::HEADER_LEN].iter().all(|&byte| byte == 0);
        let repaired = if is_unwritten { None } else { repair_frame(rest, next, header, at) };
        at += repaired.map_or(frame::ALIGN, |(len, _)| len);
        next = repaired.map_or(next, |(_, after)| after);
    }
}

/// The length of the frame, and the number behind it; `None` when there are too few bytes for one.
fn repair_frame(rest: &mut [u8], next: u64, header: &Header, at: usize) -> Option<(usize, u64)> {
    let count = usize::from(rest[17]) | usize::from(rest[18]) << 8 | usize::from(rest[19]) << 16;
    let (mut row_at, mut rows) = (frame::HEADER_LEN, Vec::new());
    for _ in 0..count {
        let row = rest.get(row_at..)?;
        let used = row.iter().take(5).position(|byte| byte & 0x80 == 0)? + 1;
        let digits = row[..used].iter().rev();
        let value = digits.fold(0_u64, |value, digit| value << 7 | u64::from(digit & 0x7f));
        rows.push((row_at + used, usize::try_from(value >> 3).ok()?));
        row_at += used + 4;
    }
    let (table_end, mut payload_at) = (row_at, row_at);
    for (check_at, len) in rows {
        let end = payload_at.checked_add(len)?;
        let check = crc32fast::hash(rest.get(payload_at..end)?);
        rest.get_mut(check_at..check_at + 4)?.copy_from_slice(&check.to_le_bytes());
        payload_at = end;
    }
    let len = payload_at.next_multiple_of(frame::ALIGN);
    if len > rest.len() {
        return None;
    }
    rest[4..8].copy_from_slice(&((payload_at - frame::HEADER_LEN) as u32).to_le_bytes());
    // A gap may jump by as much as its lowest byte says.
    let jump = if rest[16] == FrameKind::Gap as u8 { u64::from(rest[8]) } else { 0 };
    let first = next.saturating_add(jump);
    rest[8..16].copy_from_slice(&first.to_le_bytes());
    let mut check: Hasher = header.seed();
    check.update(&(at as u64).to_le_bytes());
    check.update(&rest[4..table_end]);
    rest[..4].copy_from_slice(&check.finalize().to_le_bytes());
    let numbered = if rest[16] == FrameKind::Data as u8 { count as u64 } else { 0 };
    Some((len, first.saturating_add(numbered)))
}

fn file_with(bytes: &[u8]) -> (Arc<dyn VfsFile>, PathBuf) {
    let path = PathBuf::from("/segment");
    let file = SimDisk::new().mount().open(&path, OpenMode::CreateNew).expect("the disk is empty");
    file.write_all_at(bytes, 0).expect("the disk is healthy");
    (file, path)
}
