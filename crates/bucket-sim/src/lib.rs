#![doc = include_str!("../README.md")]
#![cfg_attr(bucket_docsrs, feature(doc_cfg))]
// A heap of events and arithmetic: nothing here needs more.
#![forbid(unsafe_code)]

mod arrivals;
mod engine;
mod error;
mod policies;
mod policy;
mod request;
mod rng;
mod scenario;
pub mod scenarios;
mod service;
mod trace;

// The public interface is:
pub use arrivals::Arrivals;
pub use error::ConfigError;
pub use policies::{Guarded, IpfsKit, NoPolicy};
pub use policy::{Client, Policy};
pub use request::{Call, Request, Sleep};
pub use scenario::{Scenario, ScenarioBuilder};
pub use service::{Fault, FaultKind, Service};
pub use trace::{Bin, CallRecord, RequestRecord, Trace};
