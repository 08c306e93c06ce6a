//! A log with a lifecycle against a map: whatever is done to it, also power cuts, it has what the map has.

use std::collections::BTreeMap;
use std::path::Path;

use bucket_vfs::sim::{SimDisk, Survivors};
use proptest::prelude::*;

use super::lifecycle::by_hand;
use crate::{CheckpointPolicy, Lsn, Wal, WalError};

#[derive(Clone, Debug)]
enum Step {
    Abort(prop::sample::Index),
    Append(usize),
    /// One unit of this many.
    Batch(usize),
    Checkpoint,
    /// A clean end.
    Close,
    Complete(prop::sample::Index),
    /// A power cut that spares as much as the seed says.
    Crash(u64),
    Housekeep,
    /// Many at once, all but the first.
    SettleMost,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        2 => index().prop_map(Step::Abort),
        8 => (1_usize..20_000).prop_map(Step::Append),
        2 => (1_usize..40).prop_map(Step::Batch),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Close),
        4 => index().prop_map(Step::Complete),
        2 => any::<u64>().prop_map(Step::Crash),
        4 => Just(Step::Housekeep),
        2 => Just(Step::SettleMost),
    ]
}

fn open(disk: &SimDisk) -> Wal {
    let policy = CheckpointPolicy::never().records(20).unwrap();
    let options = by_hand().checkpoints(policy).vfs(disk.mount());
    options.open(Path::new("/log")).unwrap().0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_log_has_what_a_map_has(steps in prop::collection::vec(step(), 1..60)) {
        let disk = SimDisk::new();
        let mut wal = open(&disk);
        let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut settled = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append(len) => {
                    let payload = vec![n as u8 | 1; len];
                    model.insert(wal.append(&payload).unwrap().get(), payload);
                }
                Step::Batch(count) => {
                    let payloads: Vec<Vec<u8>> = (0..count).map(|m| vec![m as u8; m * 9]).collect();
                    let last = wal.append_batch(payloads.iter().map(Vec::as_slice)).unwrap().get();
                    model.extend((last + 1 - count as u64..).zip(payloads));
                }
                Step::Complete(index) | Step::Abort(index) if model.is_empty() => {
                    let lsn = settled.get(index.index(settled.len().max(1))).copied().unwrap_or(0);
                    let refused = wal.complete(Lsn::new(lsn));
                    let is_refused = matches!(refused, Err(WalError::NotPending { .. }));
                    prop_assert!(is_refused);
                }
                Step::Complete(index) => {
                    let op = *model.keys().nth(index.index(model.len())).unwrap();
                    model.remove(&op);
                    settled.push(op);
                    wal.complete(Lsn::new(op)).unwrap().wait().unwrap();
                }
                Step::Abort(index) => {
                    let op = *model.keys().nth(index.index(model.len())).unwrap();
                    model.remove(&op);
                    settled.push(op);
                    wal.abort(Lsn::new(op), "for a test").unwrap().wait().unwrap();
                }
                Step::SettleMost => {
                    let ops: Vec<u64> = model.keys().copied().skip(1).collect();
                    for op in ops {
                        model.remove(&op);
                        settled.push(op);
                        drop(wal.complete(Lsn::new(op)).unwrap());
                    }
                    wal.sync().unwrap();
                }
                Step::Checkpoint => wal.checkpoint(wal.durable_lsn(), b"").unwrap(),
                Step::Housekeep => {
                    wal.housekeep().unwrap();
                    let stats = wal.stats();
                    let pending = stats.pending_bytes + 48 * stats.pending;
                    // The newest segment cannot go, and one record may be all there is in it.
                    prop_assert!(stats.log_bytes <= 2 * pending + (2 << 16), "{stats:?}");
                    prop_assert_eq!(stats.checkpoint_failures, 0);
                }
                Step::Close => {
                    wal.close().unwrap();
                    wal = open(&disk);
                }
                Step::Crash(seed) => {
                    disk.crash(Survivors::Random(seed));
                    drop(wal);
                    wal = open(&disk);
                }
            }
            prop_assert!(wal.pending().iter().map(|lsn| lsn.get()).eq(model.keys().copied()));
            prop_assert_eq!(wal.stats().pending, model.len() as u64);
            let bytes: usize = model.values().map(Vec::len).sum();
            prop_assert_eq!(wal.stats().pending_bytes, bytes as u64);
        }
        let found = wal.pending_records().map(Result::unwrap);
        let found: BTreeMap<u64, Vec<u8>> = found.map(|r| (r.lsn.get(), r.payload)).collect();
        prop_assert_eq!(&found, &model);
        for (op, payload) in &model {
            prop_assert_eq!(&wal.read(Lsn::new(*op)).unwrap().payload, payload);
        }
        disk.crash(Survivors::None);
        drop(wal);
        let found = open(&disk).pending();
        prop_assert!(found.iter().map(|lsn| lsn.get()).eq(model.keys().copied()));
    }
}
