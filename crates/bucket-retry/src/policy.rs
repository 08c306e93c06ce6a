//! [`RetryPolicy`]: how often, how long and how patiently a call is repeated.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bucket_core::{Ctx, Tick};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::backoff::{below, nanos};
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::{Backoff, Call, ConfigError, RetryState};

/// How a call is repeated. Clones share one source of jitter.
#[derive(Clone)]
pub struct RetryPolicy(Arc<Inner>);

struct Inner {
    config: Config,
    /// The seed of the next call that draws a delay. Relaxed: only its being different matters.
    seed: AtomicU64,
}

impl RetryPolicy {
    /// The settings at their defaults: 3 attempts, 100 ms doubling to 2 s with full jitter, no
    /// deadline.
    pub fn builder() -> RetryPolicyBuilder {
        RetryPolicyBuilder { config: Config::default(), seed: None }
    }

    /// Starts the machine for one call, which begins at `now`. `idempotent` says whether doing it
    /// twice is as good as doing it once.
    pub fn start(&self, ctx: &Ctx, now: Tick, idempotent: bool) -> RetryState {
        RetryState::new(self.clone(), ctx.clone(), now, idempotent)
    }

    /// Prepares a blocking call: not idempotent, without a gate, on the clock of the system, sleeping
    /// on the calling thread.
    pub fn call<'a>(&'a self, ctx: &'a Ctx) -> Call<'a> {
        Call::new(self, ctx)
    }

    /// The delays of one call in which every attempt fails, drawn afresh: one fewer than the
    /// attempts.
    pub fn delays(&self) -> impl Iterator<Item = Duration> + use<> {
        let backoff = self.0.config.backoff;
        let mut rng = self.rng();
        (1..self.0.config.max_attempts)
            .map(move |attempt| backoff.delay(attempt, || rng.next_u64()))
    }

    /// How many attempts a call has, the first included.
    pub fn max_attempts(&self) -> u32 {
        self.0.config.max_attempts
    }

    /// The same policy with a source of jitter of its own, which starts from `seed`: for tests and
    /// simulations of a policy that somebody else has built.
    #[must_use]
    pub fn with_seed(&self, seed: u64) -> Self {
        Self::new(self.0.config.clone(), seed)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// A generator for one call.
    pub(crate) fn rng(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.0.seed.fetch_add(1, Ordering::Relaxed))
    }

    fn new(config: Config, seed: u64) -> Self {
        Self(Arc::new(Inner { config, seed: AtomicU64::new(seed) }))
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RetryPolicy").field(&self.0.config).finish()
    }
}

/// The settings of a [`RetryPolicy`]. Made by [`RetryPolicy::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RetryPolicyBuilder {
    config: Config,
    seed: Option<u64>,
}

impl RetryPolicyBuilder {
    /// How long to wait before each further attempt.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// How many attempts a call has, the first included: at least 1, 3 by default.
    pub fn max_attempts(mut self, n: u32) -> Self {
        self.config.max_attempts = n;
        self
    }

    /// How long a call may take with all its attempts and delays: above zero, none by default. The
    /// context's own deadline holds too.
    pub fn deadline(mut self, duration: Duration) -> Self {
        self.config.deadline = Some(duration);
        self
    }

    /// How long each attempt may take: above zero, none by default. Attempts find it, or what is left
    /// of the call's deadline, in their context.
    pub fn attempt_timeout(mut self, duration: Duration) -> Self {
        self.config.attempt_timeout = Some(duration);
        self
    }

    /// The longest hint of a server that is believed: 5 min by default. A longer one counts as this.
    pub fn max_hint(mut self, duration: Duration) -> Self {
        self.config.max_hint = duration;
        self
    }

    /// Makes the jitter repeatable. By default each policy has its own, from the random state of the
    /// process.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Builds the policy.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first field that is out of bounds or contradicts another.
    pub fn build(self) -> Result<RetryPolicy, ConfigError> {
        self.config.validate()?;
        Ok(self.build_unchecked())
    }

    /// Builds the policy from settings that are known to be valid.
    pub(crate) fn build_unchecked(self) -> RetryPolicy {
        let seed =
            self.seed.unwrap_or_else(|| RandomState::new().hash_one(self.config.max_attempts));
        RetryPolicy::new(self.config, seed)
    }
}

/// Valid settings.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) backoff: Backoff,
    pub(crate) max_attempts: u32,
    pub(crate) deadline: Option<Duration>,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) max_hint: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backoff: Backoff::exponential(Duration::from_millis(100), Duration::from_secs(2)),
            max_attempts: 3,
            deadline: None,
            attempt_timeout: None,
            max_hint: Duration::from_secs(300),
        }
    }
}

impl Config {
    /// The delay after attempt number `attempt`, no shorter than the server's `hint`.
    pub(crate) fn delay(
        &self,
        attempt: u32,
        hint: Option<Duration>,
        mut rng: impl FnMut() -> u64,
    ) -> Duration {
        let backoff = self.backoff.delay(attempt, &mut rng);
        let Some(hint) = hint else { return backoff };
        let hint = hint.min(self.max_hint);
        if self.backoff.is_exact() {
            return backoff.max(hint);
        }
        // Everybody was given the same hint: whoever came back on the dot would meet the others.
        let spread = nanos(hint / 10).min(MAX_HINT_JITTER);
        backoff.max(hint.saturating_add(Duration::from_nanos(below(rng(), spread))))
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field, rule| Err(ConfigError::Invalid { field, rule });
        self.backoff.validate()?;
        if self.max_attempts == 0 {
            return refuse("max_attempts", "at least 1");
        }
        if self.deadline.is_some_and(|duration| duration.is_zero()) {
            return refuse("deadline", "above zero");
        }
        if self.attempt_timeout.is_some_and(|duration| duration.is_zero()) {
            return refuse("attempt_timeout", "above zero");
        }
        Ok(())
    }
}

/// Nanoseconds: 1 s.
const MAX_HINT_JITTER: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    use crate::Jitter;

    type Change = fn(RetryPolicyBuilder) -> RetryPolicyBuilder;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_invalid_setting_is_refused_by_name() {
        let cases: [(&str, Change); 16] = [
            ("max_attempts", |b| b.max_attempts(0)),
            ("deadline", |b| b.deadline(Duration::ZERO)),
            ("attempt_timeout", |b| b.attempt_timeout(Duration::ZERO)),
            ("backoff.base", |b| b.backoff(Backoff::exponential(Duration::ZERO, SECOND))),
            ("backoff.max", |b| b.backoff(Backoff::exponential(SECOND * 2, SECOND))),
            ("backoff.step", |b| b.backoff(Backoff::linear(Duration::ZERO, SECOND))),
            ("backoff.max", |b| b.backoff(Backoff::linear(SECOND * 2, SECOND))),
            ("backoff.factor", |b| b.backoff(Backoff::fixed(SECOND).factor(2.0))),
            ("backoff.factor", |b| b.backoff(Backoff::none().factor(2.0))),
            ("backoff.factor", |b| b.backoff(exponential().factor(0.99))),
            ("backoff.factor", |b| b.backoff(exponential().factor(f64::NAN))),
            ("backoff.factor", |b| b.backoff(exponential().factor(f64::INFINITY))),
            ("backoff.jitter", |b| b.backoff(exponential().jitter(Jitter::Range(-0.1)))),
            ("backoff.jitter", |b| b.backoff(exponential().jitter(Jitter::Range(1.1)))),
            ("backoff.jitter", |b| b.backoff(exponential().jitter(Jitter::Range(f64::NAN)))),
            ("backoff.max", |b| b.backoff(Backoff::exponential(SECOND, Duration::ZERO))),
        ];
        for (field, change) in cases {
            let error = change(RetryPolicy::builder()).build().unwrap_err();
            assert_eq!(error.field(), field, "{error}");
            assert!(error.to_string().starts_with(field), "{error}");
        }
        assert!(RetryPolicy::builder().build().is_ok());
    }

    fn exponential() -> Backoff {
        Backoff::exponential(SECOND, SECOND * 60)
    }

    proptest! {
        #[test]
        fn no_delay_is_shorter_than_a_hint_within_its_bound(
            hint in prop_oneof![
                (0..10_000_000_u64).prop_map(Duration::from_millis),
                Just(Duration::MAX),
            ],
            attempt: u32,
            random: u64,
            jitter in prop_oneof![Just(Jitter::None), Just(Jitter::Equal), Just(Jitter::Full)],
        ) {
            let config = Config { backoff: exponential().jitter(jitter), ..Config::default() };
            let delay = config.delay(attempt, Some(hint), || random);
            prop_assert!(delay >= hint.min(config.max_hint));
            prop_assert!(delay <= config.max_hint + SECOND);
        }
    }

    #[test]
    fn a_hint_without_jitter_is_kept_to_the_dot() {
        let config = Config { backoff: Backoff::fixed(SECOND), ..Config::default() };
        let delay = |hint| config.delay(1, Some(hint), || u64::MAX);
        assert_eq!(delay(SECOND * 3), SECOND * 3);
        assert_eq!(delay(SECOND / 2), SECOND, "the backoff is longer");
        assert_eq!(delay(SECOND * 1_000), config.max_hint);
    }

    #[test]
    fn one_seed_gives_one_sequence_of_delays_and_calls_differ() {
        let policy = |seed| RetryPolicy::builder().max_attempts(20).seed(seed).build().unwrap();
        let (one, again) = (policy(1), policy(1));
        let first: Vec<_> = one.delays().collect();
        assert_eq!(first.len(), 19);
        assert_eq!(first, again.delays().collect::<Vec<_>>());
        assert_ne!(first, one.delays().collect::<Vec<_>>(), "the next call draws others");
        assert_ne!(first, one.clone().delays().collect::<Vec<_>>());
    }

    #[test]
    fn a_policy_with_another_seed_is_the_same_but_for_its_jitter() {
        let built = RetryPolicy::builder().max_attempts(20).seed(1).build().unwrap();
        let (again, other) = (built.with_seed(1), built.with_seed(2));
        let delays = built.delays().collect::<Vec<_>>();
        assert_eq!(delays, again.delays().collect::<Vec<_>>(), "it starts from the seed");
        assert_ne!(delays, other.delays().collect::<Vec<_>>());
        assert_eq!(other.max_attempts(), 20);
    }

    #[test]
    fn policies_without_a_seed_differ() {
        let delays = || {
            let policy = RetryPolicy::builder().max_attempts(20).build().unwrap();
            policy.delays().collect::<Vec<_>>()
        };
        assert_ne!(delays(), delays());
    }
}
