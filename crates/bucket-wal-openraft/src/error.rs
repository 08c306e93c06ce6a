//! [`LogStoreError`]: what went wrong, what it means for the data, and what to do.

use std::io;
use std::sync::Arc;

use bucket_core::{Class, Classified, Durability};
use bucket_wal::{Lsn, WalError};

use crate::codec::BoxError;

/// Everything that can go wrong with a log store.
///
/// Inside openraft it is the source of a `StorageError`, which stops the node.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogStoreError {
    /// The value has no encoding, or what is in the log is none. The log was written with another
    /// codec, or with other types.
    #[error("the codec cannot {what}")]
    Codec {
        /// What it was to do.
        what: &'static str,
        /// What it said.
        #[source]
        source: Arc<BoxError>,
    },
    /// This write failed, or an earlier one that it was to follow. What was acknowledged is safe; open
    /// the log again.
    #[error(
        "a write failed, and what was to follow it cannot be stored either; open the log again"
    )]
    Ended {
        /// How the first write that did failed.
        #[source]
        source: WalError,
    },
    /// The record is of another kind than a log store writes: the directory holds another program's
    /// log, or a newer version's.
    #[error("record {lsn} was not written by this version of the log store")]
    Foreign {
        /// The number of the record.
        lsn: Lsn,
    },
    /// The entry is in the log already, or one behind it is. Nothing was changed.
    #[error("entry {index} cannot be appended to a log whose next one is {next}")]
    Overlap {
        /// The index of the entry.
        index: u64,
        /// The lowest that can be appended.
        next: u64,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread {
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The log itself.
    #[error(transparent)]
    Wal(#[from] WalError),
}

impl LogStoreError {
    pub(crate) fn codec(what: &'static str, source: BoxError) -> Self {
        Self::Codec { what, source: Arc::new(source) }
    }

    /// Is the data safe, may it still appear?
    pub fn durability(&self) -> Durability {
        match self {
            Self::Codec { .. } | Self::Overlap { .. } | Self::Thread { .. } => {
                Durability::NotAccepted
            }
            Self::Foreign { .. } => Durability::Safe,
            // What followed the write that failed may be there, or be skipped at the next opening.
            Self::Ended { .. } => Durability::Unknown,
            Self::Wal(error) => error.durability(),
        }
    }
}

impl Classified for LogStoreError {
    fn class(&self) -> Class {
        match self {
            Self::Ended { .. } => Class::UnknownOutcome,
            Self::Wal(error) => error.class(),
            Self::Thread { source } => source.class(),
            _ => Class::Permanent,
        }
    }
}
