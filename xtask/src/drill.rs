//! `cargo xtask drill`: the real binary writes, is killed, recovers and is checked, for 30 s.

use crate::cmd::Cmd;
use crate::{Outcome, Result};

pub(crate) fn run() -> Result {
    if !cfg!(unix) {
        return Ok(Outcome::Skipped("the drill kills with SIGKILL, which this system has not"));
    }
    Cmd::cargo("run --locked --release -p bucket-cli --bin bucket")
        .args(["--", "drill", "--duration", "30"])
        .run()?;
    Ok(Outcome::Done)
}
