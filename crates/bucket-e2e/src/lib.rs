//! The harness: the binary in a sandbox, and real servers that a test starts, hurts and stops.
//!
//! [`Sandbox`] runs the command `bucket` as its users do. [`Service`] owns one real process, with
//! ports, a directory and a log of its own; [`Server`] is what the servers here have in common. None
//! of them outlives the test that started it, however that ends.

#![forbid(unsafe_code)] // What must run between fork and exec, `setpriv` does for us.

mod missing;
mod sandbox;
#[cfg(target_os = "linux")] // Looks after processes through /proc and pidfds.
mod service;
#[cfg(target_os = "linux")] // Takes processes, space and disks away.
pub mod wal;

// The public interface is:
pub use missing::{Missing, skip};
pub use sandbox::{Done, Sandbox, binary};
#[cfg(target_os = "linux")]
pub use service::{
    Builder, Ipfs, NotReady, Place, Postgres, Redis, S3, SecretService, Server, Service, Socket,
    sockets,
};
