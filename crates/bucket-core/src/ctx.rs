//! [`Ctx`]: what a call carries through the layers: how long, which attempt, how deep, what for.

use std::time::Duration;

use crate::{Cancel, OpId, OpKind, Tick};

/// The context of one call, passed by reference.
///
/// A layer that repeats the call raises [`attempt`](Ctx::attempt); a layer that retries inside
/// another raises [`depth`](Ctx::depth), and a retry that finds itself below another gives up after
/// its first attempt, so that nested retries do not multiply.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ctx {
    /// When the caller stops waiting. The callee must keep it itself.
    pub deadline: Option<Tick>,
    /// Which attempt this is; the first is 1.
    pub attempt: u32,
    /// How many retrying layers stand above this call.
    pub depth: u8,
    /// What kind of operation this is.
    pub op: OpKind,
    /// The identity of the operation, the same for all its attempts.
    pub op_id: Option<OpId>,
    /// Tells the call to stop.
    pub cancel: Cancel,
}

impl Ctx {
    /// A first attempt at `op`, without deadline, identity or cancellation.
    pub const fn new(op: OpKind) -> Self {
        Self { deadline: None, attempt: 1, depth: 0, op, op_id: None, cancel: Cancel::never() }
    }

    /// Ends no later than `deadline`: the earlier of two deadlines holds.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Tick) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |old| old.min(deadline)));
        self
    }

    /// Gives the operation an identity.
    #[must_use]
    pub const fn with_op_id(mut self, op_id: OpId) -> Self {
        self.op_id = Some(op_id);
        self
    }

    /// Listens to `cancel`.
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// The context of attempt number `attempt`, ending no later than `deadline`, one layer deeper.
    #[must_use]
    pub fn for_attempt(&self, attempt: u32, deadline: Option<Tick>) -> Self {
        let mut ctx = self.clone();
        ctx.attempt = attempt;
        ctx.depth = ctx.depth.saturating_add(1);
        match deadline {
            Some(deadline) => ctx.with_deadline(deadline),
            None => ctx,
        }
    }

    /// The time left at `now`; `None` without a deadline, zero once it has passed.
    pub fn remaining(&self, now: Tick) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(now))
    }

    /// True once the deadline has passed.
    pub fn is_expired(&self, now: Tick) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_deadline_holds() {
        let ctx = Ctx::new(OpKind::Read).with_deadline(Tick::from_nanos(10));
        let attempt = ctx.for_attempt(2, Some(Tick::from_nanos(20)));
        assert_eq!(attempt.deadline, Some(Tick::from_nanos(10)));
        assert_eq!((attempt.attempt, attempt.depth), (2, 1));
        assert!(attempt.is_expired(Tick::from_nanos(10)));
        assert_eq!(attempt.remaining(Tick::from_nanos(4)), Some(Duration::from_nanos(6)));
    }
}
