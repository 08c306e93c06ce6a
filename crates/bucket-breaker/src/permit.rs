//! [`Permit`]: the right to make one call, and the duty to say how it went.

use std::mem;
use std::thread;

use bucket_core::{Class, Tick};

use crate::breaker::{Inner, Outcome};
use crate::word::Tag;

/// The right to make one call. Made by [`Breaker::try_acquire`](crate::Breaker::try_acquire).
///
/// # Cancellation
///
/// A dropped permit counts as neither success nor failure and frees its probe slot; one that is
/// dropped by a panic counts as a failure, at the time of its admission. A leaked one, if it was a
/// probe's, is given up after the probe lease.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts for nothing: record the outcome of the call"]
pub struct Permit<'a> {
    inner: &'a Inner,
    tag: Tag,
    admitted: Tick,
    /// Whether the thread was unwinding already, so that a later drop says nothing about the call.
    unwinding: bool,
}

impl<'a> Permit<'a> {
    pub(crate) fn new(inner: &'a Inner, tag: Tag, admitted: Tick) -> Self {
        Self { inner, tag, admitted, unwinding: thread::panicking() }
    }

    /// Records how the call went. `now` is when it ended.
    ///
    /// [`Class::Success`] and [`Class::Permanent`] are successes: the other side answered. What
    /// [`Class::is_failure`] says is one is a failure. [`Class::Ignore`] and [`Class::Throttled`] are
    /// neither.
    pub fn record(self, now: Tick, class: Class) -> Recorded {
        self.settle(now, Outcome::of(class))
    }

    /// Records a success.
    pub fn success(self, now: Tick) -> Recorded {
        self.settle(now, Outcome::Success)
    }

    /// Records a failure.
    pub fn failure(self, now: Tick) -> Recorded {
        self.settle(now, Outcome::Failure { floor: None })
    }

    /// Gives the permit back: the call was not made, or its outcome says nothing.
    pub fn ignore(self) -> Recorded {
        let now = self.admitted;
        self.settle(now, Outcome::Neutral)
    }

    fn settle(self, now: Tick, outcome: Outcome) -> Recorded {
        let recorded = self.inner.settle(self.tag, || now, outcome);
        mem::forget(self); // It holds nothing but a reference, and has said what it had to say.
        recorded
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let by_panic = thread::panicking() && !self.unwinding;
        let outcome = if by_panic { Outcome::Failure { floor: None } } else { Outcome::Neutral };
        self.inner.settle(self.tag, || self.admitted, outcome);
    }
}

/// What became of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a result counts or it does not")]
pub enum Recorded {
    /// It was taken into account.
    Counted,
    /// The state in which the call was admitted has ended since. The result changed nothing.
    Stale,
}
