#![doc = include_str!("../README.md")]
#![cfg_attr(bucket_docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod codec;
mod error;
mod index;
mod recent;
mod record;
mod state;
mod storage;
mod store;
mod worker;

// The public interface is:
pub use codec::{BoxError, Codec, Json};
pub use error::LogStoreError;
pub use store::{LogReader, LogStore};
