//! The standard workload of a bucket, one step after the other, and what it was promised on the way.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use bucket_core::testing::ManualClock;
use bucket_core::{ByteCount, Clock};
use bucket_remote::testing::MemoryRemote;
use bucket_remote::{GetOptions, Remote};
use bucket_vfs::sim::SimDisk;

use super::remote::TimedRemote;
use crate::bucket::drain::{Turn, turn};
use crate::bucket::inner::Inner;
use crate::bucket::tests::{content, key};
use crate::bucket::{Bucket, BucketBuilder, StoreError};
use crate::sync::Arc;

pub(super) const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// The key that the workload with a stuck one never gets rid of.
const STUCK: &str = "e";
/// Above the bound for inline content.
const LARGE: usize = 3_000;

/// Changes how the bucket is opened.
pub(in crate::bucket::tests) type Plant = fn(BucketBuilder) -> BucketBuilder;

/// A bucket without threads: the test itself takes the turns of the drain.
pub(in crate::bucket::tests) struct Rig {
    pub(super) disk: SimDisk,
    pub(in crate::bucket::tests) remote: TimedRemote,
    clock: ManualClock,
    inline_max: ByteCount,
    plant: Plant,
}

/// What happened to the keys, in terms of disk operations.
#[derive(Debug, Default)]
pub(super) struct Script {
    steps: BTreeMap<&'static str, Vec<Step>>,
}

/// One put or delete.
#[derive(Debug)]
struct Step {
    /// Submitted after this many operations.
    at: u64,
    /// Acknowledged after this many.
    acknowledged: Option<u64>,
    content: Content,
}

/// What a key holds, or `None` for nothing.
pub(super) type Content = Option<Vec<u8>>;

/// Something that was promised and does not hold.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    pub(super) check: &'static str,
    pub(super) detail: String,
}

impl Violation {
    pub(in crate::bucket::tests) fn new(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.detail)
    }
}

impl Rig {
    pub(in crate::bucket::tests) fn new(disk: SimDisk, plant: Plant) -> Self {
        let clock = ManualClock::new();
        let inner = MemoryRemote::new().with_clock(Arc::new(clock.clone()));
        let remote = TimedRemote::new(inner, disk.clone());
        Self { disk, remote, clock, inline_max: ByteCount::kib(1), plant }
    }

    /// The longest content that goes into the log itself.
    pub(in crate::bucket::tests) fn inline_max(self, inline_max: ByteCount) -> Self {
        Self { inline_max, ..self }
    }

    /// The remote as it was at operation `at` of this rig, beside another disk.
    pub(in crate::bucket::tests) fn at_operation(&self, at: u64, disk: SimDisk) -> Self {
        let clock = ManualClock::new();
        let inner = MemoryRemote::new().with_clock(Arc::new(clock.clone()));
        let remote = self.remote.at_operation(at, inner, disk.clone());
        Self { disk, remote, clock, inline_max: self.inline_max, plant: self.plant }
    }

    pub(in crate::bucket::tests) fn open(&self) -> Result<Bucket, StoreError> {
        let builder = Bucket::builder(Arc::new(self.remote.clone()))
            .vfs(self.disk.mount())
            .clock(Arc::new(self.clock.clone()))
            .inline_max(self.inline_max)
            .segment_size(ByteCount::kib(64));
        let inner = Inner::open(Path::new("/bucket"), (self.plant)(builder))?;
        Ok(Bucket { inner: Arc::new(inner) })
    }

    /// Takes `turns` turns at most; stops when nothing is left to do. Time passes as it is waited for.
    pub(in crate::bucket::tests) fn drain(&self, bucket: &Bucket, turns: usize) {
        for _ in 0..turns {
            let now = self.clock.now();
            match turn(&bucket.inner, bucket.inner.state.lock(), now).1 {
                Turn::Done => {}
                Turn::Wait(None) => return,
                Turn::Wait(Some(until)) => self.clock.advance(until.since(now)),
            }
        }
    }

    /// Drains until no more than `left` operations are pending.
    pub(in crate::bucket::tests) fn drain_to(&self, bucket: &Bucket, left: u64) {
        while bucket.status().pending_ops > left {
            self.drain(bucket, 1);
        }
    }

    /// What the remote itself holds under a key.
    pub(in crate::bucket::tests) fn at_remote(&self, name: &str) -> Content {
        let ctx = bucket_core::Ctx::new(bucket_core::OpKind::Read);
        let object = self.remote.get(&ctx, &key(name), &GetOptions::new()).ok()?;
        Some(object.body.to_bytes().expect("it is in memory").to_vec())
    }
}

impl Script {
    /// The standard workload: small and large content, overwriting, deletes, draining in part and to
    /// the end, checkpoints at each stage, a process that dies with work left, a clean close.
    pub(super) fn run(&mut self, rig: &Rig) -> Result<(), StoreError> {
        let bucket = rig.open()?;
        self.put(rig, &bucket, "a", 1, 40)?;
        self.put(rig, &bucket, "b", 2, LARGE)?;
        self.delete(rig, &bucket, "c")?;
        self.put(rig, &bucket, "a", 3, 50)?;
        rig.drain(&bucket, 2);
        self.put(rig, &bucket, "c", 4, LARGE)?;
        self.put(rig, &bucket, "b", 5, 2 * LARGE)?;
        bucket.inner.checkpoint()?;
        rig.drain(&bucket, 1_000);
        self.delete(rig, &bucket, "b")?;
        self.put(rig, &bucket, "d", 6, 900)?;
        bucket.inner.checkpoint()?;
        rig.drain(&bucket, 1);
        self.put(rig, &bucket, "d", 7, LARGE)?;
        rig.disk.kill();
        drop(bucket);

        let bucket = rig.open()?;
        self.put(rig, &bucket, "e", 8, LARGE)?;
        rig.clock.advance(Duration::from_secs(600));
        rig.drain(&bucket, 1_000);
        bucket.inner.checkpoint()?;
        self.put(rig, &bucket, "b", 9, LARGE)?;
        self.delete(rig, &bucket, "a")?;
        bucket.close()?;

        let bucket = rig.open()?;
        rig.drain(&bucket, 1_000);
        self.put(rig, &bucket, "a", 10, 10)?;
        bucket.close()?;
        Ok(())
    }

    /// One operation never drains, and many others do: it is copied forward, and what it was copied from
    /// goes. Returns how often it was copied.
    pub(super) fn run_with_a_stuck_key(&mut self, rig: &Rig) -> Result<u64, StoreError> {
        rig.remote.refuse(key(STUCK));
        let bucket = rig.open()?;
        self.put(rig, &bucket, STUCK, 1, 3_000)?;
        for n in 0..12_u8 {
            self.put(rig, &bucket, KEYS[usize::from(n % 3)], n + 2, 14_000)?;
            rig.drain_to(&bucket, 1);
            bucket.inner.keep_log()?;
        }
        let copied = bucket.inner.wal.stats().survivors;
        rig.disk.kill();
        drop(bucket);

        let bucket = rig.open()?;
        self.delete(rig, &bucket, "a")?;
        rig.drain_to(&bucket, 1);
        bucket.inner.keep_log()?;
        bucket.close()?;
        Ok(copied)
    }

    fn put(
        &mut self,
        rig: &Rig,
        bucket: &Bucket,
        name: &'static str,
        seed: u8,
        len: usize,
    ) -> Result<(), StoreError> {
        let bytes = content(seed, len);
        self.step(rig, name, Some(bytes.clone()), || bucket.put(&key(name), bytes).map(drop))
    }

    fn delete(&mut self, rig: &Rig, bucket: &Bucket, name: &'static str) -> Result<(), StoreError> {
        self.step(rig, name, None, || bucket.delete(&key(name)).map(drop))
    }

    fn step(
        &mut self,
        rig: &Rig,
        name: &'static str,
        content: Content,
        run: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let at = rig.disk.operations();
        let steps = self.steps.entry(name).or_default();
        steps.push(Step { at, acknowledged: None, content });
        run()?;
        if let Some(step) = steps.last_mut() {
            step.acknowledged = Some(rig.disk.operations());
        }
        Ok(())
    }

    /// How much was acknowledged when operation `at` was under way.
    pub(super) fn acknowledged(&self, at: u64) -> u64 {
        let steps = self.steps.values().flatten();
        steps.filter(|step| step.acknowledged.is_some_and(|done| done < at)).count() as u64
    }

    /// What the key may hold after a crash in operation `at`: what was acknowledged last, or anything
    /// that was submitted later.
    pub(super) fn legal(&self, at: u64, name: &str) -> Vec<&Content> {
        let steps = self.steps.get(name).map_or(&[][..], Vec::as_slice);
        let last = steps.iter().rposition(|step| step.acknowledged.is_some_and(|done| done < at));
        let later = steps[last.unwrap_or(0)..].iter().filter(|step| step.at < at);
        let nothing = last.is_none().then_some(&None);
        nothing.into_iter().chain(later.map(|step| &step.content)).collect()
    }
}
