//! loom's mutex and condition variable in the shape of `parking_lot`: no poisoning, and a wait that
//! borrows its guard.
//!
//! loom knows no time. A wait with a time-out of less than [`SOON`] is modelled as one that times out
//! at any moment: it gives the lock up, others do as much or as little as they like, and it takes the
//! lock again. A longer one never times out, so that whoever is to be woken hangs if nobody does it.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub(crate) use loom::sync::atomic::AtomicU64;
use loom::thread;

/// Time-outs below this happen, others do not.
pub(crate) const SOON: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: &self.0, guard: Some(lock(&self.0)) }
    }
}

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a loom::sync::Mutex<T>,
    // Invariant: absent only within a wait.
    guard: Option<loom::sync::MutexGuard<'a, T>>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect(HELD)
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[derive(Debug)]
pub(crate) struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(loom::sync::Condvar::new())
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.guard.take().expect(HELD);
        guard.guard = Some(self.0.wait(held).expect(UNPOISONED));
    }

    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, timeout: Duration) {
        if timeout < SOON {
            drop(guard.guard.take());
            // So that a loop around this lets the others go on.
            thread::yield_now();
            guard.guard = Some(lock(guard.mutex));
        } else {
            self.wait(guard);
        }
    }
}

/// Starts a thread that nobody joins.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(body).map(drop)
}

fn lock<T>(mutex: &loom::sync::Mutex<T>) -> loom::sync::MutexGuard<'_, T> {
    mutex.lock().expect(UNPOISONED)
}

const HELD: &str = "a guard holds its lock except within a wait";
const UNPOISONED: &str = "loom's locks do not poison";
