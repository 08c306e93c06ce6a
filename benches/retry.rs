//! The retry: a call that succeeds at once, and one that gives up, without the sleeps between.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use bucket_core::{Cancel, Ctx, OpKind};
use bucket_retry::{RetryPolicy, Sleep};
use criterion::{Criterion, criterion_group, criterion_main};

/// Passes the time at once.
struct NoSleep;

impl Sleep for NoSleep {
    fn sleep(&self, _duration: Duration, _cancel: &Cancel) -> bool {
        true
    }
}

fn call(c: &mut Criterion) {
    let policy = RetryPolicy::builder().build().expect("the defaults are valid");
    let ctx = Ctx::new(OpKind::Read);
    c.bench_function("retry/first_try", |b| {
        b.iter(|| {
            let call = black_box(&policy).call(black_box(&ctx)).idempotent(true);
            call.run(|_| black_box(Ok::<_, io::Error>(1_u64))).is_ok()
        });
    });

    let refused = || Err::<u64, _>(io::Error::from(io::ErrorKind::ConnectionRefused));
    c.bench_function("retry/three_failures", |b| {
        b.iter(|| {
            let call = black_box(&policy).call(black_box(&ctx)).idempotent(true).sleep(&NoSleep);
            call.run(|_| black_box(refused())).is_err()
        });
    });
}

fn delays(c: &mut Criterion) {
    let policy = RetryPolicy::builder().max_attempts(10).build().expect("the settings are valid");
    c.bench_function("retry/nine_delays", |b| {
        b.iter(|| black_box(&policy).delays().sum::<Duration>());
    });
}

criterion_group!(benches, call, delays);
criterion_main!(benches);
