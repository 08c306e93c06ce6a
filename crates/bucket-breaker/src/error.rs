//! What can go wrong: [`Rejected`], [`CallError`] and [`ConfigError`].

use std::fmt;
use std::time::Duration;

use bucket_core::{Blocked, Class, Classified};

use crate::State;

/// The breaker let no call through. Nothing was sent, and making this allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker is {state}{}", Wait(*.retry_in))]
#[non_exhaustive]
pub struct Rejected {
    /// Open, or half-open with every probe slot taken.
    pub state: State,
    /// How long until it makes sense to ask again; `None` when the breaker was forced open.
    pub retry_in: Option<Duration>,
}

impl Rejected {
    pub(crate) const fn new(state: State, retry_in: Option<Duration>) -> Self {
        Self { state, retry_in }
    }
}

impl Classified for Rejected {
    fn class(&self) -> Class {
        Class::Unavailable { after: self.retry_in }
    }
}

impl From<Rejected> for Blocked {
    fn from(rejected: Rejected) -> Self {
        Self::new(rejected.retry_in)
    }
}

/// Why a guarded call returned no value; `E` is the error of the call itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "a guarded call is rejected or it is made")]
pub enum CallError<E> {
    /// The breaker let no call through.
    #[error(transparent)]
    Rejected(Rejected),
    /// The call was made and returned this.
    #[error(transparent)]
    Inner(E),
}

impl<E: Classified> Classified for CallError<E> {
    fn class(&self) -> Class {
        match self {
            Self::Rejected(rejected) => rejected.class(),
            Self::Inner(error) => error.class(),
        }
    }
}

/// A configuration that no breaker can have.
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

/// Prints `, retry in 250ms`, or nothing.
struct Wait(Option<Duration>);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |wait| write!(f, ", retry in {wait:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_says_when_to_come_back() {
        let wait = Some(Duration::from_millis(250));
        let rejected = Rejected::new(State::Open, wait);
        assert_eq!(rejected.to_string(), "circuit breaker is open, retry in 250ms");
        assert_eq!(rejected.class(), Class::Unavailable { after: wait });
        let forced = Rejected::new(State::Open, None);
        assert_eq!(forced.to_string(), "circuit breaker is open");
    }
}
