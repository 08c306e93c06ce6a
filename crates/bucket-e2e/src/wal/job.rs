//! [`Job`]: how the worker opens its log and what it does with it, to and from its arguments.

use std::path::PathBuf;
use std::time::Duration;

use bucket_core::ByteCount;
use bucket_wal::{SyncPolicy, Wal, WalOptions};

/// What one run of the worker is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) dir: PathBuf,
    pub(super) policy: Policy,
    pub(super) write_through: bool,
    /// With one, it is the main thread that works.
    pub(super) threads: u32,
    pub(super) segment_kib: u64,
    pub(super) seed: u64,
    /// Goes into every record; higher than that of any run before in this directory.
    pub(super) run: u32,
    /// Operations of each thread; then the log is closed. 0 for no end.
    pub(super) ops: u64,
    /// Tickets that a thread holds at once, at most; 0 for never any.
    pub(super) tickets: u64,
    pub(super) checkpoints: Checkpoints,
    /// A log of the writes that reached the disk, to say how long it was when a promise was made.
    pub(super) position: Option<PathBuf>,
    /// The name of a bug to plant.
    pub(super) bug: Option<String>,
}

/// The policies of [`SyncPolicy`], with bounds that a short run reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Always,
    Batch,
    Periodic,
    None,
}

/// When the first thread takes a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checkpoints {
    /// Every few dozen operations.
    Often,
    /// When the disk is full.
    WhenFull,
    Never,
}

impl Job {
    /// A job that goes on until it is killed.
    pub(super) fn new(dir: impl Into<PathBuf>, policy: Policy) -> Self {
        Self {
            dir: dir.into(),
            policy,
            write_through: false,
            threads: 3,
            segment_kib: 128,
            seed: 1,
            run: 1,
            ops: 0,
            tickets: 6,
            checkpoints: Checkpoints::Often,
            position: None,
            bug: None,
        }
    }

    pub(super) fn args(&self) -> Vec<String> {
        let mut args = vec![
            "--dir".to_owned(),
            self.dir.display().to_string(),
            "--policy".to_owned(),
            self.policy.name().to_owned(),
            "--checkpoints".to_owned(),
            self.checkpoints.name().to_owned(),
        ];
        let numbers = [
            ("--threads", u64::from(self.threads)),
            ("--segment-kib", self.segment_kib),
            ("--seed", self.seed),
            ("--run", u64::from(self.run)),
            ("--ops", self.ops),
            ("--tickets", self.tickets),
        ];
        for (name, number) in numbers {
            args.extend([name.to_owned(), number.to_string()]);
        }
        if self.write_through {
            args.push("--write-through".to_owned());
        }
        if let Some(position) = &self.position {
            args.extend(["--position".to_owned(), position.display().to_string()]);
        }
        if let Some(bug) = &self.bug {
            args.extend(["--bug".to_owned(), bug.clone()]);
        }
        args
    }

    pub(super) fn parse(args: &[String]) -> Result<Self, String> {
        let mut job = Self::new("", Policy::Always);
        let mut args = args.iter();
        while let Some(name) = args.next() {
            if name == "--write-through" {
                job.write_through = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{name}: {value:?}"));
            let small = || value.parse::<u32>().map_err(|_| format!("{name}: {value:?}"));
            match name.as_str() {
                "--dir" => job.dir = value.into(),
                "--policy" => job.policy = Policy::named(value)?,
                "--checkpoints" => job.checkpoints = Checkpoints::named(value)?,
                "--threads" => job.threads = small()?.max(1),
                "--segment-kib" => job.segment_kib = number()?,
                "--seed" => job.seed = number()?,
                "--run" => job.run = small()?,
                "--ops" => job.ops = number()?,
                "--tickets" => job.tickets = number()?,
                "--position" => job.position = Some(value.into()),
                "--bug" => job.bug = Some(value.clone()),
                _ => return Err(format!("no option {name:?}")),
            }
        }
        if job.dir.as_os_str().is_empty() {
            return Err("--dir is missing".to_owned());
        }
        Ok(job)
    }

    /// The options to open the log with.
    pub(super) fn options(&self) -> Result<WalOptions, String> {
        let options = Wal::options()
            .segment_size(ByteCount::kib(self.segment_kib))
            .and_then(|options| options.sync_policy(self.policy.policy()))
            .map_err(|error| error.to_string())?
            .write_through(self.write_through);
        match &self.bug {
            None => Ok(options),
            Some(name) => plant(options, name),
        }
    }
}

#[cfg(bucket_planted)]
fn plant(options: WalOptions, name: &str) -> Result<WalOptions, String> {
    use bucket_wal::Bug;
    Ok(options.planted(match name {
        "AcknowledgeBeforeSync" => Bug::AcknowledgeBeforeSync,
        "CheckpointBeforeData" => Bug::CheckpointBeforeData,
        "EvictUndrained" => Bug::EvictUndrained,
        "NoDirectorySync" => Bug::NoDirectorySync,
        "SkipReplay" => Bug::SkipReplay,
        _ => return Err(format!("no bug {name:?}")),
    }))
}

#[cfg(not(bucket_planted))]
fn plant(_: WalOptions, name: &str) -> Result<WalOptions, String> {
    Err(format!("{name} can be planted under `--cfg bucket_planted` only"))
}

impl Policy {
    const ALL: [Self; 4] = [Self::Always, Self::Batch, Self::Periodic, Self::None];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Batch => "batch",
            Self::Periodic => "periodic",
            Self::None => "none",
        }
    }

    fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|policy| policy.name() == name);
        found.ok_or_else(|| format!("no policy {name:?}"))
    }

    const fn policy(self) -> SyncPolicy {
        match self {
            Self::Always => SyncPolicy::Always,
            Self::Batch => SyncPolicy::Batch {
                records: 64,
                bytes: ByteCount::kib(96),
                delay: Duration::from_millis(5),
            },
            Self::Periodic => SyncPolicy::Periodic {
                interval: Duration::from_millis(5),
                max_unsynced: ByteCount::kib(256),
            },
            Self::None => SyncPolicy::None,
        }
    }
}

impl Checkpoints {
    const ALL: [Self; 3] = [Self::Often, Self::WhenFull, Self::Never];

    const fn name(self) -> &'static str {
        match self {
            Self::Often => "often",
            Self::WhenFull => "when-full",
            Self::Never => "never",
        }
    }

    fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|when| when.name() == name);
        found.ok_or_else(|| format!("no kind of checkpoints {name:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_survives_its_arguments() {
        let mut job = Job::new("some where", Policy::Batch);
        assert_eq!(Job::parse(&job.args()), Ok(job.clone()));
        job.write_through = true;
        job.position = Some("p".into());
        job.bug = Some("NoDirectorySync".to_owned());
        job.checkpoints = Checkpoints::WhenFull;
        assert_eq!(Job::parse(&job.args()), Ok(job));
        for broken in ["", "--dir", "--dir d --policy x", "--dir d --ops x", "--frob 1"] {
            let args: Vec<_> = broken.split_whitespace().map(str::to_owned).collect();
            assert!(Job::parse(&args).is_err(), "{broken:?}");
        }
    }
}
