//! [`Service`]: the other side: how long it takes, how much it can do at once, and when it fails.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::Duration;

use bucket_core::{Class, Tick};

use crate::error::{ConfigError, refuse};
use crate::rng::Rng;

/// What the clients call.
///
/// Calls wait in order of arrival for one of the servers, of which there are endlessly many unless
/// [`servers`](Self::servers) says otherwise, and then take the latency. A call whose caller has
/// stopped waiting is served all the same.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Service {
    latency: Latency,
    servers: Option<usize>,
    faults: Vec<Fault>,
}

impl Service {
    /// Every call takes `latency` to serve: at most 1 h.
    pub const fn latency(latency: Duration) -> Self {
        Self { latency: Latency::Fixed(latency), servers: None, faults: Vec::new() }
    }

    /// A call takes an exponentially distributed time to serve, on average `mean`: at most 1 h.
    pub const fn exponential_latency(mean: Duration) -> Self {
        Self { latency: Latency::Exponential { mean }, servers: None, faults: Vec::new() }
    }

    /// How many calls are served at once, 1 to 1 000 000; the others queue. No limit by default.
    pub const fn servers(mut self, n: usize) -> Self {
        self.servers = Some(n);
        self
    }

    /// Adds a fault. Faults must not overlap.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// The faults, in the order in which they were added.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let (Latency::Fixed(latency) | Latency::Exponential { mean: latency }) = self.latency;
        if latency > MAX_LATENCY {
            return refuse("latency", "at most 1 h");
        }
        if self.servers.is_some_and(|n| !(1..=MAX_SERVERS).contains(&n)) {
            return refuse("servers", "1 to 1 000 000");
        }
        for (n, fault) in self.faults.iter().enumerate() {
            fault.validate()?;
            let overlaps = |other: &Fault| {
                fault.window.start < other.window.end && other.window.start < fault.window.end
            };
            if self.faults[..n].iter().any(overlaps) {
                return refuse("fault", "apart from every other in time");
            }
        }
        Ok(())
    }
}

/// A time during which a [`Service`] fails. It decides on the calls that are made within it; a call
/// that was made before is served to its end.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Fault {
    window: Range<Duration>,
    kind: FaultKind,
}

impl Fault {
    /// Every call fails after `after`, without taking a server: as where nobody listens.
    pub const fn fails_fast(window: Range<Duration>, after: Duration) -> Self {
        Self { window, kind: FaultKind::FailsFast { after } }
    }

    /// No call is answered; its caller gives up after `after` and does not know what became of it.
    pub const fn times_out(window: Range<Duration>, after: Duration) -> Self {
        Self { window, kind: FaultKind::TimesOut { after } }
    }

    /// This share of the calls, above 0 and at most 1, fails after `after`; the others are served.
    pub const fn fails_partly(window: Range<Duration>, share: f64, after: Duration) -> Self {
        Self { window, kind: FaultKind::FailsPartly { share, after } }
    }

    /// From when until when, as time since the start of the run; the end is not part of it.
    pub const fn window(&self) -> &Range<Duration> {
        &self.window
    }

    /// What happens to calls meanwhile.
    pub const fn kind(&self) -> FaultKind {
        self.kind
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if self.window.is_empty() {
            return refuse("fault", "longer than nothing");
        }
        let (FaultKind::FailsFast { after }
        | FaultKind::TimesOut { after }
        | FaultKind::FailsPartly { after, .. }) = self.kind;
        // A failure that takes no time would let a policy repeat it for ever at one moment.
        if after.is_zero() || after > MAX_LATENCY {
            return refuse("fault", "felt after more than no time and at most 1 h");
        }
        match self.kind {
            // A range contains no NaN.
            FaultKind::FailsPartly { share, .. } if !(f64::MIN_POSITIVE..=1.0).contains(&share) => {
                refuse("fault", "of a share above 0 and at most 1")
            }
            _ => Ok(()),
        }
    }
}

/// What a [`Fault`] does to a call.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum FaultKind {
    /// It fails after `after` with [`Class::Unavailable`].
    FailsFast {
        /// When the caller learns of it.
        after: Duration,
    },
    /// With this probability it fails after `after` with [`Class::Transient`].
    FailsPartly {
        /// How likely, above 0 and at most 1.
        share: f64,
        /// When the caller learns of it.
        after: Duration,
    },
    /// It is never answered: after `after` the caller gives up with [`Class::UnknownOutcome`].
    TimesOut {
        /// When the caller gives up.
        after: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Latency {
    Exponential { mean: Duration },
    Fixed(Duration),
}

/// A service at work.
#[derive(Debug)]
pub(crate) struct Serving<'a> {
    service: &'a Service,
    rng: Rng,
    /// When each server that has worked yet is free again.
    ///
    /// Invariant: no more entries than servers; empty where there are endlessly many.
    free_at: BinaryHeap<Reverse<Tick>>,
}

impl<'a> Serving<'a> {
    pub(crate) const fn new(service: &'a Service, rng: Rng) -> Self {
        Self { service, rng, free_at: BinaryHeap::new() }
    }

    /// Takes a call and says when it ends and how. Calls come in order of time.
    pub(crate) fn call(&mut self, now: Tick) -> (Tick, Class) {
        let since_start = now.since(Tick::ZERO);
        let fault = self.service.faults.iter().find(|fault| fault.window.contains(&since_start));
        match fault.map(Fault::kind) {
            Some(FaultKind::FailsFast { after }) => {
                (now.after(after), Class::Unavailable { after: None })
            }
            Some(FaultKind::TimesOut { after }) => (now.after(after), Class::UnknownOutcome),
            Some(FaultKind::FailsPartly { share, after }) if self.rng.unit() < share => {
                (now.after(after), Class::Transient)
            }
            Some(FaultKind::FailsPartly { .. }) | None => (self.serve(now), Class::Success),
        }
    }

    fn serve(&mut self, now: Tick) -> Tick {
        let takes = match self.service.latency {
            Latency::Fixed(latency) => latency,
            Latency::Exponential { mean } => {
                Duration::from_nanos((mean.as_nanos() as f64 * self.rng.exponential()) as u64)
            }
        };
        let Some(servers) = self.service.servers else {
            return now.after(takes);
        };
        // First come, first served: the next call gets whichever server is free first, so its end is
        // known when it comes, and the queue itself need not be kept.
        let start = if self.free_at.len() < servers {
            now
        } else {
            self.free_at.pop().map_or(now, |Reverse(free_at)| free_at.max(now))
        };
        let end = start.after(takes);
        self.free_at.push(Reverse(end));
        end
    }
}

const MAX_LATENCY: Duration = Duration::from_secs(3_600);
const MAX_SERVERS: usize = 1_000_000;
