//! The atomics and shared pointers of this crate, in one place, so that a model checker can replace
//! them.

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
