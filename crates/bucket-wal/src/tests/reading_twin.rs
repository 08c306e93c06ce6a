//! Whatever is appended, trimmed and reopened: every way of reading agrees with a list.

use std::convert::Infallible;
use std::path::Path;

use bucket_core::ByteCount;
use proptest::prelude::*;

use crate::{Lsn, RangeHash, ReadLevel, Record, RecordKind, RecordRef, Tail, Wal, WalError};

#[derive(Clone, Debug)]
enum Action {
    Append(usize),
    Batch(Vec<usize>),
    Submit(Vec<usize>),
    /// A checkpoint at a record, in parts of 100 of what there is, which trims what the one before does not
    /// need.
    Checkpoint(u64),
    Reopen,
    /// As if no segment had been scanned at opening.
    Unmark,
    /// Reads with everything there is from a record on, in parts of 100 of what there is.
    Look(u64, usize),
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0_usize..300, 3 => 300_usize..5_000, 1 => 30_000_usize..100_000]
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let lens = |max| prop::collection::vec(len(), 0..max);
    let action = prop_oneof![
        4 => len().prop_map(Action::Append),
        3 => lens(12).prop_map(Action::Batch),
        4 => lens(30).prop_map(Action::Submit),
        2 => (0_u64..=100).prop_map(Action::Checkpoint),
        1 => Just(Action::Reopen),
        1 => Just(Action::Unmark),
        3 => (0_u64..=110, 1_usize..4).prop_map(|(from, threads)| Action::Look(from, threads)),
    ];
    prop::collection::vec(action, 1..40)
}

/// What a log should hold: record n at n - 1, and a hash after each.
#[derive(Default)]
struct Model {
    records: Vec<Vec<u8>>,
    hashes: Vec<RangeHash>,
    /// Records from here on must be there; earlier ones may be.
    keep_from: u64,
    next_keep_from: u64,
}

impl Model {
    fn push(&mut self, len: usize) -> Vec<u8> {
        let lsn = self.records.len() as u64 + 1;
        let payload: Vec<u8> = (0..len).map(|n| (n as u64 * 7 + lsn) as u8).collect();
        let record = RecordRef { lsn: Lsn::new(lsn), kind: RecordKind::Op, payload: &payload };
        let before = self.hashes.last().copied().unwrap_or(RangeHash::EMPTY);
        self.hashes.push(before.then(&record));
        self.records.push(payload.clone());
        payload
    }

    fn last(&self) -> u64 {
        self.records.len() as u64
    }

    fn part(&self, hundredths: u64) -> u64 {
        (self.last() * hundredths / 100).max(1)
    }

    /// Checks a run of records that was read from `from` on; returns where it began.
    fn check(&self, how: &str, from: u64, found: &[Record]) -> Result<u64, TestCaseError> {
        let due = self.keep_from.max(from).max(1);
        let Some(first) = found.first().map(|record| record.lsn.get()) else {
            prop_assert!(self.last() < due, "{how} from {from} found nothing");
            return Ok(due);
        };
        prop_assert!((from..=due).contains(&first), "{how} from {from} began at {first}");
        prop_assert_eq!(found.len() as u64, self.last() + 1 - first, "{} from {}", how, from);
        for (record, lsn) in found.iter().zip(first..) {
            prop_assert_eq!(record.lsn.get(), lsn, "{}", how);
            prop_assert!(record.payload == self.records[lsn as usize - 1], "{} at {}", how, lsn);
        }
        Ok(first)
    }

    fn look(&self, wal: &Wal, from: u64, threads: usize) -> Result<(), TestCaseError> {
        let start = Lsn::new(from);
        let read: Vec<_> = wal.reader(start).map(Result::unwrap).collect();
        let first = self.check("reader", from, &read)?;
        let mut tail = wal.tail(start, ReadLevel::Durable);
        let followed: Vec<_> = drain(&mut tail);
        prop_assert_eq!(self.check("tail", from, &followed)?, first);
        let mut replayed = Vec::new();
        let replay = wal.replay(start).threads(threads);
        let push = |record: RecordRef<'_>| {
            replayed.push(record.to_record());
            Ok::<_, Infallible>(())
        };
        replay.ordered(push).unwrap();
        prop_assert_eq!(self.check("replay", from, &replayed)?, first);
        let parts = crate::sync::Mutex::new(Vec::new());
        let replay = wal.replay(start).threads(threads);
        let key = |record: &RecordRef<'_>| record.lsn.get();
        let push = |_, record: RecordRef<'_>| {
            parts.lock().push(record.to_record());
            Ok::<_, Infallible>(())
        };
        replay.partitioned(3, key, push).unwrap();
        let mut parts = std::mem::take(&mut *parts.lock());
        parts.sort_unstable_by_key(|record| record.lsn);
        prop_assert_eq!(self.check("parts", from, &parts)?, first);

        for lsn in (from.saturating_sub(3)..from + 3).chain([self.last(), self.last() + 1]) {
            match wal.read(Lsn::new(lsn)) {
                Ok(record) => prop_assert!(record.payload == self.records[lsn as usize - 1]),
                Err(WalError::NotFound { .. }) => {
                    prop_assert!(lsn < self.keep_from.max(1) || lsn > self.last(), "{lsn}");
                }
                Err(error) => panic!("{error}"),
            }
        }
        if first == 1 && from <= 1 && self.last() > 0 {
            let whole = wal.range_hash(Lsn::new(1)..=Lsn::new(self.last())).unwrap();
            prop_assert_eq!(Some(&whole), self.hashes.last());
        }
        if first > 1 && first <= self.last() {
            let range = Lsn::new(first)..=Lsn::new(self.last());
            let rest = wal.range_hash_after(self.hashes[first as usize - 2], range).unwrap();
            prop_assert_eq!(Some(&rest), self.hashes.last());
        }
        Ok(())
    }
}

fn drain(tail: &mut Tail) -> Vec<Record> {
    std::iter::from_fn(|| tail.try_next()).map(Result::unwrap).collect()
}

fn open(dir: &Path) -> Wal {
    Wal::options().segment_size(ByteCount::kib(64)).unwrap().open(dir).unwrap().0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_way_of_reading_agrees_with_a_list(actions in actions()) {
        let dir = tempfile::tempdir().unwrap();
        let mut wal = open(dir.path());
        let mut model = Model::default();
        // Follows all the time, and may miss only what was trimmed before it came there.
        let mut tail = wal.tail(Lsn::new(1), ReadLevel::Durable);
        let mut followed = 0;
        for action in actions {
            match action {
                Action::Append(len) => {
                    let payload = model.push(len);
                    prop_assert_eq!(wal.append(&payload).unwrap().get(), model.last());
                }
                Action::Batch(lens) => {
                    let payloads: Vec<_> = lens.iter().map(|len| model.push(*len)).collect();
                    let last = wal.append_batch(payloads.iter().map(Vec::as_slice)).unwrap();
                    prop_assert_eq!(last.get(), model.last());
                }
                Action::Submit(lens) => {
                    for len in lens {
                        let payload = model.push(len);
                        drop(wal.submit(&payload).unwrap());
                    }
                    wal.sync().unwrap();
                }
                Action::Checkpoint(part) => {
                    let from = model.part(part).max(model.next_keep_from);
                    wal.checkpoint(Lsn::new(from), b"").unwrap();
                    model.keep_from = model.next_keep_from;
                    model.next_keep_from = from;
                }
                Action::Reopen => {
                    drop(wal);
                    prop_assert!(tail.by_ref().all(|record| record.is_ok()) && tail.is_ended());
                    wal = open(dir.path());
                    followed = model.last();
                    tail = wal.tail(Lsn::new(followed + 1), ReadLevel::Durable);
                }
                Action::Unmark => wal.shared.index().lock().unmark(),
                Action::Look(part, threads) => {
                    let from = if part > 100 { model.last() + part - 100 } else { model.part(part) };
                    model.look(&wal, from, threads)?;
                    let found = drain(&mut tail);
                    model.check("a tail that follows", followed + 1, &found)?;
                    followed = model.last();
                }
            }
        }
        model.look(&wal, 0, 2)?;
    }
}

#[test]
fn a_hash_is_of_content_and_not_of_frames_and_ranges_that_are_not_there_have_none() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, two] = dirs.each_ref().map(|dir| open(dir.path()));
    let payloads: Vec<Vec<u8>> = (0..200).map(|n| vec![n; 1_000]).collect();
    for payload in &payloads {
        one.append(payload).unwrap();
    }
    two.append_batch(payloads.iter().map(Vec::as_slice)).unwrap();
    let range = |first, last| Lsn::new(first)..=Lsn::new(last);
    let whole = one.range_hash(range(1, 200)).unwrap();
    assert_eq!(two.range_hash(range(1, 200)).unwrap(), whole);
    let half = two.range_hash(range(1, 77)).unwrap();
    assert_eq!(one.range_hash_after(half, range(78, 200)).unwrap(), whole);
    assert_eq!(one.range_hash(range(5, 4)).unwrap(), RangeHash::EMPTY);
    assert_ne!(one.range_hash(range(1, 199)).unwrap(), whole);
    assert_eq!(RangeHash::from_bytes(*whole.as_bytes()), whole);
    // SHA-256 of 32 zeros, the number 1, the kind 1, the length 0: made with another implementation.
    let dir = tempfile::tempdir().unwrap();
    let empty = open(dir.path());
    empty.append(b"").unwrap();
    assert_eq!(empty.range_hash(range(1, 1)).unwrap().to_string(), EMPTY_RECORD);
    let beyond = one.range_hash(range(1, 201));
    assert!(matches!(beyond, Err(WalError::NotFound { lsn }) if lsn.get() == 201));
    one.checkpoint(Lsn::new(190), b"").unwrap();
    one.checkpoint(Lsn::new(191), b"").unwrap();
    let trimmed = one.range_hash(range(1, 200));
    assert!(matches!(trimmed, Err(WalError::NotFound { lsn }) if lsn.get() == 1));
}

const EMPTY_RECORD: &str = "98081c7eac5265b633452939b1dabe0bc78c89ef043053709861fe8c1d0e3ba8";
