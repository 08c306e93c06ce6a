//! Models of a breaker under several threads: loom runs the code of this crate through every
//! interleaving with at most so many preemptions, and through every value that an atomic read may
//! return by the memory model.
//!
//! What they leave out: more threads and calls than are written here, swaps that fail for no reason,
//! and generations that wrap.

use std::sync::atomic::{AtomicU64 as Count, Ordering::SeqCst};
use std::time::Duration;

use bucket_core::{Class, Tick};
use loom::thread;

use crate::sync::Arc;
use crate::{Breaker, BreakerBuilder, Recorded, State};

#[test]
fn a_late_success_decides_nothing() {
    explore(3, || a_late_result(Class::Success, builder()));
}

#[test]
fn a_late_failure_decides_nothing() {
    explore(3, || a_late_result(Class::Transient, builder()));
}

/// One thread's call outlasts the closed state in which it began. The other's trips the breaker and
/// then probes; until that probe has answered, nobody else may end the half-open state.
fn a_late_result(late: Class, builder: BreakerBuilder) {
    let breaker = builder.consecutive_failures(1).build().unwrap();
    let slow = {
        let breaker = breaker.clone();
        thread::spawn(move || Some(breaker.try_acquire(EARLY).ok()?.record(LATER, late)))
    };
    let prober = {
        let breaker = breaker.clone();
        thread::spawn(move || {
            let first = breaker.try_acquire(EARLY).ok().map(|permit| permit.failure(EARLY));
            let probe = breaker.try_acquire(LAST).ok();
            let state = breaker.state(LAST);
            (first, state, probe.map(|permit| permit.success(LAST)))
        })
    };
    let slow = slow.join().unwrap();
    let (first, state, probe) = prober.join().unwrap();

    let end = breaker.snapshot(LAST);
    assert_eq!(state, State::HalfOpen, "ended by a late result; {slow:?}, {end:?}");
    assert_eq!(probe, Some(Recorded::Counted), "the probe did not decide; {slow:?}, {end:?}");

    let results = [slow, first, probe];
    let n =
        |wanted| results.iter().flatten().filter(|&&recorded| recorded == wanted).count() as u64;
    assert_eq!(end.admitted, results.iter().flatten().count() as u64);
    assert_eq!(end.successes + end.failures, n(Recorded::Counted));
    assert_eq!(end.stale, n(Recorded::Stale));
    assert_eq!(end.trips, end.failures, "a failure counted and opened nothing: a late result");
}

#[test]
fn no_more_probes_are_let_through_than_allowed() {
    explore(3, || probes_that_never_answer(builder()));
}

/// Three callers come when the open time is over and two probes are allowed; none of them answers.
fn probes_that_never_answer(builder: BreakerBuilder) {
    let breaker = builder.consecutive_failures(1).half_open_permits(2).build().unwrap();
    assert_eq!(breaker.try_acquire(EARLY).unwrap().failure(EARLY), Recorded::Counted);
    let probe = || {
        let breaker = breaker.clone();
        thread::spawn(move || breaker.try_acquire(LATER).map(std::mem::forget).is_ok())
    };
    let callers = [probe(), probe(), probe()];
    let n_admitted =
        callers.map(|caller| caller.join().unwrap()).into_iter().filter(|&ok| ok).count();

    assert_eq!(n_admitted, 2, "two probes are allowed");
    let end = breaker.snapshot(LATER);
    assert_eq!((end.state, end.generation), (State::HalfOpen, 2));
    assert_eq!((end.admitted, end.rejected), (1 + 2, 1));
}

#[test]
fn probes_that_succeed_close_it_once() {
    explore(2, || probes_that_succeed(builder()));
}

/// Three callers, two probes at a time, two successes needed.
fn probes_that_succeed(builder: BreakerBuilder) {
    let breaker = builder
        .consecutive_failures(1)
        .half_open_permits(2)
        .half_open_successes(2)
        .build()
        .unwrap();
    assert_eq!(breaker.try_acquire(EARLY).unwrap().failure(EARLY), Recorded::Counted);
    let probe = || {
        let breaker = breaker.clone();
        thread::spawn(move || Some(breaker.try_acquire(LATER).ok()?.success(LATER)))
    };
    let callers = [probe(), probe(), probe()];
    let results = callers.map(|caller| caller.join().unwrap());

    let n = |wanted| results.iter().filter(|&&result| result == wanted).count() as u64;
    let end = breaker.snapshot(LATER);
    // Who is turned away met two probes under way, so two always get through.
    assert_eq!((end.state, end.generation), (State::Closed, 3), "{results:?}");
    assert_eq!(end.successes, n(Some(Recorded::Counted)));
    assert_eq!(end.stale, n(Some(Recorded::Stale)));
    assert_eq!(end.rejected, n(None));
    assert_eq!((end.admitted, end.trips), (1 + 3 - end.rejected, 1));
}

#[test]
fn no_outcome_is_lost_and_one_failure_trips() {
    explore(3, || failures_at_once(builder()));
}

/// As many failures at once as open the breaker: a lost one would leave it closed.
fn failures_at_once(builder: BreakerBuilder) {
    let breaker = builder.consecutive_failures(3).build().unwrap();
    let fail = || {
        let breaker = breaker.clone();
        thread::spawn(move || Some(breaker.try_acquire(EARLY).ok()?.failure(EARLY)))
    };
    let callers = [fail(), fail(), fail()];
    let results = callers.map(|caller| caller.join().unwrap());

    let end = breaker.snapshot(EARLY);
    assert_eq!(results, [Some(Recorded::Counted); 3]);
    assert_eq!((end.state, end.generation), (State::Open, 1), "an outcome was lost");
    assert_eq!((end.admitted, end.failures, end.trips), (3, 3, 1));
}

/// The same models with a bug planted, which loom has to find.
#[cfg(bucket_planted)]
mod planted {
    use super::*;
    use crate::Bug;

    #[test]
    fn a_late_success_that_counts_is_found() {
        finds("a late result", || {
            a_late_result(Class::Success, builder().planted(Bug::LateResultCounts));
        });
    }

    #[test]
    fn a_late_failure_that_counts_is_found() {
        finds("a late result", || {
            a_late_result(Class::Transient, builder().planted(Bug::LateResultCounts));
        });
    }

    #[test]
    fn a_probe_slot_taken_twice_is_found() {
        finds("two probes are allowed", || {
            probes_that_never_answer(builder().planted(Bug::BlindStore));
        });
    }

    #[test]
    fn a_probe_seen_before_its_time_is_found() {
        finds("two probes are allowed", || {
            probes_that_never_answer(builder().planted(Bug::LateProbeTime));
        });
    }

    #[test]
    fn a_lost_outcome_is_found() {
        finds("an outcome was lost", || failures_at_once(builder().planted(Bug::BlindStore)));
    }

    /// Runs a model and fails unless loom stops it with a message that contains `wanted`.
    fn finds(wanted: &str, model: impl Fn() + Send + Sync + 'static) {
        let run = std::panic::AssertUnwindSafe(|| explore(3, model));
        let panic = std::panic::catch_unwind(run).expect_err("loom found nothing");
        let message = panic.downcast::<String>().map_or_else(|_| String::new(), |text| *text);
        assert!(message.contains(wanted), "stopped for another reason: {message}");
    }
}

fn builder() -> BreakerBuilder {
    let second = Duration::from_secs(1);
    Breaker::builder("model")
        .open_duration(second)
        .jitter(0.0)
        .half_open_successes(1)
        .probe_lease(9 * second)
        .seed(1)
}

/// Runs a model through its interleavings. `LOOM_MAX_PREEMPTIONS` overrides the bound.
fn explore(max_preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut loom = loom::model::Builder::new();
    loom.preemption_bound.get_or_insert(max_preemptions);
    let explored = Arc::new(Count::new(0));
    let count = Arc::clone(&explored);
    loom.check(move || {
        count.fetch_add(1, SeqCst);
        model();
    });
    let n = explored.load(SeqCst);
    println!("explored {n} interleavings");
    assert!(n > 1, "nothing was interleaved");
}

const EARLY: Tick = Tick::from_nanos(0);
/// Long after a breaker that opened early may probe.
const LATER: Tick = Tick::from_nanos(10_000_000_000);
/// Long after a breaker that opened later may probe.
const LAST: Tick = Tick::from_nanos(20_000_000_000);
