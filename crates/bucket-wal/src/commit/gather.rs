//! Waiting a moment before a commit, so that those whom the last one has just let go can come along.
//!
//! Without it groups of writers fall into two that take turns: while one is on the disk, the other has
//! nothing to do but to fill the next batch, and each sync carries half of what it could. A leader
//! waits for at most a quarter of what a sync takes, and only until as many records are there as the
//! last sync has carried; a lone writer never waits.

use std::time::Duration;

use bucket_core::{Clock, Tick};

use super::{Shared, State};
use crate::sync::MutexGuard;

/// What the last syncs teach about the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gather {
    /// How many records the last sync carried.
    last: u64,
    /// How long a sync takes, as a moving average.
    sync: Duration,
    /// A leader waits until this many records are in the open batch; 0 when nobody does.
    pub(super) wanted: u64,
}

impl Gather {
    /// Takes in what one sync has carried, and how long it took.
    pub(super) fn learn(&mut self, records: u64, took: Duration) {
        self.last = records;
        self.sync = if self.sync.is_zero() { took } else { (self.sync * 7 + took) / 8 };
    }
}

impl Shared {
    /// Waits, as the one who will lead, for those who are expected. The caller holds the state, and
    /// nobody leads.
    pub(super) fn gather<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let pause = state.gather.sync / 4;
        let there = state.open.group.units.len() as u64;
        if there == 0 || there >= state.gather.last || pause.is_zero() {
            return state;
        }
        // Nobody else may lead meanwhile.
        state.leading = true;
        state.gather.wanted = state.gather.last;
        self.gathered.wait_for(&mut state, pause);
        state.gather.wanted = 0;
        state.leading = false;
        state
    }

    /// Tells a leader who gathers that enough have come.
    pub(super) fn came(&self, state: &State) {
        if state.gather.wanted > 0 && state.open.group.units.len() as u64 >= state.gather.wanted {
            self.gathered.notify_one();
        }
    }

    /// A time to measure a sync by. In the models a sync takes no time, so that nobody waits: a wait that
    /// always ends can leave nobody behind, and one more moment at which it may end has loom try for hours.
    pub(crate) fn stopwatch(&self) -> Tick {
        if cfg!(all(test, bucket_loom)) { Tick::ZERO } else { self.clock.now() }
    }
}
