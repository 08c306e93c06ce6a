//! The bucket: a put as the local disk acknowledges it, and a read of what has not been drained.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use bucket_remote::Key;
use bucket_remote::testing::MemoryRemote;
use bucket_store::Bucket;
use criterion::{Criterion, criterion_group, criterion_main};

/// A bucket that drains nothing, so that its worth alone is measured.
fn open() -> (tempfile::TempDir, Bucket) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = tempfile::tempdir_in(folder).expect("the target directory can be written");
    let builder = Bucket::builder(Arc::new(MemoryRemote::new())).workers(0);
    let bucket = builder.open(dir.path().join("bucket")).expect("an empty directory opens");
    (dir, bucket)
}

fn put(c: &mut Criterion) {
    let (_dir, bucket) = open();
    let key = Key::new("object").expect("the key is valid");
    let content = vec![7; 4 << 10];
    c.bench_function("store/put/4096B", |b| {
        b.iter(|| bucket.put(black_box(&key), content.clone()).is_ok());
    });
}

fn get(c: &mut Criterion) {
    let (_dir, bucket) = open();
    let key = Key::new("object").expect("the key is valid");
    bucket.put(&key, vec![7; 4 << 10]).expect("the disk has room");
    c.bench_function("store/get_pending/4096B", |b| {
        b.iter(|| bucket.get(black_box(&key)).map(|body| body.len()).ok());
    });
}

criterion_group!(benches, put, get);
criterion_main!(benches);
