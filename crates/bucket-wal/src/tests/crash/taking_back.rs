//! Power loss while records are taken back and epochs begin.

use std::path::Path;

use bucket_core::ByteCount;
use bucket_vfs::sim::{Crash, Explorer, SimDisk};

use super::script::Violation;
use crate::entropy::Entropy;
use crate::sync::{Arc, AtomicU64};
use crate::{Lsn, Wal, WalError};

/// A state of the log that was made durable, and when it was asked for and acknowledged.
struct Step {
    asked: u64,
    acknowledged: u64,
    /// The incarnation of each record, from the first.
    records: Vec<u8>,
}

fn open(disk: &SimDisk, entropy: u64) -> Result<Wal, WalError> {
    let entropy = Entropy::Counter(Arc::new(AtomicU64::new(entropy)));
    let options = Wal::options().vfs(disk.mount()).entropy(entropy).reserve_files(false);
    let options = options.segment_size(ByteCount::kib(64)).expect("within the bounds");
    Ok(options.recovery_threads(1).expect("within the bounds").open(Path::new("/log"))?.0)
}

/// Appends, takes back within a segment, across segments and within a batch, begins epochs, dies.
fn run(disk: &SimDisk) -> Result<Vec<Step>, WalError> {
    let mut steps = Vec::new();
    let mut records = Vec::new();
    let mut wal = open(disk, 1)?;
    let mut note = |disk: &SimDisk, records: &[u8], asked: u64| {
        steps.push(Step { asked, acknowledged: disk.operations(), records: records.to_vec() });
    };
    for (generation, (count, keep)) in (1..).zip([(6, 4), (20, 3), (9, 9), (3, 7), (2, 0)]) {
        for n in 0..count {
            let asked = disk.operations();
            if n == 1 {
                let batch = [&[generation; 900][..], &[generation; 10]];
                wal.append_batch(batch)?;
                records.extend([generation; 2]);
            } else {
                wal.append(&vec![generation; 9_000])?;
                records.push(generation);
            }
            note(disk, &records, asked);
        }
        let asked = disk.operations();
        wal.truncate_after(Lsn::new(keep))?;
        records.truncate(keep as usize);
        note(disk, &records, asked);
        if generation % 2 == 0 {
            let asked = disk.operations();
            wal.begin_epoch(wal.epoch() + 2)?;
            note(disk, &records, asked);
            disk.kill();
            drop(wal);
            wal = open(disk, u64::from(generation) << 16)?;
        }
    }
    wal.append(b"the last")?;
    wal.close()?;
    Ok(steps)
}

/// What is there is what was asked for last or what was acknowledged last, or lies between.
fn check(steps: &[Step], disk: &SimDisk, crash: &Crash<'_, Vec<u8>>) -> Result<Vec<u8>, Violation> {
    let failed = |error: WalError| Violation::new("the log opens after a crash", error.to_string());
    let wal = open(disk, 1 << 40).map_err(failed)?;
    let mut found = Vec::new();
    for (n, record) in (1..).zip(wal.reader(Lsn::new(1))) {
        let record = record.map_err(failed)?;
        if record.lsn != Lsn::new(n) {
            return Err(Violation::new("records are contiguous", record.lsn.to_string()));
        }
        if record.payload != b"the last" {
            found.push(record.payload[0]);
        }
    }
    let at = crash.operation();
    let newest = steps.iter().rposition(|step| step.acknowledged < at);
    let legal = &steps[newest.unwrap_or(0)..];
    let is_legal = found.is_empty() && newest.is_none()
        || legal.iter().any(|step| step.asked < at && step.records == found);
    if !is_legal {
        return Err(Violation::new("what is there was asked for", format!("{found:?}")));
    }
    if crash.before().is_some_and(|shown| *shown != found) {
        return Err(Violation::new("what was exposed stays", format!("{found:?}")));
    }
    Ok(found)
}

#[test]
fn records_are_taken_back_wholly_or_not_at_all() {
    let disk = SimDisk::new();
    disk.keep_history();
    let steps = run(&disk).expect("the disk is healthy");
    let coverage = Explorer::new(&disk)
        .seeds(8)
        .promises(|at| {
            steps.iter().rposition(|step| step.acknowledged < at).map_or(0, |n| n as u64 + 1)
        })
        .run(|disk, crash| check(&steps, disk, crash));
    let coverage = coverage.unwrap_or_else(|failure| panic!("{failure}"));
    super::is_enough("taking back", &coverage);
}
