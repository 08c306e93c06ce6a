//! [`BreakerBuilder`]: collects the settings of a breaker and refuses what makes no sense.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bucket_core::Tick;

use crate::planted::Planted;
use crate::word::{MAX_PROBES, MAX_WINDOW, Word};
use crate::{Breaker, ConfigError};

/// The settings of a [`Breaker`]. Made by [`Breaker::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct BreakerBuilder {
    name: String,
    config: Config,
    seed: Option<u64>,
}

impl BreakerBuilder {
    pub(crate) fn new(name: String) -> Self {
        Self { name, config: Config::default(), seed: None }
    }

    pub(crate) fn ipfs_kit_defaults(name: String) -> Self {
        let minute = Duration::from_secs(60);
        Self::new(name).open_duration(minute).max_open_duration(minute).jitter(0.0)
    }

    /// Opens at this many failures in a row: 1 to 40, 5 by default.
    pub fn consecutive_failures(mut self, n: u32) -> Self {
        self.config.consecutive_failures = n;
        self
    }

    /// Opens when this share of the calls in the window failed: above 0 and at most 1, 0.5 by
    /// default. Checked at each failure, once [`min_calls`](Self::min_calls) were made.
    pub fn failure_rate_threshold(mut self, share: f64) -> Self {
        self.config.failure_rate_threshold = share;
        self
    }

    /// How many of the latest calls the failure rate looks at: 1 to 40, 20 by default.
    pub fn window(mut self, calls: u32) -> Self {
        self.config.window = calls;
        self
    }

    /// How many calls a failure rate needs to mean something: 1 up to the window, 10 by default.
    pub fn min_calls(mut self, calls: u32) -> Self {
        self.config.min_calls = calls;
        self
    }

    /// How long it stays open the first time: at least 1 ms, 250 ms by default. Each failed probe
    /// doubles it; closing starts over.
    pub fn open_duration(mut self, duration: Duration) -> Self {
        self.config.open_duration = duration;
        self
    }

    /// The longest time it stays open before it lets a probe through, whatever doubling, jitter and
    /// the server's hints say: at least the open duration, 5 s by default.
    pub fn max_open_duration(mut self, duration: Duration) -> Self {
        self.config.max_open_duration = duration;
        self
    }

    /// How far the open time strays to either side, as a share of it: 0 to 1, 0.25 by default. What
    /// would end beyond the longest open time is spread below it instead.
    pub fn jitter(mut self, share: f64) -> Self {
        self.config.jitter = share;
        self
    }

    /// How many probes may be under way at once while half-open: 1 to 1 023, 1 by default.
    pub fn half_open_permits(mut self, n: u32) -> Self {
        self.config.half_open_permits = n;
        self
    }

    /// How many probes must succeed to close: 1 to 1 023, 2 by default.
    pub fn half_open_successes(mut self, n: u32) -> Self {
        self.config.half_open_successes = n;
        self
    }

    /// How long probes may take before they are given up and their slots are handed out again, when
    /// none is left: above zero, 10 s by default. Choose it longer than a call can take.
    pub fn probe_lease(mut self, duration: Duration) -> Self {
        self.config.probe_lease = duration;
        self
    }

    /// Whether the totals of a [`Snapshot`](crate::Snapshot) are counted; they are by default. Each
    /// costs an atomic addition, two a call.
    pub fn totals(mut self, on: bool) -> Self {
        self.config.totals = on;
        self
    }

    /// Makes the jitter repeatable. By default each breaker has its own, from the random state of the
    /// process.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Plants a bug, for the models that have to catch it.
    #[cfg(bucket_planted)]
    #[doc(hidden)]
    pub fn planted(mut self, bug: crate::Bug) -> Self {
        self.config.planted = Planted::new(bug);
        self
    }

    /// Builds the breaker, closed.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first field that is out of bounds or contradicts another.
    pub fn build(self) -> Result<Breaker, ConfigError> {
        let mut config = self.config;
        config.validate()?;
        config.seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(&self.name));
        Ok(Breaker::new(self.name.into(), config))
    }
}

/// Valid settings.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) consecutive_failures: u32,
    pub(crate) failure_rate_threshold: f64,
    pub(crate) window: u32,
    pub(crate) min_calls: u32,
    pub(crate) open_duration: Duration,
    pub(crate) max_open_duration: Duration,
    pub(crate) jitter: f64,
    pub(crate) half_open_permits: u32,
    pub(crate) half_open_successes: u32,
    pub(crate) probe_lease: Duration,
    pub(crate) totals: bool,
    pub(crate) planted: Planted,
    seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_rate_threshold: 0.5,
            window: 20,
            min_calls: 10,
            open_duration: Duration::from_millis(250),
            max_open_duration: Duration::from_secs(5),
            jitter: 0.25,
            half_open_permits: 1,
            half_open_successes: 2,
            probe_lease: Duration::from_secs(10),
            totals: true,
            planted: Planted::default(),
            seed: 0,
        }
    }
}

impl Config {
    /// How many outcomes the register must hold for both rules.
    pub(crate) fn register_len(&self) -> u32 {
        self.window.max(self.consecutive_failures)
    }

    /// Whether the outcomes in `closed`, of which the newest is a failure, open the breaker.
    pub(crate) fn trips(&self, closed: Word) -> bool {
        if closed.consecutive_failures() >= self.consecutive_failures {
            return true;
        }
        let calls = closed.filled().min(self.window);
        // Dividing is exact where multiplying is not: 11 of 20 is 0.55, but 0.55 * 20 > 11.
        let rate = f64::from(closed.failures(self.window)) / f64::from(calls);
        calls >= self.min_calls && rate >= self.failure_rate_threshold
    }

    /// The millisecond until which a breaker that opens at `now` stays open.
    ///
    /// `level` counts the failed probes since it was closed, `floor` is what the server asked for,
    /// and `generation` picks the jitter, so that two looks at one transition agree.
    pub(crate) fn open_until(
        &self,
        now: Tick,
        level: u32,
        floor: Option<Duration>,
        generation: u32,
    ) -> u64 {
        let max = nanos(self.max_open_duration);
        let doubled = nanos(self.open_duration).saturating_mul(1 << level.min(63)).min(max);
        let spread = (doubled as f64 * self.jitter) as u64;
        let low = doubled.saturating_sub(spread);
        let high = doubled.saturating_add(spread).min(max);
        let random = splitmix64(self.seed.wrapping_add(u64::from(generation)));
        let jittered = low + ((u128::from(random) * u128::from(high - low)) >> 64) as u64;
        let open = jittered.max(floor.map_or(0, nanos).min(max));
        // Rounded up to whole milliseconds, unless that would pass the longest open time.
        let up = now.as_nanos().saturating_add(open).div_ceil(NANOS_PER_MILLI);
        up.min(now.as_nanos().saturating_add(max) / NANOS_PER_MILLI)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field, rule| Err(ConfigError::Invalid { field, rule });
        if !(1..=MAX_WINDOW).contains(&self.consecutive_failures) {
            return refuse("consecutive_failures", "1 to 40");
        }
        // A range contains no NaN.
        if !(f64::MIN_POSITIVE..=1.0).contains(&self.failure_rate_threshold) {
            return refuse("failure_rate_threshold", "above 0 and at most 1");
        }
        if !(1..=MAX_WINDOW).contains(&self.window) {
            return refuse("window", "1 to 40");
        }
        if !(1..=self.window).contains(&self.min_calls) {
            return refuse("min_calls", "at least 1 and at most the window");
        }
        if self.open_duration < Duration::from_millis(1) {
            return refuse("open_duration", "at least 1 ms");
        }
        if self.max_open_duration < self.open_duration {
            return refuse("max_open_duration", "at least the open duration");
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return refuse("jitter", "0 to 1");
        }
        if !(1..=MAX_PROBES).contains(&self.half_open_permits) {
            return refuse("half_open_permits", "1 to 1023");
        }
        if !(1..=MAX_PROBES).contains(&self.half_open_successes) {
            return refuse("half_open_successes", "1 to 1023");
        }
        if self.probe_lease.is_zero() {
            return refuse("probe_lease", "above zero");
        }
        Ok(())
    }
}

/// Nanoseconds, at most `u64::MAX`.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A number that looks random, from any number.
///
/// See [splitmix64](https://prng.di.unimi.it/splitmix64.c) for the constants.
const fn splitmix64(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

pub(crate) const NANOS_PER_MILLI: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(BreakerBuilder) -> BreakerBuilder;

    #[test]
    fn each_invalid_setting_is_refused_by_name() {
        let cases: [(&str, Change); 21] = [
            ("consecutive_failures", |b| b.consecutive_failures(0)),
            ("consecutive_failures", |b| b.consecutive_failures(41)),
            ("failure_rate_threshold", |b| b.failure_rate_threshold(0.0)),
            ("failure_rate_threshold", |b| b.failure_rate_threshold(-0.5)),
            ("failure_rate_threshold", |b| b.failure_rate_threshold(1.01)),
            ("failure_rate_threshold", |b| b.failure_rate_threshold(f64::NAN)),
            ("window", |b| b.window(0)),
            ("window", |b| b.window(41)),
            ("min_calls", |b| b.min_calls(0)),
            ("min_calls", |b| b.window(9)),
            ("open_duration", |b| b.open_duration(Duration::ZERO)),
            ("max_open_duration", |b| b.open_duration(Duration::from_secs(6))),
            ("jitter", |b| b.jitter(-0.1)),
            ("jitter", |b| b.jitter(1.1)),
            ("jitter", |b| b.jitter(f64::NAN)),
            ("half_open_permits", |b| b.half_open_permits(0)),
            ("half_open_permits", |b| b.half_open_permits(1_024)),
            ("half_open_successes", |b| b.half_open_successes(0)),
            ("half_open_successes", |b| b.half_open_successes(1_024)),
            ("probe_lease", |b| b.probe_lease(Duration::ZERO)),
            ("max_open_duration", |b| b.max_open_duration(Duration::from_millis(249))),
        ];
        for (field, change) in cases {
            let error = change(Breaker::builder("x")).build().unwrap_err();
            assert_eq!(error.field(), field, "{error}");
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }

    #[test]
    fn the_given_defaults_are_valid() {
        assert!(Breaker::builder("x").build().is_ok());
        assert!(Breaker::ipfs_kit_defaults("x").build().is_ok());
    }

    #[test]
    fn an_exact_rate_counts_as_reached() {
        let config = Config {
            failure_rate_threshold: 0.55,
            consecutive_failures: 40,
            min_calls: 20,
            ..Config::default()
        };
        let mut word = Word::closed(0);
        for n in 0..20 {
            word = word.push(40, n >= 9);
        }
        assert_eq!(word.failures(20), 11);
        assert!(config.trips(word));
    }

    #[test]
    fn an_open_time_stays_within_jitter_and_maximum() {
        let config = Config::default();
        let now = Tick::from_nanos(1_234_567);
        let mut seen = std::collections::BTreeSet::new();
        for generation in 0..2_000 {
            for (level, nominal) in [(0, 250), (1, 500), (4, 4_000), (5, 5_000), (u32::MAX, 5_000)]
            {
                let end = config.open_until(now, level, None, generation) * NANOS_PER_MILLI;
                let open = Tick::from_nanos(end).since(now);
                let nominal = Duration::from_millis(nominal);
                assert!(open <= config.max_open_duration, "{open:?} at level {level}");
                // Whole milliseconds: one more than asked for, at most, or one less at the maximum.
                let slack = Duration::from_millis(1);
                assert!(open + slack >= nominal.mul_f64(0.75), "{open:?} at level {level}");
                assert!(open <= nominal.mul_f64(1.25) + slack, "{open:?} at level {level}");
                if level == 0 {
                    seen.insert(end);
                }
            }
        }
        assert!(seen.len() > 100, "only {} distinct open times", seen.len());
    }

    #[test]
    fn a_hint_raises_the_open_time_up_to_the_maximum() {
        let config = Config { jitter: 0.0, ..Config::default() };
        let after = |floor| config.open_until(Tick::ZERO, 0, Some(floor), 0);
        assert_eq!(after(Duration::from_millis(10)), 250);
        assert_eq!(after(Duration::from_secs(2)), 2_000);
        assert_eq!(after(Duration::MAX), 5_000);
    }

    #[test]
    fn the_end_of_time_does_not_overflow() {
        let config = Config { max_open_duration: Duration::MAX, ..Config::default() };
        let end = config.open_until(Tick::MAX, u32::MAX, Some(Duration::MAX), 0);
        assert_eq!(end, u64::MAX / NANOS_PER_MILLI);
    }
}
