//! The suite that says whether a [`Remote`] keeps the contract.
//!
//! It works under a prefix of its own, removes what it stored, and checks preconditions and identity
//! only where [`Caps`](crate::Caps) promises them. It needs a remote that reads what was written.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bucket_core::{Clock, SystemClock};

use super::probe::{Outcome, Suite};
use crate::Remote;

/// Runs every check on `remote`. Takes some hundred requests, one of them with a body of 1 MiB.
pub fn check(remote: &dyn Remote) -> Report {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    // Process, time and run keep suites apart that share one remote. Relaxed: only a number.
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let since = SystemClock::new().wall().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.unwrap_or_default().as_nanos();
    let prefix = format!("conformance-{}-{nanos}-{run}/", std::process::id());
    let mut report = Report::default();
    for (name, check) in checks() {
        let suite = Suite { remote, prefix: format!("{prefix}{name}/") };
        match check(&suite) {
            Ok(()) => report.passed.push(name),
            Err(why) => report.failed.push(Failure { check: name, why: why.to_string() }),
        }
    }
    match (Suite { remote, prefix }).clean_up() {
        Ok(()) => report.passed.push("clean_up"),
        Err(why) => report.failed.push(Failure { check: "clean_up", why: why.to_string() }),
    }
    report
}

/// What the suite found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use = "a report that nobody looks at checks nothing"]
pub struct Report {
    /// The checks that passed, or that the capabilities of the remote leave out.
    pub passed: Vec<&'static str>,
    /// The checks that failed.
    pub failed: Vec<Failure>,
}

/// A check that failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The name of the check.
    pub check: &'static str,
    /// What was found instead.
    pub why: String,
}

impl Report {
    /// Does nothing when every check passed.
    ///
    /// # Panics
    ///
    /// With the whole report when a check failed.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.failed.is_empty(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} checks passed, {} failed", self.passed.len(), self.failed.len())?;
        self.failed
            .iter()
            .try_for_each(|failure| write!(f, "\n  {}: {}", failure.check, failure.why))
    }
}

type Check<'a> = (&'static str, fn(&Suite<'a>) -> Outcome);

/// Every check. A function, because the lifetime is that of the remote.
const fn checks<'a>() -> [Check<'a>; 17] {
    [
        ("round_trip", Suite::round_trip),
        ("large_and_empty_bodies", Suite::large_and_empty_bodies),
        ("range_body_is_sent_whole", Suite::range_body_is_sent_whole),
        ("range_reads", Suite::range_reads),
        ("versions_never_repeat", Suite::versions_never_repeat),
        ("missing_object", Suite::missing_object),
        ("unusual_keys", Suite::unusual_keys),
        ("list_order_and_prefix", Suite::list_order_and_prefix),
        ("list_pages", Suite::list_pages),
        ("put_if_absent", Suite::put_if_absent),
        ("put_if_match", Suite::put_if_match),
        ("racing_creators", Suite::racing_creators),
        ("conditional_delete", Suite::conditional_delete),
        ("identity", Suite::identity),
        ("expired_deadline", Suite::expired_deadline),
        ("cancelled", Suite::cancelled),
        ("live_deadline", Suite::live_deadline),
    ]
}
