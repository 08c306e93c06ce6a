//! Failing connects and checks, broken connections, panics.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bucket_core::{Class, Classified, Clock, OpKind};

use super::*;
use crate::{AcquireError, Pooled};

#[test]
fn a_failed_connect_frees_the_slot_and_tells_its_caller() {
    let (server, _clock, builder) = scene();
    let pool = builder.max_size(1).build().unwrap();
    server.fail_connects(1);
    let error = pool.acquire().unwrap_err();
    assert_eq!(error.class(), Class::Unavailable { after: None });
    assert_eq!(error.source().unwrap().to_string(), "server: connect");
    assert!(matches!(error, AcquireError::Connect { source: Refused("connect") }));
    assert_eq!(pool.state().size, 0);
    assert!(pool.acquire().is_ok());
    assert_eq!(pool.stats().connect_failures, 1);
}

#[test]
fn a_failed_connect_lets_the_next_waiter_connect() {
    let (server, _clock, builder) = scene();
    let pool = builder.max_size(1).acquire_timeout(LONG).build().unwrap();
    let watched = pool.clone();
    server.fail_connects(1);
    *server.0.on_connect.lock() =
        Some(Box::new(move || wait_until(&watched, |state| state.waiters == 1)));
    thread::scope(|scope| {
        let first = scope.spawn(|| pool.acquire().map(|wire| wire.id));
        wait_until(&pool, |state| state.connecting == 1);
        let second = scope.spawn(|| pool.acquire().map(|wire| wire.id));
        assert!(matches!(first.join().unwrap(), Err(AcquireError::Connect { .. })));
        assert_eq!(second.join().unwrap().unwrap(), 2);
    });
    assert_at_rest(&pool, &server);
}

#[test]
fn an_unproven_connection_is_checked_and_a_proven_one_is_not() {
    let (server, clock, builder) = scene();
    let pool = builder.check_after(SECOND).build().unwrap();
    drop(pool.acquire().unwrap());
    clock.advance(SECOND - Duration::from_nanos(1));
    drop(pool.acquire().unwrap());
    assert_eq!(server.0.checks.load(Ordering::SeqCst), 0);
    clock.advance(SECOND);
    let wire = pool.acquire().unwrap();
    assert_eq!((wire.id, server.0.checks.load(Ordering::SeqCst)), (1, 1));
    assert_eq!((pool.stats().hits, pool.stats().misses), (2, 1));
}

#[test]
fn a_connection_whose_check_fails_is_replaced() {
    let (server, clock, builder) = scene();
    let pool = builder.build().unwrap();
    drop(pool.acquire().unwrap());
    clock.advance(SECOND);
    server.fail_checks(1);
    let watched = pool.clone();
    *server.0.on_connect.lock() = Some(Box::new(move || {
        assert_eq!((watched.state().connecting, watched.state().size), (1, 1));
    }));
    let wire = pool.acquire().unwrap();
    assert_eq!((wire.id, server.open(), pool.state().size), (2, 1, 1));
    let stats = pool.stats();
    assert_eq!((stats.check_failures, stats.misses, stats.hits), (1, 2, 0));
}

#[test]
fn nothing_is_connected_for_a_pool_that_was_closed_during_a_check() {
    let (server, clock, builder) = scene();
    let pool = builder.build().unwrap();
    drop(pool.acquire().unwrap());
    clock.advance(SECOND);
    server.fail_checks(1);
    let closer = pool.clone();
    *server.0.on_check.lock() = Some(Box::new(move || closer.close()));
    assert!(matches!(pool.acquire(), Err(AcquireError::Closed)));
    assert_eq!((server.0.connects.load(Ordering::SeqCst), server.open()), (1, 0));
}

#[test]
fn a_time_out_after_a_failed_check_carries_its_error() {
    let (server, clock, builder) = scene();
    let pool = builder.max_size(1).acquire_timeout(SECOND).build().unwrap();
    drop(pool.acquire().unwrap());
    clock.advance(SECOND);
    server.fail_checks(1);
    let slow = clock.clone();
    *server.0.on_check.lock() = Some(Box::new(move || slow.advance(SECOND)));
    let error = pool.acquire().unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "server: check");
    let AcquireError::Timeout { waited, state, last_error } = error else { panic!("{error}") };
    assert_eq!((waited, state.size), (SECOND, 0));
    assert_eq!(last_error.as_deref(), Some(&Refused("check")));

    let _wire = pool.acquire().unwrap();
    let ctx = Ctx::new(OpKind::Read).with_deadline(clock.now());
    let error = pool.acquire_with(&ctx).unwrap_err();
    assert!(error.source().is_none(), "a connect has proved the server alive");
}

#[test]
fn a_broken_or_poisoned_connection_is_closed_on_return() {
    let (server, _clock, builder) = scene();
    let pool = builder.build().unwrap();
    server.0.break_returns.store(1, Ordering::SeqCst);
    drop(pool.acquire().unwrap());
    let mut wire = pool.acquire().unwrap();
    assert_eq!(wire.id, 2);
    Pooled::poison(&mut wire);
    drop(wire);
    assert_eq!((pool.stats().recycled_broken, server.0.closes.load(Ordering::SeqCst)), (2, 2));
    assert_eq!((pool.state().size, server.open()), (0, 0));
}

#[test]
fn the_connection_of_a_panicking_holder_is_closed() {
    let (server, _clock, builder) = scene();
    let pool = builder.max_size(1).build().unwrap();
    for also_in_close in [false, true] {
        server.0.panic_in_close.store(also_in_close, Ordering::SeqCst);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _wire = pool.acquire().unwrap();
            std::panic::resume_unwind(Box::new("holder"));
        }));
        assert!(outcome.is_err());
        assert_at_rest(&pool, &server);
    }
    assert_eq!((pool.stats().recycled_broken, server.open()), (2, 0));
    assert!(pool.acquire().is_ok());
}

#[test]
fn a_waiter_gets_the_slot_of_a_broken_connection() {
    let (server, _clock, builder) = scene();
    let pool = builder.max_size(1).acquire_timeout(LONG).build().unwrap();
    let mut held = pool.acquire().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.acquire().map(|wire| wire.id));
        wait_until(&pool, |state| state.waiters == 1);
        Pooled::poison(&mut held);
        drop(held);
        assert_eq!(waiter.join().unwrap().unwrap(), 2);
    });
    assert_at_rest(&pool, &server);
}

#[test]
fn a_panic_in_the_manager_leaks_no_slot() {
    let (server, clock, builder) = scene();
    let pool = builder.max_size(1).build().unwrap();
    let script = &server.0;

    script.panic_in_connect.store(true, Ordering::SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| pool.acquire())).is_err());
    assert_at_rest(&pool, &server);

    drop(pool.acquire().unwrap());
    clock.advance(SECOND);
    script.panic_in_check.store(true, Ordering::SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| pool.acquire())).is_err());
    assert_at_rest(&pool, &server);
    assert_eq!(pool.state().size, 0);

    let wire = pool.acquire().unwrap();
    script.panic_in_is_broken.store(true, Ordering::SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(wire))).is_err());
    assert_at_rest(&pool, &server);

    let mut wire = pool.acquire().unwrap();
    Pooled::poison(&mut wire);
    script.panic_in_close.store(true, Ordering::SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(wire))).is_err());
    assert_at_rest(&pool, &server);
    assert!(pool.acquire().is_ok());
}

#[test]
fn a_panic_in_one_close_frees_every_slot_of_the_expired() {
    let (server, clock, builder) = scene();
    let pool = builder.max_size(3).min_idle(3).max_lifetime(SECOND).build().unwrap();
    assert_eq!(pool.fill().unwrap(), 3);
    clock.advance(SECOND);
    server.0.panic_in_close.store(true, Ordering::SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| pool.tick())).is_err());
    assert_at_rest(&pool, &server);
    assert_eq!(pool.state().size, 0);
}
