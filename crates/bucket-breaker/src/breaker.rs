//! [`Breaker`]: admits calls, takes their outcomes, and moves between its states.
//!
//! Everything that decides lies in one [`Word`]. A transition computes the next word from the current
//! one and swaps it in if nobody was faster; nothing is locked, nobody waits. Two numbers stand beside
//! the word, the back-off level and the time of the latest probe. They decide how long something
//! lasts, never what happens.

use std::fmt;
use std::mem;
use std::time::Duration;

use bucket_core::{Blocked, Class, Classified, Clock, Gate, Tick};

use crate::config::{Config, NANOS_PER_MILLI};
use crate::planted::Bug;
use crate::snapshot::Totals;
use crate::sync::{Arc, AtomicU32, AtomicU64, Ordering};
use crate::word::{Phase, Tag, Word};
use crate::{BreakerBuilder, CallError, Permit, Recorded, Rejected, Snapshot, State};

/// A circuit breaker. Clones share one state.
///
/// Time is handed in: every method that depends on it takes `now`, and all of one breaker's must come
/// from one clock.
///
/// # Examples
///
/// ```
/// use bucket_breaker::{Breaker, Recorded};
/// use bucket_core::{Class, Clock, SystemClock};
///
/// let clock = SystemClock::new();
/// let breaker = Breaker::builder("s3").build()?;
///
/// let permit = breaker.try_acquire(clock.now())?;
/// // … make the call …
/// assert_eq!(permit.record(clock.now(), Class::Success), Recorded::Counted);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Breaker(Arc<Inner>);

impl Breaker {
    /// The settings of a breaker called `name`, at their defaults.
    pub fn builder(name: impl Into<String>) -> BreakerBuilder {
        BreakerBuilder::new(name.into())
    }

    /// The settings of the breaker in the Python system `ipfs_kit`, for those who come from there: 5
    /// failures, 2 successes, 50 % of at least 10 calls, open for 60 s without jitter.
    ///
    /// Not recommended: an outage of 300 ms costs a minute.
    pub fn ipfs_kit_defaults(name: impl Into<String>) -> BreakerBuilder {
        BreakerBuilder::ipfs_kit_defaults(name.into())
    }

    pub(crate) fn new(name: Arc<str>, config: Config) -> Self {
        Self(Arc::new(Inner {
            name,
            config,
            word: AtomicU64::new(Word::closed(0).bits()),
            probed: AtomicU64::new(0),
            level: AtomicU32::new(0),
            totals: Totals::default(),
        }))
    }

    /// Asks to make a call now.
    ///
    /// Once the open time has passed, the first to ask turns the breaker half-open and makes the
    /// first probe.
    ///
    /// # Errors
    ///
    /// [`Rejected`] when the breaker is open, or half-open with every probe slot taken. Do not make
    /// the call; come back when it says.
    pub fn try_acquire(&self, now: Tick) -> Result<Permit<'_>, Rejected> {
        let admitted = self.0.admit(|| now)?;
        Ok(Permit::new(&self.0, admitted.tag(), now))
    }

    /// Makes a call and records how it went: an error by its class, a panic as a failure.
    ///
    /// The clock is read only for a transition; while all is well it is not.
    ///
    /// # Errors
    ///
    /// [`CallError::Rejected`] when no call was made, [`CallError::Inner`] with the call's own error.
    pub fn call<T, E: Classified>(
        &self,
        clock: &dyn Clock,
        f: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, CallError<E>> {
        let inner = &*self.0;
        let tag = inner.admit(|| clock.now()).map_err(CallError::Rejected)?.tag();
        let guard = FailOnUnwind { inner, tag, clock };
        let result = f();
        mem::forget(guard); // It returned.
        let class = result.as_ref().map_or_else(Classified::class, |_| Class::Success);
        inner.settle(tag, || clock.now(), Outcome::of(class));
        result.map_err(CallError::Inner)
    }

    /// The state at `now`. An open breaker whose time has passed is reported as half-open: it would
    /// let a probe through.
    pub fn state(&self, now: Tick) -> State {
        let word = self.0.load();
        reported_state(word, now)
    }

    /// The name that it was built with.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The state and the totals at `now`.
    pub fn snapshot(&self, now: Tick) -> Snapshot {
        let word = self.0.load();
        let totals = &self.0.totals;
        Snapshot {
            name: Arc::clone(&self.0.name),
            state: reported_state(word, now),
            generation: word.generation(),
            retry_in: self.0.offer(word, &|| now).err().and_then(|rejected| rejected.retry_in),
            admitted: totals.admitted.value(),
            rejected: totals.rejected.value(),
            successes: totals.successes.value(),
            failures: totals.failures.value(),
            ignored: totals.ignored.value(),
            stale: totals.stale.value(),
            trips: totals.trips.value(),
        }
    }

    /// Opens it until [`reset`](Self::reset) or [`force_closed`](Self::force_closed); it does not
    /// probe.
    pub fn force_open(&self) {
        self.0.force(Word::forced_open);
    }

    /// Closes it until [`reset`](Self::reset) or [`force_open`](Self::force_open): outcomes are
    /// counted in the totals and open nothing.
    pub fn force_closed(&self) {
        self.0.force(Word::forced_closed);
    }

    /// Closes it with an empty window, as it was built; the totals stay.
    pub fn reset(&self) {
        self.0.force(Word::closed);
    }
}

impl Gate for Breaker {
    fn may_try(&self, now: Tick) -> Result<(), Blocked> {
        self.0.offer(self.0.load(), &|| now).map(drop).map_err(Blocked::from)
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a breaker makes of an outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Success,
    /// Counts against the other side; if it opens the breaker, then for no less than `floor`.
    Failure {
        floor: Option<Duration>,
    },
    Neutral,
}

impl Outcome {
    pub(crate) const fn of(class: Class) -> Self {
        match class {
            Class::Success | Class::Permanent => Self::Success,
            _ if class.is_failure() => Self::Failure { floor: class.retry_after() },
            _ => Self::Neutral,
        }
    }
}

/// What the clones of a breaker share.
pub(crate) struct Inner {
    name: Arc<str>,
    config: Config,
    /// A [`Word`].
    word: AtomicU64,
    /// The tick at which the latest probe was let through.
    ///
    /// Invariant: no older than the latest probe that `word` counts.
    probed: AtomicU64,
    /// The failed probes since the breaker opened from closed; what is open doubles this often.
    level: AtomicU32,
    totals: Totals,
}

impl Inner {
    fn load(&self) -> Word {
        // Acquire: the partner of the swaps; what was written beside the word before is visible.
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    /// Replaces `current` by `next`, or returns what is there instead.
    fn swap(&self, current: Word, next: Word) -> Result<(), Word> {
        if self.config.planted.has(Bug::BlindStore) {
            self.word.store(next.bits(), Ordering::Release);
            return Ok(());
        }
        // Release: the partner of the loads. Acquire on failure: the loop goes on with what it read.
        self.word
            .compare_exchange_weak(current.bits(), next.bits(), Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
            .map_err(Word::from_bits)
    }

    fn force(&self, to: impl Fn(u32) -> Word) {
        let mut word = self.load();
        while let Err(actual) = self.swap(word, to(word.next_generation())) {
            word = actual;
        }
    }

    /// Lets a call through; returns the word under which it counts.
    fn admit(&self, now: impl Fn() -> Tick) -> Result<Word, Rejected> {
        let mut word = self.load();
        loop {
            let next = match self.offer(word, &now) {
                Ok(next) => next,
                Err(rejected) => {
                    self.count(|totals| totals.rejected.add_one());
                    return Err(rejected);
                }
            };
            if next != word {
                // Before the swap that publishes the probe, and never backwards: who sees the probe
                // sees its time. If the swap fails, the lease is at most that much longer.
                if !self.config.planted.has(Bug::LateProbeTime) {
                    self.probed.fetch_max(now().as_nanos(), Ordering::Relaxed);
                }
                if let Err(actual) = self.swap(word, next) {
                    word = actual;
                    continue;
                }
                if self.config.planted.has(Bug::LateProbeTime) {
                    self.probed.fetch_max(now().as_nanos(), Ordering::Relaxed);
                }
            }
            self.count(|totals| totals.admitted.add_one());
            return Ok(next);
        }
    }

    /// What `word` becomes when it lets a call through; writes nothing, and asks for the time only when
    /// it must.
    fn offer(&self, word: Word, now: &impl Fn() -> Tick) -> Result<Word, Rejected> {
        match word.phase() {
            Phase::Closed | Phase::ForcedClosed => Ok(word),
            Phase::Open => match time_left(word, now()) {
                Some(Duration::ZERO) => Ok(Word::half_open(word.next_generation(), 1, 0)),
                retry_in => Err(Rejected::new(State::Open, retry_in)),
            },
            Phase::HalfOpen if word.in_flight() < self.config.half_open_permits => {
                let in_flight = word.in_flight() + 1;
                Ok(Word::half_open(word.generation(), in_flight, word.successes()))
            }
            Phase::HalfOpen => {
                let probed = Tick::from_nanos(self.probed.load(Ordering::Relaxed));
                let lease_left = self.config.probe_lease.saturating_sub(now().since(probed));
                if lease_left.is_zero() {
                    // The probes are lost. In a new generation their results are stale.
                    return Ok(Word::half_open(word.next_generation(), 1, 0));
                }
                // A probe under way answers long before its lease ends.
                let retry_in = lease_left.min(self.config.open_duration);
                Err(Rejected::new(State::HalfOpen, Some(retry_in)))
            }
        }
    }

    /// Takes the outcome of a call that was admitted under `tag`.
    pub(crate) fn settle(&self, tag: Tag, now: impl Fn() -> Tick, outcome: Outcome) -> Recorded {
        let mut word = self.load();
        loop {
            if word.tag() != tag && !self.config.planted.has(Bug::LateResultCounts) {
                self.count(|totals| totals.stale.add_one());
                return Recorded::Stale;
            }
            let next = self.after(word, &now, outcome);
            if next == word {
                break;
            }
            let level = self.next_level(word);
            match self.swap(word, next) {
                Ok(()) => {
                    if next.phase() == Phase::Open {
                        // After the swap, which names the winner. A winner that is held up here for
                        // the whole open time makes a later one longer or shorter, within the bounds.
                        self.level.store(level, Ordering::Relaxed);
                        self.count(|totals| totals.trips.add_one());
                    }
                    break;
                }
                Err(actual) => word = actual,
            }
        }
        self.count(|totals| match outcome {
            Outcome::Success => totals.successes.add_one(),
            Outcome::Failure { .. } => totals.failures.add_one(),
            Outcome::Neutral => totals.ignored.add_one(),
        });
        Recorded::Counted
    }

    /// What `word` becomes by the outcome of a call that it admitted.
    fn after(&self, word: Word, now: &impl Fn() -> Tick, outcome: Outcome) -> Word {
        match (word.phase(), outcome) {
            (Phase::Closed, Outcome::Success) => word.push(self.config.register_len(), false),
            (Phase::Closed, Outcome::Failure { floor }) => {
                let pushed = word.push(self.config.register_len(), true);
                if self.config.trips(pushed) { self.opened(word, now(), floor) } else { pushed }
            }
            (Phase::HalfOpen, Outcome::Failure { floor }) => self.opened(word, now(), floor),
            (Phase::HalfOpen, Outcome::Success | Outcome::Neutral) => {
                // Saturating, for a permit that was held until the generations wrapped.
                let in_flight = word.in_flight().saturating_sub(1);
                let succeeded = matches!(outcome, Outcome::Success);
                let successes = word.successes() + u32::from(succeeded);
                if successes >= self.config.half_open_successes {
                    Word::closed(word.next_generation())
                } else {
                    Word::half_open(word.generation(), in_flight, successes)
                }
            }
            // Forced closed, nothing changes; open, nothing is admitted.
            (Phase::Closed, Outcome::Neutral) | (Phase::ForcedClosed | Phase::Open, _) => word,
        }
    }

    fn opened(&self, word: Word, now: Tick, floor: Option<Duration>) -> Word {
        let generation = word.next_generation();
        let level = self.next_level(word);
        Word::open_until(generation, self.config.open_until(now, level, floor, generation))
    }

    /// The level at which `word` would open.
    fn next_level(&self, word: Word) -> u32 {
        match word.phase() {
            Phase::HalfOpen => self.level.load(Ordering::Relaxed).saturating_add(1),
            Phase::Closed | Phase::ForcedClosed | Phase::Open => 0,
        }
    }

    fn count(&self, add: impl FnOnce(&Totals)) {
        if self.config.totals {
            add(&self.totals);
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.load();
        f.debug_struct("Breaker")
            .field("name", &self.name)
            .field("phase", &word.phase())
            .field("generation", &word.generation())
            .finish_non_exhaustive()
    }
}

/// Records a failure when the call unwinds, with the time at which it does. Forgotten otherwise.
struct FailOnUnwind<'a> {
    inner: &'a Inner,
    tag: Tag,
    clock: &'a dyn Clock,
}

impl Drop for FailOnUnwind<'_> {
    fn drop(&mut self) {
        self.inner.settle(self.tag, || self.clock.now(), Outcome::Failure { floor: None });
    }
}

fn reported_state(word: Word, now: Tick) -> State {
    match word.phase() {
        Phase::Closed | Phase::ForcedClosed => State::Closed,
        Phase::HalfOpen => State::HalfOpen,
        Phase::Open if time_left(word, now) == Some(Duration::ZERO) => State::HalfOpen,
        Phase::Open => State::Open,
    }
}

/// How long an open word stays open; `None` when it was forced.
fn time_left(open: Word, now: Tick) -> Option<Duration> {
    let expiry = open.expiry_milli()?.saturating_mul(NANOS_PER_MILLI);
    Some(Tick::from_nanos(expiry).since(now))
}
