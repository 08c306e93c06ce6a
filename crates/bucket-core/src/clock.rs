//! [`Clock`] and [`Tick`]: injected time.
//!
//! Policies never read a clock themselves; they take `now` as an argument. Whoever drives them owns a
//! [`Clock`].

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// A point on a monotonic time line, in nanoseconds from an arbitrary origin.
///
/// Ticks of different clocks do not compare. Arithmetic saturates: [`Tick::MAX`] means never. The
/// range is 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

impl Tick {
    /// The origin of the time line.
    pub const ZERO: Self = Self(0);
    /// The end of the time line: never.
    pub const MAX: Self = Self(u64::MAX);

    /// The tick that lies `nanos` after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The tick `duration` later, or [`Tick::MAX`].
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// The time from `earlier` to this tick; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A source of monotonic and of wall-clock time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Monotonic time: for deadlines, ages and delays.
    fn now(&self) -> Tick;

    /// Wall-clock time: for what a person or another machine reads. It may jump.
    fn wall(&self) -> SystemTime;
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> Tick {
        (**self).now()
    }

    fn wall(&self) -> SystemTime {
        (**self).wall()
    }
}

/// The clock of the operating system.
///
/// All instances share one origin, so their ticks compare. One reading costs some 25 ns.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemClock;

impl SystemClock {
    /// The clock of the operating system.
    pub const fn new() -> Self {
        Self
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is handed")]
impl Clock for SystemClock {
    fn now(&self) -> Tick {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let origin = *ORIGIN.get_or_init(Instant::now);
        Tick::ZERO.after(Instant::now().saturating_duration_since(origin))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let tick = Tick::from_nanos(5);
        assert_eq!(tick.after(Duration::MAX), Tick::MAX);
        assert_eq!(tick.since(Tick::MAX), Duration::ZERO);
        assert_eq!(Tick::MAX.after(Duration::from_nanos(1)), Tick::MAX);
    }

    #[test]
    fn the_system_clock_does_not_run_backwards() {
        let clock = SystemClock::new();
        let first = clock.now();
        assert!(clock.now() >= first);
    }
}
