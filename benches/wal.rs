//! The log: appends that wait for the disk, alone and in company, submits and appends that do not wait, and
//! opening.
//!
//! These follow the pace of the disk; `cargo xtask bench --peers wal` compares and keeps the disk out of the
//! verdict.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use bucket_core::ByteCount;
use bucket_wal::{SyncPolicy, VerifyOnOpen, Wal, WalOptions};
use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// A log in a directory beside what cargo builds, which is on a disk where `/tmp` may be in memory.
fn open(name: &str) -> (tempfile::TempDir, Wal) {
    open_with(name, Wal::options())
}

fn open_with(name: &str, options: WalOptions) -> (tempfile::TempDir, Wal) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = tempfile::tempdir_in(folder).expect("the target directory can be written");
    let (wal, _) = options.open(dir.path().join(name)).expect("an empty directory opens");
    (dir, wal)
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("wal/append");
    // The log grows by what is measured; nothing here trims it.
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for len in [128, 1 << 10, 64 << 10] {
        let (_dir, wal) = open("append");
        let payload = vec![7; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("{len}B"), |b| b.iter(|| wal.append(black_box(&payload))));
    }
    group.finish();
}

fn append_in_company(c: &mut Criterion) {
    let (_dir, wal) = open("company");
    for (threads, len) in [(8, 1 << 10), (64, 128)] {
        let payload = vec![7; len];
        c.bench_function(&format!("wal/append_{threads}_threads/{len}B"), |b| {
            b.iter_custom(|calls| {
                // They share the calls, so that the figure is the time a record takes.
                let each = calls.div_ceil(threads);
                let work = || (0..each).for_each(|_| drop(black_box(wal.append(&payload))));
                let start = WallTime.start();
                std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
                WallTime.end(start)
            });
        });
    }
}

fn submit(c: &mut Criterion) {
    let (_dir, wal) = open("submit");
    let payload = [7; 128];
    c.bench_function("wal/submit_512_and_wait/128B", |b| {
        b.iter(|| {
            let tickets: Vec<_> = (0..512).map(|_| wal.submit(black_box(&payload))).collect();
            tickets.into_iter().next_back().map(|ticket| ticket.and_then(|ticket| ticket.wait()))
        });
    });
}

fn accept(c: &mut Criterion) {
    let bytes = ByteCount::mib(64);
    let policy = SyncPolicy::Batch { records: 1 << 20, bytes, delay: Duration::from_millis(100) };
    let options = Wal::options().sync_policy(policy).expect("no bound is zero");
    let (_dir, wal) = open_with("accept", options);
    let payload = [7; 128];
    let mut group = c.benchmark_group("wal/accept");
    // A second writes hundreds of megabytes.
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group.bench_function("128B", |b| b.iter(|| wal.append(black_box(&payload))));
    group.finish();
}

fn reopen(c: &mut Criterion) {
    let options = Wal::options().sync_policy(SyncPolicy::None).expect("no bound is zero");
    // Written through, each record is in a frame of its own, as a lone writer leaves them.
    let (dir, wal) = open_with("reopen", options.write_through(true));
    let payload = [7; 1 << 10];
    (0..64 << 10).for_each(|_| drop(wal.append(&payload)));
    wal.close().expect("there is room for 64 MiB");
    let log = dir.path().join("reopen");
    let mut group = c.benchmark_group("wal/open");
    group.sample_size(20).throughput(Throughput::Bytes(64 << 20));
    group.bench_function("64MiB", |b| b.iter(|| Wal::open(black_box(&log)).map(drop)));
    let full = Wal::options().verify_on_open(VerifyOnOpen::Full);
    let full = full.recovery_threads(1).expect("one thread is allowed");
    group.bench_function("64MiB, every check", |b| {
        b.iter(|| full.clone().open(black_box(&log)).map(drop));
    });
    group.finish();
}

criterion_group!(benches, append, append_in_company, submit, accept, reopen);
criterion_main!(benches);
