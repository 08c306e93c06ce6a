//! Tests of the bucket: the engine alone, and whole buckets over doubles of a remote.

mod catalog;
mod crash;
mod damage;
mod disk;
mod drain;
mod engine;
mod list;
mod space;
mod write_back;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bucket_breaker::Breaker;
use bucket_core::{Ctx, OpKind};
use bucket_remote::testing::{Faults, FaultyRemote, MemoryRemote, MutationKind};
use bucket_remote::{Body, Caps, GetOptions, Key, Remote};
use bucket_retry::{Policies, RetryPolicy};
use bucket_wal::WalError;
use tempfile::TempDir;

use crate::bucket::{Bucket, BucketBuilder, Status, StoreError};
use crate::resilient::ResilientRemote;
use crate::sync::Arc;

/// More than any test needs, and less than anybody wants to wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory and a remote that outlive the buckets between them.
struct Rig {
    dir: TempDir,
    remote: Arc<FaultyRemote<MemoryRemote>>,
    faults: Faults,
}

impl Rig {
    fn new() -> Self {
        Self::over(FaultyRemote::new(MemoryRemote::new()))
    }

    /// Over a remote that announces `caps`.
    fn with_caps(caps: Caps) -> Self {
        Self::over(FaultyRemote::new(MemoryRemote::new()).with_caps(caps))
    }

    fn over(remote: FaultyRemote<MemoryRemote>) -> Self {
        let faults = remote.faults();
        Self { dir: tempfile::tempdir().unwrap(), remote: Arc::new(remote), faults }
    }

    /// Another directory over the same remote.
    fn beside(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, remote: Arc::clone(&self.remote), faults: self.faults.clone() }
    }

    /// With a remote that is down.
    fn down() -> Self {
        let rig = Self::new();
        rig.faults.down(true);
        rig
    }

    fn dir(&self) -> PathBuf {
        self.dir.path().join("bucket")
    }

    /// Guards that give up at once and never hold back: what is tested is the bucket.
    fn builder(&self) -> BucketBuilder {
        let once = RetryPolicy::builder().max_attempts(1).build().unwrap();
        let policies =
            OpKind::ALL.into_iter().fold(Policies::storage(), |all, op| all.with(op, once.clone()));
        let closed = |name| {
            let breaker = Breaker::builder(name).build().unwrap();
            breaker.force_closed();
            breaker
        };
        let remote = ResilientRemote::builder("test", Arc::clone(&self.remote) as Arc<dyn Remote>)
            .policies(policies)
            .breakers(closed("test.read"), closed("test.write"))
            .build()
            .unwrap();
        let (first, longest) = (Duration::from_millis(1), Duration::from_millis(20));
        Bucket::over(remote).workers(4).backoff(first, longest)
    }

    fn open(&self) -> Bucket {
        self.reopen(|| self.builder())
    }

    /// Opens the bucket, once the threads of a dropped one have let go of it.
    fn reopen(&self, builder: impl Fn() -> BucketBuilder) -> Bucket {
        for _ in 0..10_000_000_u32 {
            match builder().open(self.dir()) {
                Err(StoreError::Log(WalError::Locked { .. })) => std::thread::yield_now(),
                result => return result.unwrap(),
            }
        }
        panic!("the dropped bucket keeps its directory");
    }

    /// What the remote itself holds, whatever the faults say.
    fn at_remote(&self, name: &str) -> Option<Vec<u8>> {
        let (ctx, options) = (Ctx::new(OpKind::Read), GetOptions::new());
        let object = self.remote.inner().get(&ctx, &key(name), &options).ok()?;
        Some(object.body.to_bytes().unwrap().to_vec())
    }

    /// How often `name` was stored at the remote.
    fn puts_of(&self, name: &str) -> usize {
        let history = self.remote.inner().history();
        history
            .iter()
            .filter(|mutation| mutation.key == key(name))
            .filter(|mutation| matches!(mutation.kind, MutationKind::Put { .. }))
            .count()
    }

    /// All calls that the remote has seen.
    fn calls(&self) -> u64 {
        let stats = self.faults.stats();
        stats.put + stats.get + stats.head + stats.delete + stats.list
    }

    fn files_in(&self, folder: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir().join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn read(bucket: &Bucket, name: &str) -> Option<Vec<u8>> {
    match bucket.get(&key(name)) {
        Ok(body) => Some(bytes(&body)),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => panic!("{name}: {error:?}"),
    }
}

fn bytes(body: &Body) -> Vec<u8> {
    body.to_bytes().unwrap().to_vec()
}

/// Looks at the status until it is as wanted.
fn until(bucket: &Bucket, wanted: impl Fn(&Status) -> bool) -> Status {
    for _ in 0..10_000_000_u32 {
        let status = bucket.status();
        if wanted(&status) {
            return status;
        }
        std::thread::yield_now();
    }
    panic!("never came: {:?}", bucket.status());
}

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// Content of this length that no other seed has.
fn content(seed: u8, len: usize) -> Vec<u8> {
    let step = usize::from(seed) * 2 + 1;
    (0..len).map(|n| (n.wrapping_mul(step) >> 3) as u8 ^ seed).collect()
}
