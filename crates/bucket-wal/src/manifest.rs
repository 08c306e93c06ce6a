//! Checkpoint manifests: small files that say where replay starts and carry the application's state.
//!
//! A manifest is never changed. The newest two are kept, and the log keeps what the older of them
//! needs, so that losing the newest to damage loses nothing.

use std::path::{Path, PathBuf};

use bucket_vfs::{OpenMode, Vfs, write_atomic};
use sha2::{Digest, Sha256};

use crate::error::WalError;
use crate::frame::{le_u32, le_u64};
use crate::segment::{MAX_LSN, number_in};

const MAGIC: [u8; 8] = *b"\x89BWC\r\n\x1a\n";
const FORMAT: u32 = 1;
const FIXED_LEN: usize = 64;
const SUM_LEN: usize = 32;
/// More is better kept in a file of the application's, named in the state.
pub(crate) const MAX_STATE_LEN: usize = 1 << 20;
/// No manifest is longer.
pub(crate) const MAX_LEN: u64 = (FIXED_LEN + MAX_STATE_LEN + SUM_LEN) as u64;
/// How many manifests are kept.
pub(crate) const KEPT: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) generation: u64,
    pub(crate) log_id: u128,
    /// The epoch of the newest segment then.
    pub(crate) epoch: u64,
    /// Everything up to here was durable when the manifest was written.
    pub(crate) durable_lsn: u64,
    /// Records before this one are not needed any more.
    pub(crate) replay_from: u64,
    pub(crate) state: Vec<u8>,
}

impl Manifest {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_LEN + self.state.len() + SUM_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(self.state.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.log_id.to_le_bytes());
        out.extend_from_slice(&self.durable_lsn.to_le_bytes());
        out.extend_from_slice(&self.replay_from.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        debug_assert_eq!(out.len(), FIXED_LEN, "the fields before the state");
        out.extend_from_slice(&self.state);
        let sum = Sha256::digest(&out);
        out.extend_from_slice(&sum);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let body = bytes.get(..bytes.len().checked_sub(SUM_LEN)?)?;
        if body.len() < FIXED_LEN || body[..8] != MAGIC || le_u32(&body[8..12]) != FORMAT {
            return None;
        }
        if Sha256::digest(body)[..] != bytes[body.len()..] {
            return None;
        }
        let state = &body[FIXED_LEN..];
        if state.len() != le_u32(&body[12..16]) as usize {
            return None;
        }
        let is_sane = |lsn: u64| lsn <= MAX_LSN;
        if !is_sane(le_u64(&body[40..48])) || !is_sane(le_u64(&body[48..56])) {
            return None;
        }
        Some(Self {
            generation: le_u64(&body[16..24]),
            log_id: u128::from(le_u64(&body[24..32])) | u128::from(le_u64(&body[32..40])) << 64,
            durable_lsn: le_u64(&body[40..48]),
            replay_from: le_u64(&body[48..56]),
            epoch: le_u64(&body[56..64]),
            state: state.to_vec(),
        })
    }

    /// Writes the manifest durably and removes those that are too old to be kept.
    pub(crate) fn write(&self, vfs: &dyn Vfs, dir: &Path) -> Result<(), WalError> {
        let path = path_of(dir, self.generation);
        write_atomic(vfs, &path, &self.encode())
            .map_err(|error| WalError::io("write", &path, error))?;
        let mut generations = generations(vfs, dir)?;
        generations.sort_unstable();
        let surplus = generations.len().saturating_sub(KEPT);
        for generation in &generations[..surplus] {
            let path = path_of(dir, *generation);
            vfs.remove_file(&path).map_err(|error| WalError::io("remove", &path, error))?;
        }
        Ok(())
    }
}

/// The readable manifests, newest first, and how many are not readable.
pub(crate) fn load(vfs: &dyn Vfs, dir: &Path) -> Result<(Vec<Manifest>, usize), WalError> {
    let mut generations = generations(vfs, dir)?;
    generations.sort_unstable_by(|a, b| b.cmp(a));
    let (mut manifests, mut unreadable) = (Vec::new(), 0);
    for generation in generations {
        let path = path_of(dir, generation);
        let io = |error| WalError::io("read", &path, error);
        let file = vfs.open(&path, OpenMode::Read).map_err(io)?;
        let len = file.len().map_err(io)?;
        let mut bytes = Vec::new();
        if len <= MAX_LEN {
            bytes.resize(len as usize, 0);
            file.read_exact_at(&mut bytes, 0).map_err(io)?;
        }
        match Manifest::decode(&bytes).filter(|manifest| manifest.generation == generation) {
            Some(manifest) => manifests.push(manifest),
            None => unreadable += 1,
        }
    }
    Ok((manifests, unreadable))
}

fn generations(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<u64>, WalError> {
    let entries = vfs.read_dir(dir).map_err(|error| WalError::io("list", dir, error))?;
    Ok(entries
        .iter()
        .filter_map(|entry| number_in(entry.name.to_str()?, "ckpt-", ".man"))
        .collect())
}

fn path_of(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("ckpt-{generation:016x}.man"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_decodes_and_any_flipped_bit_is_noticed() {
        let manifest = Manifest {
            generation: 9,
            log_id: 1 << 90,
            epoch: 4,
            durable_lsn: 100,
            replay_from: 50,
            state: b"state".to_vec(),
        };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Some(manifest));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Manifest::decode(&damaged), None, "byte {at}");
            assert_eq!(Manifest::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
