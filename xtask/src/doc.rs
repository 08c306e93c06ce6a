//! `cargo xtask doc`: the documentation of our crates, with broken links and bad HTML denied.

use crate::cmd::Cmd;
use crate::{Outcome, Result};

pub(crate) fn run() -> Result {
    // Read by rustdoc alone, so nothing is compiled anew.
    Cmd::cargo("doc --locked --workspace --all-features --no-deps")
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    Ok(Outcome::Done)
}
