//! `cargo xtask kill-wal [--kills N] [--seed S]`: a process that writes to a log is killed, and what was
//! promised is looked for, in every mode.

use crate::cmd::Cmd;
use crate::{Outcome, Result};

pub(crate) fn run(kills: u32, seed: u64) -> Result {
    if !cfg!(target_os = "linux") {
        return Ok(Outcome::Skipped("processes that write to a log are killed on Linux only"));
    }
    Cmd::cargo("run --locked --release -p bucket-e2e --bin wal -- kill")
        .args(["--kills", &kills.to_string(), "--seed", &seed.to_string()])
        .run()?;
    Ok(Outcome::Done)
}
