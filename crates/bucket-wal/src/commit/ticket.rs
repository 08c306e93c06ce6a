//! [`Ticket`]: a record on its way to the disk, to be waited for or polled.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::{Shared, State};
use crate::error::WalError;
use crate::lsn::Lsn;
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, MutexGuard, Ordering};

/// A record on its way to the disk.
///
/// `wait` blocks, and does the write itself if nobody else is doing it; as a future it never blocks
/// and never writes, a thread of the log's does. Both make the record durable whatever the log's
/// [`SyncPolicy`](crate::SyncPolicy).
#[must_use = "the record becomes durable without it, but nobody learns when"]
pub struct Ticket {
    pub(super) shared: Arc<Shared>,
    pub(super) lsn: u64,
    pub(super) done: Arc<Done>,
}

/// How a batch ended, and who wants to know.
pub(super) struct Done {
    // Written once, with the state locked.
    outcome: Mutex<Option<Result<(), WalError>>>,
    wakers: Mutex<Vec<Waker>>,
    changed: Condvar,
    waiters: AtomicU64,
}

impl Ticket {
    /// The number of the record; of the last one for a batch.
    pub fn lsn(&self) -> Lsn {
        Lsn::new(self.lsn)
    }

    /// True once the record is durable.
    pub fn is_durable(&self) -> bool {
        matches!(*self.done.outcome.lock(), Some(Ok(())))
    }

    /// Waits until the record is durable and returns its number.
    ///
    /// # Durability
    ///
    /// Once this returns, the record survives the end of the process and a power loss, and so do all
    /// records with smaller numbers.
    ///
    /// # Errors
    ///
    /// [`WalError::NoSpace`]: not accepted. [`WalError::Poisoned`]: may appear after reopening.
    pub fn wait(self) -> Result<Lsn, WalError> {
        self.shared.wait(&self.done)?;
        Ok(Lsn::new(self.lsn))
    }
}

/// # Cancel safety
///
/// Dropping the future drops the interest in the outcome, nothing else.
impl Future for Ticket {
    type Output = Result<Lsn, WalError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut wakers = self.done.wakers.lock();
        if let Some(outcome) = self.done.outcome() {
            return Poll::Ready(outcome.map(|()| Lsn::new(self.lsn)));
        }
        // Registered under the lock that the leader takes before it wakes.
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        drop(wakers);
        self.shared.sync_soon();
        Poll::Pending
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("lsn", &self.lsn).finish_non_exhaustive()
    }
}

impl Done {
    pub(super) fn new() -> Self {
        Self {
            outcome: Mutex::new(None),
            wakers: Mutex::new(Vec::new()),
            changed: Condvar::new(),
            waiters: AtomicU64::new(0),
        }
    }

    pub(super) fn outcome(&self) -> Option<Result<(), WalError>> {
        self.outcome.lock().clone()
    }

    /// Sleeps until there is an outcome, or until this one is to lead.
    pub(super) fn wait(&self, state: &mut MutexGuard<'_, State>) {
        self.waiters.fetch_add(1, Ordering::Relaxed);
        self.changed.wait(state);
        self.waiters.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn has_waiters(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    pub(super) fn wake_one(&self) {
        self.changed.notify_one();
    }

    /// Publishes the outcome and wakes everybody. Called with the state locked.
    pub(super) fn finish(&self, outcome: Result<(), WalError>) {
        *self.outcome.lock() = Some(outcome);
        if self.has_waiters() {
            self.changed.notify_all();
        }
        for waker in self.wakers.lock().drain(..) {
            waker.wake();
        }
    }
}
