//! Exit codes: stable, documented, and the same for every command.

use std::io;

use bucket_core::Durability;
use bucket_remote::{InvalidKey, RemoteErrorKind};
use bucket_store::{ResilientError, StoreError};
use bucket_wal::WalError;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Stdout was closed by its reader.
    BrokenPipe,
    /// A text that is no key.
    Key { text: String, source: InvalidKey },
    /// A local file outside the bucket.
    File { what: String, source: io::Error },
    /// A log that is looked at by itself.
    Log(WalError),
    /// The bucket itself.
    Store(StoreError),
    /// The command line or a settings file.
    Usage(String),
}

impl Failure {
    pub(crate) fn file(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { what: what.into(), source }
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => 3,
            Self::File { .. } => 1,
            Self::Key { .. } | Self::Usage(_) => 2,
            Self::Log(error) => log_code(error),
            Self::Store(error) => store_code(error),
        }
    }

    /// A short name for machines.
    pub(crate) fn name(&self) -> &'static str {
        match self.code() {
            2 => "usage",
            3 => "not_found",
            4 => "condition_false",
            5 => "temporary",
            6 => "full",
            7 => "damage",
            8 => "attention",
            9 => "locked",
            10 => "credentials",
            124 => "timeout",
            _ => "other",
        }
    }

    pub(crate) fn durability(&self) -> Durability {
        match self {
            Self::Log(error) => error.durability(),
            Self::Store(error) => error.durability(),
            _ => Durability::NotAccepted,
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Store(StoreError::Degraded { .. }) => {
                "look with `bucket doctor PROFILE`, then accept with `bucket doctor PROFILE --accept`"
            }
            Self::Store(StoreError::FlushTimeout { .. }) => {
                "see `bucket status PROFILE`; flush again when the remote is back"
            }
            Self::Store(StoreError::Remote(_)) => "try again when the remote is back",
            Self::Store(StoreError::Log(WalError::Locked { .. })) => {
                "wait for the other process; `bucket status PROFILE` works meanwhile"
            }
            _ => return None,
        })
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BrokenPipe => f.write_str("the reader of the output has gone"),
            Self::Key { text, source } => write!(f, "{text:?} is no key: {source}"),
            Self::File { what, source } => write!(f, "{what}: {source}"),
            Self::Log(error) => write_chain(f, error),
            Self::Store(error) => write_chain(f, error),
            Self::Usage(text) => f.write_str(text),
        }
    }
}

fn write_chain(f: &mut std::fmt::Formatter<'_>, error: &dyn std::error::Error) -> std::fmt::Result {
    write!(f, "{error}")?;
    let mut source = error.source();
    while let Some(cause) = source {
        write!(f, ": {cause}")?;
        source = cause.source();
    }
    Ok(())
}

fn log_code(error: &WalError) -> u8 {
    match error {
        WalError::Locked { .. } => 9,
        WalError::NoSpace { .. } => 6,
        error if error.is_damage() => 7,
        WalError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => 3,
        _ => 1,
    }
}

fn store_code(error: &StoreError) -> u8 {
    match error {
        StoreError::NotFound { .. } => 3,
        StoreError::Full { .. } | StoreError::NoSpace { .. } | StoreError::TooLarge { .. } => 6,
        StoreError::ContentGone { .. } | StoreError::Degraded { .. } => 7,
        StoreError::Refused { .. } => 8,
        StoreError::FlushTimeout { .. } => 124,
        StoreError::InvalidKey { .. }
        | StoreError::Directory { .. }
        | StoreError::OldFormat { .. } => 2,
        StoreError::Log(WalError::Locked { .. }) => 9,
        StoreError::Log(error) if error.is_damage() => 7,
        StoreError::Remote(ResilientError::Remote { source, .. }) => match source.kind {
            RemoteErrorKind::Auth => 10,
            RemoteErrorKind::ConditionFalse => 4,
            RemoteErrorKind::Corrupt => 7,
            _ => 5,
        },
        StoreError::Remote(_) => 5,
        _ => 1,
    }
}
