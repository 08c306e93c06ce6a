//! Synchronization facade: the one place that locks and atomics come from.

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
