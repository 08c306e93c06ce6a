//! [`PoolBuilder`]: the configuration of a pool, checked when it is built.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bucket_core::{Clock, SystemClock, Tick};

use crate::planted::Planted;
use crate::slots::{Live, Reason};
use crate::sync::Arc;
use crate::{BlockingManager, ConfigError, Pool};

/// Sets up a [`Pool`]; from [`Pool::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct PoolBuilder<M> {
    manager: M,
    config: Config,
}

impl<M: BlockingManager> PoolBuilder<M> {
    pub(crate) fn new(manager: M) -> Self {
        let config = Config {
            name: "pool".into(),
            max_size: 10,
            min_idle: 0,
            acquire_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            max_lifetime: Duration::from_secs(3_600),
            lifetime_jitter: 0.1,
            max_uses: u64::MAX,
            check_after: Duration::from_millis(500),
            max_waiters: usize::MAX,
            clock: Arc::new(SystemClock::new()),
            seed: None,
            planted: Planted::default(),
        };
        Self { manager, config }
    }

    /// Takes over the limits of the original IPFS kit's pool: 2 to 10 connections, closed after 300 s
    /// of idleness, 3600 s of life or 1000 uses, checked when nothing proved them for 60 s.
    pub fn ipfs_kit_defaults(self) -> Self {
        self.min_idle(2)
            .max_size(10)
            .idle_timeout(Duration::from_secs(300))
            .max_lifetime(Duration::from_secs(3_600))
            .check_after(Duration::from_secs(60))
            .max_uses(1_000)
    }

    /// The name that logs and metrics show; the default is `pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// How many connections there may be at one time, those being opened and closed included; the
    /// default is 10.
    pub fn max_size(mut self, max_size: usize) -> Self {
        self.config.max_size = max_size;
        self
    }

    /// How many idle connections idleness does not close, and up to how many [`Pool::fill`] opens;
    /// the default is 0.
    pub fn min_idle(mut self, min_idle: usize) -> Self {
        self.config.min_idle = min_idle;
        self
    }

    /// How long an acquire may take, with waiting, checking and connecting; the default is 30 s.
    ///
    /// With zero, only a connection that is idle and proven is handed out.
    pub fn acquire_timeout(mut self, acquire_timeout: Duration) -> Self {
        self.config.acquire_timeout = acquire_timeout;
        self
    }

    /// How long a connection may be idle; the default is 300 s.
    pub fn idle_timeout(mut self, idle_timeout: Duration) -> Self {
        self.config.idle_timeout = idle_timeout;
        self
    }

    /// How old a connection may become; the default is 3600 s. A borrowed connection is closed when
    /// it comes back.
    pub fn max_lifetime(mut self, max_lifetime: Duration) -> Self {
        self.config.max_lifetime = max_lifetime;
        self
    }

    /// By up to which share of it each lifetime is shortened at random, so that connections opened
    /// together do not end together; the default is 0.1.
    pub fn lifetime_jitter(mut self, lifetime_jitter: f64) -> Self {
        self.config.lifetime_jitter = lifetime_jitter;
        self
    }

    /// How often a connection may be checked out; unlimited by default.
    pub fn max_uses(mut self, max_uses: u64) -> Self {
        self.config.max_uses = max_uses;
        self
    }

    /// For how long a connection counts as proven after it was opened, checked or returned in good
    /// order; the default is 500 ms. A proven connection is not checked at checkout; with zero, every
    /// one is.
    pub fn check_after(mut self, check_after: Duration) -> Self {
        self.config.check_after = check_after;
        self
    }

    /// How many callers may wait at one time; unbounded by default. With zero, nobody waits.
    pub fn max_waiters(mut self, max_waiters: usize) -> Self {
        self.config.max_waiters = max_waiters;
        self
    }

    /// The clock of deadlines and ages; the default is [`SystemClock`].
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.config.clock = clock;
        self
    }

    /// Makes the jitter of the lifetimes repeatable; by default each pool draws its own seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// Plants a bug, for the models that have to catch it.
    #[cfg(bucket_planted)]
    #[doc(hidden)]
    pub fn planted(mut self, bug: crate::Bug) -> Self {
        self.config.planted = Planted::new(bug);
        self
    }

    /// Checks the configuration and makes the pool. Connects nothing.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the field and the rule.
    pub fn build(self) -> Result<Pool<M>, ConfigError> {
        self.config.validate()?;
        Ok(Pool::new(self.manager, self.config))
    }
}

impl<M> fmt::Debug for PoolBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What the builder collected.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) max_size: usize,
    pub(crate) min_idle: usize,
    pub(crate) acquire_timeout: Duration,
    idle_timeout: Duration,
    max_lifetime: Duration,
    lifetime_jitter: f64,
    max_uses: u64,
    check_after: Duration,
    pub(crate) max_waiters: usize,
    pub(crate) clock: Arc<dyn Clock>,
    seed: Option<u64>,
    pub(crate) planted: Planted,
}

impl Config {
    fn validate(&self) -> Result<(), ConfigError> {
        let zero = [
            ("max_size", self.max_size == 0),
            ("idle_timeout", self.idle_timeout.is_zero()),
            ("max_lifetime", self.max_lifetime.is_zero()),
            ("max_uses", self.max_uses == 0),
        ];
        if let Some((field, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(ConfigError::Zero { field });
        }
        if self.min_idle > self.max_size {
            let (min_idle, max_size) = (self.min_idle, self.max_size);
            return Err(ConfigError::MinIdleAboveMaxSize { min_idle, max_size });
        }
        // NaN is in no range.
        if !(0.0..1.0).contains(&self.lifetime_jitter) {
            return Err(ConfigError::JitterOutOfRange { value: self.lifetime_jitter });
        }
        Ok(())
    }

    /// Where the random sequence of the lifetimes starts.
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| RandomState::new().hash_one(0_u64))
    }

    /// The end of a connection born at `now`, `roll` being 64 random bits.
    pub(crate) fn expiry(&self, now: Tick, roll: u64) -> Tick {
        let nanos = u64::try_from(self.max_lifetime.as_nanos()).unwrap_or(u64::MAX);
        let share = self.lifetime_jitter * (roll as f64 / u64::MAX as f64);
        let cut = (nanos as f64 * share) as u64; // A cast of a float saturates.
        now.after(Duration::from_nanos(nanos.saturating_sub(cut)))
    }

    /// Why `live` must not be used any more at `now`. Idleness counts only for connections above the
    /// floor, which `is_spare` tells.
    pub(crate) fn overage<C>(&self, live: &Live<C>, now: Tick, is_spare: bool) -> Option<Reason> {
        if live.expires <= now {
            Some(Reason::Lifetime)
        } else if live.uses >= self.max_uses {
            Some(Reason::Uses)
        } else if is_spare && now.since(live.idle_since) >= self.idle_timeout {
            Some(Reason::Idle)
        } else {
            None
        }
    }

    /// True when `live` needs no check at `now`.
    pub(crate) fn is_proven<C>(&self, live: &Live<C>, now: Tick) -> bool {
        now.since(live.proved) < self.check_after
    }
}
