//! [`FaultyRemote`]: any remote, with faults that a test switches on and off while it runs.
//!
//! The faults keep the contract of [`Remote`]: an error that says [`Applied::No`] left nothing behind,
//! deadline and cancellation are kept. Only what a test passes to [`Faults::fail_next`] may lie.
//!
//! [`Applied::No`]: crate::Applied::No

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bucket_core::{Cancel, Clock, Ctx, SystemClock};

use super::faults::{CallStats, Faults, Plan};
use crate::{
    Body, Caps, GetOptions, Key, ListRequest, Meta, Object, Page, Precondition, PutOptions, Remote,
    RemoteError, RemoteErrorKind, Version,
};

/// A remote with faults. Without any, it behaves as the remote it wraps.
///
/// # Examples
///
/// ```
/// use bucket_core::{Ctx, OpKind};
/// use bucket_remote::testing::{FaultyRemote, MemoryRemote};
/// use bucket_remote::{Key, PutOptions, Remote};
///
/// let remote = FaultyRemote::new(MemoryRemote::new());
/// let faults = remote.faults();
/// faults.down(true);
/// let (ctx, key) = (Ctx::new(OpKind::Write), Key::new("a")?);
/// assert!(remote.put(&ctx, &key, &"1".into(), &PutOptions::new()).is_err());
/// assert!(remote.inner().is_empty());
/// # Ok::<(), bucket_remote::InvalidKey>(())
/// ```
pub struct FaultyRemote<R> {
    inner: Arc<R>,
    faults: Faults,
    caps: Option<Caps>,
    clock: Arc<dyn Clock>,
    sleep: Arc<Sleep>,
}

type Sleep = dyn Fn(&Cancel, Duration) -> bool + Send + Sync;

impl<R: Remote> FaultyRemote<R> {
    /// `inner` without faults, on the clock of the operating system.
    pub fn new(inner: R) -> Self {
        Self {
            inner: Arc::new(inner),
            faults: Faults::default(),
            caps: None,
            clock: Arc::new(SystemClock::new()),
            sleep: Arc::new(Cancel::sleep),
        }
    }

    /// Judges deadlines by `clock`, and spends latency in `sleep`, which returns false when it ended
    /// early because of a cancellation.
    #[must_use]
    pub fn with_time(
        mut self,
        clock: Arc<dyn Clock>,
        sleep: impl Fn(&Cancel, Duration) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.clock = clock;
        self.sleep = Arc::new(sleep);
        self
    }

    /// Announces `caps` instead of those of the inner remote.
    ///
    /// A test that lets requests arrive late ([`Faults::late`]) announces no `late_window`, or one
    /// that it keeps.
    #[must_use]
    pub const fn with_caps(mut self, caps: Caps) -> Self {
        self.caps = Some(caps);
        self
    }

    /// The switches.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// The remote behind the faults.
    pub fn inner(&self) -> &R {
        &self.inner
    }

    /// Carries out a call that changes nothing: no failure of it is ambiguous.
    fn read<T>(
        &self,
        ctx: &Ctx,
        count: fn(&mut CallStats) -> &mut u64,
        call: impl FnOnce(&R) -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        let plan = self.faults.plan(count);
        self.delay(ctx, &plan).map_err(|(kind, _)| RemoteError::refused(kind))?;
        match plan.before() {
            Some(error) => Err(error),
            None => {
                let value = call(&self.inner)?;
                match plan.after(RemoteError::refused) {
                    Some(error) => Err(error),
                    None => Ok(value),
                }
            }
        }
    }

    /// Carries out a mutation: now, once it is released, or never.
    fn mutate<T>(
        &self,
        ctx: &Ctx,
        count: fn(&mut CallStats) -> &mut u64,
        call: impl FnOnce(&R, &Ctx) -> Result<T, RemoteError> + Send + 'static,
    ) -> Result<T, RemoteError> {
        let plan = self.faults.plan(count);
        if let Err((kind, sent)) = self.delay(ctx, &plan) {
            if !sent {
                return Err(RemoteError::refused(kind));
            }
            if plan.late {
                let inner = Arc::clone(&self.inner);
                let mut ctx = ctx.clone();
                // The caller is gone; what it sent knows neither its deadline nor its cancellation.
                (ctx.deadline, ctx.cancel) = (None, Cancel::never());
                self.faults.keep_late(move || drop(call(&inner, &ctx)));
            }
            return Err(RemoteError::ambiguous(kind));
        }
        if let Some(error) = plan.before() {
            return Err(error);
        }
        let value = call(&self.inner, ctx)?;
        match plan.after(RemoteError::ambiguous) {
            Some(error) => Err(error),
            None => Ok(value),
        }
    }

    /// Spends the latency. The error tells why the caller stops waiting, and whether the request is
    /// on its way by then.
    fn delay(&self, ctx: &Ctx, plan: &Plan) -> Result<(), (RemoteErrorKind, bool)> {
        if plan.down {
            return Err((RemoteErrorKind::Unavailable, false));
        }
        if plan.latency.is_zero() {
            return Ok(());
        }
        if ctx.cancel.is_cancelled() {
            return Err((RemoteErrorKind::Cancelled, false));
        }
        let left = ctx.remaining(self.clock.now());
        if left == Some(Duration::ZERO) {
            return Err((RemoteErrorKind::Timeout, false));
        }
        let in_time = left.is_none_or(|left| plan.latency < left);
        let wait = left.map_or(plan.latency, |left| plan.latency.min(left));
        if !(self.sleep)(&ctx.cancel, wait) {
            Err((RemoteErrorKind::Cancelled, true))
        } else if in_time && !ctx.is_expired(self.clock.now()) {
            Ok(())
        } else {
            Err((RemoteErrorKind::Timeout, true))
        }
    }
}

impl<R: Remote> fmt::Debug for FaultyRemote<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyRemote")
            .field("inner", &self.inner)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl<R: Remote> Remote for FaultyRemote<R> {
    fn caps(&self) -> Caps {
        self.caps.unwrap_or_else(|| self.inner.caps())
    }

    fn check_key(&self, key: &Key) -> Result<(), RemoteError> {
        self.inner.check_key(key)
    }

    fn put(
        &self,
        ctx: &Ctx,
        key: &Key,
        body: &Body,
        options: &PutOptions,
    ) -> Result<Version, RemoteError> {
        let (key, body, options) = (key.clone(), body.clone(), options.clone());
        let call = move |inner: &R, ctx: &Ctx| inner.put(ctx, &key, &body, &options);
        self.mutate(ctx, |stats| &mut stats.put, call)
    }

    fn get(&self, ctx: &Ctx, key: &Key, options: &GetOptions) -> Result<Object, RemoteError> {
        self.read(ctx, |stats| &mut stats.get, |inner| inner.get(ctx, key, options))
    }

    fn head(&self, ctx: &Ctx, key: &Key) -> Result<Meta, RemoteError> {
        self.read(ctx, |stats| &mut stats.head, |inner| inner.head(ctx, key))
    }

    fn delete(&self, ctx: &Ctx, key: &Key, precondition: &Precondition) -> Result<(), RemoteError> {
        let (key, precondition) = (key.clone(), precondition.clone());
        let call = move |inner: &R, ctx: &Ctx| inner.delete(ctx, &key, &precondition);
        self.mutate(ctx, |stats| &mut stats.delete, call)
    }

    fn list(&self, ctx: &Ctx, request: &ListRequest) -> Result<Page, RemoteError> {
        self.read(ctx, |stats| &mut stats.list, |inner| inner.list(ctx, request))
    }
}
