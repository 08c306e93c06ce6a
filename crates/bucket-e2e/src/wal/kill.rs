//! The campaign: a worker is killed at random moments, again and again over the same log, and whatever
//! it was promised must be found, in every mode.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::job::{Job, Policy};
use super::line::Line;
use super::oracle::{Counts, Found, Loss, Oracle};
use super::process::Running;
use super::record::Rng;

/// How often to kill, and with which luck.
#[derive(Clone, Debug)]
pub struct Campaign {
    program: PathBuf,
    kills: u64,
    seed: u64,
    bug: Option<String>,
}

/// What a campaign has seen; it lost nothing, or there would be an error.
#[derive(Clone, Debug)]
pub struct Tally {
    rows: Vec<(String, u64, Counts)>,
}

impl Campaign {
    /// A campaign against the worker in `program`, this crate's binary `wal`.
    pub fn new(program: impl Into<PathBuf>, kills: u64, seed: u64) -> Self {
        Self { program: program.into(), kills, seed, bug: None }
    }

    /// With a bug planted in the log; needs `--cfg bucket_planted`.
    #[must_use]
    pub fn with_bug(mut self, name: &str) -> Self {
        self.bug = Some(name.to_owned());
        self
    }

    /// Kills, and checks after each kill or after the next.
    ///
    /// # Errors
    ///
    /// What was lost, or made up; the directory of the log is kept and named.
    pub fn run(&self) -> Result<Tally, String> {
        let n_modes = MODES.len() as u64;
        let mut rows = Vec::new();
        for (nth, (name, policy, write_through, threads)) in (0..).zip(MODES) {
            let kills = self.kills / n_modes + u64::from(nth < self.kills % n_modes);
            let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
            let mut job = Job::new(dir.path().join("log"), *policy);
            job.write_through = *write_through;
            job.threads = *threads;
            job.seed = self.seed;
            job.bug.clone_from(&self.bug);
            let mut rng = Rng::new(&[self.seed, nth]);
            let mut oracle = Oracle::new(Loss::Process, true);
            let mut said = String::new();
            let killed = rounds(&self.program, &mut job, kills, &mut rng, &mut oracle, &mut said);
            killed.map_err(|why| {
                let kept = dir.keep();
                // Best effort: the log itself is the evidence.
                let _ = fs::write(kept.join("said"), &said);
                let (run, seed, kept) = (job.run, self.seed, kept.display());
                format!("mode {name}, kill {run}, seed {seed}: {why}\nthe log: {kept}")
            })?;
            rows.push(((*name).to_owned(), kills, oracle.counts));
        }
        Ok(Tally { rows })
    }
}

fn rounds(
    program: &Path,
    job: &mut Job,
    kills: u64,
    rng: &mut Rng,
    oracle: &mut Oracle,
    said: &mut String,
) -> Result<(), String> {
    let mut hear = |oracle: &mut Oracle, line: &Line| {
        said.push_str(&format!("{line}\n"));
        oracle.hear(line)
    };
    for n in 1..=kills {
        job.run = n as u32;
        job.segment_kib = 64 << rng.below(3);
        oracle.new_run(job.run);
        let mut worker = Running::start(program, job, &[])?;
        let (limit, most) = match rng.below(4) {
            // While it opens the log.
            0 => (Duration::from_micros(rng.below(15_000)), u64::MAX),
            // Right after something was promised.
            1 => (Duration::from_secs(10), 1 + rng.below(1_500)),
            _ => (Duration::from_micros(rng.below(300_000)), u64::MAX),
        };
        let runs = worker.listen(limit, most, |line| hear(oracle, line))?;
        let status = worker.kill(|line| hear(oracle, line))?;
        if !runs || status.code().is_some() {
            return Err(format!("the worker ended by itself: {status}"));
        }
        // Every other time the next worker recovers what this one left, and may be killed meanwhile.
        if n == kills || rng.below(2) == 0 {
            let found = Found::open(&job.dir, rng.below(2) == 0);
            let found = found.map_err(|why| format!("the log {why}"))?;
            oracle.check(&found)?;
            oracle.keep(&found);
        }
    }
    Ok(())
}

impl Tally {
    /// How many records had their survival promised.
    pub fn promised(&self) -> u64 {
        self.rows.iter().map(|(_, _, counts)| counts.promised).sum()
    }

    /// How many processes were killed.
    pub fn kills(&self) -> u64 {
        self.rows.iter().map(|(_, kills, _)| kills).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!(
            "{:<24}{:>6}{:>10}{:>6}{:>12}{:>8}{:>8}{:>8}{:>12}\n",
            "mode", "kills", "promised", "lost", "read", "torn", "copied", "gone", "checkpoints"
        );
        for (name, kills, counts) in &self.rows {
            let Counts { promised, read, torn_tails, copied, gone, checkpoints, .. } = counts;
            writeln!(
                text,
                "{name:<24}{kills:>6}{promised:>10}{:>6}{read:>12}{torn_tails:>8}{copied:>8}\
                 {gone:>8}{checkpoints:>12}",
                0
            )?;
        }
        let (kills, promised) = (self.kills(), self.promised());
        write!(f, "{text}{kills} kills, {promised} records promised, 0 of them lost")
    }
}

/// Name, policy, whether each record is handed to the system, threads.
const MODES: &[(&str, Policy, bool, u32)] = &[
    ("always", Policy::Always, false, 4),
    ("always, one thread", Policy::Always, false, 1),
    ("batch", Policy::Batch, false, 4),
    ("batch, write-through", Policy::Batch, true, 4),
    ("periodic", Policy::Periodic, false, 4),
    ("periodic, write-through", Policy::Periodic, true, 4),
    ("none", Policy::None, false, 4),
    ("none, write-through", Policy::None, true, 4),
];
