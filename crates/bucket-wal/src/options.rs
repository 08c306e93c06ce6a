//! [`WalOptions`]: how a log is opened, checked before anything touches the disk.

use std::path::Path;

use bucket_core::ByteCount;
use bucket_vfs::{StdVfs, Vfs};

use crate::entropy::Entropy;
use crate::error::WalError;
use crate::planted::Planted;
use crate::recovery::Recovery;
use crate::sync::Arc;
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
    pub(crate) holder: String,
    pub(crate) entropy: Entropy,
    pub(crate) planted: Planted,
}

/// What opening does when durable bytes are damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryPolicy {
    /// Refuses to open and changes nothing. The default.
    #[default]
    Strict,
    /// Opens with what is readable and lists what is not in the
    /// [`RecoveryReport`](crate::RecoveryReport).
    Salvage,
}

impl WalOptions {
    pub(crate) fn new() -> Self {
        Self {
            vfs: Arc::new(StdVfs::new()),
            segment_bytes: ByteCount::mib(100).get(),
            recovery: RecoveryPolicy::Strict,
            holder: format!("pid {}", std::process::id()),
            entropy: Entropy::default(),
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

    /// What to do about damage; the default is [`RecoveryPolicy::Strict`].
    pub const fn recovery(mut self, policy: RecoveryPolicy) -> Self {
        self.recovery = policy;
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

    #[cfg(test)]
    pub(crate) fn entropy(mut self, entropy: Entropy) -> Self {
        self.entropy = entropy;
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
    /// The segment size.
    #[error("segment_size is {size}; it must lie between 64 KiB and 4 GiB")]
    SegmentSize {
        /// What was asked for.
        size: ByteCount,
    },
}
