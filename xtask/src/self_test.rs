//! `cargo xtask self-test`: builds with the planted bugs and sees each of them caught.
//!
//! The tests and the drill decide what counts as caught; here is only counted whether every bug that
//! the sources name was heard of, so that one that is forgotten does not look caught.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cmd::Cmd;
use crate::{Outcome, Result};

/// The crates whose planted bugs a simulated disk shows. The bugs that only an interleaving shows are
/// the business of `cargo xtask loom`.
const CRATES: &[(&str, &str)] = &[("bucket-wal", "wal"), ("bucket-store", "store")];
/// Shown by models, not by crashes.
const BY_LOOM: &[&str] = &["NoHandOver", "NoPoisonWake", "NoTailWake", "TailAhead"];
const FLAGS: &str = "--cfg bucket_planted";
/// A folder of its own: other flags would have cargo compile everything anew.
const DIR: &str = "target/planted";
const DRILL_SECONDS: &str = "8";

pub(crate) fn run() -> Result {
    let mut caught = Vec::new();
    for (package, _) in CRATES {
        // The bare name of the module, so that the models' twins, which another build has, stay out.
        let tests = Cmd::cargo("test --locked --lib")
            .args(["-p", package, "--target-dir", DIR, "planted_", "--", "--nocapture"])
            .env("RUSTFLAGS", FLAGS);
        let (ok, output) = tests.capture()?;
        caught.extend(lines(&output));
        if !ok {
            println!("{output}");
            return Err(format!("a planted bug in {package} was not caught").into());
        }
    }
    for (package, short) in CRATES {
        let source = crate::root().join("crates").join(package).join("src/planted.rs");
        let missing = forgotten(&bugs(&source)?, short, &caught);
        if !missing.is_empty() {
            return Err(format!("nothing looks for {} in {package}", missing.join(", ")).into());
        }
    }
    if cfg!(target_os = "linux") {
        // The same bugs from outside: in a process that is killed, and in the order of its system calls.
        let tests = Cmd::cargo("test --locked -p bucket-e2e --test it")
            .args(["--target-dir", DIR, "planted_", "--", "--nocapture"])
            .env("RUSTFLAGS", FLAGS);
        let (ok, output) = tests.capture()?;
        caught.extend(lines(&output));
        if !ok {
            println!("{output}");
            return Err("a planted bug was not caught in a process of its own".into());
        }
    }
    if cfg!(unix) {
        let drill = Cmd::cargo("run --locked --release -p bucket-cli --bin bucket")
            .args(["--target-dir", DIR, "--", "drill", "--self-test"])
            .args(["--duration", DRILL_SECONDS])
            .env("RUSTFLAGS", FLAGS);
        let (ok, output) = drill.capture()?;
        caught.extend(lines(&output));
        if !ok {
            println!("{output}");
            return Err("the drill did not catch a planted bug".into());
        }
    }
    println!("\n{}\n{} planted bugs caught", caught.join("\n"), caught.len());
    Ok(Outcome::Done)
}

/// What was caught, with the lines that belong to it.
fn lines(output: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut inside = false;
    for line in output.lines() {
        if let Some(at) = line.find("caught: ") {
            // The harness may have begun the line with the name of the test.
            found.push(line[at..].to_owned());
            inside = true;
        } else if inside && line.starts_with("  ") {
            if let Some(last) = found.last_mut() {
                last.push('\n');
                last.push_str(line);
            }
        } else {
            inside = false;
        }
    }
    found
}

/// The variants of the enum `Bug` in a source file.
fn bugs(source: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(source)
        .map_err(|error| format!("cannot read {}: {error}", source.display()))?;
    let found = variants(&text);
    if found.is_empty() {
        return Err(format!("{} names no bug", source.display()).into());
    }
    Ok(found)
}

fn variants(text: &str) -> BTreeSet<String> {
    let body = text.split_once("pub enum Bug {").map_or("", |(_, rest)| rest);
    let body = body.split_once("\n}").map_or("", |(body, _)| body);
    let names = body.lines().filter_map(|line| line.trim().strip_suffix(','));
    names.filter(|name| name.starts_with(char::is_uppercase)).map(str::to_owned).collect()
}

fn forgotten(bugs: &BTreeSet<String>, short: &str, caught: &[String]) -> Vec<String> {
    let is_caught = |bug: &str| {
        let start = format!("caught: {short} {bug}:");
        caught.iter().any(|line| line.starts_with(&start))
    };
    let forgotten = bugs.iter().filter(|bug| !is_caught(bug) && !BY_LOOM.contains(&bug.as_str()));
    forgotten.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variants_are_read_and_a_forgotten_one_is_named() {
        let text = "pub enum Bug {\n    /// Doc, with a comma,\n    One,\n    Two,\n}\n\nX,\n";
        let bugs = variants(text);
        assert_eq!(bugs, BTreeSet::from(["One".to_owned(), "Two".to_owned()]));
        let caught = ["caught: wal One: lost".to_owned(), "caught: store Two: lost".to_owned()];
        assert_eq!(forgotten(&bugs, "wal", &caught), ["Two"]);
    }

    #[test]
    fn what_was_caught_keeps_its_lines_and_nothing_else() {
        let output = "test a ... caught: wal One: lost\n  after a crash\nok\n  noise\n";
        assert_eq!(lines(output), ["caught: wal One: lost\n  after a crash"]);
    }

    #[test]
    fn the_sources_name_their_bugs() {
        for (package, _) in CRATES {
            let source = crate::root().join("crates").join(package).join("src/planted.rs");
            assert!(bugs(&source).unwrap().len() > 2, "{package}");
        }
    }
}
