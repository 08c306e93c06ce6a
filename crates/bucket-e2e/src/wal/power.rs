//! Loss of power, on real file systems: the worker writes to a disk that keeps a log of its writes, and
//! then the disk is made as it was at each moment when it had promised to keep what it had; once as it
//! was, and once with some of what came after and was promised by nobody.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::job::{Job, Policy};
use super::line::Line;
use super::mount::{Mounted, run};
use super::oracle::{Found, Loss, Oracle};
use super::process::Running;
use super::record::Rng;
use super::writes::Writes;
use crate::missing::{Missing, find};

/// The worker on a disk whose writes are kept.
#[derive(Clone, Debug)]
pub struct PowerLoss {
    program: PathBuf,
    file_system: String,
    seed: u64,
    bug: Option<String>,
}

/// What was seen; nothing was lost.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Replayed {
    /// Writes that the disk saw.
    pub writes: usize,
    /// Moments at which it had made all of them durable.
    pub flushes: usize,
    /// Disks that were mounted, with the log opened and checked.
    pub disks: u64,
    /// Records that were acknowledged in all.
    pub acknowledged: usize,
    /// Records that had to be there and were, over all disks.
    pub owed: u64,
}

impl PowerLoss {
    /// With the worker in `program`, on `ext4`, `xfs` or `btrfs`.
    pub fn new(program: impl Into<PathBuf>, file_system: &str, seed: u64) -> Self {
        Self { program: program.into(), file_system: file_system.to_owned(), seed, bug: None }
    }

    /// With a bug planted in the log; needs `--cfg bucket_planted`.
    #[must_use]
    pub fn with_bug(mut self, name: &str) -> Self {
        self.bug = Some(name.to_owned());
        self
    }

    /// What the machine lacks for it.
    ///
    /// # Errors
    ///
    /// [`Missing`], to be skipped.
    pub fn availability(&self) -> Result<(), Missing> {
        let mkfs = format!("mkfs.{}", self.file_system);
        let package = match self.file_system.as_str() {
            "xfs" => "xfsprogs",
            "btrfs" => "btrfs-progs",
            _ => "e2fsprogs",
        };
        for (program, package) in [
            (mkfs.as_str(), package),
            ("qemu-storage-daemon", "qemu-utils"),
            ("setpriv", "util-linux"),
        ] {
            if find(program).is_none() {
                return Err(Missing::package(program, package));
            }
        }
        if !Path::new("/dev/fuse").exists() {
            return Err(Missing::right("no /dev/fuse"));
        }
        Ok(())
    }

    /// Writes, then takes the power away at every flush.
    ///
    /// # Errors
    ///
    /// What was lost, and on which disk, which is kept.
    pub fn run(&self) -> Result<Replayed, String> {
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let done = self.record(scratch.path()).and_then(|said| self.replay(scratch.path(), &said));
        done.map_err(|why| {
            let (name, seed) = (&self.file_system, self.seed);
            if self.bug.is_some() {
                return format!("{name}, seed {seed}: {why}");
            }
            format!("{name}, seed {seed}: {why}\nkept: {}", scratch.keep().display())
        })
    }

    /// Has the worker write; returns what it said.
    fn record(&self, scratch: &Path) -> Result<Vec<Line>, String> {
        let image = scratch.join("image");
        make(&image, &self.file_system)?;
        run(Command::new("cp").arg("--sparse=always").arg(&image).arg(scratch.join("start")))?;
        let disk = Daemon::start(scratch, &image)?;
        let mounted =
            Mounted::image(&scratch.join("mounted"), &scratch.join("export"), &self.file_system)?;
        let mut job = Job::new(mounted.path("log"), Policy::Always);
        job.segment_kib = 64;
        job.ops = 60;
        job.seed = self.seed;
        job.position = Some(scratch.join("writes"));
        job.bug.clone_from(&self.bug);
        let mut said = Vec::new();
        let status = Running::start(&self.program, &job, &[])?.finish(|line| {
            said.push(line.clone());
            Ok(())
        })?;
        if !status.success() {
            return Err(format!("the worker ended: {status}"));
        }
        mounted.unmount()?;
        drop(disk);
        Ok(said)
    }

    fn replay(&self, scratch: &Path, said: &[Line]) -> Result<Replayed, String> {
        let text = |error: std::io::Error| error.to_string();
        let writes = Writes::open(&scratch.join("writes")).map_err(text)?;
        let path = scratch.join("start");
        let disk = File::options().write(true).open(&path).map_err(text)?;
        let points = writes.flush_points();
        let acknowledged = said.iter().filter(|line| matches!(line, Line::Record { .. })).count();
        let (writes_seen, flushes) = (writes.len(), points.len());
        let mut replayed =
            Replayed { writes: writes_seen, flushes, acknowledged, ..Replayed::default() };
        let mut rng = Rng::new(&[self.seed, 2]);
        let mut done = 0;
        for (n, &point) in points.iter().enumerate() {
            while done < point {
                writes.apply(done, &disk).map_err(text)?;
                done += 1;
            }
            let next = points.get(n + 1).copied().unwrap_or(writes_seen);
            let some: Vec<usize> = (point..next).filter(|_| rng.below(2) == 0).collect();
            for more in [&[][..], &some] {
                let copy = scratch.join("copy");
                run(Command::new("cp").arg("--sparse=always").arg(&path).arg(&copy))?;
                let torn = File::options().write(true).open(&copy).map_err(text)?;
                for &later in more {
                    writes.apply(later, &torn).map_err(text)?;
                }
                drop(torn);
                let owed = self.look(scratch, &copy, said, point as u64);
                replayed.owed += owed.map_err(|why| {
                    format!("after {point} of {writes_seen} writes and {more:?}: {why}")
                })?;
                replayed.disks += 1;
            }
        }
        Ok(replayed)
    }

    /// Mounts a disk as it was after `point` writes, and opens the log on it. Returns how many records had
    /// to be there.
    fn look(&self, scratch: &Path, disk: &Path, said: &[Line], point: u64) -> Result<u64, String> {
        let mut oracle = Oracle::new(Loss::Power, true);
        oracle.new_run(1);
        for line in said {
            let holds = match line {
                Line::Record { at, .. } | Line::UpTo { at, .. } | Line::Checkpoint { at, .. } => {
                    *at <= point
                }
                // Without a promise.
                _ => true,
            };
            if holds {
                oracle.hear(line)?;
            }
        }
        if self.file_system == "btrfs" {
            // It remembers newer states of the same disk, and would refuse older ones.
            run(Command::new("btrfs").args(["device", "scan", "--forget"]))?;
        }
        let mounted = Mounted::image(&scratch.join("mounted"), disk, &self.file_system)?;
        let log = mounted.path("log");
        if log.exists() {
            let found = Found::open(&log, false).map_err(|why| format!("the log {why}"))?;
            oracle.check(&found)?;
        } else if oracle.owed() > 0 {
            return Err(format!("LOST: the log, with {} records", oracle.owed()));
        }
        mounted.unmount()?;
        Ok(oracle.owed() as u64)
    }
}

/// Makes a file system in a file.
pub(super) fn make(image: &Path, file_system: &str) -> Result<(), String> {
    // Each about as small as it may be.
    let (mib, force) = match file_system {
        "ext4" => (64, "-F"),
        "xfs" => (320, "-f"),
        "btrfs" => (128, "-f"),
        other => return Err(format!("no file system {other:?}")),
    };
    let file = File::create(image).map_err(|error| error.to_string())?;
    file.set_len(mib << 20).map_err(|error| error.to_string())?;
    run(Command::new(format!("mkfs.{file_system}")).args(["-q", force]).arg(image))
}

/// QEMU's storage daemon, which serves the disk as a file and keeps a log of the writes.
struct Daemon(Child);

impl Daemon {
    fn start(scratch: &Path, image: &Path) -> Result<Self, String> {
        let (log, export) = (scratch.join("writes"), scratch.join("export"));
        let (ready, said) = (scratch.join("ready"), scratch.join("daemon"));
        File::create(&log).and_then(|file| file.set_len(4 << 30)).map_err(|e| e.to_string())?;
        File::create(&export).map_err(|error| error.to_string())?;
        let said = File::create(said).map_err(|error| error.to_string())?;
        // Dies with us, so that no mount is left that nobody answers.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-storage-daemon"]);
        let node = |text: String| ["--blockdev".to_owned(), text];
        command.args(node(format!("driver=file,node-name=image,filename={}", image.display())));
        command.args(node(format!("driver=file,node-name=log,filename={}", log.display())));
        command.args(node(
            "driver=blklogwrites,node-name=disk,file=image,log=log,log-sector-size=512".to_owned(),
        ));
        command.arg("--export").arg(format!(
            "type=fuse,id=export,node-name=disk,mountpoint={},writable=on",
            export.display()
        ));
        // Written once all of that is there.
        command.arg("--pidfile").arg(&ready);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let child =
            command.spawn().map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let mut daemon = Self(child);
        let (_never, tick) = channel::<()>();
        for _ in 0..1_000 {
            if ready.exists() {
                return Ok(daemon);
            }
            if daemon.0.try_wait().is_ok_and(|status| status.is_some()) {
                break;
            }
            let _ = tick.recv_timeout(Duration::from_millis(10));
        }
        let said = fs::read_to_string(scratch.join("daemon")).unwrap_or_default();
        Err(format!("the disk does not come up: {}", said.trim_end()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM, so that it gives up the mount and completes the log; by id.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writes, flushes, disks, acknowledged, owed } = self;
        write!(
            f,
            "{writes} writes, {flushes} flushes, {acknowledged} records acknowledged; {disks} disks \
             mounted, {owed} records owed by them, 0 lost"
        )
    }
}
