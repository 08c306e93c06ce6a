//! The one place of the harness that reads a clock: it measures real time, which cannot be handed in.

use std::time::{Duration, Instant};

/// The present moment.
#[expect(clippy::disallowed_methods, reason = "a measurement of real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Lets time pass, where the passing of time is what is measured.
#[expect(clippy::disallowed_methods, reason = "a measurement of real time")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The time that has passed since `start`.
pub(crate) fn since(start: Instant) -> Duration {
    now().duration_since(start)
}
