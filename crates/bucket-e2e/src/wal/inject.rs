//! Failing system calls from outside: the worker under `strace`, which lets one of its calls fail, or
//! kills it there; and the order of its calls when nothing fails.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::job::{Checkpoints, Job, Policy};
use super::oracle::{Counts, Found, Loss, Oracle};
use super::process::Running;
use super::trace::Trace;
use crate::missing::{Missing, find};

/// Failures from outside, for the worker in `program`, this crate's binary `wal`.
#[derive(Clone, Debug)]
pub struct Injections {
    program: PathBuf,
    bug: Option<String>,
}

/// What became of the worker in a sweep of failures, each of which was reported and lost nothing.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Outcomes {
    /// Runs in which a call was hit.
    pub hit: u64,
    /// The log was poisoned, and said up to where its records are safe.
    pub poisoned: u64,
    /// A record or a checkpoint was refused, and the log went on.
    pub refused: u64,
    /// Opening or closing failed, and said so.
    pub ended: u64,
    /// Killed at the call.
    pub killed: u64,
    /// Records that were acknowledged, and found again.
    pub promised: u64,
}

/// How a system call is disturbed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Disturbance {
    /// The n-th call fails with EIO.
    Error(u32),
    /// The n-th call fails with EIO, and all after it.
    ErrorsFrom(u32),
    /// The process is killed at the n-th call.
    Kill(u32),
}

impl Injections {
    /// Disturbances of the worker in `program`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), bug: None }
    }

    /// With a bug planted in the log; needs `--cfg bucket_planted`.
    #[must_use]
    pub fn with_bug(mut self, name: &str) -> Self {
        self.bug = Some(name.to_owned());
        self
    }

    /// What the machine lacks for them.
    ///
    /// # Errors
    ///
    /// [`Missing`], to be skipped.
    pub fn availability() -> Result<(), Missing> {
        find("strace").map(|_| ()).ok_or_else(|| Missing::package("strace", "strace"))
    }

    /// Disturbs the named system call in each of these ways, each time in a new log.
    ///
    /// # Errors
    ///
    /// What was lost, what was acknowledged after a failure, or what was not reported.
    pub fn sweep(
        &self,
        call: &str,
        disturbances: impl IntoIterator<Item = Disturbance>,
    ) -> Result<Outcomes, String> {
        let mut outcomes = Outcomes::default();
        for disturbance in disturbances {
            for (policy, threads) in [(Policy::Always, 1), (Policy::Always, 3), (Policy::Batch, 1)]
            {
                let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
                let mut job = self.job(dir.path());
                (job.policy, job.threads) = (policy, threads);
                let done = disturb(&self.program, &job, call, disturbance, &mut outcomes);
                done.map_err(|why| {
                    let policy = policy.name();
                    let kept = dir.keep();
                    format!(
                        "{call}, {disturbance:?}, {policy}, {threads} threads: {why}\nkept: {}",
                        kept.display()
                    )
                })?;
            }
        }
        Ok(outcomes)
    }

    /// Checks in a run that rotates and takes checkpoints that nothing is promised, gets its name, or is
    /// removed before what it rests on was synced. Returns what was seen.
    ///
    /// # Errors
    ///
    /// What came too early.
    pub fn check_order(&self) -> Result<String, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut job = self.job(dir.path());
        (job.ops, job.tickets) = (150, 0);
        let trace = dir.path().join("trace");
        let worker = Running::start(&self.program, &job, &strace(&trace, None))?;
        let status = worker.finish(|_| Ok(()))?;
        if !status.success() {
            return Err(format!("the worker ended: {status}"));
        }
        let seen = read(&trace)?.check_order(&job.dir)?;
        if seen.promises < 150 || seen.segments < 3 || seen.checkpoints < 2 || seen.removed == 0 {
            return Err(format!("too little was seen: {seen:?}"));
        }
        Ok(format!("{seen:?}"))
    }

    fn job(&self, dir: &Path) -> Job {
        let mut job = Job::new(dir.join("log"), Policy::Always);
        job.threads = 1;
        job.ops = 60;
        job.segment_kib = 64;
        job.tickets = 1;
        job.checkpoints = Checkpoints::Often;
        job.bug.clone_from(&self.bug);
        job
    }
}

fn disturb(
    program: &Path,
    job: &Job,
    call: &str,
    disturbance: Disturbance,
    outcomes: &mut Outcomes,
) -> Result<(), String> {
    let trace = job.dir.with_extension("trace");
    let inject = match disturbance {
        Disturbance::Error(n) => format!("inject={call}:error=EIO:when={n}"),
        Disturbance::ErrorsFrom(n) => format!("inject={call}:error=EIO:when={n}+"),
        Disturbance::Kill(n) => format!("inject={call}:signal=KILL:when={n}"),
    };
    let is_kill = matches!(disturbance, Disturbance::Kill(_));
    // A record whose write fails may be in the page cache; only what is durable is owed.
    let mut oracle = Oracle::new(if is_kill { Loss::Process } else { Loss::Power }, is_kill);
    oracle.new_run(job.run);
    let worker = Running::start(program, job, &strace(&trace, Some(&inject)))?;
    let status = worker.finish(|line| oracle.hear(line))?;
    let poisoned = oracle.poisoned().is_some();
    let Counts { refused, checkpoints_refused, .. } = oracle.counts;
    let refused = refused + checkpoints_refused > 0;
    let trace = read(&trace)?;
    if is_kill {
        // Whoever traces a process that is killed ends the same way, and has no code either.
        let killed = status.code().is_none();
        outcomes.hit += u64::from(killed);
        outcomes.killed += u64::from(killed);
    } else if let Some(hit) = trace.injected() {
        outcomes.hit += 1;
        let path = hit.paths().pop().unwrap_or_default();
        let in_log = path.extension().is_some_and(|ending| ending == "wal");
        // What was written or synced for a record, and not only made ready for one.
        let is_fatal = in_log && hit.name != "rename" && !hit.writes_zeros();
        if is_fatal && !poisoned && status.success() {
            return Err(format!("{hit:?} failed and the log goes on"));
        }
        // Zeros that are not needed yet need not be there.
        if !(poisoned || refused || !status.success() || hit.writes_zeros()) {
            return Err(format!("{hit:?} failed and nobody heard of it"));
        }
        outcomes.poisoned += u64::from(poisoned);
        outcomes.refused += u64::from(!poisoned && refused);
        outcomes.ended += u64::from(!poisoned && !refused && !status.success());
    }
    outcomes.promised += oracle.counts.promised;
    if job.dir.exists() {
        let found = Found::open(&job.dir, false).map_err(|why| format!("the log {why}"))?;
        oracle.check(&found)?;
    } else if oracle.owed() > 0 {
        return Err("the log is gone".to_owned());
    }
    Ok(())
}

fn strace<'a>(trace: &'a Path, inject: Option<&'a str>) -> Vec<&'a str> {
    let trace = trace.to_str().unwrap_or("trace");
    let mut wrapper = vec!["strace", "-f", "-y", "-s", "16", "-o", trace, "-e", CALLS];
    if let Some(inject) = inject {
        wrapper.extend(["-e", inject]);
    }
    wrapper
}

fn read(trace: &Path) -> Result<Trace, String> {
    let text = fs::read_to_string(trace).map_err(|error| format!("no trace: {error}"))?;
    Ok(Trace::parse(&text))
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hit, poisoned, refused, ended, killed, promised } = self;
        write!(
            f,
            "{hit} calls hit: {poisoned} poisoned, {refused} refused, {ended} ended, {killed} killed; \
             {promised} records acknowledged, 0 lost"
        )
    }
}

const CALLS: &str = "trace=openat,mkdir,write,pwrite64,pwritev,pwritev2,fdatasync,fsync,rename,\
                     renameat,renameat2,unlink,unlinkat,ftruncate";
