//! [`Backoff`]: how long to wait before the next attempt, and [`Jitter`]: how far to stray from it.
//!
//! No delay ever exceeds the maximum, and no number of attempts overflows. Jitter is drawn in whole
//! nanoseconds, below the maximum rather than cut at it, so that callers who have reached it do not
//! come back together.

use std::time::Duration;

use crate::ConfigError;

/// How long to wait before each further attempt.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use bucket_retry::{Backoff, Jitter};
///
/// let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(1))
///     .jitter(Jitter::None);
/// let delays: Vec<_> = (1..=5).map(|n| backoff.delay(n, || 0).as_millis()).collect();
/// assert_eq!(delays, [100, 200, 400, 800, 1_000]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Backoff {
    curve: Curve,
    /// `None` until somebody chooses one; only an exponential curve has a use for it.
    factor: Option<f64>,
    jitter: Jitter,
}

impl Backoff {
    /// No delay at all.
    pub const fn none() -> Self {
        Self::new(Curve::None, Jitter::None)
    }

    /// Always `delay`, which is also the maximum. Without jitter, unless one is chosen.
    pub const fn fixed(delay: Duration) -> Self {
        Self::new(Curve::Fixed { delay }, Jitter::None)
    }

    /// `step`, then twice, then three times as long, up to `max`. Without jitter, unless one is
    /// chosen.
    pub const fn linear(step: Duration, max: Duration) -> Self {
        Self::new(Curve::Linear { step, max }, Jitter::None)
    }

    /// `base`, then each time longer by [`factor`](Self::factor), up to `max`. With full jitter,
    /// unless another is chosen.
    pub const fn exponential(base: Duration, max: Duration) -> Self {
        Self::new(Curve::Exponential { base, max }, Jitter::Full)
    }

    /// How much longer each exponential delay is than the one before: at least 1, 2 by default. The
    /// other curves take none.
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = Some(factor);
        self
    }

    /// How far the delays stray.
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The longest delay that there can be.
    pub const fn max(&self) -> Duration {
        match self.curve {
            Curve::None => Duration::ZERO,
            Curve::Fixed { delay } => delay,
            Curve::Linear { max, .. } | Curve::Exponential { max, .. } => max,
        }
    }

    /// The delay after attempt number `attempt`, of which the first is 1. `rng` gives 64 random bits;
    /// it is asked once, and not at all without jitter.
    pub fn delay(&self, attempt: u32, rng: impl FnOnce() -> u64) -> Duration {
        let nominal = nanos(self.nominal(attempt));
        let spread = |share: f64| (nominal as f64 * share) as u64; // Saturates; NaN is zero.
        let (low, high) = match self.jitter {
            Jitter::None => return self.nominal(attempt),
            Jitter::Equal => (nominal / 2, nominal),
            Jitter::Full => (0, nominal),
            Jitter::Range(share) => {
                (nominal.saturating_sub(spread(share)), nominal.saturating_add(spread(share)))
            }
        };
        let high = high.min(nanos(self.max()));
        Duration::from_nanos(low + below(rng(), high.saturating_sub(low)))
    }

    /// Whether there is no randomness in it.
    pub(crate) fn is_exact(&self) -> bool {
        self.jitter == Jitter::None
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field, rule| Err(ConfigError::Invalid { field, rule });
        match self.curve {
            Curve::None | Curve::Fixed { .. } => {}
            Curve::Linear { step, .. } if step.is_zero() => {
                return refuse("backoff.step", "above zero");
            }
            Curve::Linear { step, max } if max < step => {
                return refuse("backoff.max", "at least the step");
            }
            Curve::Exponential { base, .. } if base.is_zero() => {
                return refuse("backoff.base", "above zero");
            }
            Curve::Exponential { base, max } if max < base => {
                return refuse("backoff.max", "at least the base");
            }
            Curve::Linear { .. } | Curve::Exponential { .. } => {}
        }
        match (self.factor, self.curve) {
            (None, _) => {}
            (Some(factor), Curve::Exponential { .. }) => {
                // Also refuses NaN.
                if !(factor >= 1.0 && factor.is_finite()) {
                    return refuse("backoff.factor", "finite and at least 1");
                }
            }
            (Some(_), _) => {
                return refuse("backoff.factor", "left alone unless the backoff is exponential");
            }
        }
        match self.jitter {
            // A range contains no NaN.
            Jitter::Range(share) if !(0.0..=1.0).contains(&share) => {
                refuse("backoff.jitter", "0 to 1")
            }
            _ => Ok(()),
        }
    }

    const fn new(curve: Curve, jitter: Jitter) -> Self {
        Self { curve, factor: None, jitter }
    }

    /// The delay without jitter.
    fn nominal(&self, attempt: u32) -> Duration {
        match self.curve {
            Curve::None => Duration::ZERO,
            Curve::Fixed { delay } => delay,
            Curve::Linear { step, max } => step.saturating_mul(attempt).min(max),
            // Zero times infinity would be no number.
            Curve::Exponential { base, .. } if base.is_zero() => Duration::ZERO,
            Curve::Exponential { base, max } => {
                let factor = self.factor.unwrap_or(DEFAULT_FACTOR);
                let growth = factor.powf(f64::from(attempt.saturating_sub(1)));
                // What is no duration any more has long passed the maximum.
                Duration::try_from_secs_f64(base.as_secs_f64() * growth).unwrap_or(max).min(max)
            }
        }
    }
}

/// How far a delay strays from the nominal one.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Jitter {
    /// Not at all. Callers that fail together come back together.
    None,
    /// Anywhere from half the nominal delay to all of it.
    Equal,
    /// Anywhere from nothing to the nominal delay: spreads callers best.
    Full,
    /// Up to this share, 0 to 1, to either side, but never above the maximum.
    Range(f64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Curve {
    None,
    Fixed { delay: Duration },
    Linear { step: Duration, max: Duration },
    Exponential { base: Duration, max: Duration },
}

/// The 64 random bits, brought to 0 up to but not including `bound`; 0 for a bound of 0.
pub(crate) fn below(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

/// Nanoseconds, at most `u64::MAX`: 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const DEFAULT_FACTOR: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn any_backoff() -> impl Strategy<Value = Backoff> {
        let duration =
            || (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n));
        let short = || (0..100_000_u64).prop_map(Duration::from_millis);
        let length = || prop_oneof![short(), duration(), Just(Duration::MAX)];
        let curve = prop_oneof![
            Just(Backoff::none()),
            length().prop_map(Backoff::fixed),
            (length(), length()).prop_map(|(a, b)| Backoff::linear(a, b)),
            (length(), length()).prop_map(|(a, b)| Backoff::exponential(a, b)),
            (length(), length(), 1.0..1e300)
                .prop_map(|(a, b, factor)| Backoff::exponential(a, b).factor(factor)),
        ];
        let jitter = prop_oneof![
            Just(Jitter::None),
            Just(Jitter::Equal),
            Just(Jitter::Full),
            (0.0..=1.0).prop_map(Jitter::Range),
        ];
        (curve, jitter).prop_map(|(backoff, jitter)| backoff.jitter(jitter))
    }

    proptest! {
        #[test]
        fn no_delay_exceeds_the_maximum(
            backoff in any_backoff(),
            attempt in prop_oneof![1..100_u32, any::<u32>(), Just(u32::MAX)],
            random in prop_oneof![any::<u64>(), Just(0), Just(u64::MAX)],
        ) {
            prop_assert!(backoff.delay(attempt, || random) <= backoff.max());
        }

        #[test]
        fn jitter_stays_in_its_band(
            millis in 1..1_000_000_u64,
            attempt in 1..10_u32,
            share in 0.0..=1.0,
            random: u64,
        ) {
            let base = Duration::from_millis(millis);
            let backoff = Backoff::exponential(base, base * 1_024);
            let nominal = base * (1 << (attempt - 1));
            let drawn = |jitter| backoff.jitter(jitter).delay(attempt, || random);
            prop_assert_eq!(drawn(Jitter::None), nominal);
            prop_assert!(drawn(Jitter::Full) <= nominal);
            prop_assert!((nominal / 2..=nominal).contains(&drawn(Jitter::Equal)));
            let slack = Duration::from_nanos(1_000); // For the rounding of the comparison.
            let ranged = drawn(Jitter::Range(share));
            prop_assert!(ranged + slack >= nominal.mul_f64(1.0 - share));
            prop_assert!(ranged <= nominal.mul_f64(1.0 + share) + slack);
        }
    }

    #[test]
    fn the_curves_grow_as_they_say() {
        let millis = Duration::from_millis;
        let nominal = |backoff: Backoff| [1, 2, 3, 4].map(|n| backoff.nominal(n).as_millis());
        assert_eq!(nominal(Backoff::none()), [0; 4]);
        assert_eq!(nominal(Backoff::fixed(millis(7))), [7; 4]);
        assert_eq!(nominal(Backoff::linear(millis(10), millis(35))), [10, 20, 30, 35]);
        let exponential = Backoff::exponential(millis(10), millis(200));
        assert_eq!(nominal(exponential), [10, 20, 40, 80]);
        assert_eq!(nominal(exponential.factor(3.0)), [10, 30, 90, 200]);
        assert_eq!(nominal(exponential.factor(1.0)), [10; 4]);
    }

    #[test]
    fn a_range_at_the_maximum_spreads_below_it() {
        let second = Duration::from_secs(1);
        let backoff = Backoff::fixed(second).jitter(Jitter::Range(0.2));
        assert_eq!(backoff.delay(1, || 0), second.mul_f64(0.8));
        assert!(backoff.delay(1, || u64::MAX / 2) < second.mul_f64(0.91));
        assert!(backoff.delay(1, || u64::MAX) < second);
    }
}
