//! The breaker: a call that succeeds, one that fails, and one that is refused.

use std::hint::black_box;
use std::io;

use bucket_breaker::Breaker;
use bucket_core::{Class, Clock, SystemClock};
use criterion::{Criterion, criterion_group, criterion_main};

fn breaker(totals: bool) -> Breaker {
    // Failures of which nine in ten succeed never open it.
    let breaker = Breaker::builder("bench").totals(totals).consecutive_failures(40);
    breaker.build().expect("the settings are valid")
}

fn closed(c: &mut Criterion) {
    let clock = SystemClock::new();
    for (name, totals) in [("totals_on", true), ("totals_off", false)] {
        let breaker = breaker(totals);
        c.bench_function(&format!("breaker/success/{name}"), |b| {
            b.iter(|| {
                black_box(&breaker).call(&clock, || black_box(Ok::<_, io::Error>(1_u64))).is_ok()
            });
        });
    }

    let breaker = breaker(true);
    let mut n = 0_u32;
    c.bench_function("breaker/one_failure_in_ten", |b| {
        b.iter(|| {
            n = n.wrapping_add(1);
            let class = if n % 10 == 0 { Class::Transient } else { Class::Success };
            let now = clock.now();
            black_box(&breaker).try_acquire(now).map(|permit| permit.record(now, class)).is_ok()
        });
    });
}

fn open(c: &mut Criterion) {
    let clock = SystemClock::new();
    let breaker = breaker(true);
    breaker.force_open();
    c.bench_function("breaker/refused", |b| {
        b.iter(|| black_box(&breaker).call(&clock, || Ok::<_, io::Error>(1_u64)).is_err());
    });
}

criterion_group!(benches, closed, open);
criterion_main!(benches);
