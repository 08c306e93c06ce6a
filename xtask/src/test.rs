//! `cargo xtask test [-p CRATE]`: unit, integration and documentation tests with every feature.
//!
//! Cargo's output goes straight through. The examples of the umbrella are run as well, not only built.

use crate::cmd::Cmd;
use crate::{Outcome, Result};

/// The tests of the whole, with the servers that take hundreds of megabytes.
pub(crate) fn servers() -> Result {
    Cmd::cargo("test --locked -p bucket-e2e --test it services").env("BUCKET_HEAVY", "1").run()?;
    Ok(Outcome::Done)
}

pub(crate) fn run(package: Option<&str>) -> Result {
    let cmd = match package {
        Some(package) => Cmd::cargo("test --locked").args(["-p", package]),
        None => Cmd::cargo("test --locked --workspace"),
    };
    cmd.args(["--all-features"]).run()?;
    if package.is_none() {
        for example in ["durable_cache", "resilient_backend"] {
            Cmd::cargo("run --locked --quiet -p bucket-kit --all-features --example")
                .args([example])
                .run()?;
        }
    }
    Ok(Outcome::Done)
}
