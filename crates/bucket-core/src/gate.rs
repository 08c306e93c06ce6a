//! [`Gate`]: may I try now?
//!
//! The little that a retry must know of a breaker, so that neither depends on the other.

use std::time::Duration;

use crate::Tick;

/// Something that can hold calls back for a while: a circuit breaker, a rate limit, a switch.
pub trait Gate: Send + Sync {
    /// Whether a call may be made at `now`. Asking reserves nothing and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Blocked`] says how long it makes sense to wait.
    fn may_try(&self, now: Tick) -> Result<(), Blocked>;
}

impl<G: Gate + ?Sized> Gate for std::sync::Arc<G> {
    fn may_try(&self, now: Tick) -> Result<(), Blocked> {
        (**self).may_try(now)
    }
}

/// A closed [`Gate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blocked {
    /// How long until it makes sense to ask again; `None` when only a person can tell.
    pub retry_in: Option<Duration>,
}

impl Blocked {
    /// Blocked for `retry_in`, or until somebody intervenes.
    pub const fn new(retry_in: Option<Duration>) -> Self {
        Self { retry_in }
    }
}
