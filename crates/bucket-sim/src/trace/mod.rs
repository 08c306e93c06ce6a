//! [`Trace`]: what happened in a run, and the figures that can be read off it.
//!
//! A request belongs to the moment at which it was made, however late it ended: the figures say how
//! somebody fared who came at that time.

use std::ops::Range;
use std::time::Duration;

use bucket_core::{Class, Tick};

use crate::Scenario;

/// Every request and every call of a run, in the order in which they were made.
#[derive(Clone, Debug)]
pub struct Trace {
    duration: Duration,
    demand: f64,
    requests: Vec<RequestRecord>,
    calls: Vec<CallRecord>,
}

impl Trace {
    pub(crate) fn from_run(
        scenario: &Scenario,
        requests: Vec<RequestRecord>,
        calls: Vec<CallRecord>,
    ) -> Self {
        Self { duration: scenario.duration(), demand: scenario.demand(), requests, calls }
    }

    /// The requests.
    pub fn requests(&self) -> &[RequestRecord] {
        &self.requests
    }

    /// The calls that reached the service.
    pub fn calls(&self) -> &[CallRecord] {
        &self.calls
    }

    /// For how long requests came in.
    pub const fn duration(&self) -> Duration {
        self.duration
    }

    /// The share of the requests made in `window` that succeeded; `None` if there were none.
    pub fn success(&self, window: Range<Duration>) -> Option<f64> {
        let requests = within(&self.requests, &window, RequestRecord::issued);
        let succeeded = requests.iter().filter(|request| request.succeeded()).count();
        share(succeeded, requests.len())
    }

    /// The calls made in `window` over the requests made in it; `None` if there were no requests. In
    /// the window of an outage all of these calls are wasted. Without any policy this is 1.
    pub fn waste(&self, window: Range<Duration>) -> Option<f64> {
        let requests = within(&self.requests, &window, RequestRecord::issued).len();
        share(within(&self.calls, &window, CallRecord::made).len(), requests)
    }

    /// All calls over all requests; `None` if there were no requests.
    pub fn amplification(&self) -> Option<f64> {
        share(self.calls.len(), self.requests.len())
    }

    /// How long after `end`, the end of a fault, it took until all was well: the time to the first of
    /// three seconds in a row in each of which at least 99 % of the requests made succeeded. Seconds
    /// are counted from `end`, and one without requests does not count as good. `None` if that did
    /// not happen while requests came in.
    pub fn recovery(&self, end: Duration) -> Option<Duration> {
        let mut good_in_a_row = 0;
        for bin in self.bins(end, SECOND) {
            let is_good = bin.requests > 0 && bin.succeeded * 100 >= bin.requests * 99;
            good_in_a_row = if is_good { good_in_a_row + 1 } else { 0 };
            if good_in_a_row == 3 {
                return Some(bin.start - SECOND * 2 - end);
            }
        }
        None
    }

    /// The most calls in 100 ms, counted in such steps from `start`, over what the demand makes on
    /// average in that time. `None` if less than that remains after `start`.
    ///
    /// Chance alone lets a demand of 1 000 a second come to some 1.3 over a minute or two.
    pub fn peak(&self, start: Duration) -> Option<f64> {
        let most = self.bins(start, PEAK_WIDTH).map(|bin| bin.calls).max()?;
        Some(most as f64 / (self.demand * PEAK_WIDTH.as_secs_f64()))
    }

    /// The run from `start` on in steps of `width`: all that fit while requests came in. None for a
    /// width of zero.
    pub fn bins(&self, start: Duration, width: Duration) -> impl Iterator<Item = Bin> {
        let mut start = start;
        std::iter::from_fn(move || {
            let end = start.checked_add(width).filter(|end| *end <= self.duration)?;
            if width.is_zero() {
                return None;
            }
            let window = start..end;
            let requests = within(&self.requests, &window, RequestRecord::issued);
            let bin = Bin {
                start,
                requests: requests.len() as u64,
                succeeded: requests.iter().filter(|request| request.succeeded()).count() as u64,
                calls: within(&self.calls, &window, CallRecord::made).len() as u64,
            };
            start = end;
            Some(bin)
        })
    }

    /// A number that is the same for the same trace, on every machine, and hardly ever for another.
    pub fn digest(&self) -> u64 {
        let mut digest = Fnv1a::new();
        for request in &self.requests {
            digest.add(request.issued.as_nanos());
            digest.add(request.ended.map_or(u64::MAX, Tick::as_nanos));
            digest.add(u64::from(request.calls));
            digest.add(request.class.map_or(u64::MAX, class_number));
        }
        for call in &self.calls {
            digest.add(call.made.as_nanos());
            digest.add(call.ended.as_nanos());
            digest.add(class_number(call.class));
        }
        digest.0
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord {
    issued: Tick,
    ended: Option<Tick>,
    class: Option<Class>,
    pub(crate) calls: u32,
}

impl RequestRecord {
    pub(crate) const fn begun(issued: Tick) -> Self {
        Self { issued, ended: None, class: None, calls: 0 }
    }

    pub(crate) const fn end(&mut self, now: Tick, class: Class) {
        (self.ended, self.class) = (Some(now), Some(class));
    }

    /// When the client made it.
    pub const fn issued(&self) -> Tick {
        self.issued
    }

    /// When it succeeded or was given up; `None` if neither happened before the run ended.
    pub const fn ended(&self) -> Option<Tick> {
        self.ended
    }

    /// How it ended; `None` if it did not.
    pub const fn class(&self) -> Option<Class> {
        self.class
    }

    /// How many calls it made.
    pub const fn calls(&self) -> u32 {
        self.calls
    }

    /// Whether it ended well.
    pub fn succeeded(&self) -> bool {
        self.class == Some(Class::Success)
    }
}

/// What became of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallRecord {
    made: Tick,
    ended: Tick,
    class: Class,
}

impl CallRecord {
    pub(crate) const fn new(made: Tick, ended: Tick, class: Class) -> Self {
        Self { made, ended, class }
    }

    /// When it was made.
    pub const fn made(&self) -> Tick {
        self.made
    }

    /// When the caller had its outcome, or stopped waiting for it.
    pub const fn ended(&self) -> Tick {
        self.ended
    }

    /// How it ended, as the caller sees it.
    pub const fn class(&self) -> Class {
        self.class
    }
}

/// One step of a [`Trace`] in time. Made by [`Trace::bins`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bin {
    /// When it begins, as time since the start of the run.
    pub start: Duration,
    /// Requests made in it.
    pub requests: u64,
    /// Those of them that succeeded, if later.
    pub succeeded: u64,
    /// Calls made in it.
    pub calls: u64,
}

/// The records of `window`, its end excluded. They are sorted by time.
fn within<'a, T>(records: &'a [T], window: &Range<Duration>, at: impl Fn(&T) -> Tick) -> &'a [T] {
    let first = |moment| records.partition_point(|record| at(record) < Tick::ZERO.after(moment));
    let (start, end) = (first(window.start), first(window.end));
    records.get(start..end).unwrap_or_default()
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

const fn class_number(class: Class) -> u64 {
    match class {
        Class::Success => 0,
        Class::Ignore => 1,
        Class::Transient => 2,
        Class::Throttled { .. } => 3,
        Class::Unavailable { .. } => 4,
        Class::Permanent => 5,
        Class::UnknownOutcome => 6,
        _ => 7,
    }
}

/// See [FNV](http://www.isthe.com/chongo/tech/comp/fnv/) for the constants.
struct Fnv1a(u64);

impl Fnv1a {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    const fn add(&mut self, word: u64) {
        let mut rest = word;
        let mut n = 0;
        while n < 8 {
            self.0 = (self.0 ^ (rest & 0xff)).wrapping_mul(0x0100_0000_01b3);
            rest >>= 8;
            n += 1;
        }
    }
}

const PEAK_WIDTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
