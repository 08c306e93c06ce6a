//! The queue of waiting callers: first in, first out, each with its own place to sleep.
//!
//! Whoever grants takes the waiter out of the queue and publishes the grant under the lock of the
//! pool, and wakes it after unlocking. So a waiter that finds no grant under that lock is still in the
//! queue, and a grant is never lost between the two.

use std::collections::VecDeque;
use std::time::Duration;

use crate::slots::Live;
use crate::sync::{Arc, Condvar, Mutex};

/// What a waiter is given. A connection or a slot is counted as the waiter's from then on.
#[derive(Debug)]
pub(crate) enum Grant<C> {
    /// The pool was closed.
    Closed,
    /// A connection, counted as in use.
    Connection(Live<C>),
    /// Permission to connect, counted as connecting.
    Slot,
}

/// One waiting caller.
#[derive(Debug)]
pub(crate) struct Waiter<C> {
    /// Locked after the pool or alone, never the other way round.
    grant: Mutex<Option<Grant<C>>>,
    granted: Condvar,
}

impl<C> Waiter<C> {
    /// Sleeps until there is a grant or `timeout` of real time has passed, and takes the grant.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<Grant<C>> {
        let mut grant = self.grant.lock();
        self.granted.wait_while_for(&mut grant, |grant| grant.is_none(), timeout);
        grant.take()
    }

    /// Takes the grant, if there is one.
    pub(crate) fn take(&self) -> Option<Grant<C>> {
        self.grant.lock().take()
    }

    /// Publishes the grant. Called under the lock of the pool, on a waiter just taken from the queue;
    /// [`Waiter::wake`] follows.
    pub(crate) fn publish(&self, grant: Grant<C>) {
        *self.grant.lock() = Some(grant);
    }

    /// Wakes the waiter after its grant was published.
    pub(crate) fn wake(&self) {
        self.granted.notify_one();
    }
}

/// The waiting callers, the longest first.
#[derive(Debug)]
pub(crate) struct Waiters<C>(VecDeque<Arc<Waiter<C>>>);

impl<C> Waiters<C> {
    pub(crate) const fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Queues a new waiter.
    pub(crate) fn push(&mut self) -> Arc<Waiter<C>> {
        let waiter = Arc::new(Waiter { grant: Mutex::new(None), granted: Condvar::new() });
        self.0.push_back(Arc::clone(&waiter));
        waiter
    }

    /// Takes the longest waiter out, to be granted something.
    pub(crate) fn pop(&mut self) -> Option<Arc<Waiter<C>>> {
        self.0.pop_front()
    }

    /// Takes out a waiter that gave up. Those stand near the front, where the search begins.
    pub(crate) fn remove(&mut self, waiter: &Arc<Waiter<C>>) {
        if let Some(idx) = self.0.iter().position(|other| Arc::ptr_eq(other, waiter)) {
            self.0.remove(idx);
        }
    }
}
