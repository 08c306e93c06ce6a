//! Ages, uses, the floor, detaching, closing, configuration.

use bucket_core::{Clock, Tick};

use super::*;
use crate::{AcquireError, ConfigError, Pooled};

#[test]
fn an_idle_connection_expires_but_the_floor_stays() {
    let (server, clock, builder) = scene();
    let pool = builder.min_idle(1).idle_timeout(SECOND).build().unwrap();
    let held = [pool.acquire().unwrap(), pool.acquire().unwrap(), pool.acquire().unwrap()];
    drop(held);
    assert_eq!(pool.tick(), 0);
    clock.advance(SECOND);
    assert_eq!(pool.tick(), 2);
    assert_eq!((pool.state().idle, server.open(), pool.stats().recycled_idle), (1, 1, 2));
    assert_eq!(pool.acquire().unwrap().id, 3, "the one used last was kept");
}

#[test]
fn an_expired_connection_is_not_handed_out() {
    let (server, clock, builder) = scene();
    let pool = builder.idle_timeout(SECOND).build().unwrap();
    drop((pool.acquire().unwrap(), pool.acquire().unwrap()));
    clock.advance(SECOND);
    let wire = pool.acquire().unwrap();
    assert_eq!((wire.id, pool.stats().recycled_idle, server.open()), (3, 2, 1));
    drop(wire);
    assert_at_rest(&pool, &server);
}

#[test]
fn after_an_expired_connection_an_idle_good_one_is_taken() {
    let (server, clock, builder) = scene();
    let pool = builder.max_lifetime(SECOND * 10).idle_timeout(LONG).build().unwrap();
    let old = pool.acquire().unwrap();
    clock.advance(SECOND * 5);
    let young = pool.acquire().unwrap();
    drop(young);
    drop(old);
    clock.advance(SECOND * 5);
    let wire = pool.acquire().unwrap();
    assert_eq!((wire.id, server.open(), pool.state().size), (2, 1, 1));
    assert_eq!(pool.stats().recycled_lifetime, 1);
}

#[test]
fn a_connection_too_old_is_closed_idle_or_on_return() {
    let (server, clock, builder) = scene();
    let pool = builder.min_idle(1).max_lifetime(SECOND).build().unwrap();
    let held = pool.acquire().unwrap();
    drop(pool.acquire().unwrap());
    clock.advance(SECOND);
    assert_eq!(Pooled::age(&held), SECOND);
    assert_eq!(pool.tick(), 1, "the floor does not keep what is too old");
    drop(held);
    assert_eq!((pool.stats().recycled_lifetime, server.open()), (2, 0));
}

#[test]
fn lifetimes_are_shortened_at_random_and_never_prolonged() {
    let (_server, clock, builder) = scene();
    let pool = builder.max_lifetime(SECOND * 100).lifetime_jitter(0.5).idle_timeout(LONG);
    let pool = pool.min_idle(10).build().unwrap();
    assert_eq!(pool.fill().unwrap(), 10);
    let at = |seconds| clock.now().after(SECOND * seconds);
    assert_eq!(pool.expire(at(50)), 0);
    let n_early = pool.expire(at(75));
    assert!((1..10).contains(&n_early), "{n_early} of 10 in the first half of the spread");
    assert_eq!(pool.expire(at(100)), 10 - n_early);
}

#[test]
fn a_connection_is_closed_after_its_last_use() {
    let (_server, _clock, builder) = scene();
    let pool = builder.max_uses(2).build().unwrap();
    let ids: Vec<_> = (0..5).map(|_| pool.acquire().unwrap().id).collect();
    assert_eq!(ids, [1, 1, 2, 2, 3]);
    assert_eq!(pool.stats().recycled_uses, 2);
}

#[test]
fn a_detached_connection_frees_its_slot() {
    let (server, _clock, builder) = scene();
    let pool = builder.max_size(1).acquire_timeout(LONG).build().unwrap();
    let wire = pool.acquire().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.acquire().map(|wire| wire.id));
        wait_until(&pool, |state| state.waiters == 1);
        let detached = Pooled::detach(wire);
        assert_eq!(waiter.join().unwrap().unwrap(), 2);
        assert_eq!((detached.id, server.open(), pool.state().size), (1, 2, 1));
    });
    assert_eq!(server.0.closes.load(Ordering::SeqCst), 0, "it is not the pool's to close");
}

#[test]
fn filling_stops_at_the_floor_at_the_ceiling_and_at_an_error() {
    let (server, _clock, builder) = scene();
    let pool = builder.min_idle(3).max_size(4).build().unwrap();
    server.fail_connects(1);
    assert!(matches!(pool.fill(), Err(AcquireError::Connect { .. })));
    assert_at_rest(&pool, &server);
    assert_eq!(pool.fill().unwrap(), 3);
    assert_eq!(pool.fill().unwrap(), 0);
    let _held = [pool.acquire().unwrap(), pool.acquire().unwrap()];
    assert_eq!(pool.fill().unwrap(), 1);
    assert_eq!((pool.state().size, pool.stats().created), (4, 4));
    assert_eq!(pool.stats().hit_rate(), Some(1.0));
}

#[test]
fn closing_wakes_every_waiter_and_closes_what_comes_back() {
    let (server, _clock, builder) = scene();
    let pool = builder.max_size(2).acquire_timeout(LONG).build().unwrap();
    let held = [pool.acquire().unwrap(), pool.acquire().unwrap()];
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| pool.acquire().map(drop))).collect();
        wait_until(&pool, |state| state.waiters == 4);
        pool.close();
        for waiter in waiters {
            assert!(matches!(waiter.join().unwrap(), Err(AcquireError::Closed)));
        }
    });
    assert!(pool.state().closed);
    assert!(matches!(pool.acquire(), Err(AcquireError::Closed)));
    assert!(matches!(pool.fill(), Err(AcquireError::Closed)));
    assert_eq!(server.open(), 2, "borrowed connections stay usable");
    drop(held);
    assert_eq!((server.open(), pool.state().size), (0, 0));
    assert_eq!(server.0.closes.load(Ordering::SeqCst), 2);
}

#[test]
fn closing_closes_idle_connections_and_those_being_opened() {
    let (server, _clock, builder) = scene();
    let pool = builder.build().unwrap();
    drop(pool.acquire().unwrap());
    let held = pool.acquire().unwrap();
    let closer = pool.clone();
    *server.0.on_connect.lock() = Some(Box::new(move || closer.close()));
    assert!(matches!(pool.acquire(), Err(AcquireError::Closed)));
    assert_eq!((server.open(), pool.state().size), (1, 1));
    drop(held);
    assert_eq!((server.open(), pool.state().size), (0, 0));
}

#[test]
fn the_last_handle_closes_the_pool_and_a_guard_outlives_it() {
    let (server, _clock, builder) = scene();
    let pool = builder.build().unwrap();
    let held = pool.acquire().unwrap();
    drop(pool.acquire().unwrap());
    let clone = pool.clone();
    drop(pool);
    assert_eq!(server.open(), 2);
    drop(clone);
    assert_eq!((server.open(), held.id), (1, 1));
    drop(held);
    assert_eq!(server.open(), 0);
}

#[test]
fn the_longest_times_overflow_nothing() {
    let (_server, clock, builder) = scene();
    let pool = builder
        .max_lifetime(Duration::MAX)
        .lifetime_jitter(0.1)
        .idle_timeout(Duration::MAX)
        .check_after(Duration::MAX)
        .acquire_timeout(Duration::MAX)
        .build()
        .unwrap();
    drop(pool.acquire().unwrap());
    clock.advance(LONG);
    assert_eq!(pool.acquire().unwrap().id, 1);
    assert_eq!(pool.expire(Tick::ZERO), 0);
}

#[test]
fn a_configuration_that_contradicts_itself_is_refused() {
    let refused =
        |set: fn(PoolBuilder<Server>) -> PoolBuilder<Server>| set(scene().2).build().unwrap_err();
    assert_eq!(refused(|b| b.max_size(0)), ConfigError::Zero { field: "max_size" });
    assert_eq!(refused(|b| b.max_uses(0)), ConfigError::Zero { field: "max_uses" });
    let zero = refused(|b| b.idle_timeout(Duration::ZERO));
    assert_eq!(zero.to_string(), "idle_timeout must not be zero");
    let zero = refused(|b| b.max_lifetime(Duration::ZERO));
    assert_eq!(zero, ConfigError::Zero { field: "max_lifetime" });
    let above = refused(|b| b.min_idle(3).max_size(2));
    assert_eq!(above, ConfigError::MinIdleAboveMaxSize { min_idle: 3, max_size: 2 });
    for jitter in [refused(|b| b.lifetime_jitter(1.0)), refused(|b| b.lifetime_jitter(-0.1))] {
        assert!(matches!(jitter, ConfigError::JitterOutOfRange { .. }));
    }
    let nan = refused(|b| b.lifetime_jitter(f64::NAN));
    assert!(nan.to_string().contains("NaN"), "{nan}");
    assert!(scene().2.ipfs_kit_defaults().build().is_ok());
}

#[test]
fn names_and_debug_output_show_no_connection() {
    let (_server, _clock, builder) = scene();
    let pool = builder.name("s3").build().unwrap();
    assert_eq!(pool.name(), "s3");
    let wire = pool.acquire().unwrap();
    assert!(format!("{pool:?}").contains("in_use: 1"));
    assert!(format!("{wire:?}").starts_with("Pooled { pool: \"s3\", uses: 1"));
}
