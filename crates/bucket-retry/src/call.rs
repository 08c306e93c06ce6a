//! [`Call`]: the blocking driver of the retry machine, and [`Sleep`], how it waits.

use std::fmt;
use std::time::Duration;

use bucket_core::{Cancel, Classified, Clock, Ctx, Gate, SystemClock};

use crate::state::Progress;
use crate::{Decision, Reason, RetryError, RetryPolicy};

/// A blocking call about to be made. Made by [`RetryPolicy::call`].
#[derive(Clone, Copy)]
#[must_use = "a call does nothing until `run`"]
pub struct Call<'a> {
    policy: &'a RetryPolicy,
    ctx: &'a Ctx,
    clock: &'a dyn Clock,
    sleep: &'a dyn Sleep,
    gate: Option<&'a dyn Gate>,
    idempotent: bool,
}

impl<'a> Call<'a> {
    pub(crate) fn new(policy: &'a RetryPolicy, ctx: &'a Ctx) -> Self {
        Self { policy, ctx, clock: &CLOCK, sleep: &SLEEP, gate: None, idempotent: false }
    }

    /// Whether doing it twice is as good as doing it once; by default it is not, and an unknown
    /// outcome is not retried.
    pub const fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// Gives up as soon as `gate` is closed. Pass the circuit breaker that guards the closure.
    pub const fn gate(mut self, gate: &'a dyn Gate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Reads this clock instead of the system's. The context's deadline must be a time of it.
    pub const fn clock(mut self, clock: &'a dyn Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sleeps this way instead of on the calling thread.
    pub const fn sleep(mut self, sleep: &'a dyn Sleep) -> Self {
        self.sleep = sleep;
        self
    }

    /// Makes the call: runs `op` until it succeeds or there is a reason to stop.
    ///
    /// `op` is run at least once, and is handed the context of its attempt, whose deadline it must
    /// keep. If it panics, so does this.
    ///
    /// # Cancellation
    ///
    /// Cancelling the context's token wakes the sleep between two attempts; no further one is made.
    ///
    /// # Errors
    ///
    /// [`RetryError`] with the error of the last attempt and the reason why it was the last.
    pub fn run<T, E: Classified>(
        self,
        mut op: impl FnMut(&Ctx) -> Result<T, E>,
    ) -> Result<T, RetryError<E>> {
        let mut now = self.clock.now();
        let mut progress = Progress::start(self.policy, self.ctx, now, self.idempotent);
        loop {
            let last = match op(&progress.attempt_ctx(self.policy, self.ctx, now)) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            now = self.clock.now();
            let class = last.class();
            let reason = match progress.on_outcome(self.policy, self.ctx, now, class, self.gate) {
                // An error that calls itself a success.
                Decision::Done => Reason::NotRetryable,
                Decision::GiveUp(reason) => reason,
                Decision::Retry { delay } => {
                    let slept = delay.is_zero() || self.sleep.sleep(delay, &self.ctx.cancel);
                    now = self.clock.now();
                    match progress.before_attempt(self.ctx, now, self.gate) {
                        Ok(()) if slept => continue,
                        Ok(()) => Reason::Cancelled,
                        Err(reason) => reason,
                    }
                }
            };
            let elapsed = now.since(progress.started);
            return Err(RetryError::new(last, reason, progress.attempts, elapsed));
        }
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("policy", self.policy)
            .field("ctx", self.ctx)
            .field("idempotent", &self.idempotent)
            .finish_non_exhaustive()
    }
}

/// A way to wait.
pub trait Sleep: Send + Sync {
    /// Waits for `duration` unless cancelled first; true when the whole time has passed.
    fn sleep(&self, duration: Duration, cancel: &Cancel) -> bool;
}

impl<S: Sleep + ?Sized> Sleep for std::sync::Arc<S> {
    fn sleep(&self, duration: Duration, cancel: &Cancel) -> bool {
        (**self).sleep(duration, cancel)
    }
}

/// Waits on the calling thread, and wakes when cancelled.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ThreadSleep;

impl ThreadSleep {
    /// A sleeper on the calling thread.
    pub const fn new() -> Self {
        Self
    }
}

impl Sleep for ThreadSleep {
    fn sleep(&self, duration: Duration, cancel: &Cancel) -> bool {
        cancel.sleep(duration)
    }
}

static CLOCK: SystemClock = SystemClock::new();
static SLEEP: ThreadSleep = ThreadSleep::new();
