//! The workspace's own commands, for people and for CI alike: `cargo xtask COMMAND`.
//!
//! Stays on std, so that it builds in seconds; anything that needs more is a binary of its own that
//! a command here starts.

mod bench;
mod ci;
mod cmd;
mod deny;
mod doc;
mod drill;
mod features;
mod flags;
mod fmt;
mod fuzz;
mod kill_wal;
mod lint;
mod loom;
mod packages;
mod power;
mod release;
mod self_test;
mod services;
mod sim;
mod test;
mod tidy;
mod tools;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use flags::Command;

/// The error of a command is for a person to read; nobody matches on it.
type Result<T = Outcome> = std::result::Result<T, Box<dyn Error>>;

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Done but for this part, which not every machine can do. Fails nowhere, and is never silent.
    Partly(&'static str),
    /// Not done, and why; where `CI=true` that is a failure.
    Skipped(&'static str),
}

fn main() -> ExitCode {
    let command = match flags::parse(std::env::args().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("error: {error}\n\n{}", flags::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&command) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Partly(but)) => {
            eprintln!("warning: {but}");
            ExitCode::SUCCESS
        }
        Ok(Outcome::Skipped(why)) => {
            eprintln!("skipped: {why}");
            if in_ci() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result {
    match command {
        Command::Bench(bench) => bench::run(bench),
        Command::Ci { full, keep_going } => ci::run(*full, *keep_going),
        Command::Deny => deny::run(),
        Command::Doc => doc::run(),
        Command::Drill => drill::run(),
        Command::Features { powerset } => features::run(*powerset),
        Command::Fmt { check } => fmt::run(*check),
        Command::Fuzz { target, seconds } => fuzz::run(target.as_deref(), *seconds),
        Command::Help => {
            println!("{}", flags::USAGE);
            Ok(Outcome::Done)
        }
        Command::KillWal { kills, seed } => kill_wal::run(*kills, *seed),
        Command::Lint => lint::run(),
        Command::Loom { filter } => loom::run(filter.as_deref()),
        Command::Power { file_systems } => power::run(file_systems),
        Command::SelfTest => self_test::run(),
        Command::Release { options, .. } => release::dry_run(*options),
        Command::Services { heavy } => services::run(*heavy),
        Command::Sim { args } => sim::run(args),
        Command::Test { package } => test::run(package.as_deref()),
        Command::Tidy => tidy::run(),
    }
}

/// The root of the workspace: where every command runs.
fn root() -> PathBuf {
    // Cargo sets the variable at run time too, which survives a checkout that was moved.
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest_dir.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// True on a build machine, where what could not be checked must not look green.
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}
