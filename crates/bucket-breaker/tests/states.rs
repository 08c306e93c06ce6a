//! The walk through the states, on virtual time.

use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bucket_breaker::{Breaker, BreakerBuilder, CallError, Permit, Recorded, State};
use bucket_core::testing::ManualClock;
use bucket_core::{Blocked, Class, Classified, Clock, Gate, Tick};

#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{0:?}")]
struct Fault(Class);

impl Classified for Fault {
    fn class(&self) -> Class {
        self.0
    }
}

/// Opens at 3 failures for exactly 100 ms, at most 400 ms; two probes close it.
fn builder() -> BreakerBuilder {
    Breaker::builder("s3")
        .consecutive_failures(3)
        .open_duration(millis(100))
        .max_open_duration(millis(400))
        .jitter(0.0)
}

fn breaker() -> Breaker {
    builder().build().expect("the settings are valid")
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn at(milli: u64) -> Tick {
    Tick::ZERO.after(millis(milli))
}

fn permit(breaker: &Breaker, milli: u64) -> Permit<'_> {
    breaker.try_acquire(at(milli)).expect("a call goes through")
}

fn trip(breaker: &Breaker, milli: u64) {
    while breaker.state(at(milli)) == State::Closed {
        permit(breaker, milli).failure(at(milli));
    }
}

#[test]
fn it_walks_through_the_three_states_and_back() {
    let breaker = breaker();
    for _ in 0..3 {
        assert_eq!(breaker.state(at(0)), State::Closed);
        assert_eq!(permit(&breaker, 0).failure(at(0)), Recorded::Counted);
    }
    assert_eq!(breaker.state(at(99)), State::Open);
    let rejected = breaker.try_acquire(at(60)).unwrap_err();
    assert_eq!((rejected.state, rejected.retry_in), (State::Open, Some(millis(40))));

    assert_eq!(breaker.state(at(100)), State::HalfOpen);
    permit(&breaker, 100).success(at(101));
    assert_eq!(breaker.state(at(101)), State::HalfOpen);
    permit(&breaker, 101).success(at(102));
    assert_eq!(breaker.state(at(102)), State::Closed);

    let snapshot = breaker.snapshot(at(102));
    assert_eq!((&*snapshot.name, snapshot.state, snapshot.generation), ("s3", State::Closed, 3));
    assert_eq!((snapshot.admitted, snapshot.rejected, snapshot.trips), (5, 1, 1));
    assert_eq!((snapshot.successes, snapshot.failures, snapshot.ignored), (2, 3, 0));
}

#[test]
fn a_failed_probe_doubles_the_open_time_up_to_the_maximum() {
    let breaker = breaker();
    trip(&breaker, 0);
    let mut now = 100;
    for open in [200, 400, 400] {
        permit(&breaker, now).failure(at(now));
        assert_eq!(breaker.snapshot(at(now)).retry_in, Some(millis(open)));
        now += open;
    }
    for _ in 0..2 {
        permit(&breaker, now).success(at(now));
    }
    trip(&breaker, now);
    assert_eq!(breaker.snapshot(at(now)).retry_in, Some(millis(100)), "closing starts over");
}

#[test]
fn successes_between_failures_break_the_row() {
    let breaker = breaker();
    for _ in 0..3 {
        permit(&breaker, 0).failure(at(0));
        permit(&breaker, 0).failure(at(0));
        permit(&breaker, 0).record(at(0), Class::Permanent);
    }
    assert_eq!(
        breaker.state(at(0)),
        State::Closed,
        "6 of 9, but less than 10 calls and no 3 in a row"
    );
}

#[test]
fn the_rate_opens_it_at_the_threshold_and_not_before() {
    let breaker = builder().consecutive_failures(40).window(10).min_calls(4).build().unwrap();
    for _ in 0..6 {
        permit(&breaker, 0).success(at(0));
    }
    for failures in 1..=5 {
        assert_eq!(breaker.state(at(0)), State::Closed, "{failures}");
        permit(&breaker, 0).failure(at(0));
    }
    assert_eq!(breaker.state(at(0)), State::Open, "5 of the last 10");
}

#[test]
fn a_million_successes_do_not_delay_the_trip() {
    let breaker = builder().consecutive_failures(40).build().unwrap();
    for _ in 0..1_000_000 {
        permit(&breaker, 0).success(at(0));
    }
    for _ in 0..10 {
        assert_eq!(breaker.state(at(0)), State::Closed);
        permit(&breaker, 0).failure(at(0));
    }
    assert_eq!(breaker.state(at(0)), State::Open, "10 of the last 20");
}

#[test]
fn throttles_and_ignored_outcomes_decide_nothing() {
    let breaker = breaker();
    let throttled = Class::Throttled { after: Some(millis(500)) };
    for class in [throttled, Class::Ignore] {
        for _ in 0..100 {
            assert_eq!(permit(&breaker, 0).record(at(0), class), Recorded::Counted);
        }
    }
    assert_eq!(breaker.state(at(0)), State::Closed);

    trip(&breaker, 0);
    for class in [throttled, Class::Ignore] {
        permit(&breaker, 100).record(at(100), class);
        assert_eq!(breaker.state(at(100)), State::HalfOpen);
    }
    drop(permit(&breaker, 100));
    permit(&breaker, 100).ignore();
    assert_eq!(breaker.snapshot(at(100)).ignored, 204);
    assert!(breaker.try_acquire(at(100)).is_ok(), "every slot was freed");
}

#[test]
fn a_hint_of_the_server_lengthens_the_open_time() {
    for (after, open) in [(50, 100), (300, 300), (60_000, 400)] {
        let breaker = breaker();
        for _ in 0..3 {
            permit(&breaker, 0).record(at(0), Class::Unavailable { after: Some(millis(after)) });
        }
        assert_eq!(breaker.snapshot(at(0)).retry_in, Some(millis(open)));
    }
}

/// Brings a fresh breaker into one of its states, with the time at which it is there.
type Reach = fn(&Breaker) -> u64;

const REACH: [(&str, Reach); 5] = [
    ("closed", |_| 0),
    ("open", |breaker| {
        trip(breaker, 0);
        50
    }),
    ("half-open", |breaker| {
        trip(breaker, 0);
        drop(permit(breaker, 100));
        100
    }),
    ("forced open", |breaker| {
        breaker.force_open();
        0
    }),
    ("forced closed", |breaker| {
        breaker.force_closed();
        0
    }),
];

#[test]
fn a_late_result_of_an_older_generation_is_stale_in_every_state() {
    for (name, reach) in REACH {
        for class in [Class::Success, Class::Transient, Class::Ignore] {
            for from_half_open in [false, true] {
                let breaker = breaker();
                if from_half_open {
                    trip(&breaker, 0);
                }
                let late = permit(&breaker, if from_half_open { 100 } else { 0 });
                breaker.reset();
                let now = reach(&breaker);
                let before = breaker.snapshot(at(now));

                assert_eq!(late.record(at(now), class), Recorded::Stale, "{class:?} in {name}");

                let after = breaker.snapshot(at(now));
                assert_eq!((after.state, after.generation), (before.state, before.generation));
                assert_eq!((after.retry_in, after.stale), (before.retry_in, 1), "{name}");
                assert_eq!(
                    (after.successes, after.failures, after.ignored),
                    (before.successes, before.failures, before.ignored),
                );
            }
        }
    }
}

#[test]
fn a_probe_of_an_earlier_half_open_neither_closes_nor_opens_the_next() {
    let breaker = builder().half_open_permits(2).half_open_successes(1).build().unwrap();
    trip(&breaker, 0);
    let old = permit(&breaker, 100);
    permit(&breaker, 100).failure(at(100));
    let fresh = permit(&breaker, 300);
    assert_eq!(old.success(at(300)), Recorded::Stale);
    assert_eq!(breaker.state(at(300)), State::HalfOpen);
    let second = permit(&breaker, 300);
    assert!(breaker.try_acquire(at(300)).is_err(), "the stale probe freed no slot");
    drop(second);
    assert_eq!(fresh.success(at(300)), Recorded::Counted);
    assert_eq!(breaker.state(at(300)), State::Closed);
}

#[test]
fn a_lost_probe_is_given_up_after_its_lease() {
    let breaker = builder().probe_lease(millis(1_000)).build().unwrap();
    trip(&breaker, 0);
    let lost = permit(&breaker, 100);
    let rejected = breaker.try_acquire(at(1_099)).unwrap_err();
    assert_eq!((rejected.state, rejected.retry_in), (State::HalfOpen, Some(millis(1))));
    assert_eq!(breaker.may_try(at(1_099)), Err(Blocked::new(Some(millis(1)))));

    let generation = breaker.snapshot(at(1_100)).generation;
    let next = permit(&breaker, 1_100);
    assert_eq!(breaker.snapshot(at(1_100)).generation, generation + 1);
    assert!(breaker.try_acquire(at(1_100)).is_err(), "one probe at a time, still");
    assert_eq!(lost.success(at(1_101)), Recorded::Stale);
    assert_eq!(next.success(at(1_102)), Recorded::Counted);
}

#[test]
fn a_leaked_probe_holds_nothing_open() {
    let breaker = builder().probe_lease(millis(1_000)).build().unwrap();
    trip(&breaker, 0);
    std::mem::forget(permit(&breaker, 100));
    for _ in 0..2 {
        permit(&breaker, 1_100).success(at(1_100));
    }
    assert_eq!(breaker.state(at(1_100)), State::Closed);
}

#[test]
fn a_panic_counts_as_a_failure() {
    let clock = ManualClock::new();
    let breaker = breaker();
    for n in 0..3 {
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            if n == 0 {
                let _permit = breaker.try_acquire(clock.now()).unwrap();
                panic!("by intent");
            }
            breaker.call(&clock, || -> Result<(), Fault> {
                clock.advance(millis(10_000));
                panic!("by intent");
            })
        }));
        assert!(unwound.is_err());
    }
    let snapshot = breaker.snapshot(clock.now());
    assert_eq!((snapshot.state, snapshot.failures), (State::Open, 3));
    assert_eq!(snapshot.retry_in, Some(millis(100)), "it opened when the call ended");
}

#[test]
fn a_permit_of_cleanup_code_does_not_blame_its_call_for_the_panic() {
    struct Cleanup<'a>(&'a Breaker);
    impl Drop for Cleanup<'_> {
        fn drop(&mut self) {
            drop(permit(self.0, 0));
        }
    }
    let breaker = breaker();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _cleanup = Cleanup(&breaker);
        panic!("by intent");
    }));
    assert!(unwound.is_err());
    let snapshot = breaker.snapshot(at(0));
    assert_eq!((snapshot.failures, snapshot.ignored), (0, 1));
}

#[test]
fn forced_states_hold_until_they_are_lifted() {
    let breaker = breaker();
    breaker.force_open();
    let rejected = breaker.try_acquire(Tick::MAX).unwrap_err();
    assert_eq!((rejected.state, rejected.retry_in), (State::Open, None));
    assert_eq!(breaker.may_try(Tick::MAX), Err(Blocked::new(None)));

    breaker.force_closed();
    for _ in 0..100 {
        assert_eq!(permit(&breaker, 0).failure(at(0)), Recorded::Counted);
    }
    assert_eq!((breaker.state(at(0)), breaker.snapshot(at(0)).failures), (State::Closed, 100));

    breaker.reset();
    trip(&breaker, 0);
    assert_eq!(breaker.state(at(0)), State::Open);
    breaker.reset();
    assert_eq!((breaker.state(at(0)), breaker.snapshot(at(0)).trips), (State::Closed, 1));
}

#[test]
fn asking_the_gate_reserves_nothing() {
    let breaker = breaker();
    trip(&breaker, 0);
    assert_eq!(breaker.may_try(at(40)), Err(Blocked::new(Some(millis(60)))));
    for _ in 0..5 {
        assert_eq!(breaker.may_try(at(100)), Ok(()));
    }
    let probe = permit(&breaker, 100);
    assert_eq!(breaker.may_try(at(100)), Err(Blocked::new(Some(millis(100)))));
    drop(probe);
    assert_eq!(breaker.may_try(at(100)), Ok(()));
    assert_eq!(breaker.snapshot(at(100)).rejected, 0);
}

#[test]
fn a_guarded_call_hands_back_what_the_closure_returned() {
    let clock = ManualClock::new();
    let breaker = breaker();
    assert_eq!(breaker.call(&clock, || Ok::<_, Fault>(7)), Ok(7));
    for class in [Class::Permanent, Class::Transient, Class::UnknownOutcome, Class::Transient] {
        let result = breaker.call(&clock, || Err::<(), _>(Fault(class)));
        let error = result.unwrap_err();
        assert_eq!((error, error.class()), (CallError::Inner(Fault(class)), class));
        assert!(error.source().is_none(), "the wrapper adds no link to the chain");
    }
    let result = breaker.call(&clock, || -> Result<(), Fault> { unreachable!("it is open") });
    let error = result.unwrap_err();
    assert!(matches!(error, CallError::Rejected(_)));
    assert_eq!(error.class(), Class::Unavailable { after: Some(millis(100)) });
}

#[test]
fn a_healthy_breaker_never_asks_for_the_time() {
    #[derive(Debug)]
    struct NoClock;
    impl Clock for NoClock {
        fn now(&self) -> Tick {
            unreachable!("nothing depends on the time")
        }

        fn wall(&self) -> std::time::SystemTime {
            unreachable!("a breaker has no business with the wall")
        }
    }
    let breaker = breaker();
    for class in [Class::Transient, Class::Permanent, Class::Ignore] {
        assert!(breaker.call(&NoClock, || Ok::<_, Fault>(())).is_ok());
        assert!(breaker.call(&NoClock, || Err::<(), _>(Fault(class))).is_err());
    }
}

#[test]
fn a_breaker_without_totals_decides_the_same() {
    let breaker = builder().totals(false).build().unwrap();
    trip(&breaker, 0);
    let snapshot = breaker.snapshot(at(0));
    assert_eq!((snapshot.state, snapshot.failures, snapshot.trips), (State::Open, 0, 0));
}

#[test]
fn one_seed_gives_one_sequence_of_open_times() {
    let open_times = |seed| {
        let breaker = builder().jitter(0.5).seed(seed).build().unwrap();
        let mut now = 0;
        trip(&breaker, now);
        std::iter::repeat_with(|| {
            let open = breaker.snapshot(at(now)).retry_in.unwrap();
            now += open.as_millis() as u64;
            permit(&breaker, now).failure(at(now));
            open
        })
        .take(20)
        .collect::<Vec<_>>()
    };
    assert_eq!(open_times(1), open_times(1));
    assert_ne!(open_times(1), open_times(2));
    assert!(open_times(1).iter().all(|open| (millis(50)..=millis(400)).contains(open)));
}
