//! The binary as its users meet it: killed, on full disks, with damaged files and odd keys; and the
//! servers that later tests run it against.

#![allow(clippy::unwrap_used, reason = "a test that cannot be arranged has failed")]

mod hostile;
mod recursive;
mod remote_down;
#[cfg(target_os = "linux")]
mod services;
mod tune;
#[cfg(target_os = "linux")]
mod wal_proof;
mod wal_tools;
