//! [`Class`]: what a policy must know about the outcome of a call, and nothing else.
//!
//! Breaker and retry decide on the class alone. A class says what happened, not what to do: the same
//! [`Class::Throttled`] is a reason to wait for a retry and no reason to open for a breaker.

use std::io;
use std::time::Duration;

/// The outcome of one call, as breaker and retry see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// The call did what it should.
    Success,
    /// The outcome says nothing about the other side: a caller that gave up, local exhaustion.
    /// Neither good nor bad for a breaker; never retried.
    Ignore,
    /// A definite failure that may pass, and that left nothing behind. Retried.
    Transient,
    /// The other side is alive and asks for fewer calls (HTTP 429, SlowDown). Never opens a breaker;
    /// retried no sooner than `after`.
    Throttled {
        /// The server's hint: do not come back before this much time has passed.
        after: Option<Duration>,
    },
    /// The other side cannot serve now (connection refused, HTTP 503). Retried no sooner than
    /// `after`.
    Unavailable {
        /// The server's hint, as for [`Class::Throttled`].
        after: Option<Duration>,
    },
    /// The other side answered, definitely, and the answer will not change by asking again: not
    /// found, condition false, invalid. Not retried; for a breaker a sign of health.
    Permanent,
    /// The call may or may not have taken effect: the connection broke, or time ran out, before the
    /// reply. Retried only where doing it twice is as good as doing it once.
    UnknownOutcome,
}

impl Class {
    /// True when a breaker should count the outcome against the other side.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Transient | Self::Unavailable { .. } | Self::UnknownOutcome)
    }

    /// True when the same call may be made again, `idempotent` being whether doing it twice is as
    /// good as doing it once.
    pub const fn is_retryable(self, idempotent: bool) -> bool {
        match self {
            Self::Transient | Self::Throttled { .. } | Self::Unavailable { .. } => true,
            Self::UnknownOutcome => idempotent,
            Self::Success | Self::Ignore | Self::Permanent => false,
        }
    }

    /// The server's hint when to come back.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Throttled { after } | Self::Unavailable { after } => after,
            _ => None,
        }
    }
}

/// Something that knows its own [`Class`]: every error of the bucket crates does.
pub trait Classified {
    /// The class of this outcome.
    fn class(&self) -> Class;
}

impl<E: Classified + ?Sized> Classified for &E {
    fn class(&self) -> Class {
        (**self).class()
    }
}

impl<E: Classified + ?Sized> Classified for Box<E> {
    fn class(&self) -> Class {
        (**self).class()
    }
}

impl Classified for io::Error {
    /// A connection that broke may have delivered the request: that is [`Class::UnknownOutcome`].
    fn class(&self) -> Class {
        use io::ErrorKind as Kind;
        match self.kind() {
            Kind::Interrupted | Kind::WouldBlock | Kind::ResourceBusy => Class::Transient,
            Kind::ConnectionRefused
            | Kind::HostUnreachable
            | Kind::NetworkDown
            | Kind::NetworkUnreachable
            | Kind::NotConnected => Class::Unavailable { after: None },
            Kind::BrokenPipe
            | Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::TimedOut
            | Kind::UnexpectedEof => Class::UnknownOutcome,
            _ => Class::Permanent,
        }
    }
}

/// Turns a result into a [`Class`].
///
/// Implemented by every `Fn(Result<&T, &E>) -> Class`, and by [`ByClass`] for errors that know
/// theirs.
///
/// # Examples
///
/// ```
/// use bucket_core::{Class, Classify};
///
/// let by_status = |result: Result<&u16, &std::io::Error>| match result {
///     Ok(200..=299) => Class::Success,
///     Ok(429) => Class::Throttled { after: None },
///     Ok(500..) => Class::Transient,
///     Ok(_) => Class::Permanent,
///     Err(_) => Class::UnknownOutcome,
/// };
/// assert_eq!(by_status.classify(Ok(&429)), Class::Throttled { after: None });
/// ```
pub trait Classify<T, E> {
    /// The class of one outcome.
    fn classify(&self, result: Result<&T, &E>) -> Class;
}

impl<T, E, F: Fn(Result<&T, &E>) -> Class> Classify<T, E> for F {
    fn classify(&self, result: Result<&T, &E>) -> Class {
        self(result)
    }
}

/// The classifier for errors that know their class: `Ok` is [`Class::Success`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ByClass;

impl<T, E: Classified> Classify<T, E> for ByClass {
    fn classify(&self, result: Result<&T, &E>) -> Class {
        result.map_or_else(Classified::class, |_| Class::Success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_is_retried_and_is_no_failure() {
        let class = Class::Throttled { after: Some(Duration::from_secs(1)) };
        assert!(!class.is_failure());
        assert!(class.is_retryable(false));
        assert_eq!(class.retry_after(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn an_unknown_outcome_is_retried_only_when_idempotent() {
        assert!(Class::UnknownOutcome.is_failure());
        assert!(Class::UnknownOutcome.is_retryable(true));
        assert!(!Class::UnknownOutcome.is_retryable(false));
    }

    #[test]
    fn a_broken_connection_leaves_the_outcome_unknown() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(ByClass.classify(Err::<&(), _>(&reset)), Class::UnknownOutcome);
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(refused.class(), Class::Unavailable { after: None });
    }
}
