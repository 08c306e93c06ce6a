//! `cargo xtask sim`: the policies in simulated outages, as a table, a chart and rows of the report.

use crate::cmd::Cmd;
use crate::{Outcome, Result};

pub(crate) fn run(args: &[String]) -> Result {
    Cmd::cargo("run --locked --release -p bucket-sim --example sim --")
        .args(args.iter().map(String::as_str))
        .run()?;
    Ok(Outcome::Done)
}
