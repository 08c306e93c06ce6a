//! `cargo xtask fuzz [TARGET] [--seconds N]`: every fuzz target for a while, from its kept corpus.
//!
//! Targets are the files in `crates/*/fuzz/fuzz_targets`. What the fuzzer finds goes under `target/`,
//! so that the kept corpus grows only when somebody means it to; a crash goes to the folder
//! `artifacts` beside the target, and fails.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cmd::Cmd;
use crate::{Outcome, Result, root, tools};

pub(crate) fn run(only: Option<&str>, seconds: u32) -> Result {
    if cfg!(windows) {
        return Ok(Outcome::Skipped("the fuzzer does not run on this system"));
    }
    if !Cmd::new("rustup").args(["run", "nightly", "rustc", "-V"]).succeeds_silently() {
        return Ok(Outcome::Skipped("fuzzing needs `rustup toolchain install nightly`"));
    }
    tools::need("c++", &["g++"])?;
    let Some(fuzz) = tools::FUZZ.find_or_install()? else {
        return Ok(Outcome::Skipped(tools::FUZZ.missing));
    };
    let targets = targets(&root())?;
    let chosen: Vec<_> =
        targets.iter().filter(|target| only.is_none_or(|only| target.name == only)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = targets.iter().map(|target| &*target.name).collect();
        return Err(format!("no such target; there are: {}", names.join(", ")).into());
    }
    let mut lines = Vec::new();
    for target in chosen {
        lines.push(format!("{}: {}", target.name, target.run(&fuzz, seconds)?));
    }
    println!("\n{}", lines.join("\n"));
    Ok(Outcome::Done)
}

/// One fuzz target.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    name: String,
    /// The folder `fuzz` of its crate.
    folder: PathBuf,
}

impl Target {
    fn run(&self, fuzz: &Cmd, seconds: u32) -> Result<Count> {
        let found = root().join("target/fuzz/corpus").join(&self.name);
        fs::create_dir_all(&found)?;
        let kept = self.folder.join("corpus").join(&self.name);
        let build = root().join("target/fuzz");
        let time = format!("-max_total_time={seconds}");
        let paths = [&self.folder, &build, &found, &kept];
        let [folder, build, found, kept] = paths.map(|path| path.to_string_lossy().into_owned());
        // New finds go to the first of the two folders.
        let cmd = fuzz
            .clone()
            .args(["run", "--fuzz-dir", &folder, "--target-dir", &build])
            .args([&*self.name, &found, &kept])
            .args(["--", &time, "-print_final_stats=1"])
            .env("RUSTUP_TOOLCHAIN", "nightly");
        let mut log = String::new();
        let outcome = cmd.run_and_read_stderr(|line| {
            // The fuzzer counts often and lists its dictionary; a person needs the rest.
            if !line.starts_with(['#', '"']) && !line.starts_with("INFO:") {
                eprintln!("{line}");
            }
            log.push_str(line);
            log.push('\n');
        });
        match (outcome, artifact(&log)) {
            (Ok(()), _) => {
                Ok(Count::read(&log, seconds).ok_or("the fuzzer did not say how often it ran")?)
            }
            (Err(_), Some(artifact)) => {
                Err(format!("{}: crashed, with the input {artifact}", self.name).into())
            }
            (Err(error), None) => Err(error),
        }
    }
}

/// Every target of every crate, by name.
fn targets(root: &Path) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let folder = entry?.path().join("fuzz");
        for file in fs::read_dir(folder.join("fuzz_targets")).into_iter().flatten() {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                targets.push(Target { name, folder: folder.clone() });
            }
        }
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(targets)
}

/// How often a target ran.
#[derive(Debug, PartialEq, Eq)]
struct Count {
    executions: u64,
    per_second: u64,
    seconds: u32,
}

impl Count {
    /// Reads the statistics at the end of what the fuzzer prints; `None` when it ran nothing.
    fn read(log: &str, seconds: u32) -> Option<Self> {
        let number = |name: &str| {
            let line = log.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().parse::<u64>().ok()
        };
        let executions = number("stat::number_of_executed_units").filter(|count| *count > 0)?;
        let per_second = number("stat::average_exec_per_sec")?;
        Some(Self { executions, per_second, seconds })
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { executions, per_second, seconds } = self;
        write!(f, "{executions} executions in {seconds} s, {per_second}/s, no crash")
    }
}

/// The file with the input that crashed.
fn artifact(log: &str) -> Option<&str> {
    log.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_the_statistics() {
        let log = "#2\tINITED\nstat::number_of_executed_units: 262144\n\
                   stat::average_exec_per_sec:     8738\nstat::new_units_added: 3\n";
        let count = Count::read(log, 30).unwrap();
        assert_eq!(count, Count { executions: 262_144, per_second: 8_738, seconds: 30 });
        assert_eq!(count.to_string(), "262144 executions in 30 s, 8738/s, no crash");
    }

    #[test]
    fn a_run_of_nothing_is_no_run() {
        assert_eq!(Count::read("", 30), None);
        let log = "stat::number_of_executed_units: 0\nstat::average_exec_per_sec: 0\n";
        assert_eq!(Count::read(log, 30), None);
    }

    #[test]
    fn a_crash_names_its_input() {
        let log = "==1== ERROR\nartifact_prefix='x/'; Test unit written to x/crash-1\nBase64: aa\n";
        assert_eq!(artifact(log), Some("x/crash-1"));
        assert_eq!(artifact("all is well"), None);
    }

    #[test]
    fn every_target_of_ours_is_found_and_has_a_corpus() {
        let targets = targets(&root()).unwrap();
        assert!(targets.iter().any(|target| target.name == "decode_frame"), "{targets:?}");
        for target in targets {
            assert!(target.folder.join("corpus").join(&target.name).is_dir(), "{}", target.name);
        }
    }
}
