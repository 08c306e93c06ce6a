//! What must hold of the decoder of checkpoints, whatever the bytes.

use sha2::{Digest, Sha256};

use crate::Checkpoint;
use crate::format::Features;
use crate::manifest::{Manifest, ManifestError};

/// Checks the decoder of checkpoints on `data` as it is, on `data` with its sum put right, and on `data`
/// also with its lengths made to fit.
///
/// # Panics
///
/// When the decoder breaks a promise.
pub fn manifest(data: &[u8]) {
    check(data, &|bytes| Manifest::decode(bytes, Features::KNOWN));
}

/// A decoder of checkpoints.
pub(crate) type Decoder<'a> = &'a dyn Fn(&[u8]) -> Result<Manifest, ManifestError>;

/// How far `data` gets a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// It is a checkpoint as it stands.
    pub(crate) raw: bool,
    /// It is one once sum and lengths are put right.
    pub(crate) repaired: bool,
}

/// [`manifest`] for any decoder, so that a test can show that a bad one is caught.
pub(crate) fn check(data: &[u8], decode: Decoder<'_>) -> Decoded {
    let raw = check_one(data, decode);
    let mut bytes = data.to_vec();
    if bytes.len() >= SUM_LEN {
        resum(&mut bytes);
        check_one(&bytes, decode);
    }
    let repaired = fit(&mut bytes) && check_one(&bytes, decode);
    Decoded { raw, repaired }
}

/// Every promise, on one input; true when it is a checkpoint.
fn check_one(bytes: &[u8], decode: Decoder<'_>) -> bool {
    let mut manifest = match decode(bytes) {
        Ok(manifest) => manifest,
        Err(ManifestError::Unsupported { format, flags }) => {
            assert!(is_whole(bytes), "no version wrote this");
            assert!(format != 1 || flags != 0, "this version wrote it");
            return false;
        }
        Err(ManifestError::Damaged) => {
            let is_ours = !is_whole(bytes) || (u32_at(bytes, 8), u32_at(bytes, 12)) == (1, 0);
            assert!(is_ours, "refused as damaged, but a newer version wrote it");
            assert!(!is_whole(bytes) || !is_valid(bytes), "refused, but is a checkpoint");
            return false;
        }
    };
    assert!(is_whole(bytes) && is_valid(bytes), "accepted, but is no checkpoint: {manifest:?}");
    check_fields(bytes, &manifest);

    // What was decoded is what is written again; what no field covers was written as zeros.
    let again = manifest.encode();
    assert_eq!(again.len(), bytes.len());
    assert_eq!(decode(&again).as_ref(), Ok(&manifest));
    assert_eq!(&again[FIXED..again.len() - SUM_LEN - manifest.state.encoded().bytes.len()], &{
        let table = &bytes[FIXED..FIXED + manifest.segments.len() * ROW];
        table.chunks(ROW).flat_map(|row| [&row[..36], &[0; 4]].concat()).collect::<Vec<_>>()
    });

    // Nobody may count beyond what a number holds.
    assert!(manifest.keep_from() <= manifest.replay_from);
    assert!(manifest.vouched_lsn().checked_add(1).is_some());
    assert_eq!(Checkpoint::from(&manifest).generation, manifest.generation);

    let mut flipped = bytes.to_vec();
    for at in [0, 8, 12, bytes.len() / 2, bytes.len() - 1] {
        flipped[at] ^= 0x10;
        assert_eq!(decode(&flipped), Err(ManifestError::Damaged), "bit flipped in byte {at}");
        flipped[at] ^= 0x10;
    }
    for len in [0, FIXED, bytes.len() - 1] {
        assert_eq!(decode(&bytes[..len]), Err(ManifestError::Damaged), "cut to {len}");
    }
    flipped.push(0);
    assert_eq!(decode(&flipped), Err(ManifestError::Damaged), "a byte more");
    true
}

/// Magic and sum are right.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(len) = bytes.len().checked_sub(SUM_LEN).filter(|len| *len >= 16) else { return false };
    bytes[..8] == *b"\x89BWC\r\n\x1a\n" && Sha256::digest(&bytes[..len])[..] == bytes[len..]
}

/// What the page of the format says of the rest, read as plainly as it is written there.
fn is_valid(bytes: &[u8]) -> bool {
    if bytes.len() < FIXED + SUM_LEN || u32_at(bytes, 8) != 1 || u32_at(bytes, 12) != 0 {
        return false;
    }
    let (rows, state_len) = (u32_at(bytes, 132) as usize, u32_at(bytes, 136) as usize);
    if FIXED + rows * ROW + state_len + SUM_LEN != bytes.len() {
        return false;
    }
    let state = &bytes[FIXED + rows * ROW..bytes.len() - SUM_LEN];
    let state_fits = match bytes[128] {
        0 => state.is_empty(),
        1 => state.len() <= 1 << 20,
        2 => state.len() <= 4 << 10 && std::str::from_utf8(state).is_ok(),
        _ => false,
    };
    state_fits && [48, 56, 64, 72].iter().all(|at| u64_at(bytes, *at) <= u64::MAX >> 1)
}

fn check_fields(bytes: &[u8], manifest: &Manifest) {
    assert_eq!(manifest.generation, u64_at(bytes, 16));
    assert_eq!(manifest.log_id.to_le_bytes(), bytes[24..40]);
    assert_eq!(manifest.epoch, u64_at(bytes, 40));
    assert_eq!(manifest.durable_lsn, u64_at(bytes, 48));
    assert_eq!(manifest.replay_from, u64_at(bytes, 56));
    assert_eq!(manifest.pending_from.unwrap_or(0), u64_at(bytes, 64));
    let replicated = (bytes[129] == 1).then(|| u64_at(bytes, 72));
    assert_eq!(manifest.replicated_lsn, replicated);
    assert_eq!(manifest.archived_before, u64_at(bytes, 80));
    assert_eq!(manifest.taken, u64_at(bytes, 88));
    assert_eq!(manifest.previous, bytes[96..128]);
    assert_eq!(manifest.sum, bytes[bytes.len() - SUM_LEN..]);
    assert_eq!(manifest.segments.len(), u32_at(bytes, 132) as usize);
    // What a decoder allocates is bounded by what it was given.
    assert!(manifest.segments.capacity() * ROW <= bytes.len());
    assert_eq!(manifest.state.encoded().kind, bytes[128]);
}

fn resum(bytes: &mut [u8]) {
    let (body, sum) = bytes.split_at_mut(bytes.len() - SUM_LEN);
    sum.copy_from_slice(&Sha256::digest(body));
}

/// Puts magic, format and lengths right: no fuzzer has them agree with the length of the file. False when
/// it is too short.
fn fit(bytes: &mut [u8]) -> bool {
    let Some(room) = bytes.len().checked_sub(FIXED + SUM_LEN) else { return false };
    bytes[..8].copy_from_slice(b"\x89BWC\r\n\x1a\n");
    bytes[8..16].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    let rows = match bytes[128] {
        // Without a state, the table takes all there is.
        0 => room / ROW,
        _ => (u32_at(bytes, 132) as usize).min(room / ROW),
    };
    bytes[132..136].copy_from_slice(&(rows as u32).to_le_bytes());
    bytes[136..140].copy_from_slice(&((room - rows * ROW) as u32).to_le_bytes());
    resum(bytes);
    true
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

const FIXED: usize = 192;
const ROW: usize = 40;
const SUM_LEN: usize = 32;
