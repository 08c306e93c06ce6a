//! What is shared: the counted slots, the idle connections, the waiters, and the lock around them.
//!
//! [`Slot`] is the one way to hold a place in the count. However its holder ends, by an error, a panic
//! or on purpose, its drop frees the place and offers it to the longest waiter.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use bucket_core::Tick;

use crate::config::Config;
use crate::planted::Bug;
use crate::sync::{Arc, Mutex};
use crate::waiters::{Grant, Waiter, Waiters};
use crate::{AcquireError, BlockingManager, PoolState, PoolStats};

/// A connection and what the pool knows of it.
#[derive(Debug)]
pub(crate) struct Live<C> {
    pub(crate) connection: C,
    pub(crate) born: Tick,
    pub(crate) expires: Tick,
    pub(crate) idle_since: Tick,
    /// When it was last opened, checked, or returned in good order.
    pub(crate) proved: Tick,
    /// Checkouts, the present one included.
    pub(crate) uses: u64,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reason {
    Broken,
    CheckFailed,
    Idle,
    Lifetime,
    PoolClosed,
    Uses,
}

/// What a slot is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Closing,
    Connecting,
    /// No longer ours: with the idle connections, or with another caller.
    HandedOn,
    InUse,
}

/// What a caller found at the pool without waiting.
#[derive(Debug)]
pub(crate) enum Claim<C> {
    /// A connection, which may need a check; counted as in use.
    Connection(Live<C>),
    /// A connection that has to be closed first; counted as in use.
    Expired(Live<C>, Reason),
    /// A free slot; counted as connecting.
    Slot,
}

impl<C> Claim<C> {
    pub(crate) const fn phase(&self) -> Phase {
        match self {
            Self::Connection(_) | Self::Expired(..) => Phase::InUse,
            Self::Slot => Phase::Connecting,
        }
    }
}

/// Everything behind the handles of a pool.
pub(crate) struct Shared<M: BlockingManager> {
    pub(crate) manager: M,
    pub(crate) config: Config,
    pub(crate) inner: Mutex<Inner<M::Connection, M::Error>>,
}

impl<M: BlockingManager> Shared<M> {
    pub(crate) fn new(manager: M, config: Config) -> Self {
        let inner = Mutex::new(Inner {
            max_size: config.max_size,
            idle: Vec::new(),
            in_use: 0,
            connecting: 0,
            closing: 0,
            waiters: Waiters::new(),
            closed: false,
            stats: PoolStats::default(),
            last_error: None,
            random: config.seed(),
        });
        Self { manager, config, inner }
    }

    pub(crate) fn now(&self) -> Tick {
        self.config.clock.now()
    }

    /// A connection that was opened just now.
    pub(crate) fn newborn(&self, connection: M::Connection) -> Live<M::Connection> {
        let now = self.now();
        let roll = self.inner.lock().roll();
        let expires = self.config.expiry(now, roll);
        Live { connection, born: now, expires, idle_since: now, proved: now, uses: 0 }
    }

    /// The error of a caller whose deadline has passed.
    pub(crate) fn timeout(&self, begun: Tick) -> AcquireError<M::Error> {
        let waited = self.now().since(begun);
        self.inner.lock().timeout(waited)
    }

    /// Closes the idle connections that are too old or idle for too long; returns how many.
    pub(crate) fn expire(self: &Arc<Self>, now: Tick) -> usize {
        let mut doomed = Vec::new();
        {
            let mut inner = self.inner.lock();
            let mut idx = 0;
            // The longest idle stand first, so the floor keeps those that were used last.
            while let Some(live) = inner.idle.get(idx) {
                let is_spare = inner.idle.len() > self.config.min_idle;
                let Some(reason) = self.config.overage(live, now, is_spare) else {
                    idx += 1;
                    continue;
                };
                let live = inner.idle.remove(idx);
                inner.enter(Phase::Closing);
                doomed.push((live, reason));
            }
        }
        self.retire_all(doomed)
    }

    /// Refuses whoever comes, turns away whoever waits, closes what is idle.
    pub(crate) fn close(self: &Arc<Self>) {
        let mut doomed = Vec::new();
        let mut refused = Vec::new();
        {
            let mut inner = self.inner.lock();
            inner.closed = true;
            while let Some(waiter) = inner.waiters.pop() {
                waiter.publish(Grant::Closed);
                refused.push(waiter);
            }
            while let Some(live) = inner.idle.pop() {
                inner.enter(Phase::Closing);
                doomed.push((live, Reason::PoolClosed));
            }
        }
        refused.iter().for_each(|waiter| waiter.wake());
        self.retire_all(doomed);
    }

    /// Closes connections that are counted as closing already.
    fn retire_all(self: &Arc<Self>, doomed: Vec<(Live<M::Connection>, Reason)>) -> usize {
        // All slots exist before the first close: if that panics, the others are freed as well.
        let doomed: Vec<_> = doomed
            .into_iter()
            .map(|(live, reason)| (live, reason, Slot::adopt(self, Phase::Closing)))
            .collect();
        let n_closed = doomed.len();
        for (live, reason, mut slot) in doomed {
            slot.retire(live, reason);
        }
        n_closed
    }
}

/// What the lock guards.
pub(crate) struct Inner<C, E> {
    max_size: usize,
    // Invariant: idle + in_use + connecting + closing <= max_size.
    // Invariant: somebody waits only while nothing is idle and every slot is taken.
    /// The last returned is used first, so that the others may fall idle and expire.
    idle: Vec<Live<C>>,
    in_use: usize,
    connecting: usize,
    closing: usize,
    pub(crate) waiters: Waiters<C>,
    // Invariant: nobody waits and nothing is idle once this is set.
    pub(crate) closed: bool,
    pub(crate) stats: PoolStats,
    last_error: Option<Arc<E>>,
    random: u64,
}

impl<C, E: std::error::Error + 'static> Inner<C, E> {
    pub(crate) fn size(&self) -> usize {
        self.idle.len() + self.in_use + self.connecting + self.closing
    }

    pub(crate) fn state(&self) -> PoolState {
        PoolState {
            max: self.max_size,
            size: self.size(),
            idle: self.idle.len(),
            in_use: self.in_use,
            connecting: self.connecting,
            closing: self.closing,
            waiters: self.waiters.len(),
            closed: self.closed,
        }
    }

    /// Counts a timed-out caller and makes its error.
    pub(crate) fn timeout(&mut self, waited: Duration) -> AcquireError<E> {
        self.stats.timeouts += 1;
        AcquireError::Timeout { waited, state: self.state(), last_error: self.last_error.clone() }
    }

    /// Takes an idle connection that needs neither closing nor a check, the last used first.
    pub(crate) fn take_ready(&mut self, config: &Config, now: Tick) -> Option<Live<C>> {
        let is_spare = self.idle.len() > config.min_idle;
        let idx = self.idle.iter().rposition(|live| {
            config.is_proven(live, now) && config.overage(live, now, is_spare).is_none()
        })?;
        let live = self.idle.remove(idx);
        self.enter(Phase::InUse);
        self.stats.hits += 1;
        Some(live)
    }

    /// Takes an idle connection, whatever its condition, or else a free slot.
    pub(crate) fn claim(&mut self, config: &Config, now: Tick) -> Option<Claim<C>> {
        let claim = match self.take_any(config, now) {
            Some(claim) => claim,
            None if self.size() < self.max_size => Claim::Slot,
            None => return None,
        };
        self.enter(claim.phase());
        Some(claim)
    }

    fn take_any(&mut self, config: &Config, now: Tick) -> Option<Claim<C>> {
        let is_spare = self.idle.len() > config.min_idle;
        let live = self.idle.pop()?;
        Some(match config.overage(&live, now, is_spare) {
            Some(reason) => Claim::Expired(live, reason),
            None => Claim::Connection(live),
        })
    }

    /// Takes a slot to open a connection nobody asked for, while the floor and the ceiling allow it.
    pub(crate) fn claim_spare_slot(&mut self, config: &Config) -> bool {
        let wanted = self.idle.len() + self.connecting < config.min_idle;
        let free = wanted && self.size() < self.max_size;
        if free {
            self.enter(Phase::Connecting);
        }
        free
    }

    fn enter(&mut self, phase: Phase) {
        match phase {
            Phase::Closing => self.closing += 1,
            Phase::Connecting => self.connecting += 1,
            Phase::HandedOn => {}
            Phase::InUse => {
                self.in_use += 1;
                self.stats.peak_in_use = self.stats.peak_in_use.max(self.in_use);
            }
        }
        debug_assert!(self.size() <= self.max_size, "more slots taken than there are");
    }

    fn leave(&mut self, phase: Phase) {
        match phase {
            Phase::Closing => self.closing -= 1,
            Phase::Connecting => self.connecting -= 1,
            Phase::HandedOn => {}
            Phase::InUse => self.in_use -= 1,
        }
    }

    /// 64 random bits (`SplitMix64`), for the jitter alone.
    fn roll(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// A place in the count; its drop frees it and lets the longest waiter connect.
///
/// Whoever holds a connection as well drops that first, so that it never outlives its place.
pub(crate) struct Slot<M: BlockingManager> {
    pub(crate) shared: Arc<Shared<M>>,
    phase: Phase,
}

impl<M: BlockingManager> Slot<M> {
    /// Takes over a place that is counted as `phase` already.
    pub(crate) fn adopt(shared: &Arc<Shared<M>>, phase: Phase) -> Self {
        Self { shared: Arc::clone(shared), phase }
    }

    /// Closes the connection of this slot. The slot stays taken.
    pub(crate) fn retire(&mut self, live: Live<M::Connection>, reason: Reason) {
        {
            let mut inner = self.shared.inner.lock();
            inner.leave(self.phase);
            inner.enter(Phase::Closing);
            self.phase = Phase::Closing;
            let stats = &mut inner.stats;
            match reason {
                Reason::Broken => stats.recycled_broken += 1,
                Reason::CheckFailed => stats.check_failures += 1,
                Reason::Idle => stats.recycled_idle += 1,
                Reason::Lifetime => stats.recycled_lifetime += 1,
                Reason::PoolClosed => {}
                Reason::Uses => stats.recycled_uses += 1,
            }
        }
        let close = || self.shared.manager.close(live.connection);
        if thread::panicking() {
            // A second panic that left a destructor would abort the process. The hook has reported it.
            drop(catch_unwind(AssertUnwindSafe(close)));
        } else {
            close();
        }
    }

    /// After [`Slot::retire`]: exchanges the slot for an idle connection, or keeps it to connect.
    /// `None` when the pool was closed.
    pub(crate) fn reclaim(&mut self, now: Tick) -> Option<Claim<M::Connection>> {
        let mut inner = self.shared.inner.lock();
        if inner.closed {
            return None;
        }
        inner.leave(self.phase);
        let claim = inner.take_any(&self.shared.config, now).unwrap_or(Claim::Slot);
        self.phase = claim.phase();
        inner.enter(self.phase);
        Some(claim)
    }

    /// Hands a good connection to the longest waiter, or lets it idle; closes it when the pool was
    /// closed.
    pub(crate) fn put_back(&mut self, live: Live<M::Connection>) {
        let waiter: Option<Arc<Waiter<M::Connection>>>;
        {
            let mut inner = self.shared.inner.lock();
            if inner.closed {
                drop(inner);
                self.retire(live, Reason::PoolClosed);
                return;
            }
            inner.leave(self.phase);
            self.phase = Phase::HandedOn;
            waiter = inner.waiters.pop();
            match &waiter {
                Some(waiter) => {
                    inner.enter(Phase::InUse);
                    waiter.publish(Grant::Connection(live));
                }
                None => inner.idle.push(live),
            }
        }
        if let Some(waiter) = waiter {
            if !self.shared.config.planted.has(Bug::ReturnedWithoutWaking) {
                waiter.wake();
            }
        }
    }

    /// Counts the checkout of a connection that existed; `checked` says that a check proved it.
    pub(crate) fn count_hit(&self, checked: bool) {
        let forgotten;
        {
            let mut inner = self.shared.inner.lock();
            inner.stats.hits += 1;
            forgotten = if checked { inner.last_error.take() } else { None };
        }
        // Dropped here: the error is the user's, and its drop must not run under the lock.
        drop(forgotten);
    }

    /// Remembers the error of a check for those whose deadline passes.
    pub(crate) fn remember(&self, error: M::Error) {
        let forgotten = self.shared.inner.lock().last_error.replace(Arc::new(error));
        drop(forgotten);
    }

    pub(crate) fn count_connect_failure(&self) {
        self.shared.inner.lock().stats.connect_failures += 1;
    }

    /// Counts a connection that was opened, for a caller or for the floor.
    pub(crate) fn count_created(&self, for_caller: bool) {
        let forgotten;
        {
            let mut inner = self.shared.inner.lock();
            inner.stats.created += 1;
            inner.stats.misses += u64::from(for_caller);
            forgotten = inner.last_error.take();
        }
        drop(forgotten);
    }

    /// Counts the slot as connecting; false when the pool was closed meanwhile.
    pub(crate) fn begin_connect(&mut self) -> bool {
        self.begin(Phase::Connecting)
    }

    /// Counts the slot as in use; false when the pool was closed meanwhile.
    pub(crate) fn begin_use(&mut self) -> bool {
        self.begin(Phase::InUse)
    }

    fn begin(&mut self, phase: Phase) -> bool {
        let mut inner = self.shared.inner.lock();
        if inner.closed {
            return false;
        }
        inner.leave(self.phase);
        inner.enter(phase);
        self.phase = phase;
        true
    }
}

impl<M: BlockingManager> Drop for Slot<M> {
    fn drop(&mut self) {
        if self.phase == Phase::HandedOn {
            return;
        }
        let waiter = {
            let mut inner = self.shared.inner.lock();
            inner.leave(self.phase);
            let waiter = inner.waiters.pop();
            if let Some(waiter) = &waiter {
                inner.enter(Phase::Connecting);
                waiter.publish(Grant::Slot);
            }
            waiter
        };
        if let Some(waiter) = waiter {
            if !self.shared.config.planted.has(Bug::FreedWithoutWaking) {
                waiter.wake();
            }
        }
    }
}
