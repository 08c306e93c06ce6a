//! [`Oracle`]: listens to the worker, and says whether what a recovered log holds is what it must hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;

use bucket_wal::{Lsn, RecoveryReport, TailState, Wal, WalError};

use super::line::{Line, Promise};
use super::record::{self, Id};

/// What took the log's process away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The page cache outlives it: what was written is there.
    Process,
    /// Only what is durable is there.
    Power,
}

/// Knows what was promised.
#[derive(Clone, Debug)]
pub(super) struct Oracle {
    loss: Loss,
    /// Nothing refuses records, so no number may be missing.
    gapless: bool,
    /// Must be there.
    promised: BTreeMap<u64, Id>,
    /// May be there.
    accepted: BTreeMap<u64, Id>,
    /// All records up to here are promised, whichever they are.
    up_to: u64,
    checkpoint: u64,
    checkpoints_begun: BTreeSet<u64>,
    /// By run, thread and number.
    refused: BTreeSet<(u32, u32, u64)>,
    run: u32,
    poisoned: Option<u64>,
    pub(super) counts: Counts,
}

/// How much was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Records whose survival was promised.
    pub(super) promised: u64,
    pub(super) refused: u64,
    pub(super) checkpoints: u64,
    pub(super) checkpoints_refused: u64,
    /// Records that were looked at after a recovery, each time they were.
    pub(super) read: u64,
    pub(super) recoveries: u64,
    pub(super) torn_tails: u64,
    /// Records that a recovery copied because nothing vouched for them.
    pub(super) copied: u64,
    /// Accepted records that are gone, as they may be.
    pub(super) gone: u64,
}

/// What a recovered log holds.
pub(super) struct Found {
    pub(super) report: RecoveryReport,
    replay_from: u64,
    state: Option<Vec<u8>>,
    records: Vec<(u64, Vec<u8>)>,
}

impl Found {
    /// Opens the log, with nothing forgiven, and reads all of it.
    pub(super) fn open(dir: &Path, close: bool) -> Result<Self, Unopened> {
        let (wal, recovery) = Wal::open(dir).map_err(|error| match error {
            WalError::NoSpace { .. } => Unopened::NoSpace(error.to_string()),
            _ => Unopened::Other(format!("does not open: {error} ({error:?})")),
        })?;
        let mut records = Vec::new();
        for record in wal.reader(Lsn::new(1)) {
            let record =
                record.map_err(|error| Unopened::Other(format!("cannot be read: {error}")))?;
            records.push((record.lsn.get(), record.payload));
        }
        if close {
            let closed = wal.close();
            closed.map_err(|error| Unopened::Other(format!("does not close: {error}")))?;
        }
        Ok(Self {
            report: recovery.report().clone(),
            replay_from: recovery.replay_from().get(),
            state: recovery.checkpoint().map(|checkpoint| checkpoint.state.bytes().to_vec()),
            records,
        })
    }
}

/// Why a log could not be looked at.
pub(super) enum Unopened {
    /// Opening needs room for what it copies.
    NoSpace(String),
    Other(String),
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpace(why) => write!(f, "does not open: {why}"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// A line for each record.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (lsn, content) in &self.records {
            match Id::of_content(content) {
                Some(id) => writeln!(f, "{lsn} {id:?}")?,
                None => writeln!(f, "{lsn} {} unknown bytes", content.len())?,
            }
        }
        Ok(())
    }
}

impl Oracle {
    pub(super) fn new(loss: Loss, gapless: bool) -> Self {
        Self {
            loss,
            gapless,
            promised: BTreeMap::new(),
            accepted: BTreeMap::new(),
            up_to: 0,
            checkpoint: 1,
            checkpoints_begun: BTreeSet::from([1]),
            refused: BTreeSet::new(),
            run: 0,
            poisoned: None,
            counts: Counts::default(),
        }
    }

    /// A new process starts.
    pub(super) fn new_run(&mut self, run: u32) {
        self.run = run;
        self.poisoned = None;
    }

    /// Takes in what the worker has said.
    pub(super) fn hear(&mut self, line: &Line) -> Result<(), String> {
        match line {
            Line::Record { promise, lsn, id, .. } => {
                self.not_after_poison(*promise, *lsn)?;
                if self.survives(*promise) || *lsn <= self.up_to {
                    self.promise(*lsn, *id)?;
                } else {
                    self.accepted.insert(*lsn, *id);
                }
            }
            Line::UpTo { promise, lsn, .. } => {
                self.not_after_poison(*promise, *lsn)?;
                if self.survives(*promise) && *lsn > self.up_to {
                    self.up_to = *lsn;
                    let later = self.accepted.split_off(&(lsn + 1));
                    for (lsn, id) in std::mem::replace(&mut self.accepted, later) {
                        self.promise(lsn, id)?;
                    }
                }
            }
            Line::CheckpointBegun { from } => {
                self.checkpoints_begun.insert(*from);
            }
            Line::Checkpoint { from, .. } => {
                self.checkpoint = self.checkpoint.max(*from);
                self.counts.checkpoints += 1;
            }
            Line::NoCheckpoint { .. } => self.counts.checkpoints_refused += 1,
            Line::Refused { thread, seq, .. } => {
                self.refused.insert((self.run, *thread, *seq));
                self.counts.refused += 1;
            }
            Line::Poisoned { durable } => {
                let newest = self.promised.last_key_value().map_or(0, |(lsn, _)| *lsn);
                if self.loss == Loss::Power && newest > *durable {
                    let what = "was acknowledged as durable, and the poisoned log says it is safe";
                    return Err(format!("record {newest} {what} only up to {durable}"));
                }
                if self.poisoned.is_some_and(|said| said != *durable) {
                    return Err("a poisoned log names two durable records".to_owned());
                }
                self.poisoned = Some(*durable);
            }
            Line::Opened { last } => self.opened(*last)?,
            Line::Closed => {}
        }
        Ok(())
    }

    /// Whether the worker said that the log was poisoned.
    pub(super) const fn poisoned(&self) -> Option<u64> {
        self.poisoned
    }

    /// How many records must be there.
    pub(super) fn owed(&self) -> usize {
        self.promised.len()
    }

    /// Checks a recovered log against everything that was promised.
    pub(super) fn check(&mut self, found: &Found) -> Result<(), String> {
        let report = &found.report;
        if !report.is_clean() || report.tail == TailState::Damaged {
            return Err(format!("recovery is not clean: {report}"));
        }
        self.check_checkpoint(found)?;
        let mut ids = BTreeMap::new();
        for (lsn, content) in &found.records {
            let id = Id::of_content(content);
            let id = id.ok_or_else(|| format!("record {lsn} holds what nobody wrote"))?;
            if ids.last_key_value().is_some_and(|(last, _)| last >= lsn) {
                return Err(format!("record {lsn} comes after a later one"));
            }
            ids.insert(*lsn, id);
        }
        self.check_numbers(report, &ids)?;
        for (lsn, id) in &self.promised {
            match ids.get(lsn) {
                Some(there) if there == id => {}
                Some(there) => return Err(format!("record {lsn} is {there:?} and not {id:?}")),
                None if *lsn < found.replay_from => {}
                None => return Err(format!("LOST: record {lsn}, {id:?}; {report}")),
            }
        }
        self.check_threads(&ids)?;
        check_batches(&ids)?;
        for (lsn, id) in &self.accepted {
            match ids.get(lsn) {
                Some(there) if there.run == id.run && there != id => {
                    return Err(format!("record {lsn} is {there:?} and not {id:?}"));
                }
                Some(_) => {}
                None if *lsn > report.last_lsn.get() => self.counts.gone += 1,
                None => {}
            }
        }
        self.counts.recoveries += 1;
        self.counts.read += ids.len() as u64;
        self.counts.copied += report.copied_records;
        self.counts.torn_tails += u64::from(report.tail == TailState::Torn);
        Ok(())
    }

    /// What recovery has shown to somebody must stay.
    pub(super) fn keep(&mut self, found: &Found) {
        let records = found.records.iter();
        self.promised =
            records.filter_map(|(lsn, content)| Some((*lsn, Id::of_content(content)?))).collect();
        self.accepted.clear();
        self.up_to = found.report.last_lsn.get();
        self.checkpoint = found.replay_from;
        self.checkpoints_begun = BTreeSet::from([found.replay_from]);
    }

    /// What the next process has recovered is there for good; of what it has not, nothing was promised.
    fn opened(&mut self, last: u64) -> Result<(), String> {
        if let Some((lsn, id)) = self.promised.range(last + 1..).next() {
            return Err(format!("LOST: record {lsn}, {id:?}: the next process recovered {last}"));
        }
        self.counts.gone += self.accepted.split_off(&(last + 1)).len() as u64;
        for (lsn, id) in std::mem::take(&mut self.accepted) {
            self.promise(lsn, id)?;
        }
        self.up_to = self.up_to.max(last);
        Ok(())
    }

    fn survives(&self, promise: Promise) -> bool {
        promise == Promise::Durable || promise == Promise::Written && self.loss == Loss::Process
    }

    fn promise(&mut self, lsn: u64, id: Id) -> Result<(), String> {
        self.accepted.remove(&lsn);
        match self.promised.insert(lsn, id) {
            None => {
                self.counts.promised += 1;
                Ok(())
            }
            Some(before) if before == id => Ok(()),
            Some(before) => Err(format!("number {lsn} was given to {before:?} and to {id:?}")),
        }
    }

    /// Threads that were woken before may still say so; about later records nobody may.
    fn not_after_poison(&self, promise: Promise, lsn: u64) -> Result<(), String> {
        match self.poisoned {
            Some(durable) if promise == Promise::Durable && lsn > durable => {
                Err(format!("record {lsn} was acknowledged after the log failed at {durable}"))
            }
            _ => Ok(()),
        }
    }

    fn check_checkpoint(&self, found: &Found) -> Result<(), String> {
        let from = found.replay_from;
        if from < self.checkpoint || !self.checkpoints_begun.contains(&from) {
            let newest = self.checkpoint;
            return Err(format!("replay starts at {from}, the checkpoint said {newest}"));
        }
        match &found.state {
            Some(state) if *state != record::state(from) => {
                Err(format!("the checkpoint at {from} holds what nobody stored"))
            }
            None if from > 1 => Err(format!("replay starts at {from} without a checkpoint")),
            _ => Ok(()),
        }
    }

    fn check_numbers(
        &self,
        report: &RecoveryReport,
        ids: &BTreeMap<u64, Id>,
    ) -> Result<(), String> {
        let Some((first, last)) = ids.first_key_value().zip(ids.last_key_value()) else {
            return Ok(());
        };
        if *last.0 > report.last_lsn.get() {
            return Err(format!("record {} comes after the last", last.0));
        }
        if self.gapless && last.0 - first.0 + 1 != ids.len() as u64 {
            let missing = (*first.0..).find(|lsn| !ids.contains_key(lsn)).unwrap_or_default();
            return Err(format!("record {missing} is missing, later ones are there"));
        }
        Ok(())
    }

    /// What is there of a thread is a run without holes, in order.
    fn check_threads(&self, ids: &BTreeMap<u64, Id>) -> Result<(), String> {
        let begins = ids.first_key_value().is_some_and(|(lsn, _)| *lsn == 1);
        let mut next: HashMap<(u32, u32), u64> = HashMap::new();
        for (lsn, id) in ids {
            let thread = (id.run, id.thread);
            let expected = match next.get(&thread) {
                Some(expected) => *expected,
                None if begins => 0,
                // The records before it may have been trimmed away.
                None => id.seq,
            };
            let is_refused = |seq: u64| self.refused.contains(&(id.run, id.thread, seq));
            if id.seq < expected || !(expected..id.seq).all(is_refused) {
                return Err(format!("record {lsn} is {id:?}, expected was number {expected}"));
            }
            next.insert(thread, id.seq + 1);
        }
        Ok(())
    }
}

/// A batch is there as a whole, with consecutive numbers.
fn check_batches(ids: &BTreeMap<u64, Id>) -> Result<(), String> {
    for (lsn, id) in ids {
        let first = lsn.checked_sub(u64::from(id.nth));
        let is_whole = first.is_some_and(|first| {
            (0..id.of).all(|nth| {
                ids.get(&(first + u64::from(nth))).is_some_and(|other| {
                    let seq = id.seq - u64::from(id.nth) + u64::from(nth);
                    let same = (other.run, other.thread, other.of) == (id.run, id.thread, id.of);
                    same && other.nth == nth && other.seq == seq
                })
            })
        });
        if !is_whole {
            return Err(format!("record {lsn}, {id:?}, is there without its batch"));
        }
    }
    Ok(())
}
