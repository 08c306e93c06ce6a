#![doc = include_str!("../README.md")]
#![cfg_attr(bucket_docsrs, feature(doc_cfg))]
// Positioned I/O is safe in std and statvfs is safe in rustix; mapping a file is not.
#![cfg_attr(not(feature = "mmap"), forbid(unsafe_code))]
#![cfg_attr(feature = "mmap", deny(unsafe_code))]

mod atomic;
mod create_dir;
#[cfg(feature = "mmap")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "mmap")))]
mod map;
#[cfg(feature = "sim")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "sim")))]
pub mod sim;
mod std_vfs;
mod vfs;

// The public interface is:
pub use atomic::write_atomic;
pub use create_dir::create_dir_durable;
#[cfg(feature = "mmap")]
#[cfg_attr(bucket_docsrs, doc(cfg(feature = "mmap")))]
pub use map::Map;
pub use std_vfs::StdVfs;
pub use vfs::{DirEntry, DurableWrites, EntryKind, LockError, OpenMode, Vfs, VfsFile, VfsLock};
