//! [`WalError`]: what went wrong, what it means for the data, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use bucket_core::{Class, Classified, Durability};

use crate::lsn::Lsn;
use crate::recovery::DamageKind;
use crate::sync::Arc;

/// Everything that can go wrong with a log.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// Records that a checkpoint leaves behind cannot be taken back any more. Nothing was changed.
    #[error("records after {lsn} cannot be taken back: a checkpoint replays from {replay_from}")]
    Checkpointed {
        /// The record after which all were to be taken back.
        lsn: Lsn,
        /// Where the newest checkpoint starts to replay.
        replay_from: Lsn,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// Bytes that had become durable are not what was written. Nothing was changed on disk; records
    /// before and after the place may be intact. Copy the directory, then open it with
    /// [`RecoveryPolicy::Salvage`](crate::RecoveryPolicy::Salvage) to get at what is readable.
    #[error(
        "{} is damaged at byte {offset} ({kind}): record {first_lsn} and perhaps later ones cannot \
         be read; nothing was changed; keep a copy of the directory and open with salvage",
        path.display()
    )]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What does not hold.
        kind: DamageKind,
        /// The first record that is affected.
        first_lsn: Lsn,
    },
    /// The newest bytes are damaged in a way that an interrupted write does not explain. The record
    /// there may have been acknowledged.
    #[error(
        "{} is damaged at byte {offset}, in the newest record ({first_lsn}), and not by an \
         interrupted write; nothing was changed; keep a copy of the directory and open with salvage",
        path.display()
    )]
    DamagedTail {
        /// The segment.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// The record that is affected.
        first_lsn: Lsn,
    },
    /// Another process writes to this log although this one holds its lock: the file system does not keep
    /// locks. This one has stopped before it could do harm; what it acknowledged is in the log.
    #[error(
        "{} was made by somebody else; another process writes to this log where file locks do nothing; \
         keep one of them",
        path.display()
    )]
    Fenced {
        /// The file that should not be there.
        path: PathBuf,
    },
    /// The file system failed in a way that leaves the log usable or was never open.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// Another process, or another part of this one, has the log open.
    #[error("{} is in use by {holder:?}; close it there first", path.display())]
    Locked {
        /// The directory of the log.
        path: PathBuf,
        /// What the holder wrote of itself.
        holder: String,
    },
    /// Segments between two others are gone.
    #[error(
        "segment {segment_id} is missing from {}; the records in it cannot be read; nothing was \
         changed; restore the file, or open with salvage",
        path.display()
    )]
    MissingSegment {
        /// The directory of the log.
        path: PathBuf,
        /// The number of the missing segment.
        segment_id: u64,
    },
    /// The disk is full. The record was not accepted; what was acknowledged before is safe. Free
    /// some space and append again.
    #[error(
        "no space left for {}; the record was not accepted, everything acknowledged before is safe; \
         free space and try again",
        path.display()
    )]
    NoSpace {
        /// The directory of the log.
        path: PathBuf,
    },
    /// A write or sync failed earlier, or code of the application's that the log calls panicked: its
    /// files, its source of checkpoints or its archive. The log takes nothing more until it is opened
    /// again.
    #[error(
        "a write or sync failed and the log accepts nothing more; records up to {durable_lsn} are \
         safe, later ones were not acknowledged; open the log again"
    )]
    Poisoned {
        /// Everything up to here is durable.
        durable_lsn: Lsn,
        /// What failed.
        #[source]
        source: Arc<io::Error>,
    },
    /// The record is longer than the log takes.
    #[error("a record of {len} bytes is longer than the {max} bytes that a log takes")]
    RecordTooLarge {
        /// The length of the record in bytes.
        len: usize,
        /// The longest that is taken.
        max: usize,
    },
    /// The record was trimmed away, or was never accepted.
    #[error("record {lsn} is not in the log")]
    NotFound {
        /// The number of the record.
        lsn: Lsn,
    },
    /// An epoch can only grow. Another writer has taken over, or this one has already begun it.
    #[error("epoch {epoch} is not above {current}, which the log is in")]
    StaleEpoch {
        /// What was asked for.
        epoch: u64,
        /// The epoch of the log.
        current: u64,
    },
    /// The operation was never accepted, is settled, or is being settled; or the log was opened without
    /// [`WalOptions::lifecycle`](crate::WalOptions::lifecycle).
    #[error("operation {lsn} is not pending")]
    NotPending {
        /// The number of the operation.
        lsn: Lsn,
    },
    /// The file was written by a newer version, with a feature that this one does not know.
    #[error(
        "{} has format {major} with flags {flags:#x}, which this version cannot read; nothing was \
         changed; use a newer version",
        path.display()
    )]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// Its major format number.
        major: u16,
        /// Its incompatible features.
        flags: u32,
    },
}

impl WalError {
    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        if is_no_space(&source) {
            return Self::NoSpace { path: path.to_owned() };
        }
        Self::Io { op, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Is the data safe, may it still appear?
    pub fn durability(&self) -> Durability {
        match self {
            Self::Poisoned { .. } => Durability::Unknown,
            Self::Corrupt { .. } | Self::DamagedTail { .. } | Self::MissingSegment { .. } => {
                Durability::Unknown
            }
            Self::UnsupportedFormat { .. } | Self::Locked { .. } => Durability::Safe,
            Self::Checkpointed { .. }
            | Self::StaleEpoch { .. }
            | Self::Closed
            | Self::Fenced { .. }
            | Self::Io { .. }
            | Self::NoSpace { .. }
            | Self::NotFound { .. }
            | Self::NotPending { .. }
            | Self::RecordTooLarge { .. } => Durability::NotAccepted,
        }
    }

    /// True when the log has damage that [`RecoveryPolicy::Salvage`](crate::RecoveryPolicy::Salvage)
    /// would step over.
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. } | Self::DamagedTail { .. } | Self::MissingSegment { .. }
        )
    }
}

pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Classified for WalError {
    fn class(&self) -> Class {
        match self {
            Self::NoSpace { .. } => Class::Transient,
            Self::Locked { .. } => Class::Unavailable { after: None },
            Self::Poisoned { .. } => Class::UnknownOutcome,
            Self::Io { source, .. } => source.class(),
            _ => Class::Permanent,
        }
    }
}
