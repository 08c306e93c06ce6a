//! Checkout, waiting, hand-off, time-outs.

use std::sync::Barrier;
use std::sync::mpsc;

use bucket_core::{Cancel, Class, Classified, Clock, OpKind};

use super::*;
use crate::{AcquireError, Pooled};

#[test]
fn a_returned_connection_is_used_again_and_the_last_one_first() {
    let (server, _clock, builder) = scene();
    let pool = builder.build().unwrap();
    let first = pool.acquire().unwrap();
    let second = pool.acquire().unwrap();
    let id = second.id;
    drop(first);
    drop(second);
    let again = pool.acquire().unwrap();
    assert_eq!((again.id, Pooled::uses(&again)), (id, 2));
    let stats = pool.stats();
    assert_eq!((stats.hits, stats.misses, stats.created, stats.peak_in_use), (1, 2, 2, 2));
    assert_eq!(server.0.checks.load(Ordering::SeqCst), 0, "both are proven");
}

#[test]
fn sixteen_threads_never_hold_more_than_the_maximum() {
    let (server, _clock, builder) = scene();
    let pool = builder.max_size(3).acquire_timeout(LONG).build().unwrap();
    let start = Barrier::new(16);
    thread::scope(|scope| {
        for n in 0..16 {
            let (pool, start) = (&pool, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..200 {
                    let mut wire = pool.acquire().unwrap();
                    if (n + round) % 7 == 0 {
                        Pooled::poison(&mut wire);
                    }
                }
            });
        }
    });
    assert_at_rest(&pool, &server);
    let stats = pool.stats();
    assert!(stats.peak_in_use <= 3);
    assert_eq!(stats.hits + stats.misses, 3_200);
    assert_eq!(stats.timeouts, 0);
}

#[test]
fn waiters_are_served_in_the_order_they_came() {
    let (_server, _clock, builder) = scene();
    let pool = builder.max_size(1).acquire_timeout(LONG).build().unwrap();
    let held = pool.acquire().unwrap();
    let (served, order) = mpsc::channel();
    thread::scope(|scope| {
        for n in 0..8 {
            let (pool, served) = (&pool, served.clone());
            scope.spawn(move || {
                let _wire = pool.acquire().unwrap();
                served.send(n).unwrap();
            });
            wait_until(pool, |state| state.waiters == n + 1);
        }
        drop(held);
    });
    drop(served);
    assert_eq!(order.iter().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert_eq!(pool.stats().created, 1);
}

#[test]
fn a_returned_connection_goes_to_the_waiter_and_not_to_who_comes_later() {
    let (_server, _clock, builder) = scene();
    let pool = builder.max_size(1).acquire_timeout(LONG).build().unwrap();
    let held = pool.acquire().unwrap();
    thread::scope(|scope| {
        let (release, released) = mpsc::channel();
        let waiting = &pool;
        let waiter = scope.spawn(move || {
            let _wire = waiting.acquire().unwrap();
            released.recv().unwrap();
        });
        wait_until(&pool, |state| state.waiters == 1);
        drop(held);
        assert!(pool.try_acquire().is_none(), "granted before the waiter even woke");
        assert_eq!((pool.state().in_use, pool.state().waiters), (1, 0));
        release.send(()).unwrap();
        waiter.join().unwrap();
    });
}

#[test]
fn a_timed_out_caller_learns_what_the_pool_was_busy_with() {
    let (_server, _clock, builder) = scene();
    let short = Duration::from_millis(1);
    let pool = builder.max_size(2).acquire_timeout(short).build().unwrap();
    let _held = (pool.acquire().unwrap(), pool.acquire().unwrap());
    let error = pool.acquire().unwrap_err();
    assert_eq!(error.class(), Class::Ignore);
    assert!(error.to_string().contains("of 2 connections 2 in use, 0 connecting"), "{error}");
    let AcquireError::Timeout { state, last_error, .. } = error else { panic!("{error}") };
    assert_eq!((state.max, state.size, state.in_use, state.waiters), (2, 2, 2, 0));
    assert_eq!(last_error, None);
    assert_eq!(pool.stats().timeouts, 1);
    assert_eq!(pool.state().waiters, 0);
}

#[test]
fn without_time_only_an_idle_proven_connection_is_handed_out() {
    let (server, clock, builder) = scene();
    let pool = builder.min_idle(1).acquire_timeout(Duration::ZERO).build().unwrap();
    assert!(matches!(pool.acquire(), Err(AcquireError::Timeout { .. })));
    assert_eq!(server.0.connects.load(Ordering::SeqCst), 0);
    assert_eq!(pool.fill().unwrap(), 1);
    drop(pool.acquire().unwrap());
    clock.advance(SECOND);
    assert!(matches!(pool.acquire(), Err(AcquireError::Timeout { .. })), "it needs a check");
    assert_eq!(pool.state().idle, 1);
    assert_eq!(server.0.checks.load(Ordering::SeqCst), 0);
}

#[test]
fn the_deadline_of_the_caller_holds_when_it_is_earlier() {
    let (_server, clock, builder) = scene();
    let pool = builder.max_size(1).acquire_timeout(LONG).build().unwrap();
    let _held = pool.acquire().unwrap();
    let soon = clock.now().after(Duration::from_millis(1));
    let ctx = Ctx::new(OpKind::Write).with_deadline(soon);
    assert!(matches!(pool.acquire_with(&ctx), Err(AcquireError::Timeout { .. })));
}

#[test]
fn a_waiter_granted_a_slot_too_late_passes_it_on() {
    let (_server, clock, builder) = scene();
    let pool = builder.max_size(1).acquire_timeout(LONG).build().unwrap();
    let mut held = pool.acquire().unwrap();
    thread::scope(|scope| {
        let late = scope.spawn(|| pool.acquire().map(|wire| wire.id));
        wait_until(&pool, |state| state.waiters == 1);
        clock.advance(LONG);
        let next = scope.spawn(|| pool.acquire().map(|wire| wire.id));
        wait_until(&pool, |state| state.waiters == 2);
        Pooled::poison(&mut held);
        drop(held);
        assert!(matches!(late.join().unwrap(), Err(AcquireError::Timeout { .. })));
        assert_eq!(next.join().unwrap().unwrap(), 2);
    });
}

#[test]
fn a_cancelled_waiter_passes_on_what_it_was_given() {
    let (server, _clock, builder) = scene();
    let pool = builder.max_size(1).acquire_timeout(LONG).build().unwrap();
    for poison in [false, true] {
        let mut held = pool.acquire().unwrap();
        let id = held.id + usize::from(poison);
        let cancel = Cancel::new();
        let ctx = Ctx::new(OpKind::Read).with_cancel(cancel.clone());
        thread::scope(|scope| {
            let cancelled = scope.spawn(|| pool.acquire_with(&ctx).map(|wire| wire.id));
            wait_until(&pool, |state| state.waiters == 1);
            let next = scope.spawn(|| pool.acquire().map(|wire| wire.id));
            wait_until(&pool, |state| state.waiters == 2);
            cancel.cancel();
            if poison {
                Pooled::poison(&mut held);
            }
            drop(held);
            assert!(matches!(cancelled.join().unwrap(), Err(AcquireError::Cancelled)));
            assert_eq!(next.join().unwrap().unwrap(), id, "the connection itself, or its slot");
        });
        assert!(matches!(pool.acquire_with(&ctx), Err(AcquireError::Cancelled)));
        assert_at_rest(&pool, &server);
    }
}

#[test]
fn a_full_queue_turns_callers_away_at_once() {
    let (_server, _clock, builder) = scene();
    let pool = builder.max_size(1).max_waiters(1).acquire_timeout(LONG).build().unwrap();
    let held = pool.acquire().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.acquire().is_ok());
        wait_until(&pool, |state| state.waiters == 1);
        let error = pool.acquire().unwrap_err();
        assert!(matches!(error, AcquireError::QueueFull));
        assert_eq!(error.class(), Class::Ignore);
        drop(held);
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn trying_never_connects_and_never_checks() {
    let (server, clock, builder) = scene();
    let pool = builder.build().unwrap();
    assert!(pool.try_acquire().is_none());
    drop(pool.acquire().unwrap());
    assert!(pool.try_acquire().is_some());
    clock.advance(SECOND);
    assert!(pool.try_acquire().is_none(), "no longer proven");
    assert_eq!(server.0.connects.load(Ordering::SeqCst), 1);
    assert_eq!(server.0.checks.load(Ordering::SeqCst), 0);
}

#[test]
fn a_manager_may_use_its_own_pool() {
    let (server, _clock, builder) = scene();
    let pool = builder.max_size(2).build().unwrap();
    let inner = pool.clone();
    *server.0.on_connect.lock() = Some(Box::new(move || {
        assert_eq!(inner.state().connecting, 1);
        drop(inner.acquire().unwrap());
    }));
    let wire = pool.acquire().unwrap();
    assert_eq!(wire.id, 1);
    assert_eq!((pool.state().in_use, pool.state().idle), (1, 1));
}
