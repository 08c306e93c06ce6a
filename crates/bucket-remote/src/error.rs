//! [`RemoteError`]: what went wrong at the remote, and whether the request may have taken effect.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use bucket_core::{Class, Classified};

/// A failed operation on a remote.
///
/// The message carries no key, no address and no credential; the source may, so print it only where
/// those may be seen.
#[derive(Debug)]
#[non_exhaustive]
pub struct RemoteError {
    /// What went wrong.
    pub kind: RemoteErrorKind,
    /// Whether the request may have taken effect.
    pub applied: Applied,
    /// The remote's hint when to come back.
    pub retry_after: Option<Duration>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Whether a failed request may have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied {
    /// It did not, and will not: the remote refused it, or nothing was sent.
    No,
    /// It may have, or may still: bytes may have left, and no definite answer came.
    Unknown,
}

/// The kinds of [`RemoteError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemoteErrorKind {
    /// The credentials are missing, wrong or expired, or do not allow this.
    Auth,
    /// The caller cancelled.
    Cancelled,
    /// The precondition does not hold.
    ConditionFalse,
    /// Another request for the same object is in the way; the same request may succeed later.
    Conflict,
    /// What came back is not what was stored.
    Corrupt,
    /// The remote cannot accept this request, now or later.
    Invalid,
    /// There is no such object.
    NotFound,
    /// The account or the disk behind the remote is full.
    Quota,
    /// The remote asks for fewer requests.
    Throttled,
    /// No answer came before the deadline.
    Timeout,
    /// The object is larger than the remote accepts.
    TooLarge,
    /// A failure that may pass.
    Transient,
    /// The remote cannot be reached, or cannot serve.
    Unavailable,
    /// The remote does not offer this operation.
    Unsupported,
}

impl RemoteErrorKind {
    /// The name, in lower case with underscores, as messages, metrics and JSON spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cancelled => "cancelled",
            Self::ConditionFalse => "condition_false",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Quota => "quota",
            Self::Throttled => "throttled",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Transient => "transient",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
        }
    }
}

impl RemoteError {
    /// A definite failure: the request did not take effect and will not.
    pub const fn refused(kind: RemoteErrorKind) -> Self {
        Self { kind, applied: Applied::No, retry_after: None, source: None }
    }

    /// A failure after which the request may have taken effect, or may still.
    pub const fn ambiguous(kind: RemoteErrorKind) -> Self {
        Self { kind, applied: Applied::Unknown, retry_after: None, source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the remote's hint when to come back.
    #[must_use]
    pub const fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// True when the request may have taken effect, or may still.
    pub const fn is_ambiguous(&self) -> bool {
        matches!(self.applied, Applied::Unknown)
    }
}

impl Classified for RemoteError {
    fn class(&self) -> Class {
        use RemoteErrorKind as Kind;
        if self.is_ambiguous() {
            return Class::UnknownOutcome;
        }
        match self.kind {
            Kind::Cancelled => Class::Ignore,
            Kind::Conflict | Kind::Timeout | Kind::Transient => Class::Transient,
            Kind::Throttled => Class::Throttled { after: self.retry_after },
            Kind::Unavailable => Class::Unavailable { after: self.retry_after },
            _ => Class::Permanent,
        }
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            RemoteErrorKind::Auth => "the remote refused the credentials",
            RemoteErrorKind::Cancelled => "the request was cancelled",
            RemoteErrorKind::ConditionFalse => "the precondition does not hold",
            RemoteErrorKind::Conflict => "another request for the object is in the way",
            RemoteErrorKind::Corrupt => "what the remote returned is not what was stored",
            RemoteErrorKind::Invalid => "the remote cannot accept this request",
            RemoteErrorKind::NotFound => "the remote has no such object",
            RemoteErrorKind::Quota => "the remote is full",
            RemoteErrorKind::Throttled => "the remote asks for fewer requests",
            RemoteErrorKind::Timeout => "the remote did not answer in time",
            RemoteErrorKind::TooLarge => "the object is larger than the remote accepts",
            RemoteErrorKind::Transient => "the remote failed in a way that may pass",
            RemoteErrorKind::Unavailable => "the remote cannot be reached or cannot serve",
            RemoteErrorKind::Unsupported => "the remote does not offer this operation",
        })?;
        match self.applied {
            Applied::No => Ok(()),
            Applied::Unknown => f.write_str(" (the request may have taken effect)"),
        }
    }
}

impl Error for RemoteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ambiguous_failure_of_any_kind_is_an_unknown_outcome() {
        let error = RemoteError::ambiguous(RemoteErrorKind::Timeout);
        assert_eq!(error.class(), Class::UnknownOutcome);
        assert_eq!(RemoteError::refused(RemoteErrorKind::Timeout).class(), Class::Transient);
    }

    #[test]
    fn the_hint_of_a_throttle_reaches_the_policies() {
        let after = Duration::from_secs(3);
        let error = RemoteError::refused(RemoteErrorKind::Throttled).with_retry_after(after);
        assert_eq!(error.class(), Class::Throttled { after: Some(after) });
    }
}
