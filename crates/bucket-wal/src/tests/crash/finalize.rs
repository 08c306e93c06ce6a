//! Power loss while a feature of the format is turned on: it is on or off, and once on it stays so.

use std::path::Path;

use bucket_vfs::sim::{Crash, Explorer, SimDisk};

use super::script::Violation;
use crate::entropy::Entropy;
use crate::sync::{Arc, AtomicU64};
use crate::{Lsn, Wal, WalError};

const FEATURE: u32 = 1;

/// What was done before and after how many disk operations.
#[derive(Default)]
struct Script {
    /// After so many operations so many records were durable.
    durable: Vec<(u64, u64)>,
    /// Between these the feature was turned on, and acknowledged.
    asked: u64,
    acknowledged: u64,
}

/// Opens the log as a version that knows these features.
fn open(disk: &SimDisk, known: u32, entropy: u64) -> Result<Wal, WalError> {
    let entropy = Entropy::Counter(Arc::new(AtomicU64::new(entropy)));
    let options =
        Wal::options().vfs(disk.mount()).entropy(entropy).reserve_files(false).known(known);
    Ok(options.recovery_threads(1).expect("within the bounds").open(Path::new("/log"))?.0)
}

impl Script {
    fn run(&mut self, disk: &SimDisk) -> Result<(), WalError> {
        let wal = open(disk, FEATURE, 1)?;
        self.append(disk, &wal, 3)?;
        wal.checkpoint(Lsn::new(2), b"state")?;
        self.append(disk, &wal, 2)?;
        self.asked = disk.operations();
        wal.finalize()?;
        self.acknowledged = disk.operations();
        self.append(disk, &wal, 2)?;
        wal.checkpoint(Lsn::new(4), b"state")?;
        self.append(disk, &wal, 1)?;
        disk.kill();
        Ok(())
    }

    fn append(&mut self, disk: &SimDisk, wal: &Wal, count: u64) -> Result<(), WalError> {
        for _ in 0..count {
            let lsn = wal.append(b"a record")?;
            self.durable.push((disk.operations(), lsn.get()));
        }
        Ok(())
    }

    fn promised(&self, at: u64) -> u64 {
        let durable = self.durable.iter().rfind(|(when, _)| *when < at);
        durable.map_or(0, |(_, lsn)| *lsn) << 1 | u64::from(self.acknowledged < at)
    }

    fn check(&self, disk: &SimDisk, crash: &Crash<'_, u32>) -> Result<u32, Violation> {
        let failed = |error: WalError| {
            Violation::new(
                "a log opens after a crash while a feature is turned on",
                error.to_string(),
            )
        };
        let at = crash.operation();
        // The version before, on a disk of its own: it may open the log, and write.
        let before = open(&disk.fork(), 0, 1 << 33);
        let wal = open(disk, FEATURE, 1 << 32).map_err(failed)?;
        let features = wal.format().features;
        match before {
            Ok(before) if features == 0 => Self::count(&before, self.promised(at) >> 1)?,
            Err(WalError::UnsupportedFormat { flags: FEATURE, .. }) if features == FEATURE => {}
            other => {
                let detail = format!("{features} is on, and it is {:?}", other.map(drop));
                return Err(Violation::new(
                    "the version before is refused when it must be",
                    detail,
                ));
            }
        }
        let (must, may) = (self.acknowledged < at, self.asked < at);
        if (must && features == 0) || (!may && features != 0) {
            let detail = format!("{features} at {at}, asked for at {}", self.asked);
            return Err(Violation::new("a feature is on when it was turned on", detail));
        }
        if crash.before().is_some_and(|shown| *shown != features) {
            return Err(Violation::new("what was exposed stays", features.to_string()));
        }
        Self::count(&wal, self.promised(at) >> 1)?;
        Ok(features)
    }

    fn count(wal: &Wal, least: u64) -> Result<(), Violation> {
        let count = wal.reader(Lsn::new(1)).filter(Result::is_ok).count() as u64;
        if count < least {
            let detail = format!("{count} of {least} records");
            return Err(Violation::new("what was acknowledged is there", detail));
        }
        Ok(())
    }
}

#[test]
fn a_feature_is_turned_on_wholly_or_not_at_all() {
    let disk = SimDisk::new();
    disk.keep_history();
    let mut script = Script::default();
    script.run(&disk).expect("the disk is healthy");
    let coverage = Explorer::new(&disk)
        .seeds(12)
        .promises(|at| script.promised(at))
        .run(|disk, crash| script.check(disk, crash));
    let coverage = coverage.unwrap_or_else(|failure| panic!("{failure}"));
    eprintln!("crash states of turning a feature on: {coverage}");
    assert!(coverage.crashes + coverage.second_crashes > 400, "{coverage}");
}
