#![doc = include_str!("../README.md")]
#![cfg_attr(bucket_docsrs, feature(doc_cfg))]
// Re-exports need no unsafe.
#![forbid(unsafe_code)]

// The public interface is:
#[doc(inline)]
pub use bucket_core as core;

#[doc(inline)]
#[cfg(feature = "breaker")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "breaker")))]
pub use bucket_breaker as breaker;

#[doc(inline)]
#[cfg(feature = "kubo")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "kubo")))]
pub use bucket_remote_kubo as kubo;

#[doc(inline)]
#[cfg(feature = "object-store")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "object-store")))]
pub use bucket_remote_object_store as object_store;

#[doc(inline)]
#[cfg(feature = "pool")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "pool")))]
pub use bucket_pool as pool;

#[doc(inline)]
#[cfg(feature = "remote")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "remote")))]
pub use bucket_remote as remote;

#[doc(inline)]
#[cfg(feature = "retry")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "retry")))]
pub use bucket_retry as retry;

#[doc(inline)]
#[cfg(feature = "secrets")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "secrets")))]
pub use bucket_secrets as secrets;

#[doc(inline)]
#[cfg(feature = "sim")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "sim")))]
pub use bucket_sim as sim;

#[doc(inline)]
#[cfg(feature = "store")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "store")))]
pub use bucket_store as store;

#[doc(inline)]
#[cfg(feature = "vfs")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "vfs")))]
pub use bucket_vfs as vfs;

#[doc(inline)]
#[cfg(feature = "wal")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "wal")))]
pub use bucket_wal as wal;
