//! [`Lane`]: the operations of one key, and what is known of the oldest.

use std::collections::VecDeque;
use std::time::Duration;

use bucket_core::Tick;
use bucket_wal::Lsn;

use crate::bucket::job::{Known, Op, Refusal};

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) ops: VecDeque<Entry>,
    pub(crate) in_flight: bool,
    pub(crate) known: Known,
    pub(crate) attempt: u32,
    pub(crate) not_before: Tick,
    pub(crate) refused: Option<Refusal>,
    /// Set once the head was applied and waits for the time when nothing late can undo it.
    pub(crate) applied: bool,
    /// Until then a request that was sent earlier may still take effect.
    pub(crate) tainted_until: Tick,
    /// The head may have been sent before: by an attempt without an answer, or by a process that died.
    pub(crate) maybe_sent: bool,
    /// The lane's entry in `Engine::ready`.
    pub(crate) ready_at: Option<(Tick, Lsn)>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) op: Op,
    pub(crate) acknowledged: bool,
}

impl Lane {
    /// The operation that will be sent next: the head, or the newest of those that replace it.
    pub(crate) fn to_send(&self) -> Option<&Op> {
        let acknowledged = self.ops.iter().take_while(|entry| entry.acknowledged);
        let entry =
            if self.applied || !self.maybe_sent { acknowledged.last() } else { self.ops.front() };
        entry.map(|entry| &entry.op)
    }

    /// Nothing is left of it: no operation, no settlement that is not durable yet, nothing late.
    pub(crate) fn is_over(&self, now: Tick) -> bool {
        self.ops.is_empty() && !self.in_flight && self.tainted_until <= now
    }

    /// The head has gone; what is next starts with a clean record, on the same key.
    pub(crate) fn start_over(&mut self) {
        self.attempt = 0;
        self.applied = false;
        self.maybe_sent = false;
        self.refused = None;
        self.not_before = Tick::ZERO;
    }
}

/// Doubling from the first to the second bound, with the upper half random.
pub(crate) fn backoff((base, max): (Duration, Duration), attempt: u32, random: u64) -> Duration {
    let full = base.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(max);
    full.mul_f64(0.5 + (random >> 11) as f64 / (1_u64 << 54) as f64)
}
