//! Synchronization facade: the one place that locks, atomics and threads come from. The tests under
//! `--cfg bucket_loom` get loom's, in the shape of `parking_lot`.
//!
//! The pointer stays std's there: it has to hold trait objects and to be held weakly, which loom's
//! cannot, and nothing here depends on how a count of references is kept.

#[cfg(all(test, bucket_loom))]
mod model;
#[cfg(not(all(test, bucket_loom)))]
mod real;

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::Ordering;

#[cfg(all(test, bucket_loom))]
pub(crate) use model::{AtomicU64, Condvar, Mutex, MutexGuard, spawn};
#[cfg(not(all(test, bucket_loom)))]
pub(crate) use real::{AtomicU64, Condvar, Mutex, MutexGuard, spawn};
