//! `cargo xtask ci [--full]`: every check in order, and a table of what each took.
//!
//! Steps that change `RUSTFLAGS` build in a folder of their own, so that the others share what was
//! compiled.

use std::time::{Duration, Instant};

use crate::{
    Outcome, Result, bench, deny, doc, drill, features, fmt, fuzz, in_ci, kill_wal, lint, loom,
    power, release, self_test, services, sim, test, tidy, tools,
};

type Run = fn() -> Result;

/// A step that fails early costs little: the cheap ones come first.
const STEPS: &[(&str, Run)] = &[
    ("fmt", || fmt::run(true)),
    ("tidy", tidy::run),
    ("lint", lint::run),
    ("services", || services::run(false)),
    ("test", || test::run(None)),
    ("loom", || loom::run(None)),
    ("self-test", self_test::run),
    ("doc", doc::run),
    ("features", || features::run(false)),
    ("deny", deny::run),
    ("sim", || sim::run(&[])),
    ("drill", drill::run),
    ("package", package),
];

/// What takes longer than a change should wait for; `--full` adds it.
const FULL_STEPS: &[(&str, Run)] = &[
    ("peers", || bench::run(&peers())),
    ("powerset", || features::run(true)),
    ("fuzz", || fuzz::run(None, 30)),
    ("servers", servers),
    ("kill-wal", || kill_wal::run(500, 1)),
    ("power", || power::run(&[])),
];

pub(crate) fn run(full: bool, keep_going: bool) -> Result {
    tools::check()?;
    let steps = [STEPS, if full { FULL_STEPS } else { &[] }].concat();
    let rows = run_steps(&steps, keep_going, in_ci(), elapsed);
    println!("\n{}", table(&rows));
    match rows.iter().filter(|row| row.state.is_failure()).count() {
        0 => Ok(Outcome::Done),
        1 => Err("1 step failed".into()),
        n => Err(format!("{n} steps failed").into()),
    }
}

/// A round or two against each peer: that the comparison works, not what it says.
fn peers() -> bench::Bench {
    bench::Bench { peers: true, passed_on: vec!["--quick".into()], ..Default::default() }
}

/// The tests with real servers once more, with the heavy ones.
fn servers() -> Result {
    match services::run(true)? {
        Outcome::Done => test::servers(),
        outcome => Ok(outcome),
    }
}

/// At a desk, what is not committed yet may be checked as well.
fn package() -> Result {
    release::dry_run(release::Options { allow_dirty: !in_ci(), verify: true })
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    took: Duration,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Failed(String),
    /// An earlier step failed.
    NotRun,
    Ok,
    Partly(&'static str),
    Skipped(&'static str),
}

impl State {
    const fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

/// Runs `steps` in order; after a failure only when `keep_going`. Where `strict`, a skip fails.
fn run_steps(
    steps: &[(&'static str, Run)],
    keep_going: bool,
    strict: bool,
    timed: fn(Run) -> (Result, Duration),
) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for &(name, step) in steps {
        if !keep_going && rows.iter().any(|row| row.state.is_failure()) {
            rows.push(Row { name, took: Duration::ZERO, state: State::NotRun });
            continue;
        }
        println!("\n== {name}");
        let (outcome, took) = timed(step);
        let state = match outcome {
            Ok(Outcome::Done) => State::Ok,
            Ok(Outcome::Partly(but)) => State::Partly(but),
            Ok(Outcome::Skipped(why)) if strict => State::Failed(format!("skipped: {why}")),
            Ok(Outcome::Skipped(why)) => State::Skipped(why),
            Err(error) => State::Failed(error.to_string()),
        };
        match &state {
            State::Failed(why) => eprintln!("error: {why}"),
            State::Partly(but) => println!("warning: {but}"),
            State::Skipped(why) => println!("skipped: {why}"),
            State::NotRun | State::Ok => {}
        }
        println!("== {name}: {:.1} s", took.as_secs_f64());
        rows.push(Row { name, took, state });
    }
    rows
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max("total".len());
    let mut lines = vec![format!("{:<width$}{:>10}  result", "step", "time")];
    for row in rows {
        let result = match &row.state {
            State::Failed(_) => "FAILED".to_owned(),
            State::NotRun => "not run".to_owned(),
            State::Ok => "ok".to_owned(),
            State::Partly(but) => format!("ok, but: {but}"),
            State::Skipped(why) => format!("skipped: {why}"),
        };
        lines.push(format!("{:<width$}{:>8.1} s  {result}", row.name, row.took.as_secs_f64()));
    }
    let total: Duration = rows.iter().map(|row| row.took).sum();
    lines.push(format!("{:<width$}{:>8.1} s", "total", total.as_secs_f64()));
    lines.join("\n")
}

#[expect(clippy::disallowed_methods, reason = "tells a person how long a step took, no more")]
fn elapsed(step: Run) -> (Result, Duration) {
    let start = Instant::now();
    let outcome = step();
    (outcome, start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: Run = || Ok(Outcome::Done);
    const FAIL: Run = || Err("broken".into());
    const SKIP: Run = || Ok(Outcome::Skipped("no such tool"));

    fn states(steps: &[(&'static str, Run)], keep_going: bool, strict: bool) -> Vec<State> {
        let timed = |step: Run| (step(), Duration::from_secs(1));
        run_steps(steps, keep_going, strict, timed).into_iter().map(|row| row.state).collect()
    }

    #[test]
    fn a_failure_stops_the_rest_unless_told_to_keep_going() {
        let steps = [("a", DONE), ("b", FAIL), ("c", DONE)];
        let failed = || State::Failed("broken".into());
        assert_eq!(states(&steps, false, false), [State::Ok, failed(), State::NotRun]);
        assert_eq!(states(&steps, true, false), [State::Ok, failed(), State::Ok]);
    }

    #[test]
    fn a_skip_is_a_failure_on_a_build_machine_only() {
        let steps = [("a", SKIP)];
        assert_eq!(states(&steps, false, false), [State::Skipped("no such tool")]);
        assert!(states(&steps, false, true)[0].is_failure());
    }

    #[test]
    fn what_was_done_in_part_is_said_and_fails_nowhere() {
        let partly: Run = || Ok(Outcome::Partly("no network"));
        assert_eq!(states(&[("a", partly)], false, true), [State::Partly("no network")]);
        let row = Row { name: "a", took: Duration::ZERO, state: State::Partly("no network") };
        assert!(table(&[row]).contains("ok, but: no network"));
    }

    #[test]
    fn the_table_has_a_row_a_step_and_the_total() {
        let row = |name, state| Row { name, took: Duration::from_millis(1_500), state };
        let rows = [row("fmt", State::Ok), row("features", State::Failed("broken".into()))];
        let table = table(&rows);
        assert_eq!(table.lines().count(), 4, "{table}");
        assert!(table.contains("fmt          1.5 s  ok"), "{table}");
        assert!(table.ends_with("total        3.0 s"), "{table}");
    }
}
