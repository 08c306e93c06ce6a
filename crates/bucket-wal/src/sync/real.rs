//! What every build but a model's works with.

use std::io;
use std::thread;

pub(crate) use std::sync::atomic::AtomicU64;

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

/// Starts a thread that nobody joins.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(body).map(drop)
}
