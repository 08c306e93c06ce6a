//! [`ResilientRemote`]: a remote behind deadline, retry, breaker and pool, in the one order that works.
//!
//! Retry is outside the breaker, so that every attempt is seen; the breaker is asked before the pool, so
//! that an open breaker takes no connection; a retry's sleep holds neither; a rejection is not retried
//! inside the call; an exhausted pool says nothing about the remote.

mod error;
mod lend;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bucket_breaker::{Breaker, State};
use bucket_core::{Class, Classified, Clock, Ctx, Gate, OpKind, SystemClock};
use bucket_pool::{BlockingManager, Pool};
use bucket_remote::{
    Body, Caps, GetOptions, Key, ListRequest, Meta, Object, Page, Precondition, PutOptions, Remote,
    RemoteError, Version,
};
use bucket_retry::{Policies, Sleep, ThreadSleep};

pub use self::error::ResilientError;
use self::lend::{FromPool, Lend, Shared, keeps_connection};
use crate::bucket::ConfigError;
use crate::sync::Arc;

/// A remote with guards around every call.
///
/// Reads and writes have a breaker each. Clones share everything.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use bucket_core::{Ctx, OpKind};
/// use bucket_remote::{Body, Key, PutOptions, testing::MemoryRemote};
/// use bucket_store::ResilientRemote;
///
/// let remote = ResilientRemote::builder("s3", Arc::new(MemoryRemote::new())).build()?;
/// let ctx = Ctx::new(OpKind::Write);
/// remote.put(&ctx, &Key::new("a")?, &Body::from("content"), &PutOptions::new())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ResilientRemote {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    lend: Box<dyn Lend>,
    /// Answers what needs no connection.
    local: Option<Arc<dyn Remote>>,
    caps: Caps,
    reads: Breaker,
    writes: Breaker,
    policies: Policies,
    clock: Arc<dyn Clock>,
    sleep: SleepBox,
}

struct SleepBox(Box<dyn Sleep>);

impl std::fmt::Debug for SleepBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sleep")
    }
}

/// Collects the guards of a [`ResilientRemote`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct ResilientBuilder {
    name: String,
    lend: Box<dyn Lend>,
    local: Option<Arc<dyn Remote>>,
    caps: Caps,
    reads: Option<Breaker>,
    writes: Option<Breaker>,
    policies: Policies,
    clock: Arc<dyn Clock>,
    sleep: SleepBox,
}

impl ResilientRemote {
    /// Guards around a remote that all callers share, because it pools inside or needs no connection.
    pub fn builder(name: impl Into<String>, remote: Arc<dyn Remote>) -> ResilientBuilder {
        let caps = remote.caps();
        let lend = Box::new(Shared(Arc::clone(&remote)));
        ResilientBuilder::new(name.into(), lend, Some(remote), caps)
    }

    /// Guards around connections out of a pool, each of which is a remote. `caps` is what they can do.
    pub fn pooled<M>(name: impl Into<String>, pool: Pool<M>, caps: Caps) -> ResilientBuilder
    where
        M: BlockingManager<Connection: Remote>,
    {
        ResilientBuilder::new(name.into(), Box::new(FromPool(pool)), None, caps)
    }

    /// What the remote can do.
    pub fn caps(&self) -> Caps {
        self.inner.caps
    }

    /// As [`Remote::check_key`]; accepts every key where that would need a connection.
    ///
    /// # Errors
    ///
    /// As [`Remote::check_key`].
    pub fn check_key(&self, key: &Key) -> Result<(), RemoteError> {
        self.inner.local.as_ref().map_or(Ok(()), |remote| remote.check_key(key))
    }

    /// The state of the breaker that guards operations of this kind.
    pub fn breaker_state(&self, op: OpKind) -> State {
        self.breaker(op).state(self.inner.clock.now())
    }

    /// Stores an object. Without a precondition the put may be sent again after an attempt whose
    /// outcome is unknown; with one it may not, and the error says so.
    ///
    /// # Errors
    ///
    /// [`ResilientError`] names the guard or carries the remote's last error.
    pub fn put(
        &self,
        ctx: &Ctx,
        key: &Key,
        body: &Body,
        options: &PutOptions,
    ) -> Result<Version, ResilientError> {
        let idempotent = options.precondition == Precondition::None;
        self.run(ctx, OpKind::Write, idempotent, |remote, ctx| remote.put(ctx, key, body, options))
    }

    /// Reads an object or a part of it.
    ///
    /// # Errors
    ///
    /// As [`ResilientRemote::put`].
    pub fn get(
        &self,
        ctx: &Ctx,
        key: &Key,
        options: &GetOptions,
    ) -> Result<Object, ResilientError> {
        self.run(ctx, OpKind::Read, true, |remote, ctx| remote.get(ctx, key, options))
    }

    /// Reads the description of an object.
    ///
    /// # Errors
    ///
    /// As [`ResilientRemote::put`].
    pub fn head(&self, ctx: &Ctx, key: &Key) -> Result<Meta, ResilientError> {
        self.run(ctx, OpKind::Read, true, |remote, ctx| remote.head(ctx, key))
    }

    /// Removes an object; retried as [`ResilientRemote::put`] is.
    ///
    /// # Errors
    ///
    /// As [`ResilientRemote::put`].
    pub fn delete(
        &self,
        ctx: &Ctx,
        key: &Key,
        precondition: &Precondition,
    ) -> Result<(), ResilientError> {
        let idempotent = *precondition == Precondition::None;
        self.run(ctx, OpKind::Delete, idempotent, |remote, ctx| {
            remote.delete(ctx, key, precondition)
        })
    }

    /// Lists one page of objects.
    ///
    /// # Errors
    ///
    /// As [`ResilientRemote::put`].
    pub fn list(&self, ctx: &Ctx, request: &ListRequest) -> Result<Page, ResilientError> {
        self.run(ctx, OpKind::List, true, |remote, ctx| remote.list(ctx, request))
    }

    fn run<T>(
        &self,
        ctx: &Ctx,
        op: OpKind,
        idempotent: bool,
        mut call: impl FnMut(&dyn Remote, &Ctx) -> Result<T, RemoteError>,
    ) -> Result<T, ResilientError> {
        let inner = &*self.inner;
        let breaker = self.breaker(op);
        let result = inner
            .policies
            .policy(op)
            .call(ctx)
            .idempotent(idempotent)
            .gate(breaker)
            .clock(&*inner.clock)
            .sleep(&*inner.sleep.0)
            .run(|ctx| self.attempt(breaker, ctx, &mut call));
        result.map_err(|gave_up| match gave_up.last {
            ResilientError::Remote { source, .. } => {
                ResilientError::Remote { attempts: gave_up.attempts, source }
            }
            other => other,
        })
    }

    /// One attempt: look at the breaker, take a connection, take the permit, and only then start.
    fn attempt<T>(
        &self,
        breaker: &Breaker,
        ctx: &Ctx,
        call: &mut impl FnMut(&dyn Remote, &Ctx) -> Result<T, RemoteError>,
    ) -> Result<T, ResilientError> {
        let clock = &*self.inner.clock;
        if let Err(blocked) = breaker.may_try(clock.now()) {
            return Err(ResilientError::BreakerOpen { retry_in: blocked.retry_in });
        }
        let mut outcome = None;
        let lent = self.inner.lend.lend(ctx, &mut |remote| {
            let permit = match breaker.try_acquire(clock.now()) {
                Ok(permit) => permit,
                Err(rejected) => {
                    let retry_in = rejected.retry_in;
                    outcome = Some(Err(ResilientError::BreakerOpen { retry_in }));
                    return true;
                }
            };
            let result = call(remote, ctx);
            let class = result.as_ref().map_or_else(Classified::class, |_| Class::Success);
            permit.record(clock.now(), class);
            let keep = keeps_connection(&result);
            outcome = Some(result.map_err(|source| ResilientError::Remote { attempts: 1, source }));
            keep
        });
        if let Err(error) = lent {
            // No connection to be had is a sign about the remote; no free one is none.
            if matches!(error, ResilientError::Connect { .. })
                && let Ok(permit) = breaker.try_acquire(clock.now())
            {
                permit.record(clock.now(), error.class());
            }
            return Err(error);
        }
        // A lender that returns Ok has called the closure.
        outcome.unwrap_or(Err(ResilientError::BreakerOpen { retry_in: None }))
    }

    fn breaker(&self, op: OpKind) -> &Breaker {
        if op.is_mutation() { &self.inner.writes } else { &self.inner.reads }
    }
}

impl ResilientBuilder {
    fn new(name: String, lend: Box<dyn Lend>, local: Option<Arc<dyn Remote>>, caps: Caps) -> Self {
        Self {
            name,
            lend,
            local,
            caps,
            reads: None,
            writes: None,
            policies: Policies::storage(),
            clock: Arc::new(SystemClock::new()),
            sleep: SleepBox(Box::new(ThreadSleep::new())),
        }
    }

    /// The retry policies; the default is [`Policies::storage`].
    pub fn policies(mut self, policies: Policies) -> Self {
        self.policies = policies;
        self
    }

    /// The breakers for reads and for writes; the default is one each with the default rules.
    pub fn breakers(mut self, reads: Breaker, writes: Breaker) -> Self {
        (self.reads, self.writes) = (Some(reads), Some(writes));
        self
    }

    /// The clock; the default is the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How to sleep between attempts; the default blocks the thread, interruptibly.
    pub fn sleep(mut self, sleep: impl Sleep + 'static) -> Self {
        self.sleep = SleepBox(Box::new(sleep));
        self
    }

    /// Builds the remote.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Breaker`] should the default breakers ever be invalid.
    pub fn build(self) -> Result<ResilientRemote, ConfigError> {
        let breaker = |given: Option<Breaker>, kind: &str| match given {
            Some(breaker) => Ok(breaker),
            None => Breaker::builder(format!("{}.{kind}", self.name))
                .max_open_duration(Duration::from_secs(5))
                .build()
                .map_err(|error| ConfigError::Breaker { source: Box::new(error) }),
        };
        let (reads, writes) = (breaker(self.reads, "read")?, breaker(self.writes, "write")?);
        Ok(ResilientRemote {
            inner: Arc::new(Inner {
                lend: self.lend,
                local: self.local,
                caps: self.caps,
                reads,
                writes,
                policies: self.policies,
                clock: self.clock,
                sleep: self.sleep,
            }),
        })
    }
}
