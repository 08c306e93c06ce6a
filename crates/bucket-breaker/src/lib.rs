#![doc = include_str!("../README.md")]
#![cfg_attr(bucket_docsrs, feature(doc_cfg))]
// One word and compare-and-swap: std's atomics are all it takes.
#![forbid(unsafe_code)]

mod breaker;
mod config;
mod error;
mod permit;
mod planted;
mod snapshot;
mod sync;
#[cfg(test)]
mod tests;
mod word;

// The public interface is:
pub use breaker::Breaker;
pub use config::BreakerBuilder;
pub use error::{CallError, ConfigError, Rejected};
pub use permit::{Permit, Recorded};
#[cfg(bucket_planted)]
#[doc(hidden)]
pub use planted::Bug;
pub use snapshot::{Snapshot, State};
