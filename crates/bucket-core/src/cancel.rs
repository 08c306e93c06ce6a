//! [`Cancel`]: a token that tells a call, its sleeps and its waits to stop.
//!
//! The one piece of the vocabulary that blocks, because a sleep that cannot be interrupted makes a
//! time-out a lie.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
#[expect(
    clippy::disallowed_types,
    reason = "the vocabulary has no dependency, so no parking_lot"
)]
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A cancellation token: cheap to clone, set once, never unset.
///
/// The default token is never cancelled and costs nothing. Clones share one state.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use bucket_core::Cancel;
///
/// let cancel = Cancel::new();
/// let worker = cancel.clone();
/// cancel.cancel();
/// assert!(worker.is_cancelled());
/// assert!(!worker.sleep(Duration::from_secs(60)), "the sleep ends at once");
/// ```
#[derive(Clone, Default)]
pub struct Cancel(Option<Arc<Shared>>);

#[expect(clippy::disallowed_types, reason = "see the imports")]
#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    /// Held by a sleeper between its look at the flag and its wait, and by `cancel` around the
    /// notification, so that no wake-up falls in between.
    sleepers: Mutex<()>,
    woken: Condvar,
}

impl Cancel {
    /// A token that can be cancelled.
    pub fn new() -> Self {
        Self(Some(Arc::default()))
    }

    /// A token that is never cancelled; allocates nothing.
    pub const fn never() -> Self {
        Self(None)
    }

    /// Cancels every clone and wakes their sleepers. Does nothing on [`Cancel::never`].
    pub fn cancel(&self) {
        let Some(shared) = &self.0 else { return };
        // Release: whoever sees the flag sees what was written before the cancellation.
        shared.cancelled.store(true, Ordering::Release);
        drop(shared.lock());
        shared.woken.notify_all();
    }

    /// True once any clone was cancelled.
    pub fn is_cancelled(&self) -> bool {
        // Acquire: the partner of the store in `cancel`.
        self.0.as_ref().is_some_and(|shared| shared.cancelled.load(Ordering::Acquire))
    }

    /// Sleeps for `duration` unless cancelled first; true when the whole time was slept.
    pub fn sleep(&self, duration: Duration) -> bool {
        let Some(shared) = &self.0 else {
            #[expect(clippy::disallowed_methods, reason = "this is the sleep that others inject")]
            std::thread::sleep(duration);
            return true;
        };
        let guard = shared.lock();
        let (guard, timeout) = shared
            .woken
            .wait_timeout_while(guard, duration, |()| !self.is_cancelled())
            .unwrap_or_else(PoisonError::into_inner);
        drop(guard);
        timeout.timed_out()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ()> {
        // The mutex guards no data, so a panic while it was held broke nothing.
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_sleeper_wakes_long_before_its_time() {
        let cancel = Cancel::new();
        let sleeper = cancel.clone();
        let thread = std::thread::spawn(move || sleeper.sleep(Duration::from_secs(3_600)));
        cancel.cancel();
        assert!(!thread.join().unwrap());
    }

    #[test]
    fn the_default_token_is_never_cancelled() {
        let cancel = Cancel::never();
        cancel.cancel();
        assert!(!cancel.is_cancelled());
    }
}
