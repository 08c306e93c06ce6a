//! [`State`] and [`Snapshot`]: what a breaker looks like from outside.

use std::fmt;
use std::time::Duration;

use crate::sync::{Arc, AtomicU64, Ordering};

/// The state of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the pattern has three states")]
pub enum State {
    /// Calls go through and their outcomes are counted.
    Closed,
    /// A few calls go through to find out whether the other side is back.
    HalfOpen,
    /// No call goes through.
    Open,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        })
    }
}

/// What a breaker looked like at one moment.
///
/// State, generation and `retry_in` come from one reading. The totals are read one after the other,
/// so calls that end meanwhile may be in some and not in others.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// The name that the breaker was built with.
    pub name: Arc<str>,
    /// As [`Breaker::state`](crate::Breaker::state) reports it.
    pub state: State,
    /// How many transitions there were, modulo 1 048 576.
    pub generation: u32,
    /// How long until a call may be worth trying; `None` when one would go through now, and when the
    /// breaker was forced open.
    pub retry_in: Option<Duration>,
    /// Calls that were let through.
    pub admitted: u64,
    /// Calls that were turned away.
    pub rejected: u64,
    /// Results that counted as successes.
    pub successes: u64,
    /// Results that counted as failures.
    pub failures: u64,
    /// Results that counted as neither: ignored, throttled, dropped.
    pub ignored: u64,
    /// Results that arrived after the state they were admitted in had ended.
    pub stale: u64,
    /// How often outcomes opened the breaker, probes that failed included.
    pub trips: u64,
}

/// The running totals; all zero when they are switched off.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) admitted: Counter,
    pub(crate) rejected: Counter,
    pub(crate) successes: Counter,
    pub(crate) failures: Counter,
    pub(crate) ignored: Counter,
    pub(crate) stale: Counter,
    pub(crate) trips: Counter,
}

/// A number that only grows. Relaxed throughout: nothing is decided on it.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
