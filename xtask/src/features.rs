//! `cargo xtask features [--powerset]`: every published crate with each of its features alone, with
//! none and with all; or with every set of them.
//!
//! Tests are not built, so that no feature that only they ask for can hide that one is missing: the
//! resolver leaves the dev-dependencies out then, and no manifest has to be rewritten for that.

use crate::{Outcome, Result, packages, tools};

pub(crate) fn run(powerset: bool) -> Result {
    let Some(hack) = tools::HACK.find_or_install()? else {
        return Ok(Outcome::Skipped(tools::HACK.missing));
    };
    let mut hack = hack.args(["check", "--locked"]);
    hack = hack.args([if powerset { "--feature-powerset" } else { "--each-feature" }]);
    for package in packages::published()? {
        hack = hack.args(["-p", &package.name]);
    }
    hack.run()?;
    Ok(Outcome::Done)
}
