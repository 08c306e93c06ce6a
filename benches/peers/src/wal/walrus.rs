//! walrus: an entry appended with `SyncEach`, which is a write into a file opened with `O_SYNC`, and a sync.

use std::env;
use std::fmt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus};

use crate::harness::Failure;
use crate::harness::disk::{DurableWrite, Shape};
use crate::session::DiskPeer;

pub(super) const PEER: DiskPeer = DiskPeer {
    name: "walrus",
    package: Some("walrus-rust"),
    setup: "`append_for_topic` with `FsyncSchedule::SyncEach`, a topic for each thread; quiet. One instance \
            serves all rounds, each with topics of its own, because its threads and files cannot be closed.",
    open,
};

struct Topics {
    log: &'static Walrus,
    names: Vec<String>,
}

impl DurableWrite for Topics {
    fn write(&self, thread: usize, _n: u64, payload: &[u8]) -> Result<(), Failure> {
        Ok(self.log.append_for_topic(&self.names[thread], payload)?)
    }
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics").field("names", &self.names).finish_non_exhaustive()
    }
}

fn open(_dir: &Path, shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    static ROUNDS: AtomicU64 = AtomicU64::new(0);
    let log = instance()?;
    let round = ROUNDS.fetch_add(1, Ordering::Relaxed);
    let names = (0..shape.threads).map(|thread| format!("{round}-{thread}")).collect();
    Ok(Box::new(Topics { log, names }))
}

fn instance() -> Result<&'static Walrus, Failure> {
    static LOG: OnceLock<Walrus> = OnceLock::new();
    if let Some(log) = LOG.get() {
        return Ok(log);
    }
    if env::var_os("WALRUS_QUIET").is_none() || env::var_os("WALRUS_DATA_DIR").is_none() {
        return Err("walrus prints each write unless WALRUS_QUIET is set, and writes where WALRUS_DATA_DIR \
                    says: use cargo xtask bench"
            .into());
    }
    let schedule = FsyncSchedule::SyncEach;
    let mode = ReadConsistency::StrictlyAtOnce;
    let log = Walrus::with_consistency_and_schedule_for_key("bench", mode, schedule)?;
    Ok(LOG.get_or_init(|| log))
}
