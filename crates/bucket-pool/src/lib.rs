#![doc = include_str!("../README.md")]
#![cfg_attr(bucket_docsrs, feature(doc_cfg))]
// A mutex and a queue need no unsafe.
#![forbid(unsafe_code)]

mod config;
mod error;
mod guard;
mod manager;
mod pool;
mod slots;
mod stats;
mod sync;
#[cfg(test)]
mod tests;
mod waiters;

// The public interface is:
pub use config::PoolBuilder;
pub use error::{AcquireError, ConfigError};
pub use guard::Pooled;
pub use manager::BlockingManager;
pub use pool::Pool;
pub use stats::{PoolState, PoolStats};
