//! The harness: the binary, built once, and sandboxes to run it in.

#![forbid(unsafe_code)]

mod sandbox;

// The public interface is:
pub use sandbox::{Done, Sandbox, binary};

/// Says that a test cannot run here; fails where `CI` is set.
///
/// # Panics
///
/// Where `CI` is set.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "this must run in CI: {why}");
    println!("SKIPPED: {why}");
}
