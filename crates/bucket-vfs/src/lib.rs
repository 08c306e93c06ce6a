#![doc = include_str!("../README.md")]
#![cfg_attr(bucket_docsrs, feature(doc_cfg))]
// Positioned I/O is safe in std and statvfs is safe in rustix.
#![forbid(unsafe_code)]

mod atomic;
#[cfg(feature = "sim")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "sim")))]
pub mod sim;
mod std_vfs;
mod vfs;

// The public interface is:
pub use atomic::write_atomic;
pub use std_vfs::StdVfs;
pub use vfs::{DirEntry, DurableWrites, EntryKind, LockError, OpenMode, Vfs, VfsFile, VfsLock};
