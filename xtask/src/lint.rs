//! `cargo xtask lint`: clippy over everything with every feature, then each published crate with none.
//!
//! Warnings are denied on clippy's own command line and not through `RUSTFLAGS`, which would have
//! the whole tree compiled once more.

use crate::cmd::Cmd;
use crate::{Outcome, Result, packages, tools};

pub(crate) fn run() -> Result {
    Cmd::cargo("clippy --locked --workspace --all-targets --all-features -- -D warnings").run()?;
    fuzz_targets()?;
    // One at a time: together, the features that one asks of another would count for all.
    for package in packages::published()? {
        let target = if package.has_lib { "--lib" } else { "--bins" };
        Cmd::cargo("clippy --locked")
            .args(["-p", &package.name, "--no-default-features", target])
            .args(["--", "-D", "warnings"])
            .run()?;
    }
    Ok(Outcome::Done)
}

/// What only the fuzzers compile: they need a nightly toolchain and run seldom, and would break unseen.
fn fuzz_targets() -> Result<()> {
    tools::need("c++", &["g++"])?;
    for package in packages::published()? {
        let manifest = crate::root().join("crates").join(&package.name).join("fuzz/Cargo.toml");
        if manifest.is_file() {
            Cmd::cargo("check --locked --manifest-path")
                .args([&*manifest.to_string_lossy(), "--target-dir", "target/fuzz-check"])
                .env("RUSTFLAGS", "--cfg fuzzing")
                .run()?;
        }
    }
    Ok(())
}
