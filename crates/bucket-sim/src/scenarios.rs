//! Scenarios to start from.

use std::ops::Range;
use std::time::Duration;

use crate::{Arrivals, ConfigError, Fault, Scenario, Service};

/// A hard outage from second 60 on: every call fails within 5 ms.
///
/// 100 clients make 10 requests a second each, at random, for 240 s; a call is served in 20 ms.
///
/// # Errors
///
/// [`ConfigError`] when the outage is of no length.
pub fn hard_outage(outage: Duration) -> Result<Scenario, ConfigError> {
    let window = OUTAGE_START..OUTAGE_START.saturating_add(outage);
    let fault = Fault::fails_fast(window, Duration::from_millis(5));
    Scenario::builder(Service::latency(Duration::from_millis(20)).fault(fault))
        .clients(100)
        .arrivals(Arrivals::poisson(10.0))
        .duration(Duration::from_secs(240))
        .build()
}

/// The part of these scenarios over which success is counted: seconds 60 to 180.
pub const SUCCESS_WINDOW: Range<Duration> = OUTAGE_START..Duration::from_secs(180);

const OUTAGE_START: Duration = Duration::from_secs(60);
