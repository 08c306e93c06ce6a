#![doc = include_str!("../README.md")]
#![cfg_attr(bucket_docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod body;
mod error;
mod key;
mod object;
mod remote;
#[cfg(feature = "testing")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "testing")))]
pub mod testing;

// The public interface is:
pub use body::{Body, BodyReader, ReadAt};
pub use error::{Applied, RemoteError, RemoteErrorKind};
pub use key::{InvalidKey, Key};
pub use object::{Digest, Meta, Object, ParseDigestError, Version};
pub use remote::{
    AsyncRemote, BoxFuture, Caps, GetOptions, ListRequest, Page, Precondition, PutOptions, Remote,
};
