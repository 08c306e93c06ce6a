#![doc = include_str!("../README.md")]
#![cfg_attr(bucket_docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod bucket;
#[cfg(unix)]
mod fs_remote;
mod planted;
mod resilient;
mod sync;

// The public interface is:
pub use bucket::{
    Bucket, BucketBuilder, CloseReport, ConfigError, Entry, EntryState, ListMode, Listing, Parked,
    Receipt, Refused, Status, StoreError, WhenFull,
};
#[cfg(unix)]
pub use fs_remote::{FsRemote, LazyFsRemote};
#[cfg(bucket_planted)]
#[doc(hidden)]
pub use planted::Bug;
pub use resilient::{ResilientBuilder, ResilientError, ResilientRemote};
