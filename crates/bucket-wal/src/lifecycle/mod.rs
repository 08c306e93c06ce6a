//! [`Lifecycle`]: which operations are pending, where the newest durable copy of each is, and what the
//! log has to keep for them.
//!
//! An operation is pending from its acceptance until its settlement is accepted, and *needed* until that
//! settlement is durable: a settlement that is refused, or lost in a crash, leaves the operation as it
//! was. Copies forward count from the moment that they are durable. The state is kept with the lock that
//! gives out numbers, so that a copy never gets a higher number than the settlement of what it copies:
//! whoever reads the log in order sees the settlement last.

mod pending;
mod restore;
mod settle;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::frame::{Entry, RecordKind, le_u64};

pub(crate) use self::pending::Finder;
pub use self::pending::PendingRecords;
pub(crate) use self::settle::about;

/// What a record costs in a log beside its content, at most: the frame of a lone one, its entry, the
/// padding, and the number that a copy carries.
const OVERHEAD: u64 = 48;
/// How many bytes of a settlement or a copy are the number of the operation that it is about.
pub(crate) const SUBJECT_LEN: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    /// Operations whose record under their own number is the newest durable copy, or will be.
    // Invariant: no number is in both maps; `moved_at` mirrors `moved`.
    here: BTreeMap<u64, Op>,
    /// Operations that were copied forward, by their own number.
    moved: BTreeMap<u64, Moved>,
    /// The records that the copies are in, and what they are copies of.
    moved_at: BTreeSet<(u64, u64)>,
    /// Settlements and copies that are accepted and not durable, in the order of their numbers.
    markers: VecDeque<Marker>,
    /// Of what is not settled: how many bytes of content, and how many bytes of log.
    bytes: u64,
    weight: u64,
    settling: u64,
    /// The bug: a settlement counts as soon as it is asked for.
    hasty_settlements: bool,
    /// The bug: a copy counts as soon as it is asked for.
    hasty_copies: bool,
}

#[derive(Clone, Copy, Debug)]
struct Op {
    len: u32,
    /// A settlement is under way.
    settling: bool,
}

#[derive(Clone, Copy, Debug)]
struct Moved {
    at: u64,
    op: Op,
}

#[derive(Clone, Copy, Debug)]
struct Marker {
    lsn: u64,
    subject: u64,
    kind: RecordKind,
}

/// An operation and where its newest durable copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) op: u64,
    pub(crate) at: u64,
    pub(crate) len: u32,
}

impl Lifecycle {
    pub(crate) fn new(planted: crate::planted::Planted) -> Self {
        use crate::planted::Bug;
        Self {
            hasty_settlements: planted.has(Bug::SettleBeforeAccepted),
            hasty_copies: planted.has(Bug::SurvivorBeforeDurable),
            ..Self::default()
        }
    }

    /// Whether the operation can be settled or copied.
    pub(crate) fn is_pending(&self, op: u64) -> bool {
        self.op(op).is_some_and(|op| !op.settling)
    }

    /// Takes in records that got the numbers from `first_lsn` on.
    pub(crate) fn accepted<'a>(
        &mut self,
        first_lsn: u64,
        records: impl Iterator<Item = (&'a Entry, &'a [u8])>,
    ) {
        for (lsn, (entry, payload)) in (first_lsn..).zip(records) {
            if entry.kind == RecordKind::Op {
                self.here.insert(lsn, Op { len: entry.len, settling: false });
                self.weigh(entry.len, 1);
                continue;
            }
            let subject = le_u64(payload);
            if entry.kind != RecordKind::Survivor
                && let Some(op) = self.op_mut(subject)
                && !op.settling
            {
                op.settling = true;
                self.settling += 1;
            }
            let marker = Marker { lsn, subject, kind: entry.kind };
            if self.counts_at_once(entry.kind) {
                self.apply(marker);
            } else {
                self.markers.push_back(marker);
            }
        }
    }

    fn counts_at_once(&self, kind: RecordKind) -> bool {
        if kind == RecordKind::Survivor { self.hasty_copies } else { self.hasty_settlements }
    }

    /// Takes back what was accepted under these numbers: it was refused after all.
    pub(crate) fn refused(&mut self, first_lsn: u64, last_lsn: u64) {
        let gone: Vec<u64> = self.here.range(first_lsn..=last_lsn).map(|(lsn, _)| *lsn).collect();
        for lsn in gone {
            self.remove(lsn);
        }
        let from = self.markers.partition_point(|marker| marker.lsn < first_lsn);
        let to = self.markers.partition_point(|marker| marker.lsn <= last_lsn);
        for marker in self.markers.drain(from..to).collect::<Vec<_>>() {
            if marker.kind != RecordKind::Survivor
                && let Some(op) = self.op_mut(marker.subject)
            {
                op.settling = false;
                self.settling -= 1;
            }
        }
    }

    /// Everything up to `lsn` is durable.
    pub(crate) fn durable(&mut self, lsn: u64) {
        while let Some(marker) = self.markers.front().copied().filter(|marker| marker.lsn <= lsn) {
            self.markers.pop_front();
            self.apply(marker);
        }
    }

    /// The first record that is needed for an operation whose settlement is not durable.
    pub(crate) fn needed_from(&self) -> Option<u64> {
        let here = self.here.keys().next();
        let moved = self.moved_at.first().map(|(at, _)| at);
        here.into_iter().chain(moved).min().copied()
    }

    /// Where the newest copy of an operation is, when it was copied.
    pub(crate) fn moved_to(&self, op: u64) -> Option<u64> {
        self.moved.get(&op).map(|moved| moved.at)
    }

    /// What can be settled, in the order of the numbers.
    pub(crate) fn pending(&self) -> Vec<u64> {
        let here = self.here.iter().filter(|(_, op)| !op.settling).map(|(lsn, _)| *lsn);
        let moved = self.moved.iter().filter(|(_, moved)| !moved.op.settling);
        let mut all: Vec<u64> = here.chain(moved.map(|(lsn, _)| *lsn)).collect();
        all.sort_unstable();
        all
    }

    /// How many operations can be settled, and how many bytes of content all have that are needed.
    pub(crate) fn size(&self) -> (u64, u64) {
        ((self.here.len() + self.moved.len()) as u64 - self.settling, self.bytes)
    }

    /// No log needs more bytes for what is pending.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// What is needed of the records from `first` to before `next`, in the order of the operations, and
    /// how many bytes of log that is.
    pub(crate) fn needed_in(&self, first: u64, next: u64) -> (Vec<Copied>, u64) {
        let here = self.here.range(first..next.max(first));
        let mut ops: Vec<Copied> =
            here.map(|(&op, content)| Copied { op, at: op, len: content.len }).collect();
        for &(at, op) in self.moved_at.range((first, 0)..(next.max(first), 0)) {
            let len = self.moved.get(&op).map_or(0, |moved| moved.op.len);
            ops.push(Copied { op, at, len });
        }
        ops.sort_unstable_by_key(|copied| copied.op);
        let weight = ops.iter().map(|copied| u64::from(copied.len) + OVERHEAD).sum();
        (ops, weight)
    }

    /// A settlement or a copy counts.
    fn apply(&mut self, marker: Marker) {
        if marker.kind != RecordKind::Survivor {
            self.remove(marker.subject);
            return;
        }
        let op = match self.moved.get(&marker.subject) {
            Some(moved) => {
                self.moved_at.remove(&(moved.at, marker.subject));
                Some(moved.op)
            }
            None => self.here.remove(&marker.subject),
        };
        // It may have been settled in the same sync.
        if let Some(op) = op {
            self.moved.insert(marker.subject, Moved { at: marker.lsn, op });
            self.moved_at.insert((marker.lsn, marker.subject));
        }
    }

    fn remove(&mut self, lsn: u64) {
        let op = match self.moved.remove(&lsn) {
            Some(moved) => {
                self.moved_at.remove(&(moved.at, lsn));
                Some(moved.op)
            }
            None => self.here.remove(&lsn),
        };
        if let Some(op) = op {
            self.weigh(op.len, -1);
            self.settling -= u64::from(op.settling);
        }
    }

    fn weigh(&mut self, len: u32, sign: i64) {
        let len = i64::from(len);
        self.bytes = self.bytes.saturating_add_signed(sign * len);
        self.weight = self.weight.saturating_add_signed(sign * (len + OVERHEAD as i64));
    }

    fn op(&self, lsn: u64) -> Option<&Op> {
        self.here.get(&lsn).or_else(|| self.moved.get(&lsn).map(|moved| &moved.op))
    }

    fn op_mut(&mut self, lsn: u64) -> Option<&mut Op> {
        match self.here.get_mut(&lsn) {
            Some(op) => Some(op),
            None => self.moved.get_mut(&lsn).map(|moved| &mut moved.op),
        }
    }
}
