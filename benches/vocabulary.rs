//! What the vocabulary costs on every guarded call: one look at the clock, one look at the class.
//!
//! A policy cannot be cheaper than the clock it reads, so these numbers are the floor beside which the
//! other measurements stand.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use bucket_core::{ByClass, Class, Classified, Classify, Clock, Ctx, OpKind, SystemClock};
use criterion::{Criterion, criterion_group, criterion_main};

fn clock(c: &mut Criterion) {
    let clock = SystemClock::new();
    c.bench_function("clock/now", |b| b.iter(|| black_box(&clock).now()));

    // As the crates hold it: behind a pointer.
    let shared: std::sync::Arc<dyn Clock> = std::sync::Arc::new(clock);
    c.bench_function("clock/now_dyn", |b| b.iter(|| black_box(&shared).now()));

    let ctx = Ctx::new(OpKind::Read).with_deadline(clock.now().after(Duration::from_secs(3_600)));
    c.bench_function("clock/deadline_check", |b| {
        b.iter(|| black_box(&ctx).is_expired(black_box(&clock).now()));
    });
}

fn class(c: &mut Criterion) {
    let by_class = ByClass::default();
    let ok: Result<u64, io::Error> = Ok(1);
    c.bench_function("class/classify_ok", |b| {
        b.iter(|| by_class.classify(black_box(&ok).as_ref()));
    });

    let reset: Result<u64, io::Error> = Err(io::ErrorKind::ConnectionReset.into());
    c.bench_function("class/classify_io_error", |b| {
        b.iter(|| by_class.classify(black_box(&reset).as_ref()));
    });

    let throttled = Class::Throttled { after: Some(Duration::from_secs(1)) };
    c.bench_function("class/decide", |b| {
        b.iter(|| {
            let class = black_box(throttled);
            (class.is_failure(), class.is_retryable(false), class.retry_after())
        });
    });

    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    c.bench_function("class/of_io_error", |b| b.iter(|| black_box(&refused).class()));
}

criterion_group!(benches, clock, class);
criterion_main!(benches);
