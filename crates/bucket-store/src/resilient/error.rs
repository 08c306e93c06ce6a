//! [`ResilientError`]: which of the guards, or the remote behind them, ended a call.

use std::error::Error;
use std::time::Duration;

use bucket_core::{Class, Classified};
use bucket_remote::{RemoteError, RemoteErrorKind};

/// Why a call through the guards failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResilientError {
    /// The circuit breaker is open: the remote was not asked, and no connection was taken.
    #[error("the circuit breaker is open, the remote was not asked")]
    BreakerOpen {
        /// How long until a probe will be let through.
        retry_in: Option<Duration>,
    },
    /// No connection could be made.
    #[error("no connection to the remote could be made")]
    Connect {
        /// What the pool's manager said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Every connection of the pool is in use: local exhaustion, no sign about the remote.
    #[error("no connection became free in time; the pool is exhausted, the remote was not asked")]
    PoolExhausted {
        /// What the pool said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The remote failed, after as many attempts as the policy allows.
    #[error("the remote failed after {attempts} attempts")]
    Remote {
        /// How often it was asked.
        attempts: u32,
        /// What it said last.
        source: RemoteError,
    },
}

impl ResilientError {
    /// The remote's own error, if it was asked.
    pub const fn remote(&self) -> Option<&RemoteError> {
        match self {
            Self::Remote { source, .. } => Some(source),
            _ => None,
        }
    }

    /// True when the remote said, definitely, that there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.remote().is_some_and(|error| error.kind == RemoteErrorKind::NotFound)
    }
}

impl Classified for ResilientError {
    /// A rejection and local exhaustion are [`Class::Ignore`]: neither is retried inside the call, nor
    /// charged to the remote.
    fn class(&self) -> Class {
        match self {
            Self::BreakerOpen { .. } | Self::PoolExhausted { .. } => Class::Ignore,
            Self::Connect { .. } => Class::Unavailable { after: None },
            Self::Remote { source, .. } => source.class(),
        }
    }
}
