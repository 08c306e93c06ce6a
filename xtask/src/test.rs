//! `cargo xtask test [-p CRATE]`: unit, integration and documentation tests with every feature.
//!
//! Cargo's output goes straight through; its closing lines are the last that is printed.

use crate::cmd::Cmd;
use crate::{Outcome, Result};

pub(crate) fn run(package: Option<&str>) -> Result {
    let cmd = match package {
        Some(package) => Cmd::cargo("test --locked").args(["-p", package]),
        None => Cmd::cargo("test --locked --workspace"),
    };
    cmd.args(["--all-features"]).run()?;
    Ok(Outcome::Done)
}
