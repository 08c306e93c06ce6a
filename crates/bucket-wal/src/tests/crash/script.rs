//! The standard workload, and what it was promised on the way.
//!
//! Whatever the log acknowledges is noted with the number of disk operations that were complete by
//! then, so that for a crash during any operation it is known what has to be there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use bucket_core::{ByteCount, Durability};
use bucket_vfs::sim::SimDisk;

use crate::entropy::Entropy;
use crate::sync::{Arc, AtomicU64};
use crate::{Lsn, Recovery, Ticket, Wal, WalError, WalOptions};

const DIR: &str = "/log";

/// A log on a simulated disk, opened again and again.
pub(super) struct Rig {
    pub(super) disk: SimDisk,
    plant: Plant,
    entropy: u64,
}

/// Changes how the log is opened.
pub(super) type Plant = fn(WalOptions) -> WalOptions;

/// What happened, in terms of disk operations.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// For each number every record that was ever submitted under it: a number that was never
    /// durable is given again after a restart.
    submitted: BTreeMap<u64, Vec<Submitted>>,
    /// After this many operations, this record of this incarnation was acknowledged.
    acknowledged: Vec<(u64, u64, u64)>,
    /// Refused before acceptance; the number may be left out.
    refused: BTreeSet<u64>,
    /// Started and finished after this many operations, and where replay starts.
    checkpoints: Vec<(u64, Option<u64>, u64)>,
    /// First and last record of what was appended as a batch.
    batches: Vec<(u64, u64)>,
    incarnation: u64,
    pub(super) last_lsn: u64,
}

#[derive(Clone, Copy, Debug)]
struct Submitted {
    /// After this many operations.
    at: u64,
    incarnation: u64,
    len: usize,
}

/// Something that was promised and does not hold.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    pub(super) check: &'static str,
    pub(super) detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.detail)
    }
}

impl Violation {
    pub(super) fn new(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, detail: detail.into() }
    }
}

impl Rig {
    pub(super) const fn new(disk: SimDisk, plant: Plant, entropy: u64) -> Self {
        Self { disk, plant, entropy }
    }

    pub(super) fn open(&mut self) -> Result<(Wal, Recovery), WalError> {
        // The same identity, the same salts: the same crash leaves the same bytes.
        self.entropy += 1_000;
        let entropy = Entropy::Counter(Arc::new(AtomicU64::new(self.entropy)));
        let options = Wal::options().vfs(self.disk.mount()).entropy(entropy).reserve_files(false);
        let options = options.segment_size(ByteCount::kib(64)).expect("within the bounds");
        // One thread, so that the same opening does the same operations.
        let options = options.recovery_threads(1).expect("within the bounds");
        (self.plant)(options).open(Path::new(DIR))
    }
}

impl Script {
    /// The standard workload: single records and groups of many sizes, rotation, checkpoints with and
    /// without trimming, a process that dies with and without unfinished work, a clean close.
    ///
    /// Stops at the first error, which only a fault on the disk can cause.
    pub(super) fn run(&mut self, rig: &mut Rig) -> Result<(), WalError> {
        let wal = self.start(rig)?;
        for len in [16, 100, 700, 5_000] {
            self.append(rig, &wal, len)?;
        }
        self.group(rig, &wal, &[20, 900, 16, 2_000, 400])?;
        self.checkpoint(rig, &wal, 4)?;
        for _ in 0..8 {
            self.append(rig, &wal, 9_000)?;
        }
        self.checkpoint(rig, &wal, 16)?;
        // A checkpoint while records are under way must not vouch for them.
        let under_way = self.submit(rig, &wal, &[800, 16])?;
        self.checkpoint(rig, &wal, 17)?;
        self.wait(rig, under_way)?;
        self.group(rig, &wal, &[30_000, 16, 30_000, 500])?;
        self.kill(rig, wal);

        let wal = self.start(rig)?;
        for len in [300, 16, 1_200] {
            self.append(rig, &wal, len)?;
        }
        self.batch(rig, &wal, &[700, 16, 9_000, 1])?;
        self.kill(rig, wal);

        let wal = self.start(rig)?;
        self.append(rig, &wal, 77)?;
        self.checkpoint(rig, &wal, self.last_lsn)?;
        self.group(rig, &wal, &[40, 40, 40])?;
        wal.close()?;

        let wal = self.start(rig)?;
        self.append(rig, &wal, 60_000)?;
        self.append(rig, &wal, 60_000)?;
        self.checkpoint(rig, &wal, self.last_lsn + 1)?;
        self.append(rig, &wal, 16)?;
        self.kill(rig, wal);
        Ok(())
    }

    /// Opens the log, which must still have all that was acknowledged: nothing was lost but memory.
    pub(super) fn start(&mut self, rig: &mut Rig) -> Result<Wal, WalError> {
        let (wal, recovery) = rig.open()?;
        self.incarnation += 1;
        self.last_lsn = recovery.report().last_lsn.get();
        Ok(wal)
    }

    pub(super) fn kill(&self, rig: &Rig, wal: Wal) {
        rig.disk.kill();
        drop(wal);
    }

    pub(super) fn append(&mut self, rig: &Rig, wal: &Wal, len: usize) -> Result<(), WalError> {
        self.group(rig, wal, &[len])
    }

    pub(super) fn group(&mut self, rig: &Rig, wal: &Wal, lens: &[usize]) -> Result<(), WalError> {
        let tickets = self.submit(rig, wal, lens)?;
        self.wait(rig, tickets)
    }

    /// Appends records that must survive together or not at all.
    pub(super) fn batch(&mut self, rig: &Rig, wal: &Wal, lens: &[usize]) -> Result<(), WalError> {
        let at = rig.disk.operations();
        let first = self.last_lsn + 1;
        let mut records = Vec::new();
        for &len in lens {
            self.last_lsn += 1;
            let (lsn, incarnation) = (self.last_lsn, self.incarnation);
            self.submitted.entry(lsn).or_default().push(Submitted { at, incarnation, len });
            records.push(payload(incarnation, lsn, len));
        }
        self.batches.push((first, self.last_lsn));
        let last = wal.append_batch(records.iter().map(Vec::as_slice))?;
        assert_eq!(last, Lsn::new(self.last_lsn), "numbers have no gap");
        wal.wait_durable(last)?;
        let operations = rig.disk.operations();
        self.acknowledged.push((operations, last.get(), self.incarnation));
        Ok(())
    }

    pub(super) fn submit(
        &mut self,
        rig: &Rig,
        wal: &Wal,
        lens: &[usize],
    ) -> Result<Vec<Ticket>, WalError> {
        let mut tickets = Vec::new();
        for &len in lens {
            self.last_lsn += 1;
            let (lsn, incarnation) = (self.last_lsn, self.incarnation);
            let at = rig.disk.operations();
            self.submitted.entry(lsn).or_default().push(Submitted { at, incarnation, len });
            let ticket = wal.submit(&payload(incarnation, lsn, len))?;
            assert_eq!(ticket.lsn(), Lsn::new(lsn), "numbers have no gap");
            tickets.push(ticket);
        }
        Ok(tickets)
    }

    pub(super) fn wait(&mut self, rig: &Rig, tickets: Vec<Ticket>) -> Result<(), WalError> {
        let mut outcome = Ok(());
        // The newest first, so that its waiter leads for all, unless the log's own thread was faster with
        // the first of them.
        for ticket in tickets.into_iter().rev() {
            let lsn = ticket.lsn().get();
            match ticket.wait() {
                Ok(_) => {
                    let operations = rig.disk.operations();
                    self.acknowledged.push((operations, lsn, self.incarnation));
                }
                Err(error) if error.durability() == Durability::NotAccepted => {
                    // Those after it may be in another group, and there; those before it may be refused
                    // with it.
                    self.refused.insert(lsn);
                    outcome = Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        outcome
    }

    pub(super) fn checkpoint(
        &mut self,
        rig: &Rig,
        wal: &Wal,
        replay_from: u64,
    ) -> Result<(), WalError> {
        self.checkpoints.push((rig.disk.operations(), None, replay_from));
        wal.checkpoint(Lsn::new(replay_from), &replay_from.to_le_bytes())?;
        if let Some((_, finished, _)) = self.checkpoints.last_mut() {
            *finished = Some(rig.disk.operations());
        }
        Ok(())
    }

    /// The newest record that was acknowledged when operation `at` was under way.
    pub(super) fn durable(&self, at: u64) -> u64 {
        let before = self.acknowledged.iter().filter(|(operations, ..)| *operations < at);
        before.map(|(_, lsn, _)| *lsn).max().unwrap_or(0)
    }

    /// Checks a log that was recovered after a crash during operation `at`.
    pub(super) fn check(&self, at: u64, wal: &Wal, recovery: &Recovery) -> Result<u64, Violation> {
        let report = recovery.report();
        if !report.is_clean() {
            return Err(Violation::new("a crash is not damage", report.to_string()));
        }
        self.check_checkpoint(at, recovery)?;
        self.check_records(at, wal, recovery.replay_from().get(), report.last_lsn.get())
    }

    fn check_checkpoint(&self, at: u64, recovery: &Recovery) -> Result<(), Violation> {
        const CHECK: &str = "the newest checkpoint is found";
        let found = recovery.checkpoint().map(|checkpoint| checkpoint.replay_from.get());
        let newest = self
            .checkpoints
            .iter()
            .rposition(|(_, finished, _)| finished.is_some_and(|finished| finished < at));
        let legal = &self.checkpoints[newest.unwrap_or(0)..];
        let is_legal = match found {
            None => newest.is_none(),
            Some(found) => legal.iter().any(|(started, _, from)| *from == found && *started < at),
        };
        if is_legal { Ok(()) } else { Err(Violation::new(CHECK, format!("{found:?}"))) }
    }

    /// What can be read is a contiguous run of what was submitted, up to at least the newest record
    /// that was acknowledged. Returns the newest that is there.
    pub(super) fn check_records(
        &self,
        at: u64,
        wal: &Wal,
        from: u64,
        last: u64,
    ) -> Result<u64, Violation> {
        let (mut next, mut incarnation) = (from, 0);
        for record in wal.reader(Lsn::new(from)) {
            let record = record
                .map_err(|error| Violation::new("every record can be read", error.to_string()))?;
            let lsn = record.lsn.get();
            while next < lsn && self.refused.contains(&next) {
                next += 1;
            }
            if lsn != next {
                let detail = format!("record {lsn} follows {}", next - 1);
                return Err(Violation::new("records are contiguous", detail));
            }
            incarnation = self.check_record(at, lsn, &record.payload, incarnation)?;
            next += 1;
        }
        if let Some((first, end)) =
            self.batches.iter().find(|(first, end)| (*first..*end).contains(&last))
        {
            let detail = format!("records {first} to {end} are a batch, the newest is {last}");
            return Err(Violation::new("a batch is whole or not there", detail));
        }
        let durable = self.durable(at);
        if last < durable || next <= durable && from <= durable {
            let detail = format!("record {durable} was acknowledged, the newest is {}", next - 1);
            return Err(Violation::new("what was acknowledged is there", detail));
        }
        if next - 1 != last.max(from - 1) {
            let detail = format!("the report says {last}, reading ends at {}", next - 1);
            return Err(Violation::new("the report says what can be read", detail));
        }
        Ok(last)
    }

    pub(super) fn check_record(
        &self,
        at: u64,
        lsn: u64,
        found: &[u8],
        after: u64,
    ) -> Result<u64, Violation> {
        let acknowledged = self.acknowledged.iter().filter(|(done, n, _)| *done < at && *n == lsn);
        let acknowledged = acknowledged.map(|(.., incarnation)| *incarnation).max();
        let candidates = self.submitted.get(&lsn).map_or(&[][..], Vec::as_slice);
        let submitted = candidates.iter().find(|submitted| {
            submitted.at < at && found == payload(submitted.incarnation, lsn, submitted.len)
        });
        match submitted {
            Some(submitted)
                if submitted.incarnation >= after
                    && acknowledged.is_none_or(|newest| submitted.incarnation == newest) =>
            {
                Ok(submitted.incarnation)
            }
            _ => {
                let detail = format!("record {lsn} holds something else, {} bytes", found.len());
                Err(Violation::new("a record is what was submitted", detail))
            }
        }
    }
}

/// The content of a record, which tells whose it is.
fn payload(incarnation: u64, lsn: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len.max(16));
    bytes.extend_from_slice(&incarnation.to_le_bytes());
    bytes.extend_from_slice(&lsn.to_le_bytes());
    let pattern = (lsn.wrapping_mul(31) ^ incarnation.wrapping_mul(101)) as u8 | 1;
    bytes.resize(len, pattern);
    bytes
}
