//! The log store as openraft uses it, and on a disk that fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot be arranged has failed")]

mod acknowledging;
mod cluster;
mod crash;
mod disk_full;
mod held_vfs;
mod machine;
mod reopening;
mod suite;
mod support;
