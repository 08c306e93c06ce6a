#![doc = include_str!("../README.md")]
#![cfg_attr(bucket_docsrs, feature(doc_cfg))]
// Arithmetic on durations and a small generator: nothing here needs more.
#![forbid(unsafe_code)]

mod backoff;
mod call;
mod error;
mod policies;
mod policy;
mod state;
mod sync;

// The public interface is:
pub use backoff::{Backoff, Jitter};
pub use call::{Call, Sleep, ThreadSleep};
pub use error::{ConfigError, Reason, RetryError};
pub use policies::Policies;
pub use policy::{RetryPolicy, RetryPolicyBuilder};
pub use state::{Decision, RetryState};
