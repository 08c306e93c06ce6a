//! [`WalOptions`]: how a log is opened, checked before anything touches the disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bucket_core::ByteCount;
use bucket_vfs::{StdVfs, Vfs};

use crate::archive::ArchiveSink;
use crate::checkpoint::{CheckpointPolicy, CheckpointState, Source};
use crate::entropy::Entropy;
use crate::error::WalError;
use crate::format::Features;
use crate::lsn::Lsn;
use crate::planted::Planted;
use crate::recovery::Recovery;
use crate::sync::Arc;
use crate::sync_method::SyncMethod;
use crate::wal::Wal;

/// How to open a log.
///
/// # Examples
///
/// ```
/// use bucket_core::ByteCount;
/// use bucket_wal::Wal;
///
/// # let dir = tempfile::tempdir()?;
/// let (wal, recovery) =
///     Wal::options().segment_size(ByteCount::mib(16))?.open(dir.path().join("log"))?;
/// assert!(recovery.report().is_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until they open a log"]
pub struct WalOptions {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) segment_bytes: u64,
    pub(crate) recovery: RecoveryPolicy,
    pub(crate) recovery_threads: usize,
    pub(crate) verify: VerifyOnOpen,
    pub(crate) backup: Option<PathBuf>,
    pub(crate) holder: String,
    pub(crate) sync_policy: SyncPolicy,
    /// `None`: what tuning has stored, or the default.
    pub(crate) sync_method: Option<SyncMethod>,
    pub(crate) write_through: bool,
    pub(crate) lifecycle: bool,
    /// `None`: what suits the log.
    pub(crate) checkpoint_policy: Option<CheckpointPolicy>,
    pub(crate) checkpoint_source: Option<Source>,
    pub(crate) keep_checkpoints: usize,
    pub(crate) archive: Option<Arc<dyn ArchiveSink>>,
    pub(crate) spare_segments: usize,
    pub(crate) fill_spares: bool,
    pub(crate) reserve_files: bool,
    pub(crate) housekeeping_by_hand: bool,
    pub(crate) entropy: Entropy,
    /// The features of the format that this version knows.
    pub(crate) known: Features,
    pub(crate) planted: Planted,
}

/// When records become durable, and what [`Wal::append`] waits for.
///
/// Whatever the policy: what survives is a contiguous run of records from the oldest on, a batch
/// survives whole or not at all, `Ticket::wait`, [`Wal::wait_durable`] and [`Wal::sync`] wait for the
/// disk, and [`Wal::durable_lsn`] says what is durable.
///
/// | policy | `append` returns | a process kill may take | a power loss may take |
/// |---|---|---|---|
/// | `Always` | after the sync that covers the record | nothing | nothing |
/// | `Batch` | once accepted | about 1 ms of records; nothing with `write_through` | what came since a bound was reached, and one sync |
/// | `Periodic` | once accepted, later above `max_unsynced` | the same | `interval` and one sync, at most `max_unsynced` |
/// | `None` | once accepted | the same | everything since the last `sync` |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum SyncPolicy {
    /// Every `append` waits for its sync; those that come together share one. The default.
    #[default]
    Always,
    /// Syncs as soon as one of the bounds is reached by what is not durable yet.
    Batch {
        /// How many records; at least 1.
        records: u64,
        /// How many bytes of content; at least 1.
        #[cfg_attr(feature = "serde", serde(with = "crate::config::size"))]
        bytes: ByteCount,
        /// How old the oldest of them; above zero.
        #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
        delay: Duration,
    },
    /// Syncs this long after the first record that is not durable.
    Periodic {
        /// How long; above zero.
        #[cfg_attr(feature = "serde", serde(with = "crate::config::span"))]
        interval: Duration,
        /// Above this many bytes that are not durable `append` waits for a sync; at least 1.
        #[cfg_attr(feature = "serde", serde(with = "crate::config::size"))]
        max_unsynced: ByteCount,
    },
    /// Syncs when asked to, at rotation, at a checkpoint that needs it, and at closing.
    None,
}

/// What opening does when durable bytes are damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum RecoveryPolicy {
    /// Refuses to open and changes nothing. The default.
    #[default]
    Strict,
    /// Opens with what comes before the first damage. The rest is kept in `quarantine/` and is no part of
    /// the log any more; its numbers are not given again.
    PointInTime,
    /// Opens with all that is readable; what is not is listed in the
    /// [`RecoveryReport`](crate::RecoveryReport). Damaged files are kept in `quarantine/`, and what is
    /// readable behind the damage is copied, so that the log is whole again with some numbers left out.
    /// It takes disk space for the copies.
    Salvage,
}

/// How much is read and checked at opening. Whatever is not read then is checked when it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum VerifyOnOpen {
    /// Every record of the log.
    Full,
    /// Segments with records that the newest checkpoint leaves to replay; for older ones their seals are
    /// believed. The default.
    #[default]
    SinceCheckpoint,
    /// The newest segment; for the others their seals are believed.
    TailOnly,
}

impl WalOptions {
    pub(crate) fn new() -> Self {
        Self {
            vfs: Arc::new(StdVfs::new()),
            segment_bytes: ByteCount::mib(100).get(),
            recovery: RecoveryPolicy::Strict,
            recovery_threads: default_threads(),
            verify: VerifyOnOpen::SinceCheckpoint,
            backup: None,
            holder: format!("pid {}", std::process::id()),
            sync_policy: SyncPolicy::Always,
            sync_method: None,
            write_through: false,
            lifecycle: false,
            checkpoint_policy: None,
            checkpoint_source: None,
            keep_checkpoints: 2,
            archive: None,
            spare_segments: 2,
            fill_spares: false,
            reserve_files: true,
            housekeeping_by_hand: false,
            entropy: Entropy::default(),
            known: Features::KNOWN,
            planted: Planted::default(),
        }
    }

    /// The size at which a segment is followed by a new one; 64 KiB to 4 GiB, default 100 MiB. Files
    /// start small and grow.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`] outside these bounds.
    pub fn segment_size(mut self, size: ByteCount) -> Result<Self, InvalidOptions> {
        if !(ByteCount::kib(64)..=ByteCount::gib(4)).contains(&size) {
            return Err(InvalidOptions::SegmentSize { size });
        }
        self.segment_bytes = size.get();
        Ok(self)
    }

    /// When records become durable; the default is [`SyncPolicy::Always`].
    ///
    /// # Errors
    ///
    /// [`InvalidOptions::SyncPolicy`] when a bound of the policy is zero.
    pub fn sync_policy(mut self, policy: SyncPolicy) -> Result<Self, InvalidOptions> {
        let rule = match policy {
            SyncPolicy::Batch { records: 0, .. } => Some("records must be at least 1"),
            SyncPolicy::Batch { bytes, .. } if bytes.get() == 0 => Some("bytes must be at least 1"),
            SyncPolicy::Batch { delay, .. } if delay.is_zero() => Some("delay must be above zero"),
            SyncPolicy::Periodic { interval, .. } if interval.is_zero() => {
                Some("interval must be above zero")
            }
            SyncPolicy::Periodic { max_unsynced, .. } if max_unsynced.get() == 0 => {
                Some("max_unsynced must be at least 1")
            }
            _ => None,
        };
        if let Some(rule) = rule {
            return Err(InvalidOptions::SyncPolicy { rule });
        }
        self.sync_policy = policy;
        Ok(self)
    }

    /// By which system calls a group becomes durable. By default what [`WalOptions::tune`] has stored in
    /// the log's directory, else [`SyncMethod::Fdatasync`]. Under another policy than
    /// [`SyncPolicy::Always`] it changes nothing.
    pub const fn sync_method(mut self, method: SyncMethod) -> Self {
        self.sync_method = Some(method);
        self
    }

    /// The method that groups are to be written by.
    pub(crate) fn method_in_use(&self) -> SyncMethod {
        match self.sync_policy {
            SyncPolicy::Always => self.sync_method.unwrap_or_default(),
            // A sync of many writes at once is cheaper than writes that are each a sync.
            _ => SyncMethod::Fdatasync,
        }
    }

    /// Hands each record to the operating system before `append` and `submit` return, so that a killed
    /// process takes none with it; costs a system call for each. Default: off. Under
    /// [`SyncPolicy::Always`] it changes nothing.
    pub const fn write_through(mut self, on: bool) -> Self {
        self.write_through = on;
        self
    }

    /// What to do about damage; the default is [`RecoveryPolicy::Strict`].
    pub const fn recovery(mut self, policy: RecoveryPolicy) -> Self {
        self.recovery = policy;
        self
    }

    /// How much is read and checked at opening; the default is [`VerifyOnOpen::SinceCheckpoint`]. When
    /// damage is found under a policy that steps over it, everything is.
    pub const fn verify_on_open(mut self, verify: VerifyOnOpen) -> Self {
        self.verify = verify;
        self
    }

    /// Before damage is stepped over, copies all files of the log into this new directory, durably. The
    /// default is to keep the damaged files alone, in `quarantine/`.
    ///
    /// Opening fails with [`WalError::Io`] when the directory exists, and nothing is changed.
    pub fn backup_before_repair(mut self, dir: impl Into<PathBuf>) -> Self {
        self.backup = Some(dir.into());
        self
    }

    /// How many threads read segments at opening; 1 to 64. The default is one for each processor, at
    /// most 4.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions::RecoveryThreads`] outside these bounds.
    pub fn recovery_threads(mut self, threads: usize) -> Result<Self, InvalidOptions> {
        if !(1..=64).contains(&threads) {
            return Err(InvalidOptions::RecoveryThreads { threads });
        }
        self.recovery_threads = threads;
        Ok(self)
    }

    /// Keeps account of what is pending: every record that is appended is an operation until
    /// [`Wal::complete`] or [`Wal::abort`] settles it, and opening yields what is not settled. Default:
    /// off, and nothing is tracked.
    ///
    /// Such a log takes checkpoints by itself, and copies what is pending out of old segments so that
    /// they can go: it has at most twice the bytes that its pending operations take, each counted with 48
    /// bytes more than it has, and two segments. It takes about 100 bytes of memory for each pending
    /// operation.
    pub const fn lifecycle(mut self, on: bool) -> Self {
        self.lifecycle = on;
        self
    }

    /// When the log takes checkpoints by itself. The default is after 10 000 records or 16 MiB for a log
    /// with a lifecycle, which needs nothing from its application for that; other logs need a
    /// [`WalOptions::checkpoint_source`], and take none by default.
    pub const fn checkpoints(mut self, policy: CheckpointPolicy) -> Self {
        self.checkpoint_policy = Some(policy);
        self
    }

    /// Where automatic checkpoints get their content: from which record on replay is needed, and the
    /// state that stands for everything before; `None` for not now.
    ///
    /// It is called without any lock of the log, on the log's own thread, and should not hold a clone of
    /// the log, which could then never be dropped. A panic in it poisons the log.
    pub fn checkpoint_source(
        mut self,
        source: impl Fn() -> Option<(Lsn, CheckpointState)> + Send + Sync + 'static,
    ) -> Self {
        self.checkpoint_source = Some(Source(Arc::new(source)));
        self
    }

    /// How many checkpoints are kept; 1 to 16, default 2. The log keeps what the oldest of them needs, so
    /// that each can be gone back to when all newer ones are damaged.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions::Checkpoints`] outside these bounds.
    pub fn keep_checkpoints(mut self, n: usize) -> Result<Self, InvalidOptions> {
        if !(1..=16).contains(&n) {
            return Err(InvalidOptions::Checkpoints { rule: "between 1 and 16 can be kept" });
        }
        self.keep_checkpoints = n;
        Ok(self)
    }

    /// Hands every segment that is not needed any more to `sink` before it is removed. Default: none,
    /// such segments are removed.
    pub fn archive(mut self, sink: Arc<dyn ArchiveSink>) -> Self {
        self.archive = Some(sink);
        self
    }

    /// How many files of segments that are not needed any more are kept, as `spare-*.wal`, to be written
    /// again as new ones; 0 to 64, default 2. Writing to them costs the disk half of what new files do.
    ///
    /// Files that a reader has open are not kept. A log with a [lifecycle](Self::lifecycle) keeps none that
    /// would make it longer than it says, and all are given up when the disk is full. Hard links to the
    /// files of a log, as a backup, need this to be 0: they would change with the file.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions::SpareSegments`] above 64.
    pub fn spare_segments(mut self, n: usize) -> Result<Self, InvalidOptions> {
        if n > 64 {
            return Err(InvalidOptions::SpareSegments { n });
        }
        self.spare_segments = n;
        Ok(self)
    }

    /// Opening fills the spare segments up with files of zeros, so that a new log is as fast from the
    /// first record on as one that has been trimmed. It writes as many bytes as so many segments have.
    /// Where there is no space for them there are fewer. Default: off, and a new log takes next to no
    /// space.
    pub const fn fill_spare_segments(mut self, on: bool) -> Self {
        self.fill_spares = on;
        self
    }

    /// Keeps files of 32 KiB in reserve, so that checkpoints and openings need no space on a full disk: as
    /// many as [`keep_checkpoints`](Self::keep_checkpoints) says, and one more. Default: on. Without them
    /// both may be refused until somebody frees some.
    pub const fn reserve_files(mut self, on: bool) -> Self {
        self.reserve_files = on;
        self
    }

    /// Leaves automatic checkpoints, copying forward and archiving to calls of [`Wal::housekeep`] instead
    /// of a thread of the log's. Default: off.
    pub const fn housekeeping_by_hand(mut self, on: bool) -> Self {
        self.housekeeping_by_hand = on;
        self
    }

    /// The files to work on; the default is the machine's file system.
    pub fn vfs(mut self, vfs: Arc<dyn Vfs>) -> Self {
        self.vfs = vfs;
        self
    }

    /// What others are told who find the log locked; the default is the process id.
    pub fn holder(mut self, holder: impl Into<String>) -> Self {
        self.holder = holder.into();
        self
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn entropy(mut self, entropy: Entropy) -> Self {
        self.entropy = entropy;
        self
    }

    /// Plays a version that knows these features.
    #[cfg(all(test, not(bucket_loom)))]
    pub(crate) fn known(mut self, features: u32) -> Self {
        self.known = Features::from_bits(features);
        self
    }

    /// Plants a bug, for the checks that have to catch it.
    #[cfg(bucket_planted)]
    #[doc(hidden)]
    pub fn planted(mut self, bug: crate::Bug) -> Self {
        self.planted = Planted::new(bug);
        self
    }

    /// Opens the log in `dir`, creating the directory if its parent exists.
    ///
    /// What recovery finds is synced before it can be read. An interrupted write at the end is
    /// normal and reported; damage to durable bytes is an error under [`RecoveryPolicy::Strict`].
    ///
    /// # Errors
    ///
    /// [`WalError::Locked`] when the log is open elsewhere, also in this process;
    /// [`WalError::Corrupt`], [`WalError::DamagedTail`], [`WalError::MissingSegment`] and
    /// [`WalError::UnsupportedFormat`] by what is on disk, unchanged; [`WalError::NoSpace`] and
    /// [`WalError::Io`] from the file system.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<(Wal, Recovery), WalError> {
        Wal::open_with(dir.as_ref(), self)
    }
}

/// An option outside its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOptions {
    /// A bound of the checkpoint policy, or how many are kept.
    #[error("checkpoints: {rule}")]
    Checkpoints {
        /// What it must be.
        rule: &'static str,
    },
    /// The number of threads that read at opening.
    #[error("recovery_threads is {threads}; it must lie between 1 and 64")]
    RecoveryThreads {
        /// What was asked for.
        threads: usize,
    },
    /// The segment size.
    #[error("segment_size is {size}; it must lie between 64 KiB and 4 GiB")]
    SegmentSize {
        /// What was asked for.
        size: ByteCount,
    },
    /// The number of spare segments.
    #[error("spare_segments is {n}; it must be at most 64")]
    SpareSegments {
        /// What was asked for.
        n: usize,
    },
    /// A bound of the sync policy.
    #[error("sync_policy: {rule}")]
    SyncPolicy {
        /// Which, and what it must be.
        rule: &'static str,
    },
}

pub(crate) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| threads.get().min(4))
}
