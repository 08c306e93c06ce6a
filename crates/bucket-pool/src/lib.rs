#![doc = include_str!("../README.md")]
#![cfg_attr(bucket_docsrs, feature(doc_cfg))]
// A mutex and a queue need no unsafe.
#![forbid(unsafe_code)]

mod config;
mod error;
mod guard;
mod manager;
mod planted;
mod pool;
mod slots;
mod stats;
mod sync;
#[cfg(test)]
#[cfg(not(bucket_loom))]
mod tests;
// The other tests and their scripted server work with real threads only.
#[cfg(test)]
#[cfg(bucket_loom)]
#[path = "tests/loom_pool.rs"]
mod loom_pool;
mod waiters;

// The public interface is:
pub use config::PoolBuilder;
pub use error::{AcquireError, ConfigError};
pub use guard::Pooled;
pub use manager::BlockingManager;
#[cfg(bucket_planted)]
#[doc(hidden)]
pub use planted::Bug;
pub use pool::Pool;
pub use stats::{PoolState, PoolStats};
