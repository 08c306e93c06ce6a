//! Measures the workspace's crates against their peers and writes the report and its page.
//!
//! A workspace of its own: what is compared here enters neither the lock file nor the tree of what is
//! published. `cargo xtask bench --peers` builds and runs it.

mod alloc;
mod args;
mod breaker;
mod compare;
mod goal;
mod harness;
mod machine;
mod markdown;
mod pool;
mod report;
mod retry;
mod session;
mod store;
mod wal;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::Args;
use crate::compare::Comparison;
use crate::harness::disk::Scratch;
use crate::harness::{Failure, Plan, now, since};
use crate::machine::Conditions;
use crate::session::Session;

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

/// A group of rows that are measured together.
struct Group {
    name: &'static str,
    ids: &'static [&'static str],
    run: fn(&mut Session<'_>) -> Result<(), Failure>,
}

const GROUPS: &[Group] = &[
    Group { name: "breaker", ids: breaker::IDS, run: breaker::run },
    Group { name: "pool", ids: pool::IDS, run: pool::run },
    Group { name: "retry", ids: retry::IDS, run: retry::run },
    Group { name: "store", ids: store::IDS, run: store::run },
    Group { name: "wal", ids: wal::IDS, run: wal::run },
];

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) if args.help => {
            println!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(args) => args,
        Err(error) => {
            eprintln!("error: {error}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    if args.list {
        for group in GROUPS {
            println!("{}: {}", group.name, group.ids.join(", "));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let root = args.root.clone().unwrap_or_else(default_root);
    let paths = Paths::new(&root, args.quick);
    if let Some(old) = &args.compare {
        if !old.exists() {
            return Err(format!("{}: no such report", old.display()).into());
        }
        let (old, new) = (report::load(old)?, report::load(&paths.report)?);
        let comparison = Comparison::of(&report::rows(&old), &report::rows(&new));
        print!("{}", comparison.table);
        return Ok(if comparison.agrees() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if !args.page {
        measure(args, &paths)?;
    }
    if !args.quick {
        let rows = report::rows(&report::load(&paths.report)?);
        fs::write(&paths.page, markdown::page(&rows, &machine::load_runs(&paths.runs)))?;
        println!("wrote {}", paths.page.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(args: &Args, paths: &Paths) -> Result<(), Failure> {
    for only in &args.only {
        let known = |group: &Group| {
            group.name == only || group.ids.iter().any(|id| id.starts_with(only.as_str()))
        };
        if !GROUPS.iter().any(known) {
            return Err(format!("no group or row {only:?}; see --list").into());
        }
    }
    let scratch = Scratch::new(&paths.scratch)?;
    let here = Conditions::here(&paths.scratch);
    println!(
        "{}; {}; {}; {}; load {:.2}; {}\n",
        here.cpu, here.kernel, here.disk, here.rustc, here.load.0, here.date
    );
    if !args.quick && here.load.0 > IDLE_LOAD {
        eprintln!("warning: a load of {:.2} is more than an idle machine has\n", here.load.0);
    }
    for group in GROUPS {
        if !group.ids.iter().any(|id| args.wants(group.name, id)) {
            continue;
        }
        let mut conditions = Conditions::here(&paths.scratch);
        let start = now();
        let plan = if args.quick { Plan::QUICK } else { Plan::FULL };
        let mut session =
            Session { args, group: group.name, plan, scratch: &scratch, rows: Vec::new() };
        (group.run)(&mut session).map_err(|error| format!("{}: {error}", group.name))?;
        conditions.load.1 = machine::load();
        conditions.seconds = since(start).as_secs_f64();

        // After each group, so that what was measured survives a later one that fails.
        let mut entries = report::load(&paths.report)?;
        report::merge(&mut entries, &session.rows)?;
        report::save(&paths.report, &entries)?;
        let mut runs = machine::load_runs(&paths.runs);
        runs.insert(group.name.to_owned(), conditions);
        machine::save_runs(&paths.runs, &runs)?;
    }
    println!("\nwrote {}", paths.report.display());
    Ok(())
}

/// Where things are read and written.
struct Paths {
    report: PathBuf,
    runs: PathBuf,
    page: PathBuf,
    scratch: PathBuf,
}

impl Paths {
    fn new(root: &Path, quick: bool) -> Self {
        let folder = root.join("target/bench");
        let name = if quick { "quick" } else { "report" };
        Self {
            report: folder.join(format!("{name}.json")),
            runs: folder.join(format!("{name}-runs.json")),
            page: root.join("docs/benchmarks.md"),
            scratch: folder.join("tmp"),
        }
    }
}

/// The workspace that this was compiled in.
fn default_root() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.ancestors().nth(2).unwrap_or(folder).to_owned()
}

/// Above it, somebody else is at work.
const IDLE_LOAD: f64 = 0.5;
