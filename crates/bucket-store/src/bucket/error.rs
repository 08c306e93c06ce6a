//! [`StoreError`]: what a bucket could not do, and whether the data is safe.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bucket_core::{ByteCount, Class, Classified, Durability};
use bucket_remote::{Key, RemoteError, RemoteErrorKind};
use bucket_wal::WalError;

use crate::bucket::job::Parked;
use crate::resilient::ResilientError;

/// Everything that can go wrong with a bucket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The bucket was closed.
    #[error("the bucket is closed")]
    Closed,
    /// The local disk has lost what was acknowledged: a file is gone, or its content is not what was
    /// accepted. It is never sent.
    #[error(
        "acknowledged content is gone from the local disk, or damaged, and cannot reach the remote: {key:?} \
         is one of {count} such keys; restore the directory from a copy, or put or delete the key again"
    )]
    ContentGone {
        /// How many keys are affected.
        count: usize,
        /// One of them.
        key: Key,
    },
    /// The log was found damaged; draining is held until somebody has looked.
    #[error(
        "the log of this bucket is damaged, so draining is held; reads and new puts work, what can be \
         read is safe; look at the damage and accept it: {damage}"
    )]
    Degraded {
        /// What is damaged.
        damage: String,
    },
    /// The directory is not a bucket, or was written by a version that this one cannot read.
    #[error("{} is not a bucket directory that this version can use: {why}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Not everything reached the remote in time.
    #[error(
        "{pending} operations are still on their way to the remote; they are acknowledged and safe{}",
        parked.map_or_else(String::new, |reason| format!(" ({reason})"))
    )]
    FlushTimeout {
        /// How many.
        pending: u64,
        /// Why nothing moves, if nothing does.
        parked: Option<Parked>,
    },
    /// The bound on what may wait for the remote is reached.
    #[error(
        "the bucket is full: {pending} operations with {bytes} wait for the remote, the bound is \
         {limit}; this put was not accepted, nothing was lost; try again when the remote is back, or \
         raise the bound"
    )]
    Full {
        /// Operations that wait.
        pending: u64,
        /// Their bytes.
        bytes: ByteCount,
        /// The bound in bytes.
        limit: ByteCount,
        /// How long the put waited for room.
        waited: Duration,
    },
    /// A local file could not be used.
    #[error("cannot {op} {}; nothing acknowledged is affected", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The remote can never hold an object of this name.
    #[error("the remote cannot hold the key {key:?}; nothing was written")]
    InvalidKey {
        /// The name.
        key: Key,
        /// What the remote's adapter said.
        source: RemoteError,
    },
    /// The log refused; see the source.
    #[error("the log refused")]
    Log(#[from] WalError),
    /// The local disk is full.
    #[error(
        "no space left for {}; this put was not accepted, nothing acknowledged is affected; free \
         space and try again",
        path.display()
    )]
    NoSpace {
        /// The directory.
        path: PathBuf,
    },
    /// There is no such object.
    #[error("no object is called {key:?}")]
    NotFound {
        /// The name.
        key: Key,
    },
    /// The directory was written by an earlier version, in a format that was never released.
    #[error(
        "{} has format {format}, which only versions before the first release used, and this one cannot \
         read; nothing was changed; drain it with the version that wrote it, and begin a new directory",
        path.display()
    )]
    OldFormat {
        /// The directory.
        path: PathBuf,
        /// The number of the format.
        format: u32,
    },
    /// The reader that was given to `put` failed.
    #[error("the content could not be read; nothing was accepted")]
    Read {
        /// What it said.
        source: io::Error,
    },
    /// The remote refuses operations and will again.
    #[error(
        "the remote refuses {count} operations ({}); they are acknowledged and safe, and are tried \
         again now and then; put or delete the key again to replace one",
        kind.name()
    )]
    Refused {
        /// How many keys are affected.
        count: usize,
        /// Why, for one of them.
        kind: RemoteErrorKind,
    },
    /// The remote could not be asked, or failed. Nothing local is affected.
    #[error("the remote cannot answer now; acknowledged data is safe")]
    Remote(#[from] ResilientError),
    /// The object alone is larger than the bound.
    #[error("an object of {len} is larger than the bound of {limit}; nothing was accepted")]
    TooLarge {
        /// Its length, as far as it was read.
        len: ByteCount,
        /// The bound.
        limit: ByteCount,
    },
}

impl StoreError {
    pub(crate) fn io(op: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            _ => Self::Io { op, path, source },
        }
    }

    /// Is the data safe, may it still appear?
    pub fn durability(&self) -> Durability {
        match self {
            Self::Log(error) => error.durability(),
            // It was acknowledged, and is not safe.
            Self::ContentGone { .. } => Durability::Unknown,
            Self::Degraded { .. }
            | Self::Directory { .. }
            | Self::FlushTimeout { .. }
            | Self::NotFound { .. }
            | Self::OldFormat { .. }
            | Self::Refused { .. }
            | Self::Remote(_) => Durability::Safe,
            Self::Closed
            | Self::Full { .. }
            | Self::Io { .. }
            | Self::InvalidKey { .. }
            | Self::NoSpace { .. }
            | Self::Read { .. }
            | Self::TooLarge { .. } => Durability::NotAccepted,
        }
    }
}

impl Classified for StoreError {
    fn class(&self) -> Class {
        match self {
            Self::Full { .. } | Self::FlushTimeout { .. } | Self::NoSpace { .. } => {
                Class::Transient
            }
            Self::Log(error) => error.class(),
            Self::Remote(error) => error.class(),
            Self::Io { source, .. } | Self::Read { source } => source.class(),
            _ => Class::Permanent,
        }
    }
}

impl std::fmt::Display for Parked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auth => "the remote refuses the credentials",
            Self::BreakerOpen => "the circuit breaker is open",
            Self::Quota => "the remote is full",
        })
    }
}

/// A setting outside its bounds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A circuit breaker could not be built.
    #[error("the circuit breaker is not valid")]
    Breaker {
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A setting of the bucket.
    #[error("{field} is {value}; {rule}")]
    Setting {
        /// The name of the setting.
        field: &'static str,
        /// What it was set to.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
}
