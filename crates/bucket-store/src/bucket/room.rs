//! [`Room`]: the bounds on what may wait for the remote.

use std::time::Duration;

use bucket_core::ByteCount;

use crate::bucket::config::WhenFull;
use crate::bucket::error::StoreError;
use crate::bucket::inner::{Inner, State};
use crate::sync::MutexGuard;

/// Room under the bounds, taken before the first byte is written and given back if nothing comes of it.
pub(crate) struct Room<'a> {
    inner: &'a Inner,
    pub(crate) cost: u64,
    held: bool,
}

impl<'a> Room<'a> {
    pub(crate) fn reserve(inner: &'a Inner, cost: u64) -> Result<Self, StoreError> {
        let limit = inner.config.max_pending_bytes;
        if cost > limit.get() {
            return Err(StoreError::TooLarge { len: ByteCount::new(cost), limit });
        }
        let start = inner.clock.now();
        let mut state = inner.state.lock();
        loop {
            if state.stopping {
                return Err(StoreError::Closed);
            }
            let (ops, bytes) = used(&state);
            if bytes + cost <= limit.get() && ops < inner.config.max_pending_ops {
                state.reserved.0 += 1;
                state.reserved.1 += cost;
                return Ok(Self { inner, cost, held: true });
            }
            let waited = inner.clock.now().since(start);
            let left = match inner.config.when_full {
                WhenFull::Fail => Duration::ZERO,
                WhenFull::Block { timeout } => timeout.saturating_sub(waited),
            };
            if left.is_zero() {
                let (pending, bytes) = (ops, ByteCount::new(bytes));
                return Err(StoreError::Full { pending, bytes, limit, waited });
            }
            inner.changed.wait_for(&mut state, left.min(Duration::from_secs(1)));
        }
    }

    /// Changes what is held. Growing does not wait: two growing puts could wait for each other.
    pub(crate) fn resize(&mut self, cost: u64) -> Result<(), StoreError> {
        let limit = self.inner.config.max_pending_bytes;
        let mut state = self.inner.state.lock();
        let (pending, bytes) = used(&state);
        if cost > self.cost && bytes - self.cost + cost > limit.get() {
            if cost > limit.get() {
                return Err(StoreError::TooLarge { len: ByteCount::new(cost), limit });
            }
            let (bytes, waited) = (ByteCount::new(bytes), Duration::ZERO);
            return Err(StoreError::Full { pending, bytes, limit, waited });
        }
        state.reserved.1 = state.reserved.1 - self.cost + cost;
        let shrunk = cost < self.cost;
        self.cost = cost;
        drop(state);
        if shrunk {
            self.inner.changed.notify_all();
        }
        Ok(())
    }

    /// The engine counts the operation from now on.
    pub(crate) fn hand_over(mut self, state: &mut MutexGuard<'_, State>) {
        state.reserved.0 -= 1;
        state.reserved.1 -= self.cost;
        self.held = false;
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.held {
            let mut state = self.inner.state.lock();
            state.reserved.0 -= 1;
            state.reserved.1 -= self.cost;
            drop(state);
            self.inner.changed.notify_all();
        }
    }
}

fn used(state: &State) -> (u64, u64) {
    let (ops, bytes) = state.engine.pending();
    (ops + state.reserved.0, bytes + state.reserved.1)
}
