//! The pool: a connection that is at hand, and one for which two threads contend.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bucket_core::Ctx;
use bucket_pool::{BlockingManager, Pool};
use criterion::{Criterion, criterion_group, criterion_main};

struct Connections;

impl BlockingManager for Connections {
    type Connection = u64;
    type Error = Infallible;

    fn connect(&self, _ctx: &Ctx) -> Result<u64, Infallible> {
        Ok(0)
    }
}

fn pool(max_size: usize) -> Pool<Connections> {
    Pool::builder(Connections).max_size(max_size).build().expect("the sizes are valid")
}

fn idle(c: &mut Criterion) {
    let idle = pool(4);
    c.bench_function("pool/acquire_idle", |b| b.iter(|| black_box(&idle).acquire().is_ok()));
    c.bench_function("pool/try_acquire_idle", |b| {
        b.iter(|| black_box(&idle).try_acquire().is_some());
    });

    // Every checkout asks the manager.
    let checked = Pool::builder(Connections).check_after(Duration::ZERO).build();
    let checked = checked.expect("the settings are valid");
    c.bench_function("pool/acquire_checked", |b| b.iter(|| black_box(&checked).acquire().is_ok()));
}

fn contended(c: &mut Criterion) {
    let contended = pool(1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                black_box(contended.acquire().is_ok());
            }
        });
        c.bench_function("pool/acquire_contended", |b| b.iter(|| contended.acquire().is_ok()));
        done.store(true, Ordering::Relaxed);
    });
}

criterion_group!(benches, idle, contended);
criterion_main!(benches);
