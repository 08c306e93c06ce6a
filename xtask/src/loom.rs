//! `cargo xtask loom [FILTER]`: the models of interleavings, and their twins with a bug planted.
//!
//! A run that ran nothing proves nothing, so the tests are listed first and counted afterwards: without
//! a filter every crate below must have models and twins, and a filter must match something.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

use crate::cmd::Cmd;
use crate::{Outcome, Result};

/// The crates that have models. One at a time and by name: the cfg of the workspace would reach
/// dependencies that know nothing of it.
const CRATES: &[&str] = &["bucket-breaker", "bucket-pool", "bucket-wal"];

/// What every model has in its path, by the name of its file.
const MARK: &str = "loom_";
/// What every twin has in its path.
const PLANTED: &str = "::planted::";

/// Optimised, because loom runs each model thousands of times; each in its own folder, because other
/// flags would have cargo compile everything anew.
const BUILDS: &[Build] = &[
    Build { what: "models", flags: "--cfg bucket_loom", dir: "target/loom", twins: false },
    Build {
        what: "planted bugs",
        flags: "--cfg bucket_loom --cfg bucket_planted",
        dir: "target/loom-planted",
        twins: true,
    },
];

struct Build {
    what: &'static str,
    flags: &'static str,
    dir: &'static str,
    twins: bool,
}

pub(crate) fn run(filter: Option<&str>) -> Result {
    let mut rows = Vec::new();
    for build in BUILDS {
        for &package in CRATES {
            let (tally, took) = timed(|| build.run(package, filter))?;
            require_some(package, build.what, &tally, filter)?;
            if tally.tests > 0 || filter.is_none() {
                rows.push(row(package, build.what, &tally, took));
            }
        }
    }
    println!("\n{}", rows.join("\n"));
    match filter {
        Some(filter) if rows.is_empty() => Err(format!("no model matches {filter:?}").into()),
        _ => Ok(Outcome::Done),
    }
}

impl Build {
    /// Runs the chosen tests of one crate; with none chosen, nothing.
    fn run(&self, package: &str, filter: Option<&str>) -> Result<Tally> {
        let list = self.cargo(package).args(["--list", "--format", "terse"]);
        let (ok, list) = list.capture()?;
        if !ok {
            return Err(format!("the models of {package} do not compile").into());
        }
        let chosen = choose(&list, self.twins, filter);
        if chosen.is_empty() {
            return Ok(Tally::default());
        }
        let tests = self.cargo(package).args(["--exact", "--show-output"]);
        let (ok, output) = tests.args(chosen.iter().copied()).capture()?;
        let tally = Tally::of(&output);
        if !ok || tally.tests != chosen.len() {
            println!("{output}");
            let (n, tests) = (chosen.len(), tally.tests);
            return Err(format!("{package}: {tests} of {n} {} passed", self.what).into());
        }
        Ok(tally)
    }

    fn cargo(&self, package: &str) -> Cmd {
        Cmd::cargo("test --locked --release --lib")
            .args(["-p", package, "--target-dir", self.dir, "--"])
            .env("RUSTFLAGS", self.flags)
            // A backtrace might need more than the small stacks of loom's threads.
            .env("RUST_BACKTRACE", "0")
    }
}

/// What the output of a test binary says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    /// Tests that passed.
    tests: usize,
    interleavings: u64,
}

impl Tally {
    fn of(output: &str) -> Self {
        let mut tally = Self::default();
        for line in output.lines() {
            if let Some(rest) = line.strip_prefix("test result: ") {
                let passed = rest.split_once(" passed").map_or("", |(before, _)| before);
                let n = passed.rsplit(' ').next().unwrap_or_default();
                tally.tests.add_assign(n.parse().unwrap_or(0));
            } else if let Some(rest) = line.strip_prefix("explored ") {
                let n = rest.strip_suffix(" interleavings").unwrap_or_default();
                tally.interleavings.add_assign(n.parse().unwrap_or(0));
            }
        }
        tally
    }
}

/// The tests in a list of a test binary that are models, or twins, and match the filter.
fn choose<'a>(list: &'a str, twins: bool, filter: Option<&str>) -> Vec<&'a str> {
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    names
        .filter(|name| name.contains(MARK) && name.contains(PLANTED) == twins)
        .filter(|name| filter.is_none_or(|filter| name.contains(filter)))
        .collect()
}

/// Fails when a crate has nothing to run although nothing was filtered out.
fn require_some(package: &str, what: &str, tally: &Tally, filter: Option<&str>) -> Result<()> {
    if filter.is_none() && tally.tests == 0 {
        return Err(format!("{package} ran no {what}: is {MARK} still in their names?").into());
    }
    Ok(())
}

fn row(package: &str, what: &str, tally: &Tally, took: Duration) -> String {
    let Tally { tests, interleavings } = tally;
    let explored = match interleavings {
        0 => "found".to_owned(),
        n => format!("{n} interleavings"),
    };
    format!("{package:<16}{tests:>3} {what:<14}{:>7.1} s  {explored}", took.as_secs_f64())
}

#[expect(clippy::disallowed_methods, reason = "tells a person how long it took, no more")]
fn timed<T>(run: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    let value = run()?;
    Ok((value, start.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
config::tests::a_rule: test
tests::loom_a::one: test
tests::loom_a::another: test
tests::loom_a::planted::one_is_found: test
tests::loom_a::speed: benchmark
";

    #[test]
    fn models_and_twins_are_told_from_each_other_and_from_other_tests() {
        assert_eq!(choose(LIST, false, None), ["tests::loom_a::one", "tests::loom_a::another"]);
        assert_eq!(choose(LIST, true, None), ["tests::loom_a::planted::one_is_found"]);
        assert_eq!(choose(LIST, false, Some("another")), ["tests::loom_a::another"]);
        assert_eq!(choose(LIST, false, Some("rule")), [""; 0], "a filter reaches models only");
        assert_eq!(choose("0 tests, 0 benchmarks\n", false, None), [""; 0]);
    }

    #[test]
    fn what_passed_is_counted_and_what_failed_is_not() {
        let output = "\
running 3 tests
test tests::loom_a::one ... ok
explored 12 interleavings
explored 1000 interleavings
explored by hand

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.1s
test result: FAILED. 1 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out
";
        assert_eq!(Tally::of(output), Tally { tests: 3, interleavings: 1_012 });
        assert_eq!(Tally::of("error: no such target"), Tally::default());
        assert_eq!(Tally::of("test result: ok. 0 passed; 0 failed"), Tally::default());
    }

    #[test]
    fn a_crate_without_models_fails_unless_a_filter_explains_it() {
        let (none, some) = (Tally::default(), Tally { tests: 1, interleavings: 2 });
        assert!(require_some("a", "models", &none, None).is_err());
        assert!(require_some("a", "models", &none, Some("x")).is_ok());
        assert!(require_some("a", "models", &some, None).is_ok());
    }

    #[test]
    fn every_crate_with_a_model_is_run() {
        let mut found = Vec::new();
        for package in std::fs::read_dir(crate::root().join("crates")).unwrap() {
            let package = package.unwrap();
            let Ok(files) = std::fs::read_dir(package.path().join("src/tests")) else { continue };
            let is_model = |name: String| name.starts_with(MARK) && name.ends_with(".rs");
            if files.flatten().any(|file| is_model(file.file_name().to_string_lossy().into())) {
                found.push(package.file_name().to_string_lossy().into_owned());
            }
        }
        found.sort();
        assert_eq!(found, CRATES);
    }
}
