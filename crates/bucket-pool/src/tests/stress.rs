//! Many threads, random faults, random impatience; afterwards every slot is there again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bucket_core::{Cancel, Clock, OpKind};

use super::*;
use crate::{AcquireError, Pooled};

/// A small generator (`xorshift64`), so that a seed repeats the choices of a thread.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[test]
fn no_mixture_of_faults_loses_a_slot() {
    for seed in 1..=6 {
        run(seed);
    }
}

fn run(seed: u64) {
    let (server, clock, builder) = scene();
    let pool = builder
        .max_size(3)
        .min_idle(1)
        .max_waiters(6)
        .acquire_timeout(Duration::from_millis(2))
        .idle_timeout(Duration::from_millis(40))
        .max_lifetime(Duration::from_millis(200))
        .lifetime_jitter(0.5)
        .max_uses(20)
        .check_after(Duration::from_millis(3))
        .build()
        .unwrap();
    let outcomes: Vec<[u64; 6]> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let (pool, server, clock) = (&pool, &server, &clock);
                let dice = Dice(seed.wrapping_mul(0x9e37_79b9).wrapping_add(n + 1));
                scope.spawn(move || misuse(pool, server, clock, dice))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let total = |kind: usize| outcomes.iter().map(|counts| counts[kind]).sum::<u64>();
    let [ok, connect, timeout] = [total(OK), total(CONNECT), total(TIMEOUT)];
    assert!(ok > 0, "seed {seed}: {outcomes:?}");
    assert_at_rest(&pool, &server);
    let stats = pool.stats();
    assert_eq!(stats.hits + stats.misses, ok, "seed {seed}");
    assert_eq!(stats.timeouts, timeout, "seed {seed}");
    assert!(stats.connect_failures >= connect, "seed {seed}");

    // Every slot still works.
    for faults in [&server.0.fail_connects, &server.0.fail_checks, &server.0.break_returns] {
        faults.store(0, Ordering::SeqCst);
    }
    let all: Vec<_> = (0..3).map(|_| pool.acquire().unwrap()).collect();
    assert_eq!((pool.state().size, server.open()), (3, 3));
    drop(all);
    pool.close();
    assert_eq!((pool.state().size, server.open()), (0, 0));
}

/// Indexes of the outcomes that [`misuse`] counts.
const OK: usize = 0;
const CONNECT: usize = 1;
const TIMEOUT: usize = 2;
const QUEUE_FULL: usize = 3;
const CANCELLED: usize = 4;
const NONE: usize = 5;

fn misuse(pool: &Pool<Server>, server: &Server, clock: &ManualClock, mut dice: Dice) -> [u64; 6] {
    let mut counts = [0; 6];
    for _ in 0..400 {
        match dice.below(12) {
            0 => server.fail_connects(1),
            1 => server.fail_checks(1),
            2 => server.0.break_returns.store(1, Ordering::SeqCst),
            3 => clock.advance(Duration::from_millis(dice.below(6))),
            4 => drop(pool.tick()),
            5 => drop(pool.fill()),
            _ => {}
        }
        let cancel = Cancel::new();
        let ctx = Ctx::new(OpKind::Read)
            .with_cancel(cancel.clone())
            .with_deadline(clock.now().after(Duration::from_micros(dice.below(3_000))));
        if dice.below(20) == 0 {
            cancel.cancel();
        }
        let acquired = if dice.below(10) == 0 {
            pool.try_acquire().ok_or(NONE)
        } else {
            pool.acquire_with(&ctx).map_err(|error| match error {
                AcquireError::Cancelled => CANCELLED,
                AcquireError::Closed => panic!("nobody closed the pool"),
                AcquireError::Connect { .. } => CONNECT,
                AcquireError::QueueFull => QUEUE_FULL,
                AcquireError::Timeout { .. } => TIMEOUT,
            })
        };
        let state = pool.state();
        assert!(state.size <= state.max);
        assert_eq!(state.size, state.idle + state.in_use + state.connecting + state.closing);
        let mut wire = match acquired {
            Ok(wire) => wire,
            Err(kind) => {
                counts[kind] += 1;
                continue;
            }
        };
        counts[OK] += 1;
        (0..dice.below(4)).for_each(|_| thread::yield_now());
        match dice.below(16) {
            0 => Pooled::poison(&mut wire),
            1 => {
                let unwound = catch_unwind(AssertUnwindSafe(move || {
                    let _wire = wire;
                    std::panic::resume_unwind(Box::new("holder"));
                }));
                assert!(unwound.is_err());
            }
            _ => drop(wire),
        }
    }
    counts
}
