//! Models of the interleavings of threads; the other tests stand beside what they test and in `tests/`.

#[cfg(bucket_loom)]
mod loom_breaker;
