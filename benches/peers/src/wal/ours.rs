//! Our log, in the shapes in which it is measured.

use std::path::Path;
use std::time::Duration;

use bucket_core::ByteCount;
use bucket_wal::{SyncPolicy, Wal, WalOptions};

use crate::harness::Failure;
use crate::harness::disk::{DurableWrite, Shape};

pub(super) struct Ours(pub(super) Wal);

impl DurableWrite for Ours {
    fn write(&self, _thread: usize, _n: u64, payload: &[u8]) -> Result<(), Failure> {
        self.0.append(payload)?;
        Ok(())
    }
}

/// As a log that is trimmed: the files that it needs are there, as the peers' are.
pub(super) fn open_filled(dir: &Path, shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    let (wal, _) = filled(shape)?.open(dir.join("log"))?;
    Ok(Box::new(Ours(wal)))
}

/// The defaults, and files for a whole round.
pub(super) fn filled(shape: Shape) -> Result<WalOptions, Failure> {
    let spares = usize::try_from(shape.room().div_ceil(ByteCount::mib(100).get()))?;
    Ok(Wal::options().spare_segments(spares)?.fill_spare_segments(true))
}

pub(super) fn open(dir: &Path, _shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    let (wal, _) = Wal::open(dir.join("log"))?;
    Ok(Box::new(Ours(wal)))
}

/// Opens a log with a policy of its own.
pub(super) fn open_with(dir: &Path, policy: SyncPolicy) -> Result<Wal, Failure> {
    let (wal, _) = Wal::options().sync_policy(policy)?.open(dir.join("log"))?;
    Ok(wal)
}

/// Bounds that only the delay reaches at a usual pace.
pub(super) const BATCH: SyncPolicy = SyncPolicy::Batch {
    records: 1 << 20,
    bytes: ByteCount::mib(64),
    delay: Duration::from_millis(100),
};

pub(super) const PERIODIC: SyncPolicy = SyncPolicy::Periodic {
    interval: Duration::from_millis(100),
    max_unsynced: ByteCount::mib(256),
};
