//! What can go wrong: [`AcquireError`] and [`ConfigError`].

use std::error::Error;
use std::time::Duration;

use bucket_core::{Class, Classified};

use crate::PoolState;
use crate::sync::Arc;

/// Why there was no connection; `E` is the error of the manager.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError<E: Error + 'static> {
    /// The caller's token was cancelled.
    #[error("the caller cancelled before it had a connection")]
    Cancelled,
    /// The pool was closed.
    #[error("the pool is closed")]
    Closed,
    /// The caller's own attempt to connect did not succeed.
    #[error("no new connection could be opened")]
    Connect {
        /// What the manager said.
        source: E,
    },
    /// As many callers wait as the pool lets wait. Come back later, or shed the load.
    #[error("as many callers wait for a connection as may")]
    QueueFull,
    /// The deadline passed.
    #[error("no connection within {waited:?}: {state}")]
    Timeout {
        /// How long the caller waited.
        waited: Duration,
        /// What the pool looked like when the caller gave up.
        state: PoolState,
        /// The error of the last failed check, if nothing has proved the other side alive since.
        #[source]
        last_error: Option<Arc<E>>,
    },
}

impl<E: Error + 'static> Classified for AcquireError<E> {
    /// Local exhaustion says nothing about the other side: only a failed connect does.
    fn class(&self) -> Class {
        match self {
            Self::Connect { .. } => Class::Unavailable { after: None },
            Self::Cancelled | Self::Closed | Self::QueueFull | Self::Timeout { .. } => {
                Class::Ignore
            }
        }
    }
}

/// A configuration that contradicts itself.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The floor lies above the ceiling.
    #[error("min_idle is {min_idle} and must not exceed max_size, which is {max_size}")]
    MinIdleAboveMaxSize {
        /// The floor.
        min_idle: usize,
        /// The ceiling.
        max_size: usize,
    },
    /// The jitter is no share of a lifetime.
    #[error("lifetime_jitter is {value} and must be at least 0 and less than 1")]
    JitterOutOfRange {
        /// What was given.
        value: f64,
    },
    /// A field that must not be zero is.
    #[error("{field} must not be zero")]
    Zero {
        /// The field.
        field: &'static str,
    },
}

impl Classified for ConfigError {
    fn class(&self) -> Class {
        Class::Permanent
    }
}
