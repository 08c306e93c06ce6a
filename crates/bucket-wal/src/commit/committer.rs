//! The thread that commits for those who do not wait: started by the first record that needs it, idle
//! while there is nothing to do.

use std::time::Duration;

use bucket_core::{Clock, Tick};

use super::lead::Lead;
use super::{Shared, State};
use crate::options::SyncPolicy;
use crate::sync::{self, Arc, MutexGuard};

/// How long a record waits for somebody to wait for it before the thread writes it.
const LINGER: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Committer {
    /// Never needed so far.
    None,
    /// Waits to be told of a record, or for a moment that is far away.
    Idle,
    /// Commits, or lingers.
    Busy,
}

impl SyncPolicy {
    /// True when something becomes due by waiting.
    pub(super) const fn has_delay(self) -> bool {
        matches!(self, Self::Batch { .. } | Self::Periodic { .. })
    }

    const fn delay(self) -> Option<Duration> {
        match self {
            Self::Batch { delay, .. } => Some(delay),
            Self::Periodic { interval, .. } => Some(interval),
            Self::Always | Self::None => None,
        }
    }
}

impl Shared {
    /// Makes sure that what was submitted becomes durable soon, whatever the policy.
    pub(super) fn sync_soon(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.unsynced.due |= self.policy != SyncPolicy::Always;
        self.wake_committer(state);
    }

    /// Starts the thread, or tells it that there is something to do.
    pub(super) fn wake_committer(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        match state.committer {
            Committer::Busy => {
                if state.unsynced.due {
                    // It may be waiting for a later moment.
                    self.committer.notify_one();
                }
            }
            Committer::Idle => {
                state.committer = Committer::Busy;
                self.committer.notify_one();
            }
            Committer::None => {
                state.committer = Committer::Busy;
                // The thread holds the log weakly, so that dropping the last clone ends it.
                let weak = Arc::downgrade(self);
                let spawned = sync::spawn("wal-commit", move || {
                    while weak.upgrade().is_some_and(|shared| shared.commit_once()) {}
                });
                if spawned.is_err() {
                    // Without a thread the caller does it; late is better than never.
                    state.committer = Committer::None;
                    if !state.leading && !state.open.group.entries.is_empty() {
                        drop(self.lead(state, Lead::Sync));
                    }
                }
            }
        }
    }

    /// One turn of the thread: lingers for a waiter to come, or for what is due, then commits. False
    /// when the log is closed.
    fn commit_once(&self) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        let open = (!state.open.group.entries.is_empty()).then(|| Arc::clone(&state.open.done));
        let due = self.due(&state);
        if open.is_none() && due.is_none() || state.poison.is_some() {
            state.committer = Committer::Idle;
            // Without a time-out: an idle log wakes nobody. Whoever closes or drops it ends the wait.
            self.committer.wait(&mut state);
            state.committer = Committer::Busy;
            return true;
        }
        let until_due = due.map_or(Duration::MAX, |due| due.since(self.now()));
        if open.is_some() {
            let pause = LINGER.min(until_due);
            if !pause.is_zero() {
                self.committer.wait_for(&mut state, pause);
            }
        } else if !until_due.is_zero() {
            // A record that comes meanwhile is to be written sooner.
            state.committer = Committer::Idle;
            self.committer.wait_for(&mut state, until_due);
            state.committer = Committer::Busy;
        }
        if state.closed || state.poison.is_some() {
            return true;
        }
        let is_due = self.due(&state).is_some_and(|due| due <= self.now());
        let is_same = open.is_some_and(|done| Arc::ptr_eq(&done, &state.open.done));
        if !is_due && !is_same {
            return true;
        }
        let how = match self.policy {
            SyncPolicy::Always => Lead::Sync,
            _ if is_due => Lead::Sync,
            _ => Lead::Write,
        };
        if !state.leading {
            drop(self.lead(state, how));
        } else if is_due {
            // Whoever leads may only write; look again once it is done.
            drop(self.lead_or_wait(state, how));
        }
        true
    }

    /// When what is not durable has to be; `None` for never, or with nothing to wait for.
    fn due(&self, state: &State) -> Option<Tick> {
        if state.unsynced.records == 0 {
            return None;
        }
        if state.unsynced.due {
            return Some(Tick::ZERO);
        }
        Some(state.unsynced.since.after(self.policy.delay()?))
    }

    fn now(&self) -> Tick {
        if self.policy == SyncPolicy::Always { Tick::ZERO } else { self.clock.now() }
    }
}
