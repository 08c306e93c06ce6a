//! [`ManualClock`]: time that moves when told.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::{Clock, Tick};

/// A clock for tests: stands still until it is advanced. Clones share one time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use bucket_core::{Clock, testing::ManualClock};
///
/// let clock = ManualClock::new();
/// let start = clock.now();
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now().since(start), Duration::from_secs(5));
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<Times>);

#[derive(Debug, Default)]
struct Times {
    nanos: AtomicU64,
    wall_offset_seconds: AtomicI64,
}

impl ManualClock {
    /// A clock at the origin of its time line; the wall shows 2020-01-01.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves both times forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        // SeqCst: tests reason about one order of everything.
        self.0.nanos.fetch_add(nanos, Ordering::SeqCst);
    }

    /// Makes the wall clock jump, by seconds, in either direction; monotonic time does not move.
    pub fn jump_wall(&self, seconds: i64) {
        self.0.wall_offset_seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Tick {
        Tick::from_nanos(self.0.nanos.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        let base = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800);
        let moved = base + Duration::from_nanos(self.0.nanos.load(Ordering::SeqCst));
        let offset = self.0.wall_offset_seconds.load(Ordering::SeqCst);
        let by = Duration::from_secs(offset.unsigned_abs());
        if offset >= 0 { moved + by } else { moved - by }
    }
}
