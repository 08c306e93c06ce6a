//! [`Arrivals`]: when a client has a request.

use std::time::Duration;

use crate::error::{ConfigError, refuse};
use crate::rng::Rng;

/// When a client has a request to make. It does not wait for the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Arrivals {
    rate: f64,
    regular: bool,
}

impl Arrivals {
    /// At random and independently of each other, on average `per_second` times a second: a Poisson
    /// process. Above 0 and at most 1 000 000.
    pub const fn poisson(per_second: f64) -> Self {
        Self { rate: per_second, regular: false }
    }

    /// At equal distances, `per_second` times a second, each client with a phase of its own. Above 0
    /// and at most 1 000 000.
    pub const fn regular(per_second: f64) -> Self {
        Self { rate: per_second, regular: true }
    }

    /// How many requests a second there are on average.
    pub(crate) const fn rate(self) -> f64 {
        self.rate
    }

    /// The time until the first request.
    pub(crate) fn first(self, rng: &mut Rng) -> Duration {
        if self.regular { self.seconds(rng.unit()) } else { self.next(rng) }
    }

    /// The time from one request to the next.
    pub(crate) fn next(self, rng: &mut Rng) -> Duration {
        self.seconds(if self.regular { 1.0 } else { rng.exponential() })
    }

    fn seconds(self, periods: f64) -> Duration {
        // In range: a rate that passed `validate` has a period of at most some centuries.
        Duration::from_nanos((periods / self.rate * 1e9) as u64)
    }

    pub(crate) fn validate(self) -> Result<(), ConfigError> {
        // A range contains no NaN.
        if (MIN_RATE..=MAX_RATE).contains(&self.rate) {
            Ok(())
        } else {
            refuse("arrivals", "above 0 and at most 1 000 000 a second")
        }
    }
}

const MIN_RATE: f64 = f64::MIN_POSITIVE;
const MAX_RATE: f64 = 1_000_000.0;
