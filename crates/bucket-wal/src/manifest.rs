//! Checkpoint manifests: small files that say where replay starts and carry the application's state.
//!
//! A manifest is never changed. Each names the one before by its SHA-256, so that a file that was
//! replaced by another valid one is noticed. The newest few are kept, and the log keeps what the oldest
//! of them needs, so that losing newer ones to damage loses nothing.

use std::path::{Path, PathBuf};

use bucket_vfs::{OpenMode, Vfs};
use sha2::{Digest, Sha256};

use crate::checkpoint::CheckpointState;
use crate::error::WalError;
use crate::format::Features;
use crate::frame::{le_u32, le_u64};
use crate::segment::{MAX_ID, MAX_LSN, number_in};

const MAGIC: [u8; 8] = *b"\x89BWC\r\n\x1a\n";
const FORMAT: u32 = 1;
const FIXED_LEN: usize = 192;
const ENTRY_LEN: usize = 40;
const SUM_LEN: usize = 32;
/// More is better kept in a file of the application's, by reference.
pub(crate) const MAX_STATE_LEN: usize = 1 << 20;
/// The longest name of a state that is kept elsewhere.
pub(crate) const MAX_URI_LEN: usize = 4 << 10;
/// The table lists the newest segments up to this number, so that no manifest grows without bound.
pub(crate) const MAX_SEGMENTS: usize = 1 << 16;
/// No manifest is longer.
const MAX_LEN: u64 = (FIXED_LEN + MAX_SEGMENTS * ENTRY_LEN + MAX_STATE_LEN + SUM_LEN) as u64;

/// The SHA-256 that ends a manifest.
pub(crate) type Sum = [u8; SUM_LEN];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) generation: u64,
    pub(crate) log_id: u128,
    /// The epoch of the newest segment then.
    pub(crate) epoch: u64,
    /// Everything up to here was durable when the manifest was written.
    pub(crate) durable_lsn: u64,
    /// The application needs no record before this one.
    pub(crate) replay_from: u64,
    /// No record before this one holds an operation that was pending; `None` when nobody kept account.
    pub(crate) pending_from: Option<u64>,
    /// Everything up to here was known to be elsewhere; `None` when the log was never replicated.
    pub(crate) replicated_lsn: Option<u64>,
    /// Segments before this one are in the archive.
    pub(crate) archived_before: u64,
    /// When it was taken, in milliseconds since 1970. Information only.
    pub(crate) taken: u64,
    /// The sum of the manifest before this one; zeros for the first.
    pub(crate) previous: Sum,
    /// What the log consisted of, the oldest first.
    pub(crate) segments: Vec<SegmentEntry>,
    pub(crate) state: CheckpointState,
    /// Those that the log has turned on.
    pub(crate) features: Features,
    /// Of the manifest itself.
    pub(crate) sum: Sum,
}

/// What a manifest says of one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    pub(crate) id: u64,
    pub(crate) first_lsn: u64,
    /// The number after its last durable record.
    pub(crate) next_lsn: u64,
    /// How many of its bytes were durable and count; 0 for the newest when that was not known.
    pub(crate) data_len: u64,
    /// The hash over its records and all before; 0 for the newest, which goes on.
    pub(crate) chain: u32,
}

/// Why a file is no usable manifest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ManifestError {
    /// Not a manifest, or damaged.
    Damaged,
    /// Written by a version that knows more than this one.
    Unsupported { format: u32, flags: u32 },
}

impl Manifest {
    /// The bytes of the file; also sets the sum.
    pub(crate) fn encode(&mut self) -> Vec<u8> {
        let state = self.state.encoded();
        let mut out = Vec::with_capacity(
            FIXED_LEN + self.segments.len() * ENTRY_LEN + state.bytes.len() + SUM_LEN,
        );
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        // All are incompatible: who does not know one must not go on.
        out.extend_from_slice(&self.features.bits().to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.log_id.to_le_bytes());
        for number in [
            self.epoch,
            self.durable_lsn,
            self.replay_from,
            self.pending_from.unwrap_or(0),
            self.replicated_lsn.unwrap_or(0),
            self.archived_before,
            self.taken,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.previous);
        out.extend_from_slice(&[state.kind, self.replicated_lsn.is_some().into(), 0, 0]);
        out.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        out.extend_from_slice(&(state.bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&state.referenced_len.to_le_bytes());
        out.extend_from_slice(&state.referenced_sum);
        out.resize(FIXED_LEN, 0);
        for entry in &self.segments {
            for number in [entry.id, entry.first_lsn, entry.next_lsn, entry.data_len] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&entry.chain.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
        }
        out.extend_from_slice(state.bytes);
        self.sum = Sha256::digest(&out).into();
        out.extend_from_slice(&self.sum);
        out
    }

    /// Reads a manifest without trusting a length in it: every part has to fit what is there, exactly.
    pub(crate) fn decode(bytes: &[u8], known: Features) -> Result<Self, ManifestError> {
        const DAMAGED: ManifestError = ManifestError::Damaged;
        let body_len = bytes.len().checked_sub(SUM_LEN).ok_or(DAMAGED)?;
        let (body, sum) = bytes.split_at(body_len);
        if body.len() < 16 || body[..8] != MAGIC || Sha256::digest(body)[..] != *sum {
            return Err(DAMAGED);
        }
        let (format, flags) = (le_u32(&body[8..12]), le_u32(&body[12..16]));
        let features = Features::from_bits(flags);
        if format != FORMAT || !features.are_all_in(known) {
            return Err(ManifestError::Unsupported { format, flags });
        }
        let fixed = body.get(..FIXED_LEN).ok_or(DAMAGED)?;
        let number = |at: usize| le_u64(&fixed[at..at + 8]);
        let (count, state_len) = (le_u32(&fixed[132..136]), le_u32(&fixed[136..140]));
        let table_len = u64::from(count) * ENTRY_LEN as u64;
        if FIXED_LEN as u64 + table_len + u64::from(state_len) != body.len() as u64 {
            return Err(DAMAGED);
        }
        // Numbers above are nobody's: whoever goes on has to count on from there.
        if [48, 56, 64, 72].into_iter().any(|at| number(at) > MAX_LSN) {
            return Err(DAMAGED);
        }
        let (table, state) = body[FIXED_LEN..].split_at(table_len as usize);
        let referenced = (number(144), *fixed[152..].first_chunk().ok_or(DAMAGED)?);
        let pending_from = number(64);
        Ok(Self {
            generation: number(16),
            log_id: u128::from(number(24)) | u128::from(number(32)) << 64,
            epoch: number(40),
            durable_lsn: number(48),
            replay_from: number(56),
            pending_from: (pending_from > 0).then_some(pending_from),
            replicated_lsn: (fixed[129] == 1).then_some(number(72)),
            archived_before: number(80),
            taken: number(88),
            previous: *fixed[96..].first_chunk().ok_or(DAMAGED)?,
            segments: table.chunks_exact(ENTRY_LEN).map(SegmentEntry::decode).collect(),
            state: CheckpointState::decode(fixed[128], state, referenced).ok_or(DAMAGED)?,
            features,
            sum: *sum.first_chunk().ok_or(DAMAGED)?,
        })
    }

    /// The log has to keep everything from here on for this manifest to be of use.
    pub(crate) fn keep_from(&self) -> u64 {
        self.pending_from.map_or(self.replay_from, |from| from.min(self.replay_from))
    }

    /// A record up to here that is not there was lost.
    pub(crate) fn vouched_lsn(&self) -> u64 {
        self.durable_lsn.max(self.replicated_lsn.unwrap_or(0))
    }
}

impl SegmentEntry {
    fn decode(bytes: &[u8]) -> Self {
        Self {
            id: le_u64(bytes),
            first_lsn: le_u64(&bytes[8..]),
            next_lsn: le_u64(&bytes[16..]),
            data_len: le_u64(&bytes[24..]),
            chain: le_u32(&bytes[32..]),
        }
    }
}

/// The manifests of a directory.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    /// Those that can be used, the newest first.
    pub(crate) readable: Vec<Manifest>,
    /// How many cannot: damaged, or not the one that a newer one names.
    pub(crate) unreadable: usize,
    /// The highest number that a file has.
    pub(crate) last_generation: u64,
}

/// Reads all manifests in `dir` and checks that each is the one that the next names.
pub(crate) fn load(vfs: &dyn Vfs, dir: &Path, known: Features) -> Result<Manifests, WalError> {
    let mut generations = generations(vfs, dir)?;
    generations.sort_unstable_by(|a, b| b.cmp(a));
    let last_generation = generations.first().copied().unwrap_or(0);
    let mut found = Manifests { last_generation, ..Manifests::default() };
    for generation in generations {
        match read(vfs, dir, generation, known)? {
            Some(manifest) if found.readable.last().is_none_or(|next| follows(next, &manifest)) => {
                found.readable.push(manifest);
            }
            _ => found.unreadable += 1,
        }
    }
    Ok(found)
}

/// Whether `manifest` may be what comes before `next`. Where one between them is gone, nobody can tell.
fn follows(next: &Manifest, manifest: &Manifest) -> bool {
    manifest.generation + 1 != next.generation || manifest.sum == next.previous
}

/// Reads one manifest; `None` when it is damaged.
pub(crate) fn read(
    vfs: &dyn Vfs,
    dir: &Path,
    generation: u64,
    known: Features,
) -> Result<Option<Manifest>, WalError> {
    let path = path_of(dir, generation);
    let io = |error| WalError::io("read", &path, error);
    let file = vfs.open(&path, OpenMode::Read).map_err(io)?;
    let len = file.len().map_err(io)?;
    if len > MAX_LEN {
        return Ok(None);
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).map_err(io)?;
    match Manifest::decode(&bytes, known) {
        Ok(manifest) => Ok((manifest.generation == generation).then_some(manifest)),
        Err(ManifestError::Damaged) => Ok(None),
        Err(ManifestError::Unsupported { format, flags }) => {
            let major = u16::try_from(format).unwrap_or(u16::MAX);
            Err(WalError::UnsupportedFormat { path, major, flags })
        }
    }
}

/// Removes the manifests before `generation`, readable or not; says whether there were any. Their names
/// are gone for good only once the directory is synced.
pub(crate) fn remove_before(vfs: &dyn Vfs, dir: &Path, generation: u64) -> Result<bool, WalError> {
    let mut generations = generations(vfs, dir)?;
    generations.retain(|found| *found < generation);
    generations.sort_unstable();
    for generation in &generations {
        let path = path_of(dir, *generation);
        vfs.remove_file(&path).map_err(|error| WalError::io("remove", &path, error))?;
    }
    Ok(!generations.is_empty())
}

fn generations(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<u64>, WalError> {
    let entries = vfs.read_dir(dir).map_err(|error| WalError::io("list", dir, error))?;
    Ok(entries
        .iter()
        .filter_map(|entry| number_in(entry.name.to_str()?, "ckpt-", ".man"))
        .filter(|generation| *generation < MAX_ID)
        .collect())
}

pub(crate) fn path_of(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("ckpt-{generation:016x}.man"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest(state: CheckpointState) -> Manifest {
        Manifest {
            generation: 9,
            log_id: 1 << 90,
            epoch: 4,
            durable_lsn: 100,
            replay_from: 50,
            pending_from: Some(40),
            replicated_lsn: Some(0),
            archived_before: 3,
            taken: 1_700_000_000_000,
            previous: [7; 32],
            segments: (3..6)
                .map(|id| SegmentEntry {
                    id,
                    first_lsn: id * 10,
                    next_lsn: id * 10 + 10,
                    data_len: 9_000,
                    chain: 0xdead_beef,
                })
                .collect(),
            state,
            features: FEATURE,
            sum: [0; 32],
        }
    }

    const FEATURE: Features = Features::from_bits(4);

    fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        Manifest::decode(bytes, FEATURE)
    }

    #[test]
    fn a_manifest_decodes_and_any_flipped_bit_is_noticed() {
        let reference = CheckpointState::reference("s3://bucket/state", 1 << 40, [9; 32]);
        for state in [CheckpointState::None, b"state".into(), reference] {
            let mut manifest = manifest(state);
            let bytes = manifest.encode();
            assert_eq!(decode(&bytes).as_ref(), Ok(&manifest));
            assert_eq!(manifest.keep_from(), 40);
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                assert_eq!(decode(&damaged), Err(ManifestError::Damaged), "byte {at}");
                assert_eq!(decode(&bytes[..at]), Err(ManifestError::Damaged));
            }
        }
    }

    #[test]
    fn a_newer_format_or_an_unknown_flag_is_refused_and_not_called_damage() {
        for (at, error) in [
            (8, ManifestError::Unsupported { format: 3, flags: 4 }),
            (12, ManifestError::Unsupported { format: 1, flags: 6 }),
        ] {
            let mut bytes = manifest(CheckpointState::None).encode();
            bytes[at] ^= 2;
            resum(&mut bytes);
            assert_eq!(decode(&bytes), Err(error));
        }
    }

    /// Puts the sum right, as somebody would who wants to be believed.
    fn resum(bytes: &mut [u8]) {
        let (body, sum) = bytes.split_at_mut(bytes.len() - SUM_LEN);
        sum.copy_from_slice(&Sha256::digest(body));
    }

    proptest! {
        #[test]
        fn no_length_in_a_manifest_is_trusted(
            edits in prop::collection::vec((128_usize..192, any::<u8>()), 1..8),
            cut in 0_usize..200,
        ) {
            let mut bytes = manifest(b"state".into()).encode();
            for (at, value) in edits {
                bytes[at] = value;
            }
            bytes.truncate(bytes.len() - cut.min(bytes.len() - SUM_LEN));
            resum(&mut bytes);
            if let Ok(mut decoded) = decode(&bytes) {
                prop_assert!(decoded.segments.len() * ENTRY_LEN < bytes.len());
                decoded.encode();
            }
        }
    }
}
