//! [`BucketBuilder`]: the settings of a bucket, checked before anything touches the disk.

use std::path::Path;
use std::time::Duration;

use bucket_core::{ByteCount, Clock, SystemClock};
use bucket_remote::Remote;
use bucket_vfs::{StdVfs, Vfs};

use crate::bucket::{Bucket, ConfigError, StoreError};
use crate::planted::Planted;
use crate::resilient::ResilientRemote;
use crate::sync::Arc;

/// What a put does when the bound on waiting operations is reached. Nothing acknowledged is ever
/// dropped to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// Waits for room, this long, and then fails.
    Block {
        /// How long.
        timeout: Duration,
    },
    /// Fails at once.
    Fail,
}

/// Collects the settings of a [`Bucket`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it opens a bucket"]
pub struct BucketBuilder {
    pub(crate) remote: RemoteSource,
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) max_pending_bytes: ByteCount,
    pub(crate) max_pending_ops: u64,
    pub(crate) when_full: WhenFull,
    pub(crate) inline_max: ByteCount,
    pub(crate) segment_size: ByteCount,
    pub(crate) workers: usize,
    pub(crate) op_timeout: Duration,
    pub(crate) late_window: Option<Duration>,
    pub(crate) backoff: (Duration, Duration),
    pub(crate) planted: Planted,
}

#[derive(Clone, Debug)]
pub(crate) enum RemoteSource {
    Plain(Arc<dyn Remote>),
    Resilient(ResilientRemote),
}

impl BucketBuilder {
    pub(crate) fn new(remote: RemoteSource) -> Self {
        Self {
            remote,
            vfs: Arc::new(StdVfs::new()),
            clock: Arc::new(SystemClock::new()),
            max_pending_bytes: ByteCount::gib(1),
            max_pending_ops: 1_000_000,
            when_full: WhenFull::Block { timeout: Duration::from_secs(30) },
            inline_max: ByteCount::kib(64),
            segment_size: ByteCount::mib(64),
            workers: 8,
            op_timeout: Duration::from_secs(60),
            late_window: None,
            backoff: (Duration::from_millis(200), Duration::from_secs(60)),
            planted: Planted::default(),
        }
    }

    /// How many bytes may wait for the remote; default 1 GiB.
    pub const fn max_pending_bytes(mut self, bound: ByteCount) -> Self {
        self.max_pending_bytes = bound;
        self
    }

    /// How many operations may wait for the remote; default 1 000 000.
    pub const fn max_pending_ops(mut self, bound: u64) -> Self {
        self.max_pending_ops = bound;
        self
    }

    /// What a put does when a bound is reached; default: block for 30 s.
    pub const fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// The longest content that goes into the log itself; default 64 KiB, at most 4 MiB. Longer content
    /// gets a file of its own.
    pub const fn inline_max(mut self, bound: ByteCount) -> Self {
        self.inline_max = bound;
        self
    }

    /// The size of a log segment; default 64 MiB. The log takes twice what is pending in it, and two
    /// segments, at most.
    pub const fn segment_size(mut self, size: ByteCount) -> Self {
        self.segment_size = size;
        self
    }

    /// How many threads drain; default 8. With 0 nothing is drained.
    pub const fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How long one operation may take at the remote, with its inner retries; default 60 s.
    pub const fn op_timeout(mut self, timeout: Duration) -> Self {
        self.op_timeout = timeout;
        self
    }

    /// How long a request without an answer may still take effect at the remote; default twice the
    /// operation time-out. A remote that knows better overrides it.
    pub const fn late_window(mut self, window: Duration) -> Self {
        self.late_window = Some(window);
        self
    }

    /// The first and the longest wait between attempts at one operation; default 200 ms to 60 s.
    pub const fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = (first, longest);
        self
    }

    /// The clock; the default is the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The files to work on; the default is the machine's file system.
    pub fn vfs(mut self, vfs: Arc<dyn Vfs>) -> Self {
        self.vfs = vfs;
        self
    }

    /// Plants a bug, for the checks that have to catch it.
    #[cfg(bucket_planted)]
    #[doc(hidden)]
    pub const fn planted(mut self, bug: crate::Bug) -> Self {
        self.planted = Planted::new(bug);
        self
    }

    /// Opens the bucket in `dir`, creating the directory if its parent exists. Never asks the remote,
    /// and never fails because of it.
    ///
    /// A damaged log opens as far as it can be read, with draining held: see
    /// [`Status::degraded`](crate::Status).
    ///
    /// # Errors
    ///
    /// [`StoreError::Log`] with `Locked` when the bucket is open elsewhere; [`StoreError::Directory`]
    /// when `dir` is something else, or a setting is outside its bounds, which [`BucketBuilder::check`]
    /// finds without opening anything; [`StoreError::Io`] and [`StoreError::NoSpace`].
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Bucket, StoreError> {
        self.check().map_err(|error| StoreError::Directory {
            path: dir.as_ref().to_owned(),
            why: error.to_string(),
        })?;
        Bucket::open_with(dir.as_ref(), self)
    }

    /// Checks the settings without opening anything.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Setting`] names the setting and the rule.
    pub fn check(&self) -> Result<(), ConfigError> {
        let setting = |field, value: String, rule, holds: bool| {
            if holds { Ok(()) } else { Err(ConfigError::Setting { field, value, rule }) }
        };
        let bytes = self.max_pending_bytes;
        setting(
            "max_pending_bytes",
            bytes.to_string(),
            "at least 4 KiB",
            bytes >= ByteCount::kib(4),
        )?;
        let ops = self.max_pending_ops;
        setting("max_pending_ops", ops.to_string(), "at least 1", ops > 0)?;
        let inline = self.inline_max;
        setting("inline_max", inline.to_string(), "at most 4 MiB", inline <= ByteCount::mib(4))?;
        let size = self.segment_size;
        let sizes = ByteCount::kib(64)..=ByteCount::gib(4);
        setting("segment_size", size.to_string(), "64 KiB to 4 GiB", sizes.contains(&size))?;
        let workers = self.workers;
        setting("workers", workers.to_string(), "at most 1024", workers <= 1_024)?;
        let timeout = self.op_timeout;
        setting("op_timeout", format!("{timeout:?}"), "above zero", !timeout.is_zero())?;
        let (first, longest) = self.backoff;
        let ordered = !first.is_zero() && first <= longest;
        setting("backoff", format!("{first:?} to {longest:?}"), "above zero and in order", ordered)
    }
}
