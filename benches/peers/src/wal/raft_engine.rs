//! raft-engine: a batch of one value, written with sync, which is a write and an `fdatasync` of the file.

use std::fmt;
use std::path::Path;

use raft_engine::{Config, Engine, LogBatch, ReadableSize};

use crate::harness::Failure;
use crate::harness::disk::{DurableWrite, Shape};
use crate::session::DiskPeer;

pub(super) const PEER: DiskPeer = DiskPeer {
    name: "raft-engine",
    package: Some("raft-engine"),
    setup: "`write` with sync of a batch of one value, a region for each thread, which is one `fdatasync` a \
            group; no compression; files prefilled for recycling, and one of them in use when the round \
            begins, so that no sync has to change the length of a file.",
    open,
};

struct RaftEngine(Engine);

impl RaftEngine {
    fn put(&self, region: u64, payload: &[u8], sync: bool) -> Result<(), Failure> {
        let mut batch = LogBatch::with_capacity(1);
        // One key: the index in memory then keeps the newest value only, which is the least it can do.
        batch.put(region, b"k".to_vec(), payload.to_vec())?;
        self.0.write(&mut batch, sync)?;
        Ok(())
    }
}

impl DurableWrite for RaftEngine {
    fn write(&self, thread: usize, _n: u64, payload: &[u8]) -> Result<(), Failure> {
        self.put(thread as u64 + 1, payload, true)
    }
}

impl fmt::Debug for RaftEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftEngine").finish_non_exhaustive()
    }
}

fn open(dir: &Path, _shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    let config = Config {
        dir: dir.join("log").to_string_lossy().into_owned(),
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize(FILE_BYTES),
        prefill_for_recycle: true,
        prefill_limit: Some(ReadableSize(FILE_BYTES)),
        ..Config::default()
    };
    let engine = RaftEngine(Engine::open(config)?);
    // The first file is always a new one; the ones that were prefilled come into use after it.
    let filler = vec![0; 1 << 20];
    for _ in 0..=FILE_BYTES / filler.len() as u64 {
        engine.put(1, &filler, false)?;
    }
    engine.put(1, b"", true)?;
    Ok(Box::new(engine))
}

const FILE_BYTES: u64 = 32 << 20;
