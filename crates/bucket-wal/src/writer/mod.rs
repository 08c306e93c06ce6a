//! The writer: turns a batch of records into frames, and frames into one write; syncs when told to.
//!
//! Only the leader of a commit uses it. It runs a little ahead of itself with zeros, because a sync of
//! a file that does not change its length is markedly cheaper, and because zeros tell an interrupted
//! write from damage.

mod frames;
mod group;
mod outcome;
mod room;
mod rotate;

use std::path::PathBuf;

use bucket_vfs::Vfs;
use crc32fast::Hasher;

use crate::entropy::Entropy;
use crate::error::WalError;
use crate::format::Features;
use crate::medium::Medium;
use crate::options::WalOptions;
use crate::planted::Planted;
use crate::scan::FrameRef;
use crate::seal::Seal;
use crate::segment::{Ending, Header};
use crate::spares::Spares;
use crate::sync::Arc;
use crate::sync_method::SyncMethod;

pub(crate) use self::group::{Group, Unit, bound, encoded_bound};
pub(crate) use self::outcome::{CommitError, Committed, NewSegment};
pub(crate) use self::rotate::Begun;

/// Where a log continues.
#[derive(Debug)]
pub(crate) struct Writer {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    segment_bytes: u64,
    /// The method that is wanted, or the one in its place once it is known that there is none.
    method: SyncMethod,
    log_id: u128,
    epoch: u64,
    /// Those that every header says.
    features: Features,
    /// Where the newest segment ends.
    last: Ending,
    active: Option<Active>,
    /// Begun, and not announced yet, because the zeros that were to follow did not fit.
    begun: Option<NewSegment>,
    buf: Vec<u8>,
    spares: Arc<Spares>,
    entropy: Entropy,
    planted: Planted,
}

#[derive(Debug)]
struct Active {
    header: Header,
    medium: Medium,
    seed: Hasher,
    end: u64,
    /// Up to here everything is durable.
    synced: u64,
    /// Up to here the file has its place on the disk, with zeros in it or, in a file that is used again,
    /// with old frames.
    zeroed: u64,
    seal: Seal,
}

impl Writer {
    pub(crate) fn new(
        dir: PathBuf,
        options: &WalOptions,
        log_id: u128,
        epoch: u64,
        last: Ending,
        spares: Arc<Spares>,
    ) -> Self {
        Self {
            vfs: Arc::clone(&options.vfs),
            dir,
            segment_bytes: options.segment_bytes,
            method: options.method_in_use(),
            log_id,
            epoch,
            features: Features::NONE,
            last,
            active: None,
            begun: None,
            buf: Vec::new(),
            spares,
            entropy: options.entropy.clone(),
            planted: options.planted,
        }
    }

    /// The log has turned these on before.
    pub(crate) const fn use_features(&mut self, features: Features) {
        self.features = features;
    }

    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) const fn features(&self) -> Features {
        self.features
    }

    /// Where the newest segment ends.
    pub(crate) const fn ending(&self) -> Ending {
        self.last
    }

    /// By which method groups become durable, as far as it is known what there is.
    pub(crate) const fn method(&self) -> SyncMethod {
        self.method
    }

    /// A salt for another segment.
    pub(crate) fn salt(&self) -> Result<u32, WalError> {
        Ok(u32::from_le_bytes(self.entropy.bytes()?))
    }
}

impl Active {
    /// Takes into the index of the seal what begins a stretch.
    fn remember(&mut self, frames: &[FrameRef], stretch: u64) {
        let index = &mut self.seal.index;
        for &frame in frames {
            if index.last().is_none_or(|last| frame.offset >= last.offset + stretch) {
                index.push(frame);
            }
        }
    }
}
