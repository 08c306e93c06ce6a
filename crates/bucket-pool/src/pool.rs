//! [`Pool`]: hands out connections, at most so many, in the order they were asked for.

use std::fmt;
use std::time::Duration;

use bucket_core::{Ctx, OpKind, Tick};

use crate::config::Config;
use crate::planted::Bug;
use crate::slots::{Claim, Phase, Reason, Shared, Slot};
use crate::sync::Arc;
use crate::waiters::{Grant, Waiter};
use crate::{AcquireError, BlockingManager, PoolBuilder, PoolState, PoolStats, Pooled};

/// A bounded pool of connections; clones are handles of the same pool.
///
/// Dropping the last handle closes the pool; borrowed connections stay usable and are closed when they
/// come back.
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
/// use bucket_core::Ctx;
/// use bucket_pool::{BlockingManager, Pool};
///
/// struct Buffers;
///
/// impl BlockingManager for Buffers {
///     type Connection = Vec<u8>;
///     type Error = Infallible;
///
///     fn connect(&self, _ctx: &Ctx) -> Result<Vec<u8>, Infallible> {
///         Ok(Vec::with_capacity(4_096))
///     }
/// }
///
/// let pool = Pool::builder(Buffers).max_size(2).build()?;
/// let first = pool.acquire()?;
/// assert_eq!(pool.state().in_use, 1);
/// drop(first);
/// assert_eq!(pool.state().idle, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pool<M: BlockingManager> {
    pub(crate) handle: Arc<Handle<M>>,
}

impl<M: BlockingManager> Pool<M> {
    /// Starts to set up a pool of the connections that `manager` opens.
    pub fn builder(manager: M) -> PoolBuilder<M> {
        PoolBuilder::new(manager)
    }

    pub(crate) fn new(manager: M, config: Config) -> Self {
        let shared = Arc::new(Shared::new(manager, config));
        Self { handle: Arc::new(Handle { shared }) }
    }

    /// Checks a connection out; waits for one if it must, at most `acquire_timeout`.
    ///
    /// As [`Pool::acquire_with`], with the context of a read and nothing to cancel it.
    ///
    /// # Errors
    ///
    /// As [`Pool::acquire_with`].
    pub fn acquire(&self) -> Result<Pooled<M>, AcquireError<M::Error>> {
        self.acquire_with(&Ctx::new(OpKind::Read))
    }

    /// Checks a connection out; waits for one if it must.
    ///
    /// Takes the connection that was returned last; opens one if none is idle and there is room;
    /// waits otherwise. Waiters are served in the order they came. The earlier of `ctx.deadline` and
    /// `acquire_timeout` bounds waiting, checking and connecting together, the latter two as far as
    /// the manager keeps the deadline it is given. A connection whose check fails is replaced by a new
    /// one.
    ///
    /// # Cancellation
    ///
    /// `ctx.cancel` is looked at before and after waiting and before connecting; it does not end the
    /// wait, the deadline does. A caller that was cancelled or came too late passes on what it was
    /// given meanwhile; nothing leaks.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Timeout`] when the deadline passed, [`AcquireError::QueueFull`] when too many
    /// wait already, [`AcquireError::Connect`] when this caller's connect ended in an error,
    /// [`AcquireError::Cancelled`], and [`AcquireError::Closed`].
    pub fn acquire_with(&self, ctx: &Ctx) -> Result<Pooled<M>, AcquireError<M::Error>> {
        let shared = &self.handle.shared;
        let config = &shared.config;
        let begun = shared.now();
        let limit = begun.after(config.acquire_timeout);
        let deadline = ctx.deadline.map_or(limit, |deadline| deadline.min(limit));
        if ctx.cancel.is_cancelled() {
            return Err(AcquireError::Cancelled);
        }

        let mut inner = shared.inner.lock();
        if inner.closed {
            return Err(AcquireError::Closed);
        }
        if let Some(live) = inner.take_ready(config, begun) {
            drop(inner);
            return Ok(Pooled::new(Slot::adopt(shared, Phase::InUse), live));
        }
        if deadline <= begun {
            return Err(inner.timeout(Duration::ZERO));
        }
        let call = Call { shared, ctx, begun, deadline };
        if let Some(claim) = inner.claim(config, begun) {
            drop(inner);
            return call.prepare(Slot::adopt(shared, claim.phase()), claim);
        }
        if inner.waiters.len() >= config.max_waiters {
            return Err(AcquireError::QueueFull);
        }
        let waiter = inner.waiters.push();
        drop(inner);
        call.wait(&waiter)
    }

    /// Checks out a connection that is idle and proven; never waits, checks or connects.
    ///
    /// `None` when there is no such connection, and when the pool is closed.
    pub fn try_acquire(&self) -> Option<Pooled<M>> {
        let shared = &self.handle.shared;
        let now = shared.now();
        let live = shared.inner.lock().take_ready(&shared.config, now)?;
        Some(Pooled::new(Slot::adopt(shared, Phase::InUse), live))
    }

    /// Opens connections until `min_idle` are idle or there is no room; returns how many it opened.
    ///
    /// Each connect has `acquire_timeout`. Callers who wait get the connections first.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Connect`] with the first connect that ends in an error; what was opened before
    /// stays. [`AcquireError::Closed`] when the pool is closed.
    pub fn fill(&self) -> Result<usize, AcquireError<M::Error>> {
        let shared = &self.handle.shared;
        let mut n_opened = 0;
        loop {
            {
                let mut inner = shared.inner.lock();
                if inner.closed {
                    return Err(AcquireError::Closed);
                }
                if !inner.claim_spare_slot(&shared.config) {
                    return Ok(n_opened);
                }
            }
            let mut slot = Slot::adopt(shared, Phase::Connecting);
            let deadline = shared.now().after(shared.config.acquire_timeout);
            let ctx = Ctx::new(OpKind::Read).with_deadline(deadline);
            match shared.manager.connect(&ctx) {
                Ok(connection) => {
                    let live = shared.newborn(connection);
                    slot.count_created(false);
                    slot.put_back(live);
                    n_opened += 1;
                }
                Err(source) => {
                    slot.count_connect_failure();
                    return Err(AcquireError::Connect { source });
                }
            }
        }
    }

    /// Closes the idle connections that have expired by now; returns how many.
    ///
    /// As [`Pool::expire`] with the present time. Call it now and then: the pool starts no thread that
    /// would.
    pub fn tick(&self) -> usize {
        self.expire(self.handle.shared.now())
    }

    /// Closes the idle connections whose lifetime is over at `now`, and those idle for longer than
    /// `idle_timeout` while more than `min_idle` are; returns how many.
    pub fn expire(&self, now: Tick) -> usize {
        self.handle.shared.expire(now)
    }

    /// Closes the pool: refuses whoever comes, turns away whoever waits, closes what is idle.
    ///
    /// Borrowed connections stay usable and are closed when they come back. Does not wait for them.
    pub fn close(&self) {
        self.handle.shared.close();
    }

    /// The name of the pool.
    pub fn name(&self) -> &str {
        &self.handle.shared.config.name
    }

    /// What the pool looks like now.
    pub fn state(&self) -> PoolState {
        self.handle.shared.inner.lock().state()
    }

    /// What happened since the pool was built.
    pub fn stats(&self) -> PoolStats {
        self.handle.shared.inner.lock().stats
    }
}

impl<M: BlockingManager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle) }
    }
}

impl<M: BlockingManager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// What the handles share and the guards do not, so that the last handle can close the pool.
pub(crate) struct Handle<M: BlockingManager> {
    pub(crate) shared: Arc<Shared<M>>,
}

impl<M: BlockingManager> Drop for Handle<M> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// One call of `acquire`.
struct Call<'a, M: BlockingManager> {
    shared: &'a Arc<Shared<M>>,
    ctx: &'a Ctx,
    begun: Tick,
    deadline: Tick,
}

impl<M: BlockingManager> Call<'_, M> {
    /// Sleeps until the pool grants something, and makes that good to use, or the deadline passes.
    fn wait(
        &self,
        waiter: &Arc<Waiter<M::Connection>>,
    ) -> Result<Pooled<M>, AcquireError<M::Error>> {
        let grant = match waiter.wait(self.deadline.since(self.begun)) {
            Some(grant) => grant,
            None => self.last_look(waiter)?,
        };
        let (mut slot, claim) = match grant {
            Grant::Closed => return Err(AcquireError::Closed),
            Grant::Connection(live) => {
                (Slot::adopt(self.shared, Phase::InUse), Claim::Connection(live))
            }
            Grant::Slot => (Slot::adopt(self.shared, Phase::Connecting), Claim::Slot),
        };
        if self.ctx.cancel.is_cancelled() {
            if let Claim::Connection(live) = claim {
                slot.put_back(live);
            }
            return Err(AcquireError::Cancelled);
        }
        self.prepare(slot, claim)
    }

    /// Leaves the queue, unless a grant came in between the end of the wait and the lock.
    fn last_look(
        &self,
        waiter: &Arc<Waiter<M::Connection>>,
    ) -> Result<Grant<M::Connection>, AcquireError<M::Error>> {
        let cancelled = self.ctx.cancel.is_cancelled();
        let waited = self.shared.now().since(self.begun);
        let mut inner = self.shared.inner.lock();
        if !self.shared.config.planted.has(Bug::NoLastLook) {
            if let Some(grant) = waiter.take() {
                return Ok(grant);
            }
        }
        inner.waiters.remove(waiter);
        Err(if cancelled { AcquireError::Cancelled } else { inner.timeout(waited) })
    }

    /// Turns what was claimed into a connection that is good to use.
    fn prepare(
        &self,
        mut slot: Slot<M>,
        mut claim: Claim<M::Connection>,
    ) -> Result<Pooled<M>, AcquireError<M::Error>> {
        let shared = self.shared;
        loop {
            let now = shared.now();
            // If a check panics, the connection is dropped before the slot.
            let mut live = match claim {
                Claim::Slot => return self.connect(slot),
                Claim::Expired(live, reason) => {
                    slot.retire(live, reason);
                    claim = slot.reclaim(shared.now()).ok_or(AcquireError::Closed)?;
                    continue;
                }
                Claim::Connection(live) => live,
            };
            if shared.config.is_proven(&live, now) {
                slot.count_hit(false);
                return Ok(Pooled::new(slot, live));
            }
            if self.deadline <= now {
                slot.put_back(live);
                return Err(shared.timeout(self.begun));
            }
            return match shared.manager.check(&self.ctx_for_manager(), &mut live.connection) {
                Ok(()) => {
                    live.proved = shared.now();
                    slot.count_hit(true);
                    Ok(Pooled::new(slot, live))
                }
                Err(error) => {
                    slot.remember(error);
                    slot.retire(live, Reason::CheckFailed);
                    // A dead connection says that its neighbours may be dead as well: connect.
                    self.connect(slot)
                }
            };
        }
    }

    /// Opens a connection in `slot`; gives the slot up when that ends in an error.
    fn connect(&self, mut slot: Slot<M>) -> Result<Pooled<M>, AcquireError<M::Error>> {
        let shared = self.shared;
        if self.ctx.cancel.is_cancelled() {
            return Err(AcquireError::Cancelled);
        }
        if self.deadline <= shared.now() {
            // First, so that the error shows the pool without this caller.
            drop(slot);
            return Err(shared.timeout(self.begun));
        }
        if !slot.begin_connect() {
            return Err(AcquireError::Closed);
        }
        let live = match shared.manager.connect(&self.ctx_for_manager()) {
            Ok(connection) => shared.newborn(connection),
            Err(source) => {
                slot.count_connect_failure();
                return Err(AcquireError::Connect { source });
            }
        };
        if slot.begin_use() {
            slot.count_created(true);
            Ok(Pooled::new(slot, live))
        } else {
            slot.retire(live, Reason::PoolClosed);
            Err(AcquireError::Closed)
        }
    }

    fn ctx_for_manager(&self) -> Ctx {
        self.ctx.clone().with_deadline(self.deadline)
    }
}
