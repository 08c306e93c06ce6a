//! `bucket drill`: a fire drill of the main job. A parent owns a remote that fails, a child owns the
//! bucket; the child is killed again and again, and at the end the parent counts what was lost.
//!
//! The child is this same executable with a hidden subcommand. It reaches the remote over an inherited
//! socket, so that SIGKILL takes the bucket and never the remote.

mod child;
mod oracle;
mod parent;
mod plan;
mod remote;
mod report;
#[cfg(bucket_planted)]
mod self_test;
mod server;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) use self::child::work;

/// The arguments of `bucket drill`.
#[derive(clap::Args, Debug)]
pub(crate) struct DrillArgs {
    /// Repeat the schedule of an earlier drill; by default a new one, which is printed.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// For how many seconds the remote fails and the bucket is killed; the drain comes after that.
    #[arg(long, value_name = "SECS", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) duration: u64,
    /// Write one JSON object a line to stdout; the last one is the verdict.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write drill.json and drill.svg into this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
    /// Store the files below this directory, of up to 16 MiB each, instead of made-up content. They must
    /// not change meanwhile.
    #[arg(long, value_name = "DIR")]
    pub(crate) input: Option<PathBuf>,
    /// Run the drill once for each planted bug, and fail unless each is caught.
    #[cfg(bucket_planted)]
    #[arg(long, conflicts_with_all = ["json", "report", "input"])]
    pub(crate) self_test: bool,
    /// The bug of the worker.
    #[cfg(bucket_planted)]
    #[arg(skip)]
    pub(crate) bug: Option<&'static str>,
}

/// The arguments of the hidden subcommand.
#[derive(clap::Args, Debug)]
pub(crate) struct WorkerArgs {
    /// The directory of the bucket.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The bug to plant.
    #[cfg(bucket_planted)]
    #[arg(long)]
    pub(crate) bug: Option<String>,
}

/// Runs the drill: 0 when every verdict holds, 7 when one does not, 2 when it could not be set up.
pub(crate) fn run(args: &DrillArgs) -> ExitCode {
    let seed = args.seed.unwrap_or_else(plan::random_seed);
    #[cfg(bucket_planted)]
    if args.self_test {
        return self_test::run(args, seed);
    }
    report::start(seed, args);
    match parent::run(args, seed) {
        Ok(outcome) => report::finish(&outcome, args),
        Err(why) => report::set_up_failed(&why, seed, args),
    }
}
