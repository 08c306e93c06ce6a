//! `cargo xtask fmt [--check]`: rustfmt over every member.

use crate::cmd::Cmd;
use crate::{Outcome, Result};

pub(crate) fn run(check: bool) -> Result {
    Cmd::cargo(if check { "fmt --all -- --check" } else { "fmt --all" }).run()?;
    Ok(Outcome::Done)
}
