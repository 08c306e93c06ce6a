//! The atomics and shared pointers of this crate, in one place, so that a model checker can replace
//! them: the tests under `--cfg bucket_loom` get loom's.
//!
//! The pointer stays std's there, because nothing here depends on how a count of references is kept.

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::Ordering;

#[cfg(all(test, bucket_loom))]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(not(all(test, bucket_loom)))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64};
