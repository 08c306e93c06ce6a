//! raft-engine: a batch of one value, written with sync, which is a write and an `fdatasync` of the file.

use std::fmt;
use std::hint::black_box;
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

impl DurableWrite for RaftEngine {
    fn write(&self, thread: usize, _n: u64, payload: &[u8]) -> Result<(), Failure> {
        put(&self.0, &mut one(), thread as u64 + 1, payload, true)
    }
}

impl fmt::Debug for RaftEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftEngine").finish_non_exhaustive()
    }
}

fn open(dir: &Path, shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    let config = Config {
        target_file_size: ReadableSize(FILE_BYTES),
        prefill_for_recycle: true,
        prefill_limit: Some(ReadableSize(shape.room().next_multiple_of(FILE_BYTES))),
        ..config(&dir.join("log"), 4)
    };
    let engine = Engine::open(config)?;
    // The first file is always a new one; the ones that were prefilled come into use after it.
    let filler = vec![0; 1 << 20];
    for _ in 0..=FILE_BYTES / filler.len() as u64 {
        put(&engine, &mut one(), 1, &filler, false)?;
    }
    put(&engine, &mut one(), 1, b"", true)?;
    Ok(Box::new(RaftEngine(engine)))
}

/// An engine with its defaults, save compression and how many threads recover.
pub(super) fn open_plain(dir: &Path, threads: usize) -> Result<Engine, Failure> {
    Ok(Engine::open(config(dir, threads))?)
}

/// Makes an engine of `n` batches of one value each, and closes it.
pub(super) fn fill(dir: &Path, payloads: &[Vec<u8>], n: u64) -> Result<(), Failure> {
    let engine = open_plain(dir, 4)?;
    let mut batch = one();
    for payload in payloads.iter().cycle().take(usize::try_from(n)?) {
        put(&engine, &mut batch, 1, payload, false)?;
    }
    Ok(engine.sync()?)
}

/// Opens what [`fill`] has made.
pub(super) fn reopen(dir: &Path, threads: usize) -> Result<(), Failure> {
    let engine = open_plain(dir, threads)?;
    if black_box(&engine).get(1, b"k").is_none() {
        return Err("raft-engine has lost its records".into());
    }
    Ok(())
}

/// A batch for [`put`], which leaves it empty.
pub(super) fn one() -> LogBatch {
    LogBatch::with_capacity(1)
}

pub(super) fn put(
    engine: &Engine,
    batch: &mut LogBatch,
    region: u64,
    payload: &[u8],
    sync: bool,
) -> Result<(), Failure> {
    // One key: the index in memory then keeps the newest value only, which is the least it can do.
    batch.put(region, b"k".to_vec(), payload.to_vec())?;
    engine.write(batch, sync)?;
    Ok(())
}

fn config(dir: &Path, threads: usize) -> Config {
    Config {
        dir: dir.to_string_lossy().into_owned(),
        batch_compression_threshold: ReadableSize(0),
        recovery_threads: threads,
        ..Config::default()
    }
}

const FILE_BYTES: u64 = 32 << 20;
