//! Runs the scenarios with our policy, that of `ipfs_kit` and none, side by side: a table, a chart and
//! rows for the report. Started by `cargo xtask sim [SCENARIO…] [--seeds N]`.

mod chart;
mod figures;
mod report;
mod svg;
mod table;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, thread};

use bucket_core::OpKind;
use bucket_sim::{Guarded, IpfsKit, NoPolicy, Scenario, Trace, scenarios};

use figures::{Figures, Outage};

fn main() -> ExitCode {
    let result = Options::parse(std::env::args().skip(1)).and_then(|options| run(&options));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The error of this program is for a person to read.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Who is compared, in the order of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Ours,
    IpfsKit,
    None,
}

impl Contender {
    const ALL: [Self; 3] = [Self::Ours, Self::IpfsKit, Self::None];

    const fn name(self) -> &'static str {
        match self {
            Self::Ours => "bucket-kit",
            Self::IpfsKit => "ipfs_kit",
            Self::None => "no policy",
        }
    }

    fn run(self, scenario: &Scenario, seed: u64) -> Trace {
        match self {
            Self::Ours => scenario.run(seed, |client| Guarded::storage(OP, client)),
            Self::IpfsKit => scenario.run(seed, |client| IpfsKit::new(OP, client)),
            Self::None => scenario.run(seed, |_| NoPolicy::new()),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    seeds: u64,
}

impl Options {
    fn parse(args: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut args = args.into_iter();
        let mut options = Self { seeds: 20 };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                // The only one so far; naming none means all.
                "A1" | "a1" => {}
                "--seeds" => {
                    let seeds = args.next().and_then(|n| n.parse().ok());
                    options.seeds = seeds
                        .filter(|n| (1..=MAX_SEEDS).contains(n))
                        .ok_or_else(|| format!("--seeds needs a number from 1 to {MAX_SEEDS}"))?;
                }
                other => return Err(format!("no scenario {other:?}; there is A1").into()),
            }
        }
        Ok(options)
    }
}

fn run(options: &Options) -> Result<()> {
    println!(
        "A1: hard outage, a call fails in 5 ms. 100 clients, 10 requests/s each; seeds 1 to {}.\n\
         bucket-kit: breaker at its defaults, Policies::storage() for reads, no retry budget yet.\n\
         ipfs_kit: its breaker and its policy for reads, as its sources have them.\n",
        options.seeds
    );
    let outages = a1(&OUTAGES, options.seeds)?;
    println!("{}", table::table(&outages));

    fs::create_dir_all(CHARTS)?;
    let path = Path::new(CHARTS).join("A1.svg");
    fs::write(&path, chart::chart(&panels()?))?;
    println!("chart:  {}", path.display());

    if options.seeds == GOAL_SEEDS {
        let rows = report::rows(&outages);
        report::merge(Path::new(REPORT), rows)?;
        println!("report: {REPORT}, rows breaker.outage");
    } else {
        println!("report: left alone, since the goals are over {GOAL_SEEDS} seeds");
    }
    Ok(())
}

/// Every outage with every contender and every seed, on all processors.
fn a1(lengths: &[Duration], seeds: u64) -> Result<Vec<Outage>> {
    let scenarios: Vec<_> = lengths.iter().copied().map(scenario).collect::<Result<_>>()?;
    let jobs: Vec<_> = (0..scenarios.len())
        .flat_map(|n| Contender::ALL.map(|contender| (n, contender)))
        .flat_map(|(n, contender)| (1..=seeds).map(move |seed| (n, contender, seed)))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let take = || jobs.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(take)
            .map(|&(n, contender, seed)| {
                let trace = contender.run(&scenarios[n], seed);
                (n, contender, seed, Figures::of(&scenarios[n], &trace))
            })
            .collect::<Vec<_>>()
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut done = thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let joined = handles.into_iter().map(|handle| handle.join());
        joined.collect::<std::result::Result<Vec<_>, _>>().map(|all| all.concat())
    })
    .map_err(|_| "a run panicked")?;
    // Whichever thread was first.
    done.sort_by_key(|(n, _, seed, _)| (*n, *seed));

    let of = |n, contender| {
        let mine = done.iter().filter(move |(m, c, ..)| (*m, *c) == (n, contender));
        mine.map(|(.., figures)| *figures).collect()
    };
    let outages = lengths.iter().enumerate();
    Ok(outages
        .map(|(n, &length)| Outage { length, runs: Contender::ALL.map(|c| (c, of(n, c))) })
        .collect())
}

/// What the chart shows: one run of each contender through each outage.
fn panels() -> Result<Vec<chart::Panel>> {
    OUTAGES
        .into_iter()
        .map(|length| {
            let scenario = scenario(length)?;
            let lines = Contender::ALL.map(|contender| {
                let trace = contender.run(&scenario, 1);
                (contender, trace.bins(Duration::ZERO, Duration::from_secs(1)).collect())
            });
            Ok(chart::Panel { fault: figures::fault(&scenario), lines })
        })
        .collect()
}

fn scenario(outage: Duration) -> Result<Scenario> {
    Ok(scenarios::hard_outage(outage)?)
}

const CHARTS: &str = "target/sim";
const GOAL_SEEDS: u64 = 20;
const MAX_SEEDS: u64 = 1_000;
/// A small request ten times a second is a read; both policies have one for reads.
const OP: OpKind = OpKind::Read;
const OUTAGES: [Duration; 4] = [
    Duration::from_secs(20),
    Duration::from_secs(45),
    Duration::from_secs(75),
    Duration::from_secs(110),
];
const REPORT: &str = "target/bench/report.json";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_and_nonsense_is_refused() {
        assert_eq!(parse("").unwrap(), Options { seeds: 20 });
        assert_eq!(parse("A1 --seeds 3").unwrap(), Options { seeds: 3 });
        for line in ["Z9", "--seeds", "--seeds 0", "--seeds many", "--seeds 1001", "--help"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn each_contender_has_a_run_for_each_seed_and_they_are_in_order() {
        let lengths = [20, 21].map(Duration::from_secs);
        let outages = a1(&lengths, 2).unwrap();
        assert_eq!(outages.iter().map(|outage| outage.length).collect::<Vec<_>>(), lengths);
        for outage in &outages {
            for (contender, runs) in &outage.runs {
                let scenario = scenario(outage.length).unwrap();
                let second = Figures::of(&scenario, &contender.run(&scenario, 2));
                assert_eq!(runs.len(), 2, "{contender:?}");
                assert_eq!(runs[1], second, "{contender:?}");
            }
        }
    }
}
