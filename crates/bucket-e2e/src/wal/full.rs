//! No space and no longer files: a worker on a small disk that is full again and again, and one whose
//! files may not grow, killed meanwhile.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::job::{Checkpoints, Job, Policy};
use super::line::Line;
use super::mount::{Mounted, run};
use super::oracle::{Counts, Found, Loss, Oracle, Unopened};
use super::process::Running;
use super::record::Rng;
use crate::missing::Missing;

/// A disk with a few MiB.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum SmallDisk {
    /// In memory.
    Tmpfs,
    /// In a file on a loop device.
    Ext4,
}

/// What was seen on a full disk; nothing was lost.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Full {
    /// Processes that were killed.
    pub kills: u64,
    /// Records that were refused.
    pub refused: u64,
    /// Records that were acknowledged after one had been refused.
    pub after_refusal: u64,
    /// Records whose survival was promised.
    pub promised: u64,
    /// Checkpoints that were refused for want of space.
    pub checkpoints_refused: u64,
    /// Openings that were refused for want of space, and went well once there was some.
    pub openings_refused: u64,
}

impl SmallDisk {
    /// What the machine lacks for it.
    ///
    /// # Errors
    ///
    /// [`Missing`], to be skipped.
    pub fn availability(self) -> Result<(), Missing> {
        let dir = tempfile::tempdir().map_err(|error| Missing::right(&error.to_string()))?;
        match self.mount(dir.path()) {
            Ok(_) => Ok(()),
            Err(why) => Err(Missing::right(&format!("cannot mount a small disk: {why}"))),
        }
    }

    /// Has the worker in `program` fill the disk, kills it, and checks what is left; so many times.
    ///
    /// # Errors
    ///
    /// What was lost, or refused otherwise than for want of space.
    pub fn run(self, program: &Path, kills: u64, seed: u64) -> Result<Full, String> {
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let disk = self.mount(scratch.path())?;
        let mut said = String::new();
        rounds(&disk, program, kills, seed, &mut said).map_err(|why| {
            let kept = scratch.keep().join("kept");
            // Best effort: the disk goes, and the evidence with it.
            let _ = run(Command::new("cp").arg("-a").arg(disk.path("log")).arg(&kept));
            let _ = fs::write(kept.join("said"), &said);
            format!("{why}\nthe log: {}", kept.display())
        })
    }

    fn mount(self, scratch: &Path) -> Result<Mounted, String> {
        let at = scratch.join("disk");
        match self {
            Self::Tmpfs => Mounted::in_memory(&at, 3 << 10),
            Self::Ext4 => {
                let image = scratch.join("image");
                let file = fs::File::create(&image).map_err(|error| error.to_string())?;
                file.set_len(8 << 20).map_err(|error| error.to_string())?;
                run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
                Mounted::image(&at, &image, "ext4")
            }
        }
    }
}

fn rounds(
    disk: &Mounted,
    program: &Path,
    kills: u64,
    seed: u64,
    said: &mut String,
) -> Result<Full, String> {
    let mut ballast = Ballast { dir: disk.path("ballast"), files: 0 };
    let mut job = Job::new(disk.path("log"), Policy::Always);
    job.segment_kib = 64;
    job.tickets = 1; // So that a thread goes on only when it knows what became of a record.
    job.checkpoints = Checkpoints::WhenFull;
    job.seed = seed;
    let (mut rng, mut full) = (Rng::new(&[seed]), Full::default());
    let mut oracle = Oracle::new(Loss::Process, false);
    for n in 1..=kills {
        ballast.fill();
        job.run = n as u32;
        job.policy = [Policy::Always, Policy::Batch, Policy::None][(n % 3) as usize];
        job.write_through = n % 2 == 0;
        oracle.new_run(job.run);
        let mut refused = false;
        let policy = job.policy.name();
        let mut hear = |oracle: &mut Oracle, line: &Line| {
            said.push_str(&format!("{line}\n"));
            match line {
                Line::Refused { why, .. } if why != "no-space" => {
                    return Err(format!("refused for {why}"));
                }
                Line::Refused { .. } => refused = true,
                // Nothing but somebody else's file can go now.
                Line::NoCheckpoint { .. } => ballast.drop_one(),
                Line::Poisoned { durable } => {
                    return Err(format!("poisoned at {durable}, {policy}"));
                }
                Line::Record { .. } => full.after_refusal += u64::from(refused),
                _ => {}
            }
            oracle.hear(line)
        };
        let mut worker = Running::start(program, &job, &[])?;
        let most = 200 + rng.below(2_500);
        worker.listen(Duration::from_secs(5), most, |line| hear(&mut oracle, line))?;
        worker.kill(|line| hear(&mut oracle, line))?;
        let found = loop {
            match Found::open(&job.dir, rng.below(2) == 0) {
                Ok(found) => break found,
                Err(Unopened::NoSpace(_)) if ballast.files > 0 => {
                    full.openings_refused += 1;
                    ballast.drop_one();
                }
                Err(other) => return Err(format!("the log {other}")),
            }
        };
        oracle.check(&found)?;
        oracle.keep(&found);
    }
    let Counts { promised, refused, checkpoints_refused, .. } = oracle.counts;
    Ok(Full { kills, refused, promised, checkpoints_refused, ..full })
}

/// Files of somebody else on the same disk.
struct Ballast {
    dir: PathBuf,
    files: u64,
}

impl Ballast {
    fn fill(&mut self) {
        let _ = fs::create_dir(&self.dir);
        while self.files < BALLAST_FILES {
            let path = self.dir.join(self.files.to_string());
            if fs::write(&path, vec![1; BALLAST_LEN]).is_err() {
                let _ = fs::remove_file(path);
                break;
            }
            self.files += 1;
        }
    }

    fn drop_one(&mut self) {
        if self.files > 0 {
            self.files -= 1;
            // The worker tells what becomes of it.
            let _ = fs::remove_file(self.dir.join(self.files.to_string()));
        }
    }
}

/// Has the worker in `program` write with files that may not grow beyond a limit of the system.
///
/// # Errors
///
/// What was lost, or reported otherwise than by its kind.
pub fn file_size_limit(program: &Path) -> Result<Full, String> {
    let mut full = Full::default();
    for policy in [Policy::Always, Policy::Batch, Policy::None] {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut job = Job::new(dir.path().join("log"), policy);
        job.segment_kib = 512;
        job.tickets = 1;
        job.checkpoints = Checkpoints::Never;
        let mut oracle = Oracle::new(Loss::Process, false);
        oracle.new_run(job.run);
        let mut others = Vec::new();
        // 128 KiB; without the signal the call says why it fails.
        let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 256; exec \"$@\"", "sh"];
        let status = Running::start(program, &job, &limited)?.finish(|line| {
            match line {
                Line::Refused { why, .. } if why != "extend:FileTooLarge" => {
                    others.push(why.clone())
                }
                Line::Poisoned { durable } => others.push(format!("poisoned at {durable}")),
                _ => {}
            }
            oracle.hear(line)
        })?;
        if !status.success() || !others.is_empty() || oracle.counts.refused == 0 {
            return Err(format!("{}: {status}, {others:?}, {:?}", policy.name(), oracle.counts));
        }
        let found = Found::open(&job.dir, false).map_err(|why| format!("the log {why}"))?;
        oracle.check(&found)?;
        full.refused += oracle.counts.refused;
        full.promised += oracle.counts.promised;
    }
    Ok(full)
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, refused, after_refusal, promised, .. } = self;
        let (checkpoints, openings) = (self.checkpoints_refused, self.openings_refused);
        write!(
            f,
            "{kills} kills; {refused} records refused, {after_refusal} taken after a refusal, {promised} \
             promised, 0 lost; {checkpoints} checkpoints and {openings} openings refused"
        )
    }
}

const BALLAST_FILES: u64 = 8;
const BALLAST_LEN: usize = 96 << 10;
