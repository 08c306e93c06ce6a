//! What the handle of a bucket, its drain threads and its keeper share; opening and checkpoints.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bucket_core::{Cancel, Clock, OpId};
use bucket_remote::Key;
use bucket_vfs::{OpenMode, Vfs, write_atomic};
use bucket_wal::{Lsn, RecoveryPolicy, Wal, WalError};
use sha2::Digest as _;
use sha2::Sha256;

use crate::bucket::blobs::Blobs;
use crate::bucket::catalog::Catalog;
use crate::bucket::config::{BucketBuilder, RemoteSource};
use crate::bucket::engine::{Engine, EngineConfig, Known, Op, PendingChange};
use crate::bucket::error::StoreError;
use crate::bucket::record::{Change, Payload, StoreRecord};
use crate::bucket::status;
use crate::planted::Bug;
use crate::resilient::ResilientRemote;
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering};

const DESCRIPTION: &str = "BUCKET";
const DESCRIPTION_TEXT: &str = "bucket directory, format 1\n";
/// Damage that was found and not accepted yet. Appending goes on behind damage, and a later opening may
/// not see it any more.
const FOUND_DAMAGE: &str = "found-damage";
const ACCEPTED_DAMAGE: &str = "accepted-damage";
const QUARANTINE: &str = "quarantine";
/// Room that is given up when the disk is full, so that settlements, which free space, can be written.
const RESERVE: &str = "reserve";
const RESERVE_LEN: usize = 256 << 10;
/// An operation counts this much beside its content, so that empty objects are bounded too.
const OP_COST: u64 = 256;
/// A checkpoint is due when the log has grown by this much.
const CHECKPOINT_BYTES: u64 = 64 << 20;

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
    /// For the keeper: it is time to stop.
    pub(crate) tick: Condvar,
    /// What this opening sees damaged in the log, accepted or not.
    visible_damage: Option<String>,
    incarnation: u128,
    counter: AtomicU64,
    checkpoints: Mutex<CheckpointState>,
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
}

#[derive(Debug)]
struct CheckpointState {
    generation: u64,
    log_bytes: u64,
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
        let description = dir.join(DESCRIPTION);
        if read_text(&*vfs, &description)?.is_none() {
            write_atomic(&*vfs, &description, DESCRIPTION_TEXT.as_bytes())
                .map_err(|error| StoreError::io("write", &description, error))?;
        }
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
        let from = if config.planted.has(Bug::SkipReplay) {
            wal.durable_lsn().next()
        } else {
            recovery.replay_from()
        };
        let blobs_needed = replay(dir, &wal, from, &*clock, &mut engine, &mut catalog)?;
        if degraded.is_none() {
            blobs
                .collect(&blobs_needed)
                .map_err(|error| StoreError::io("clean up", &blob_dir, error))?;
        }
        keep_reserve(&*vfs, &dir.join(RESERVE));
        let next_lsn = wal.durable_lsn().next();
        let log_bytes = wal.stats().log_bytes;
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
            }),
            work: Condvar::new(),
            changed: Condvar::new(),
            tick: Condvar::new(),
            visible_damage,
            incarnation,
            counter: AtomicU64::new(0),
            checkpoints: Mutex::new(CheckpointState {
                generation: generation.unwrap_or(0),
                log_bytes,
            }),
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

    /// Records that settled operations need not be replayed, and trims the log.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        let mut checkpoints = self.checkpoints.lock();
        let state = self.state.lock();
        if state.degraded.is_some() || state.faulted {
            return Ok(());
        }
        let frontier = if self.config.planted.has(Bug::CheckpointBeforeData) {
            state.next_lsn
        } else {
            state.engine.frontier().unwrap_or(state.next_lsn)
        };
        let encoded = state.catalog.encode();
        drop(state);
        let generation = checkpoints.generation + 1;
        // The catalog first: the checkpoint names it.
        Catalog::write(&*self.vfs, &self.dir, generation, &encoded)
            .map_err(|error| StoreError::io("write the catalog in", &self.dir, error))?;
        self.wal.checkpoint(frontier, &generation.to_le_bytes())?;
        checkpoints.generation = generation;
        checkpoints.log_bytes = self.wal.stats().log_bytes;
        Ok(())
    }

    fn checkpoint_is_due(&self) -> bool {
        let log_bytes = self.wal.stats().log_bytes;
        log_bytes > self.checkpoints.lock().log_bytes.saturating_add(CHECKPOINT_BYTES)
    }

    /// Gives up the reserve; false when there is none any more.
    pub(crate) fn release_reserve(&self) -> bool {
        self.vfs.remove_file(&self.dir.join(RESERVE)).is_ok()
    }

    /// The loop of the keeper: writes `status.json` when something changed, takes checkpoints when they
    /// are due, and forgets keys that nothing late can change any more.
    pub(crate) fn keep(&self) {
        let mut last = None;
        let mut state = self.state.lock();
        while !state.stopping {
            state.engine.sweep(self.clock.now());
            drop(state);
            status::publish(self, true, &mut last);
            if self.checkpoint_is_due() {
                // What cannot be written now is tried again; nothing is lost meanwhile.
                let _ = self.checkpoint();
            }
            state = self.state.lock();
            if !state.stopping {
                self.tick.wait_for(&mut state, Duration::from_secs(1));
            }
        }
    }

    /// Lets a person say that the damage has been seen: keeps copies of the damaged files and goes on.
    pub(crate) fn accept_damage(&self) -> Result<(), StoreError> {
        if self.state.lock().degraded.is_none() {
            return Ok(());
        }
        let (vfs, quarantine) = (&*self.vfs, self.dir.join(QUARANTINE));
        let io = |error| StoreError::io("copy the log to", &quarantine, error);
        match vfs.create_dir(&quarantine) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
            _ => {}
        }
        let log = self.dir.join("wal");
        for entry in vfs.read_dir(&log).map_err(io)? {
            let name = entry.name.to_string_lossy();
            if name.ends_with(".wal") || name.ends_with(".man") {
                copy(vfs, &log.join(&entry.name), &quarantine.join(&entry.name)).map_err(io)?;
            }
        }
        let needed = self.state.lock().engine.blobs().cloned().collect();
        self.blobs.quarantine(&needed, &quarantine).map_err(io)?;
        vfs.sync_dir(&quarantine).map_err(io)?;
        let path = self.dir.join(ACCEPTED_DAMAGE);
        if let Some(damage) = &self.visible_damage {
            write_atomic(vfs, &path, damage.as_bytes())
                .map_err(|error| StoreError::io("write", &path, error))?;
        }
        vfs.remove_file(&self.dir.join(FOUND_DAMAGE))
            .and_then(|()| vfs.sync_dir(&self.dir))
            .map_err(|error| StoreError::io("remove found-damage from", &self.dir, error))?;
        self.state.lock().degraded = None;
        self.work.notify_all();
        Ok(())
    }
}

/// What an operation counts against the bounds.
pub(crate) const fn cost_of(len: u64) -> u64 {
    len.saturating_add(OP_COST)
}

/// Creates the directory, or checks that it is ours.
fn prepare_directory(vfs: &dyn Vfs, dir: &Path) -> Result<(), StoreError> {
    let io = |error| StoreError::io("open", dir, error);
    match vfs.create_dir(dir) {
        Ok(()) => {
            let parent = match dir.parent() {
                Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
                Some(parent) => parent,
                None => dir,
            };
            return vfs.sync_dir(parent).map_err(io);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io(error)),
    }
    let directory = |why: &str| StoreError::Directory { path: dir.to_owned(), why: why.to_owned() };
    match read_text(vfs, &dir.join(DESCRIPTION))? {
        Some(text) if text == DESCRIPTION_TEXT => Ok(()),
        Some(_) => Err(directory("its file BUCKET names another format; use a newer version")),
        None => {
            // The settings and an interrupted first opening may be there, and nothing else.
            let ours = ["wal", "blobs", "bucket.toml", "status.json", "BUCKET.tmp"];
            let entries = vfs.read_dir(dir).map_err(io)?;
            if entries.iter().all(|entry| ours.iter().any(|name| entry.name == *name)) {
                Ok(())
            } else {
                Err(directory("it has no file BUCKET and is not empty"))
            }
        }
    }
}

/// Opens the log, damaged or not; returns a description of the damage, if there is any, and hands it out
/// before anything is done about it.
fn open_log(
    dir: &Path,
    config: &BucketBuilder,
    before_salvage: impl FnOnce(&str) -> Result<(), StoreError>,
) -> Result<(Wal, bucket_wal::Recovery, Option<String>), StoreError> {
    let options = Wal::options()
        .vfs(Arc::clone(&config.vfs))
        .segment_size(config.segment_size)
        .map_err(|error| StoreError::Directory { path: dir.to_owned(), why: error.to_string() })?;
    match options.clone().open(dir.join("wal")) {
        Ok((wal, recovery)) => Ok((wal, recovery, None)),
        Err(error) if error.is_damage() => {
            let seen = options.inspect(dir.join("wal"))?;
            let lines: Vec<_> = seen.damage.iter().map(status::damage_line).collect();
            let damage = if lines.is_empty() { error.to_string() } else { lines.join("\n") };
            before_salvage(&damage)?;
            let (wal, recovery) =
                options.recovery(RecoveryPolicy::Salvage).open(dir.join("wal"))?;
            Ok((wal, recovery, Some(damage)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Brings engine and catalog up to date from the log; returns the blobs that are needed.
fn replay(
    dir: &Path,
    wal: &Wal,
    from: Lsn,
    clock: &dyn Clock,
    engine: &mut Engine,
    catalog: &mut Catalog,
) -> Result<HashSet<String>, StoreError> {
    // In order of their numbers, so that lanes are too.
    let mut pending = std::collections::BTreeMap::new();
    let mut keys: HashMap<Lsn, Key> = HashMap::new();
    for record in wal.reader(from) {
        let record = match record {
            Ok(record) => record,
            // Damage is in the report; what is left is still of use.
            Err(WalError::Corrupt { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        match StoreRecord::decode(&record.payload) {
            Some(StoreRecord::Accepted { key, op_id, change }) => {
                let (change, content, len) = match change {
                    Change::Delete => (PendingChange::Delete, None, 0),
                    Change::Put { digest, len, payload } => {
                        let blob = match payload {
                            Payload::Blob(name) => Some(name.to_owned()),
                            Payload::Inline(_) => None,
                        };
                        let change = PendingChange::Put { digest, len, blob };
                        (change, Some((digest, len)), len)
                    }
                };
                catalog.accept(&key, record.lsn, content);
                let (accepted, cost) = (clock.now(), cost_of(len));
                let op = Op { lsn: record.lsn, op_id, change, accepted, cost };
                keys.insert(record.lsn, key.clone());
                pending.insert(record.lsn, (key, op));
            }
            Some(StoreRecord::Settled { lsn, version }) => {
                pending.remove(&lsn);
                if let Some(key) = keys.remove(&lsn) {
                    catalog.settle(&key, lsn, version);
                }
            }
            None => {
                return Err(StoreError::Directory {
                    path: dir.to_owned(),
                    why: format!("record {} was written by a newer version", record.lsn),
                });
            }
        }
    }
    let mut blobs = HashSet::new();
    for (key, op) in pending.into_values() {
        if let PendingChange::Put { blob: Some(name), .. } = &op.change {
            blobs.insert(name.clone());
        }
        let remote = catalog.get(key.as_str()).and_then(|entry| entry.remote.clone());
        engine.recover(key, op, remote.map_or(Known::Unknown, Known::Version));
    }
    Ok(blobs)
}

/// Makes sure that there is a reserve, if there is room for one.
fn keep_reserve(vfs: &dyn Vfs, path: &Path) {
    if let Ok(file) = vfs.open(path, OpenMode::CreateNew)
        && file.write_all_at(&vec![0; RESERVE_LEN], 0).is_err()
    {
        // No room now; the next opening tries again.
        let _ = vfs.remove_file(path);
    }
}

fn read_text(vfs: &dyn Vfs, path: &Path) -> Result<Option<String>, StoreError> {
    let io = |error| StoreError::io("read", path, error);
    let file = match vfs.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    // Small files of ours; a hostile length is cut.
    let len = file.len().map_err(io)?.min(1 << 20);
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).map_err(io)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn copy(vfs: &dyn Vfs, from: &Path, to: &Path) -> io::Result<()> {
    let source = vfs.open(from, OpenMode::Read)?;
    match vfs.remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let target = vfs.open(to, OpenMode::CreateNew)?;
    let (mut offset, mut chunk) = (0, vec![0; 1 << 20]);
    loop {
        match source.read_at(&mut chunk, offset)? {
            0 => return target.sync_data(),
            n => {
                target.write_all_at(&chunk[..n], offset)?;
                offset += n as u64;
            }
        }
    }
}
