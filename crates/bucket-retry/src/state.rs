//! [`RetryState`]: the machine of one call. Outcomes go in, decisions come out.
//!
//! It neither sleeps nor reads a clock, so every driver, blocking, async or simulated, decides the
//! same. A refusal is known before a delay is given out.

use std::time::Duration;

use bucket_core::{Class, Ctx, Gate, Tick};
use rand::Rng;
use rand::rngs::SmallRng;

use crate::{Reason, RetryPolicy};

/// One call on its way through its attempts. Made by [`RetryPolicy::start`].
///
/// # Examples
///
/// ```
/// use bucket_core::{Class, Ctx, OpKind, Tick};
/// use bucket_retry::{Decision, RetryPolicy};
///
/// let policy = RetryPolicy::builder().max_attempts(2).build()?;
/// let mut now = Tick::ZERO;
/// let mut call = policy.start(&Ctx::new(OpKind::Read), now, true);
///
/// assert_eq!(call.attempt_ctx(now).attempt, 1);
/// let Decision::Retry { delay } = call.on_outcome(now, Class::Transient, None) else { panic!() };
/// now = now.after(delay); // Sleep in whatever way you sleep.
/// assert_eq!(call.before_attempt(now, None), Ok(()));
///
/// assert_eq!(call.attempt_ctx(now).attempt, 2);
/// assert_eq!(call.on_outcome(now, Class::Success, None), Decision::Done);
/// # Ok::<(), bucket_retry::ConfigError>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct RetryState {
    policy: RetryPolicy,
    ctx: Ctx,
    progress: Progress,
}

impl RetryState {
    pub(crate) fn new(policy: RetryPolicy, ctx: Ctx, now: Tick, idempotent: bool) -> Self {
        let progress = Progress::start(&policy, &ctx, now, idempotent);
        Self { policy, ctx, progress }
    }

    /// The context for the next attempt, which begins at `now`: its number, one layer deeper, ending
    /// with the attempt's time-out or the call's deadline, whichever is earlier.
    #[must_use]
    pub fn attempt_ctx(&self, now: Tick) -> Ctx {
        self.progress.attempt_ctx(&self.policy, &self.ctx, now)
    }

    /// Takes the outcome of an attempt that ended at `now` and says what to do.
    ///
    /// The gate is only asked, see [`Gate`]. The reasons to give up are looked at in the order of the
    /// crate's documentation.
    pub fn on_outcome(&mut self, now: Tick, class: Class, gate: Option<&dyn Gate>) -> Decision {
        self.progress.on_outcome(&self.policy, &self.ctx, now, class, gate)
    }

    /// Looks again after the delay: things may have changed meanwhile.
    ///
    /// # Errors
    ///
    /// The [`Reason`] to give up after all: cancelled, past the deadline, or the gate has closed.
    pub fn before_attempt(&mut self, now: Tick, gate: Option<&dyn Gate>) -> Result<(), Reason> {
        self.progress.before_attempt(&self.ctx, now, gate)
    }

    /// How many attempts have ended.
    pub fn attempts(&self) -> u32 {
        self.progress.attempts
    }

    /// The time since the call was started.
    pub fn elapsed(&self, now: Tick) -> Duration {
        now.since(self.progress.started)
    }
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "a call ends well, ends badly, or goes on")]
pub enum Decision {
    /// The attempt succeeded.
    Done,
    /// Return the error of this attempt.
    GiveUp(Reason),
    /// Wait for `delay`, ask [`RetryState::before_attempt`], and try again.
    Retry {
        /// How long to wait.
        delay: Duration,
    },
}

/// What changes while a call goes on; policy and context are lent by whoever drives it.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) started: Tick,
    /// The earlier of the context's deadline and the policy's.
    deadline: Option<Tick>,
    /// Attempts that have ended.
    pub(crate) attempts: u32,
    idempotent: bool,
    /// Made for the first delay: most calls have none.
    rng: Option<SmallRng>,
}

impl Progress {
    pub(crate) fn start(policy: &RetryPolicy, ctx: &Ctx, now: Tick, idempotent: bool) -> Self {
        let own = policy.config().deadline.map(|duration| now.after(duration));
        let deadline = earlier(ctx.deadline, own);
        Self { started: now, deadline, attempts: 0, idempotent, rng: None }
    }

    pub(crate) fn attempt_ctx(&self, policy: &RetryPolicy, ctx: &Ctx, now: Tick) -> Ctx {
        let timeout = policy.config().attempt_timeout.map(|duration| now.after(duration));
        ctx.for_attempt(self.attempts.saturating_add(1), earlier(self.deadline, timeout))
    }

    pub(crate) fn on_outcome(
        &mut self,
        policy: &RetryPolicy,
        ctx: &Ctx,
        now: Tick,
        class: Class,
        gate: Option<&dyn Gate>,
    ) -> Decision {
        self.attempts = self.attempts.saturating_add(1);
        if class == Class::Success {
            return Decision::Done;
        }
        match self.next_delay(policy, ctx, now, class, gate) {
            Ok(delay) => Decision::Retry { delay },
            Err(reason) => Decision::GiveUp(reason),
        }
    }

    pub(crate) fn before_attempt(
        &mut self,
        ctx: &Ctx,
        now: Tick,
        gate: Option<&dyn Gate>,
    ) -> Result<(), Reason> {
        if ctx.cancel.is_cancelled() {
            return Err(Reason::Cancelled);
        }
        self.check_deadline(now)?;
        check_gate(gate, now)
    }

    fn next_delay(
        &mut self,
        policy: &RetryPolicy,
        ctx: &Ctx,
        now: Tick,
        class: Class,
        gate: Option<&dyn Gate>,
    ) -> Result<Duration, Reason> {
        if !class.is_retryable(true) {
            return Err(Reason::NotRetryable);
        }
        if !class.is_retryable(self.idempotent) {
            return Err(Reason::OutcomeUnknown);
        }
        if ctx.depth > 0 {
            return Err(Reason::Nested);
        }
        if ctx.cancel.is_cancelled() {
            return Err(Reason::Cancelled);
        }
        if self.attempts >= policy.max_attempts() {
            return Err(Reason::AttemptsExhausted);
        }
        check_gate(gate, now)?;
        let rng = self.rng.get_or_insert_with(|| policy.rng());
        let delay = policy.config().delay(self.attempts, class.retry_after(), || rng.next_u64());
        self.check_deadline(now.after(delay))?;
        Ok(delay)
    }

    fn check_deadline(&self, start: Tick) -> Result<(), Reason> {
        match self.deadline {
            Some(deadline) if deadline <= start => Err(Reason::DeadlineExceeded),
            _ => Ok(()),
        }
    }
}

fn check_gate(gate: Option<&dyn Gate>, now: Tick) -> Result<(), Reason> {
    match gate.map(|gate| gate.may_try(now)) {
        Some(Err(_)) => Err(Reason::GateClosed),
        Some(Ok(())) | None => Ok(()),
    }
}

fn earlier(a: Option<Tick>, b: Option<Tick>) -> Option<Tick> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
