//! `cargo xtask fmt [--check]`: rustfmt over every member, and over the workspaces beside ours.

use crate::cmd::Cmd;
use crate::{Outcome, Result, packages};

pub(crate) fn run(check: bool) -> Result {
    let check: &[&str] = if check { &["--", "--check"] } else { &[] };
    Cmd::cargo("fmt --all").args(check.iter().copied()).run()?;
    for manifest in packages::outside()? {
        let manifest = manifest.to_string_lossy();
        Cmd::cargo("fmt --manifest-path").args([&*manifest]).args(check.iter().copied()).run()?;
    }
    Ok(Outcome::Done)
}
