//! What can go wrong: [`RetryError`] with its [`Reason`], and [`ConfigError`].

use std::fmt;
use std::time::Duration;

use bucket_core::{Class, Classified};

/// Why a call is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// As many attempts were made as the policy allows.
    AttemptsExhausted,
    /// The caller's token was cancelled.
    Cancelled,
    /// The next attempt would not start before the deadline.
    DeadlineExceeded,
    /// The gate, such as a circuit breaker, lets no call through. It was not waited for.
    GateClosed,
    /// Another retry stands above this call and decides.
    Nested,
    /// Asking again would not change the answer.
    NotRetryable,
    /// The call may have taken effect, and doing it twice is not as good as doing it once.
    OutcomeUnknown,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AttemptsExhausted => "no attempts left",
            Self::Cancelled => "cancelled by the caller",
            Self::DeadlineExceeded => "no time left before the deadline",
            Self::GateClosed => "the gate is closed",
            Self::Nested => "an outer layer retries",
            Self::NotRetryable => "not worth repeating",
            Self::OutcomeUnknown => "it may have taken effect and is not idempotent",
        })
    }
}

/// A call that failed for good; `E` is the error of its last attempt, which is also the source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gave up after attempt {attempts}, in {elapsed:?}: {reason}")]
#[non_exhaustive]
pub struct RetryError<E> {
    /// The error of the last attempt.
    #[source]
    pub last: E,
    /// Why there was no further one.
    pub reason: Reason,
    /// How many attempts were made.
    pub attempts: u32,
    /// The time from the start of the first attempt until it was given up.
    pub elapsed: Duration,
}

impl<E> RetryError<E> {
    pub(crate) const fn new(last: E, reason: Reason, attempts: u32, elapsed: Duration) -> Self {
        Self { last, reason, attempts, elapsed }
    }

    /// The error of the last attempt.
    pub fn into_last(self) -> E {
        self.last
    }
}

impl<E: Classified> Classified for RetryError<E> {
    /// The class of the last attempt: that it was repeated in vain makes it no more permanent.
    fn class(&self) -> Class {
        self.last.class()
    }
}

/// A configuration that no policy can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value lies outside its bounds, or contradicts another.
    #[error("{field} must be {rule}")]
    Invalid {
        /// The field, as its builder method is called.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

impl ConfigError {
    /// The field that was refused, as its builder method is called.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Invalid { field, .. } => field,
        }
    }
}

impl Classified for ConfigError {
    fn class(&self) -> Class {
        Class::Permanent
    }
}
