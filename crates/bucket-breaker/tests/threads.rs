//! What must hold whatever the number of threads.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use bucket_breaker::{Breaker, State};
use bucket_core::Tick;

const THREADS: usize = 8;

fn half_open(permits: u32) -> (Breaker, Tick) {
    let breaker = Breaker::builder("threads")
        .consecutive_failures(1)
        .half_open_permits(permits)
        .half_open_successes(1_000)
        .build()
        .expect("the settings are valid");
    breaker.try_acquire(Tick::ZERO).expect("it is closed").failure(Tick::ZERO);
    (breaker, Tick::ZERO.after(Duration::from_secs(5)))
}

#[test]
fn racing_threads_start_no_more_probes_than_allowed() {
    for round in 0..200 {
        let (breaker, now) = half_open(3);
        let started = Barrier::new(THREADS);
        let tried = Barrier::new(THREADS);
        let probes: u32 = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        started.wait();
                        let permit = breaker.try_acquire(now);
                        tried.wait();
                        u32::from(permit.is_ok())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(probes, 3, "round {round}");
    }
}

#[test]
fn probes_in_flight_never_exceed_the_limit() {
    let (breaker, now) = half_open(3);
    let in_flight = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for n in 0..10_000 {
                    let Ok(permit) = breaker.try_acquire(now) else {
                        continue;
                    };
                    assert!(in_flight.fetch_add(1, Ordering::SeqCst) < 3);
                    in_flight.fetch_sub(1, Ordering::SeqCst);
                    if n % 2 == 0 {
                        permit.ignore();
                    }
                }
            });
        }
    });
    let held: Vec<_> = (0..3).map(|_| breaker.try_acquire(now)).collect();
    assert!(held.iter().all(Result::is_ok), "no slot was lost");
    assert!(breaker.try_acquire(now).is_err(), "and none was freed twice");
}

#[test]
fn one_burst_of_failures_is_one_trip() {
    let breaker = Breaker::builder("threads").consecutive_failures(THREADS as u32).build().unwrap();
    let admitted = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let permits: Vec<_> = (0..10)
                    .map(|_| breaker.try_acquire(Tick::ZERO).expect("it is closed"))
                    .collect();
                admitted.wait();
                for permit in permits {
                    permit.failure(Tick::ZERO);
                }
            });
        }
    });
    let snapshot = breaker.snapshot(Tick::ZERO);
    assert_eq!((snapshot.state, snapshot.trips, snapshot.generation), (State::Open, 1, 1));
    assert_eq!(snapshot.failures + snapshot.stale, 10 * THREADS as u64);
    assert_eq!(snapshot.failures, THREADS as u64);
}
