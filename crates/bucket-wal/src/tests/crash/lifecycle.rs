//! Power loss while operations are settled, copied forward and archived: what is pending is there, what
//! is settled does not come back, whatever checkpoint the disk still has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bucket_core::ByteCount;
use bucket_vfs::sim::{Coverage, Crash, Explorer, Failure, SimDisk, Survivors};

use super::script::Violation;
use crate::entropy::Entropy;
use crate::sync::{Arc, AtomicU64};
use crate::{
    ArchiveDir, CheckpointPolicy, Lsn, SyncPolicy, Ticket, Verdict, Wal, WalError, WalOptions,
};

const LOG: &str = "/log";
const ARCHIVE: &str = "/archive";

/// Changes how the log and its archive are opened.
pub(super) type Plant = fn(WalOptions, ArchiveDir) -> WalOptions;

#[test]
fn what_is_pending_is_there_and_what_is_settled_stays_so_whatever_two_crashes_leave() {
    let archived = |options: WalOptions, archive| options.archive(Arc::new(archive));
    holds("pending operations", archived, 6);
}

#[test]
fn pending_operations_of_a_log_that_does_not_wait_for_the_disk_are_as_safe_as_its_syncs() {
    let lazy = |options: WalOptions, archive| {
        let options = options.sync_policy(SyncPolicy::None).expect("it has no bounds");
        options.write_through(true).archive(Arc::new(archive))
    };
    holds("pending operations, not synced", lazy, 2);
}

fn holds(what: &str, plant: Plant, seeds: u64) {
    let coverage = campaign(plant, seeds).unwrap_or_else(|failure| panic!("{failure}"));
    super::is_enough(what, &coverage);
}

pub(super) fn campaign(plant: Plant, seeds: u64) -> Result<Coverage, Box<Failure<Violation>>> {
    let disk = SimDisk::new();
    disk.keep_history();
    let mut script = Script::new(plant);
    script.run(&disk).expect("the disk is healthy");
    Explorer::new(&disk)
        .seeds(seeds)
        .seeds_in_recovery(1)
        .promises(|operation| script.promised(operation))
        .run(|disk, crash| script.recover(disk, crash))
}

/// What was done, in terms of disk operations.
struct Script {
    plant: Plant,
    opened: u64,
    /// After this many operations, this was submitted under that number.
    submitted: Vec<(u64, u64, Vec<u8>)>,
    /// After this many operations, this operation was acknowledged, settled, or its settlement
    /// acknowledged.
    acknowledged: Vec<(u64, u64)>,
    settled: Vec<(u64, u64)>,
    settlements: Vec<(u64, u64)>,
    last_lsn: u64,
}

/// What a recovery shows.
struct Shown {
    last: u64,
    pending: BTreeMap<u64, Vec<u8>>,
}

impl Script {
    fn new(plant: Plant) -> Self {
        let (submitted, acknowledged) = (Vec::new(), Vec::new());
        let (settled, settlements) = (Vec::new(), Vec::new());
        Self { plant, opened: 0, submitted, acknowledged, settled, settlements, last_lsn: 0 }
    }

    fn open(&self, disk: &SimDisk, entropy: u64) -> Result<(Wal, crate::Recovery), WalError> {
        let entropy = Entropy::Counter(Arc::new(AtomicU64::new(entropy)));
        let options = Wal::options().vfs(disk.mount()).entropy(entropy).reserve_files(false);
        let options = options.lifecycle(true);
        let options = options.segment_size(ByteCount::kib(64)).expect("within the bounds");
        let policy = CheckpointPolicy::never().records(12).expect("above zero");
        let options = options.checkpoints(policy).housekeeping_by_hand(true);
        (self.plant)(options, ArchiveDir::new(ARCHIVE).vfs(disk.mount())).open(Path::new(LOG))
    }

    /// Operations that are settled soon, two that are not, rotation, housekeeping that copies forward
    /// and archives, a process that dies, a clean close.
    fn run(&mut self, disk: &SimDisk) -> Result<(), WalError> {
        let wal = self.start(disk)?;
        let old = self.append(disk, &wal, &[200, 3_000])?;
        for _ in 0..2 {
            self.churn(disk, &wal)?;
        }
        wal.housekeep()?;
        self.churn(disk, &wal)?;
        wal.housekeep()?;
        self.kill(disk, wal);

        let wal = self.start(disk)?;
        self.settle(disk, &wal, &old[1..])?;
        let mid = self.append(disk, &wal, &[500])?;
        for _ in 0..2 {
            self.churn(disk, &wal)?;
            wal.housekeep()?;
        }
        // A copy, its settlement and a checkpoint follow close upon one another.
        self.settle(disk, &wal, &mid)?;
        wal.checkpoint(Lsn::new(self.last_lsn), b"")?;
        wal.housekeep()?;
        self.append(disk, &wal, &[70, 80])?;
        wal.truncate_before(Lsn::new(self.last_lsn - 1))?;
        wal.close()?;

        let wal = self.start(disk)?;
        self.churn(disk, &wal)?;
        wal.housekeep()?;
        self.settle(disk, &wal, &old[..1])?;
        self.kill(disk, wal);
        Ok(())
    }

    fn start(&mut self, disk: &SimDisk) -> Result<Wal, WalError> {
        self.opened += 1;
        let (wal, recovery) = self.open(disk, self.opened * 1_000)?;
        self.last_lsn = recovery.report().last_lsn.get();
        Ok(wal)
    }

    fn kill(&self, disk: &SimDisk, wal: Wal) {
        disk.kill();
        drop(wal);
    }

    /// More than a segment of operations that are settled at once.
    fn churn(&mut self, disk: &SimDisk, wal: &Wal) -> Result<(), WalError> {
        for _ in 0..2 {
            let ops = self.append(disk, wal, &[14_000, 14_000, 14_000])?;
            self.settle(disk, wal, &ops)?;
        }
        Ok(())
    }

    fn append(&mut self, disk: &SimDisk, wal: &Wal, lens: &[usize]) -> Result<Vec<u64>, WalError> {
        let mut tickets = Vec::new();
        for &len in lens {
            let payload = vec![(self.submitted.len() + 1) as u8; len];
            let at = disk.operations();
            let ticket = wal.submit(&payload)?;
            self.submitted.push((at, ticket.lsn().get(), payload));
            tickets.push(ticket);
        }
        let ops = self.wait(disk, tickets)?;
        let done = disk.operations();
        self.acknowledged.extend(ops.iter().map(|op| (done, *op)));
        Ok(ops)
    }

    fn settle(&mut self, disk: &SimDisk, wal: &Wal, ops: &[u64]) -> Result<(), WalError> {
        let mut tickets = Vec::new();
        for &op in ops {
            self.settled.push((disk.operations(), op));
            let how = if op % 2 == 0 {
                wal.complete(Lsn::new(op))
            } else {
                wal.abort(Lsn::new(op), "odd")
            };
            tickets.push(how?);
        }
        self.wait(disk, tickets)?;
        let done = disk.operations();
        self.settlements.extend(ops.iter().map(|op| (done, *op)));
        Ok(())
    }

    fn wait(&mut self, _disk: &SimDisk, tickets: Vec<Ticket>) -> Result<Vec<u64>, WalError> {
        let mut lsns = Vec::new();
        // The newest first, so that its waiter leads for all.
        for ticket in tickets.into_iter().rev() {
            lsns.push(ticket.wait()?.get());
        }
        lsns.reverse();
        self.last_lsn = self.last_lsn.max(lsns.last().copied().unwrap_or(0));
        Ok(lsns)
    }

    fn before(&self, events: &[(u64, u64)], at: u64) -> BTreeSet<u64> {
        events.iter().filter(|(when, _)| *when < at).map(|(_, op)| *op).collect()
    }

    /// Grows with everything that was promised when operation `at` was under way.
    fn promised(&self, at: u64) -> u64 {
        let count = |events| self.before(events, at).len() as u64;
        count(&self.acknowledged) << 40 | count(&self.settlements) << 20 | count(&self.settled)
    }

    fn recover(&self, disk: &SimDisk, crash: &Crash<'_, Shown>) -> Result<Shown, Violation> {
        let opened = |error: WalError| {
            Violation::new("a log with a lifecycle opens after a crash", format!("{error:?}"))
        };
        let at = crash.operation();
        let (wal, recovery) = self.open(disk, 1 << 32).map_err(opened)?;
        if !recovery.report().is_clean() {
            return Err(Violation::new("a crash is not damage", recovery.report().to_string()));
        }
        let shown = Shown { last: recovery.report().last_lsn.get(), pending: read(&wal)? };
        let listed: Vec<u64> = recovery.pending().iter().map(|lsn| lsn.get()).collect();
        if !listed.iter().eq(shown.pending.keys()) {
            let detail = format!("{listed:?} are listed, {:?} read", shown.pending.keys());
            return Err(Violation::new("every pending operation can be read", detail));
        }
        self.check(at, &shown)?;
        if let Some(before) = crash.before()
            && (before.pending != shown.pending || before.last > shown.last)
        {
            let (was, is) = (before.pending.keys(), shown.pending.keys());
            let detail =
                format!("{was:?} up to {} became {is:?} up to {}", before.last, shown.last);
            return Err(Violation::new("what was exposed stays", detail));
        }
        disk.kill();
        drop(wal);
        self.check_archive(at, disk)?;
        // Both cost as much as all the rest: a part of the disks, picked by what is on them, is enough.
        if disk.digest().is_multiple_of(8) {
            self.check_older(at, disk, &shown)?;
            self.goes_on(&disk.fork(), &shown)?;
        }
        Ok(shown)
    }

    fn check(&self, at: u64, shown: &Shown) -> Result<(), Violation> {
        for op in self.before(&self.acknowledged, at).difference(&self.before(&self.settled, at)) {
            if !shown.pending.contains_key(op) {
                let detail = format!("operation {op} of {:?}", shown.pending.keys());
                return Err(Violation::new(
                    "what was acknowledged and not settled is pending",
                    detail,
                ));
            }
        }
        for op in self.before(&self.settlements, at) {
            if shown.pending.contains_key(&op) {
                let detail = format!("operation {op}");
                return Err(Violation::new("what was settled does not come back", detail));
            }
        }
        for (op, found) in &shown.pending {
            let is_it = |(when, lsn, payload): &(u64, u64, Vec<u8>)| {
                *when < at && lsn == op && payload == found
            };
            if !self.submitted.iter().any(is_it) {
                let detail = format!("operation {op} holds {} bytes", found.len());
                return Err(Violation::new("an operation is what was submitted", detail));
            }
        }
        Ok(())
    }

    /// What the log does not have any more is in the archive, whole.
    fn check_archive(&self, at: u64, disk: &SimDisk) -> Result<(), Violation> {
        const CHECK: &str = "what was trimmed is in the archive";
        let failed = |error: WalError| Violation::new(CHECK, format!("{error:?}"));
        let options = Wal::options().vfs(disk.mount());
        let log = options.inspect(LOG).map_err(failed)?;
        let first = log.segments.first().and_then(|segment| segment.header);
        let first = first.map_or(1, |header| header.first_lsn.get());
        if first == 1 {
            return Ok(());
        }
        let archive = options.inspect(ARCHIVE).map_err(failed)?;
        if archive.verdict() == Verdict::Damaged {
            return Err(Violation::new(CHECK, archive.to_string()));
        }
        // Numbers that were never durable are missing in both.
        let last = archive.last_lsn().map_or(0, Lsn::get);
        let durable = self.before(&self.acknowledged, at);
        if let Some(lost) = durable.range(last + 1..first.max(last + 1)).next() {
            let detail =
                format!("operation {lost}: the archive ends at {last}, the log begins at {first}");
            return Err(Violation::new(CHECK, detail));
        }
        Ok(())
    }

    /// Each checkpoint that is kept can be gone back to when the newer ones are lost.
    fn check_older(&self, at: u64, disk: &SimDisk, shown: &Shown) -> Result<(), Violation> {
        const CHECK: &str = "every kept checkpoint can be gone back to";
        let failed = |error: WalError| Violation::new(CHECK, format!("{error:?}"));
        let options = Wal::options().vfs(disk.mount());
        let checkpoints = options.inspect(LOG).map_err(failed)?.checkpoints;
        let disk = disk.fork();
        for pair in checkpoints.windows(2) {
            let vfs = disk.mount();
            vfs.remove_file(&pair[0].path)
                .map_err(|error| Violation::new(CHECK, error.to_string()))?;
            let (wal, recovery) = self.open(&disk.fork(), 3 << 32).map_err(failed)?;
            let found = recovery.checkpoint().map(|checkpoint| checkpoint.generation);
            let pending = read(&wal)?;
            if found != Some(pair[1].generation) || pending != shown.pending {
                let detail = format!("{found:?} at {at}: {:?}", pending.keys());
                return Err(Violation::new(CHECK, detail));
            }
        }
        Ok(())
    }

    /// A recovered log settles and takes operations, and keeps what it says.
    fn goes_on(&self, disk: &SimDisk, shown: &Shown) -> Result<(), Violation> {
        const CHECK: &str = "a recovered log keeps what it settles and takes";
        let failed = |error: WalError| Violation::new(CHECK, format!("{error:?}"));
        let (wal, _) = self.open(disk, 2 << 32).map_err(failed)?;
        let mut pending = shown.pending.clone();
        if let Some((op, _)) = pending.pop_first() {
            let settled = wal.complete(Lsn::new(op)).map_err(failed)?;
            settled.wait().map_err(failed)?;
        }
        let lsn = wal.append(b"after the crash").map_err(failed)?;
        wal.wait_durable(lsn).map_err(failed)?;
        pending.insert(lsn.get(), b"after the crash".to_vec());
        wal.housekeep().map_err(failed)?;
        disk.crash(Survivors::None);
        drop(wal);
        let (wal, _) = self.open(disk, 4 << 32).map_err(failed)?;
        let found = read(&wal)?;
        if found != pending {
            let detail = format!("{:?} became {:?}", pending.keys(), found.keys());
            return Err(Violation::new(CHECK, detail));
        }
        Ok(())
    }
}

fn read(wal: &Wal) -> Result<BTreeMap<u64, Vec<u8>>, Violation> {
    let records = wal.pending_records().map(|record| {
        let record = record.map_err(|error| {
            Violation::new("every pending operation can be read", format!("{error:?}"))
        })?;
        Ok((record.lsn.get(), record.payload))
    });
    records.collect()
}
