//! What the handle of a bucket, its drain threads and its keeper share, and how it is opened.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bucket_core::{Cancel, Clock, OpId};
use bucket_vfs::{Vfs, write_atomic};
use bucket_wal::{Lsn, Wal};
use sha2::Digest as _;
use sha2::Sha256;

use crate::bucket::blobs::Blobs;
use crate::bucket::catalog::Catalog;
use crate::bucket::config::{BucketBuilder, RemoteSource};
use crate::bucket::damage::{ACCEPTED_DAMAGE, FOUND_DAMAGE, open_log};
use crate::bucket::directory::{RESERVE, describe, keep_reserve, prepare_directory, read_text};
use crate::bucket::engine::{Engine, EngineConfig};
use crate::bucket::error::StoreError;
use crate::bucket::keeper::CheckpointState;
use crate::bucket::replay::{recover_pending, replay_catalog};
use crate::planted::Bug;
use crate::resilient::ResilientRemote;
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering};

/// An operation counts this much beside its content, so that empty objects are bounded too.
const OP_COST: u64 = 256;

pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    pub(crate) config: BucketBuilder,
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) wal: Wal,
    pub(crate) blobs: Blobs,
    pub(crate) remote: ResilientRemote,
    pub(crate) cancel: Cancel,
    pub(crate) state: Mutex<State>,
    /// For drain threads: there may be work.
    pub(crate) work: Condvar,
    /// For those who wait for room, for a flush, or for threads to end.
    pub(crate) changed: Condvar,
    /// For the keeper: it is time to stop, or to look at the log.
    pub(crate) tick: Condvar,
    /// What this opening sees damaged in the log, accepted or not.
    pub(crate) visible_damage: Option<String>,
    incarnation: u128,
    counter: AtomicU64,
    pub(crate) checkpoints: Mutex<CheckpointState>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) engine: Engine,
    pub(crate) catalog: Catalog,
    /// Room that puts under way have taken and that the engine does not count yet.
    pub(crate) reserved: (u64, u64),
    pub(crate) stopping: bool,
    pub(crate) faulted: bool,
    pub(crate) degraded: Option<String>,
    pub(crate) threads: usize,
    pub(crate) settled: u64,
    pub(crate) acknowledged: u64,
    pub(crate) last_error: Option<String>,
    pub(crate) next_lsn: Lsn,
    /// Bytes that the log was given since the keeper looked at it.
    pub(crate) logged: u64,
}

impl Inner {
    pub(crate) fn open(dir: &Path, config: BucketBuilder) -> Result<Self, StoreError> {
        let (vfs, clock) = (Arc::clone(&config.vfs), Arc::clone(&config.clock));
        prepare_directory(&*vfs, dir)?;
        let accepted = read_text(&*vfs, &dir.join(ACCEPTED_DAMAGE))?;
        let found_path = dir.join(FOUND_DAMAGE);
        let found = read_text(&*vfs, &found_path)?;
        // Line by line: accepted damage stays accepted when some of it has been trimmed away.
        let is_accepted =
            |line: &str| accepted.as_deref().is_some_and(|text| text.lines().any(|a| a == line));
        let is_fresh = |damage: &str| !damage.lines().all(is_accepted);
        let (wal, recovery, damage) = open_log(dir, &config, |damage| {
            if found.is_some() || !is_fresh(damage) {
                return Ok(());
            }
            // Before the log is made whole, after which nobody would know of it.
            write_atomic(&*vfs, &found_path, damage.as_bytes())
                .map_err(|error| StoreError::io("write", &found_path, error))
        })?;
        describe(&*vfs, dir)?;
        let visible_damage = damage.clone();
        let degraded = found.or(damage.filter(|damage| is_fresh(damage)));

        let mut bits = [0; 16];
        rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut bits).map_err(|error| {
            StoreError::io("read random bytes for", dir, io::Error::other(error.to_string()))
        })?;
        let incarnation = u128::from_le_bytes(bits);
        let blob_dir = dir.join("blobs");
        let blobs = Blobs::open(Arc::clone(&vfs), blob_dir.clone(), incarnation, config.planted)
            .map_err(|error| StoreError::io("open", &blob_dir, error))?;
        let remote = match &config.remote {
            RemoteSource::Resilient(remote) => remote.clone(),
            RemoteSource::Plain(remote) => ResilientRemote::builder("bucket", Arc::clone(remote))
                .clock(Arc::clone(&clock))
                .build()
                .map_err(|error| StoreError::Directory {
                    path: dir.to_owned(),
                    why: error.to_string(),
                })?,
        };

        let generation = recovery.checkpoint().and_then(|checkpoint| {
            Some(u64::from_le_bytes(*checkpoint.state.bytes().first_chunk()?))
        });
        let mut catalog = Catalog::default();
        if let Some(generation) = generation {
            // Losing the catalog costs questions to the remote and no data.
            let loaded = Catalog::load(&*vfs, dir, generation)
                .map_err(|error| StoreError::io("read the catalog in", dir, error))?;
            catalog = loaded.unwrap_or_default();
        }
        let engine_config = EngineConfig {
            caps: remote.caps(),
            late_window: config.late_window.unwrap_or(config.op_timeout.saturating_mul(2)),
            backoff: config.backoff,
            refused_backoff: (Duration::from_secs(5).max(config.backoff.0), config.backoff.1),
        };
        // The incarnation is random, and its lower half is as good a seed as any.
        let mut engine = Engine::new(engine_config, incarnation as u64);
        engine.after_crash(clock.now());
        let mut blobs_needed = HashSet::new();
        if !config.planted.has(Bug::SkipReplay) {
            replay_catalog(dir, &wal, recovery.replay_from(), &mut catalog)?;
            blobs_needed = recover_pending(dir, &wal, &*clock, &mut engine, &mut catalog)?;
        }
        if degraded.is_none() {
            blobs
                .collect(&blobs_needed)
                .map_err(|error| StoreError::io("clean up", &blob_dir, error))?;
        }
        keep_reserve(&*vfs, &dir.join(RESERVE));
        let next_lsn = wal.durable_lsn().next();
        Ok(Self {
            dir: dir.to_owned(),
            vfs,
            clock,
            wal,
            blobs,
            remote,
            cancel: Cancel::new(),
            state: Mutex::new(State {
                engine,
                catalog,
                reserved: (0, 0),
                stopping: false,
                faulted: false,
                degraded,
                threads: 0,
                settled: 0,
                acknowledged: 0,
                last_error: None,
                next_lsn,
                logged: 0,
            }),
            work: Condvar::new(),
            changed: Condvar::new(),
            tick: Condvar::new(),
            visible_damage,
            incarnation,
            counter: AtomicU64::new(0),
            checkpoints: Mutex::new(CheckpointState::new(generation.unwrap_or(0))),
            config,
        })
    }

    /// An identity that no other operation has, also not one of a copy of this directory.
    pub(crate) fn op_id(&self) -> OpId {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut hasher = Sha256::new();
        hasher.update(self.incarnation.to_le_bytes());
        hasher.update(n.to_le_bytes());
        let hash: [u8; 32] = hasher.finalize().into();
        OpId::new(u128::from_le_bytes(*hash.first_chunk().unwrap_or(&[0; 16])))
    }

    /// Gives up the reserve; false when there is none any more.
    pub(crate) fn release_reserve(&self) -> bool {
        self.vfs.remove_file(&self.dir.join(RESERVE)).is_ok()
    }
}

/// What an operation counts against the bounds.
pub(crate) const fn cost_of(len: u64) -> u64 {
    len.saturating_add(OP_COST)
}
