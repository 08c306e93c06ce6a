//! [`Pooled`]: a borrowed connection.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::thread;
use std::time::Duration;

use crate::BlockingManager;
use crate::slots::{Live, Reason, Slot};

/// A connection on loan; it goes back when this is dropped.
///
/// A drop closes the connection instead when it was [poisoned](Pooled::poison), when the manager calls
/// it broken, when it is too old or was used often enough, when the thread is panicking, or when the
/// pool was closed. Going back is synchronous: `is_broken` and `close` run in the dropping thread.
///
/// Functions instead of methods, called as `Pooled::age(&connection)`, hide no method of the
/// connection.
#[must_use = "the connection goes back as soon as this is dropped"]
pub struct Pooled<M: BlockingManager> {
    // Invariant: present until drop or `detach`. Declared before the slot, so dropped before it.
    live: Option<Live<M::Connection>>,
    slot: Slot<M>,
    poisoned: bool,
}

impl<M: BlockingManager> Pooled<M> {
    pub(crate) fn new(slot: Slot<M>, mut live: Live<M::Connection>) -> Self {
        live.uses = live.uses.saturating_add(1);
        Self { live: Some(live), slot, poisoned: false }
    }

    /// Marks the connection as not to be used again: it is closed when it goes back.
    pub fn poison(this: &mut Self) {
        this.poisoned = true;
    }

    /// Takes the connection out of the pool for good. Its slot is free at once.
    #[must_use = "the connection is no longer the pool's"]
    pub fn detach(mut this: Self) -> M::Connection {
        this.take().connection
    }

    /// The time since the connection was opened.
    pub fn age(this: &Self) -> Duration {
        this.slot.shared.now().since(this.live().born)
    }

    /// How often the connection was checked out, this time included.
    pub fn uses(this: &Self) -> u64 {
        this.live().uses
    }

    fn take(&mut self) -> Live<M::Connection> {
        self.live.take().expect(STAYS)
    }

    fn live(&self) -> &Live<M::Connection> {
        self.live.as_ref().expect(STAYS)
    }
}

impl<M: BlockingManager> Deref for Pooled<M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        &self.live().connection
    }
}

impl<M: BlockingManager> DerefMut for Pooled<M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.live.as_mut().expect(STAYS).connection
    }
}

impl<M: BlockingManager> Drop for Pooled<M> {
    fn drop(&mut self) {
        // If the manager panics here, the connection is dropped first and then its slot.
        let Some(mut live) = self.live.take() else {
            return;
        };
        let shared = &self.slot.shared;
        let broken =
            self.poisoned || thread::panicking() || shared.manager.is_broken(&mut live.connection);
        if broken {
            self.slot.retire(live, Reason::Broken);
            return;
        }
        let now = shared.now();
        if let Some(reason) = shared.config.overage(&live, now, false) {
            self.slot.retire(live, reason);
            return;
        }
        live.idle_since = now;
        live.proved = now;
        self.slot.put_back(live);
    }
}

impl<M: BlockingManager> fmt::Debug for Pooled<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooled")
            .field("pool", &self.slot.shared.config.name)
            .field("uses", &Self::uses(self))
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

/// Why the connection of a guard is always there.
const STAYS: &str = "only drop and detach take the connection, and both end the guard";
