//! Pending operations: what settles them, what a restart yields, and how long the log gets.

use std::path::Path;
use std::sync::atomic::Ordering;

use bucket_core::ByteCount;
use bucket_vfs::sim::{SimDisk, Survivors};

use super::fault_vfs::{FaultVfs, Hook};
use crate::{CheckpointPolicy, Lsn, RecordKind, SyncPolicy, Wal, WalError, WalOptions};

const SEGMENT: u64 = 64 << 10;

/// A log whose housekeeping is driven by the test.
pub(super) fn by_hand() -> WalOptions {
    let options = Wal::options().lifecycle(true).housekeeping_by_hand(true);
    options.segment_size(ByteCount::new(SEGMENT)).unwrap()
}

fn found(wal: &Wal) -> Vec<(u64, Vec<u8>)> {
    let records = wal.pending_records().map(Result::unwrap);
    records
        .inspect(|record| assert_eq!(record.kind, RecordKind::Op))
        .map(|record| (record.lsn.get(), record.payload))
        .collect()
}

#[test]
fn a_restart_yields_what_is_not_settled_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Wal::options().lifecycle(true).open(dir.path()).unwrap();
    let (wal, recovery) = open();
    assert_eq!(recovery.pending(), []);
    let ops: Vec<_> = (0..6_u8).map(|n| wal.append(&[n]).unwrap()).collect();
    wal.complete(ops[1]).unwrap().wait().unwrap();
    wal.abort(ops[4], "the remote refuses it").unwrap().wait().unwrap();
    let last = wal.append(b"last").unwrap();
    drop(wal);
    let (wal, recovery) = open();
    let left = [ops[0], ops[2], ops[3], ops[5], last];
    assert_eq!((recovery.pending(), &wal.pending()[..]), (&left[..], &left[..]));
    let content = [&[0][..], &[2], &[3], &[5], b"last"].map(<[u8]>::to_vec);
    assert_eq!(found(&wal), left.map(Lsn::get).into_iter().zip(content).collect::<Vec<_>>());
    let abort = wal.reader(Lsn::new(1)).map(Result::unwrap);
    let abort = abort.into_iter().find(|record| record.kind == RecordKind::Abort).unwrap();
    assert_eq!(abort.subject(), Some(ops[4]));
    assert_eq!(&abort.payload[8..], b"the remote refuses it");
    // A clean close and a checkpoint change nothing about it.
    wal.complete(left[2]).unwrap().wait().unwrap();
    wal.close().unwrap();
    let (_, recovery) = open();
    assert_eq!(recovery.pending(), [ops[0], ops[2], ops[5], last]);
}

#[test]
fn a_settlement_keeps_its_note() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Wal::options().lifecycle(true).open(dir.path()).unwrap().0;
    let wal = open();
    let ops: Vec<_> = (0..3_u8).map(|n| wal.append(&[n]).unwrap()).collect();
    wal.complete_with(ops[0], b"version 7").unwrap().wait().unwrap();
    wal.complete(ops[1]).unwrap().wait().unwrap();
    let too_long = vec![0; (16 << 20) - 7];
    let refused = wal.complete_with(ops[2], &too_long).map(drop);
    assert!(matches!(refused, Err(WalError::RecordTooLarge { .. })), "{refused:?}");
    drop(wal);
    let wal = open();
    assert_eq!(wal.pending(), [ops[2]]);
    let notes: Vec<_> = wal
        .reader(Lsn::new(1))
        .map(Result::unwrap)
        .map(|record| (record.subject(), record.note().map(<[u8]>::to_vec)))
        .collect();
    assert_eq!(notes[..3], [(None, None), (None, None), (None, None)]);
    assert_eq!(notes[3], (Some(ops[0]), Some(b"version 7".to_vec())));
    assert_eq!(notes[4], (Some(ops[1]), Some(Vec::new())));
}

#[test]
fn an_operation_that_moves_while_it_is_read_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (vfs, faults) = FaultVfs::new();
    let open = || by_hand().vfs(vfs.clone()).open(dir.path()).unwrap().0;
    let wal = open();
    let old = wal.append(b"pending since long").unwrap();
    wal.close().unwrap();
    let wal = open();
    let other = wal.clone();
    let hook = move || {
        for _ in 0..12 {
            let much = other.append(&[7; 30_000]).unwrap();
            other.complete(much).unwrap().wait().unwrap();
        }
        other.housekeep().unwrap();
    };
    *faults.before_open.lock() = Some(Hook(Box::new(hook)));
    // So that its file has to be opened again.
    wal.shared.index().lock().unmark();
    // Its segment goes after the log has said that it is there, and before it is opened.
    assert_eq!(wal.read(old).unwrap().payload, b"pending since long");
    assert!(wal.stats().survivors > 0, "{:?}", wal.stats());
    assert!(!dir.path().join(crate::segment::file_name(1)).exists());
}

#[test]
fn what_is_not_pending_cannot_be_settled() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::options().lifecycle(true).open(dir.path()).unwrap();
    let op = wal.append(b"op").unwrap();
    let settled = wal.complete(op).unwrap();
    for lsn in [op, settled.lsn(), Lsn::ZERO, Lsn::new(99)] {
        match wal.complete(lsn) {
            Err(WalError::NotPending { lsn: named }) => assert_eq!(named, lsn),
            other => panic!("{lsn}: {other:?}"),
        }
    }
    settled.wait().unwrap();
    assert!(matches!(wal.abort(op, "again"), Err(WalError::NotPending { .. })));
    let plain = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(plain.path()).unwrap();
    let op = wal.append(b"op").unwrap();
    assert!(matches!(wal.complete(op), Err(WalError::NotPending { .. })));
    assert!(wal.pending().is_empty());
}

#[test]
fn a_settlement_that_a_crash_took_leaves_the_operation_pending() {
    let disk = SimDisk::new();
    // Nothing is synced unless somebody asks for it.
    let open = |disk: &SimDisk| {
        let options = by_hand().sync_policy(SyncPolicy::None).unwrap();
        options.vfs(disk.mount()).open(Path::new("/log")).unwrap()
    };
    let (wal, _) = open(&disk);
    let op = wal.append(b"op").unwrap();
    wal.sync().unwrap();
    let ticket = wal.complete(op).unwrap();
    assert_eq!((wal.pending(), ticket.is_durable()), (vec![], false));
    // A checkpoint does not count what is not durable either.
    wal.checkpoint(Lsn::ZERO, b"").unwrap();
    let image = disk.fork();
    image.crash(Survivors::None);
    assert_eq!(open(&image).1.pending(), [op]);
    ticket.wait().unwrap();
    disk.crash(Survivors::None);
    drop(wal);
    assert_eq!(open(&disk).1.pending(), []);
}

/// The reserve is used up by settlements, so that one is refused; then the operation is as it was.
pub(super) fn a_refused_settlement_is_none(options: WalOptions) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let (vfs, faults) = FaultVfs::new();
    let options = options.vfs(vfs).lifecycle(true).housekeeping_by_hand(true);
    let (wal, _) = options.open(dir.path()).unwrap();
    let ops: Vec<_> = (0..2_000_u32).map(|n| wal.submit(&n.to_le_bytes()).unwrap()).collect();
    let ops: Vec<_> = ops.into_iter().map(|ticket| ticket.wait().unwrap()).collect();
    faults.max_len.store(160 << 10, Ordering::SeqCst);
    let error = loop {
        if let Err(error) = wal.append(&[1; 4_000]) {
            break error;
        }
    };
    assert!(matches!(error, WalError::NoSpace { .. }), "{error}");
    // A full disk can settle, until the reserve is used up as well.
    let outcome = |op: &Lsn| wal.complete(*op).unwrap().wait();
    let settled = ops.iter().take_while(|op| outcome(op).is_ok()).count();
    assert!(settled > 100, "only {settled} were settled");
    let refused = *ops.get(settled).ok_or("nothing was refused")?;
    if !wal.pending().contains(&refused) {
        return Err(format!("operation {refused} counts as settled"));
    }
    faults.max_len.store(u64::MAX, Ordering::SeqCst);
    wal.complete(refused).unwrap().wait().unwrap();
    drop(wal);
    let (_, recovery) = Wal::options().lifecycle(true).open(dir.path()).unwrap();
    assert_eq!(recovery.pending()[0], ops[settled + 1]);
    Ok(())
}

#[test]
fn a_full_disk_can_settle_and_a_settlement_that_is_refused_is_none() {
    a_refused_settlement_is_none(Wal::options()).unwrap();
}

#[test]
fn one_operation_that_is_never_settled_does_not_pin_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = by_hand().open(dir.path()).unwrap();
    let old = wal.append(b"never settled").unwrap();
    for round in 0..1_000_u32 {
        let ops: Vec<_> =
            (0..100_u32).map(|n| wal.submit(&(round * 100 + n).to_le_bytes()).unwrap()).collect();
        let settled: Vec<_> = ops.iter().map(|op| wal.complete(op.lsn()).unwrap()).collect();
        settled.into_iter().next_back().unwrap().wait().unwrap();
        wal.housekeep().unwrap();
        let stats = wal.stats();
        assert!(stats.log_bytes <= 2 * stats.pending_bytes + 2 * SEGMENT, "{stats:?}");
        assert_eq!(wal.pending(), [old]);
    }
    let stats = wal.stats();
    assert!(stats.survivors >= 10, "{stats:?}");
    assert_eq!((stats.pending, stats.checkpoint_failures), (1, 0));
    assert_eq!(wal.read(old).unwrap().payload, b"never settled");
    assert_eq!(wal.read(old).unwrap().lsn, old);
    drop(wal);
    let (wal, recovery) = by_hand().open(dir.path()).unwrap();
    assert_eq!(recovery.pending(), [old]);
    assert_eq!(found(&wal), [(1, b"never settled".to_vec())]);
    assert_eq!(wal.read(old).unwrap().payload, b"never settled");
    wal.complete(old).unwrap().wait().unwrap();
    assert!(matches!(wal.read(old), Err(WalError::NotFound { .. })));
    drop(wal);
    assert_eq!(by_hand().open(dir.path()).unwrap().1.pending(), []);
}

#[test]
fn the_thread_keeps_the_log_short_by_itself() {
    let disk = SimDisk::new();
    let options = Wal::options().lifecycle(true).vfs(disk.mount());
    let options = options.segment_size(ByteCount::new(SEGMENT)).unwrap();
    let (wal, _) = options.open(Path::new("/log")).unwrap();
    let old = wal.append(b"never settled").unwrap();
    for _ in 0..40 {
        let ops: Vec<_> = (0..50).map(|_| wal.submit(&[7; 1_000]).unwrap()).collect();
        let settled: Vec<_> = ops.iter().map(|op| wal.complete(op.lsn()).unwrap()).collect();
        settled.into_iter().next_back().unwrap().wait().unwrap();
    }
    let short = |wal: &Wal| wal.stats().log_bytes <= 3 * SEGMENT;
    for _ in 0..10_000_000_u32 {
        if short(&wal) {
            break;
        }
        std::thread::yield_now();
    }
    assert!(short(&wal), "{:?}", wal.stats());
    assert_eq!(wal.read(old).unwrap().payload, b"never settled");
    wal.close().unwrap();
    disk.crash(Survivors::None);
    let (_, recovery) =
        Wal::options().lifecycle(true).vfs(disk.mount()).open(Path::new("/log")).unwrap();
    assert_eq!(recovery.pending(), [old]);
}

#[test]
fn closing_takes_a_checkpoint_when_something_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let close = |change: bool| {
        let (wal, recovery) = by_hand().open(dir.path()).unwrap();
        let generation = recovery.checkpoint().map_or(0, |checkpoint| checkpoint.generation);
        if change {
            wal.append(b"op").unwrap();
        }
        wal.close().unwrap();
        generation
    };
    let generations = [true, false, false, true, false].map(close);
    assert_eq!(generations, [0, 1, 1, 1, 2]);
}

#[test]
fn an_application_state_survives_the_checkpoints_that_the_log_takes_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let policy = CheckpointPolicy::never().records(1).unwrap();
    let open = || by_hand().checkpoints(policy).open(dir.path()).unwrap();
    let (wal, _) = open();
    let op = wal.append(b"op").unwrap();
    wal.checkpoint(op.next(), b"state").unwrap();
    for _ in 0..3 {
        wal.append(b"op").unwrap();
        wal.housekeep().unwrap();
    }
    assert_eq!(wal.checkpoints().unwrap()[0].generation, 4);
    drop(wal);
    let (_, recovery) = open();
    let checkpoint = recovery.checkpoint().unwrap();
    assert_eq!((checkpoint.replay_from, checkpoint.state.bytes()), (op.next(), &b"state"[..]));
    assert_eq!(recovery.pending().len(), 4);
}

/// Cleaning that could not help was put off until the log had grown by a segment, also when what had held it
/// back was gone.
#[test]
fn a_checkpoint_of_the_application_ends_what_held_the_cleaning_back() {
    let disk = SimDisk::new();
    let (wal, _) = by_hand().vfs(disk.mount()).open(Path::new("/log")).unwrap();
    let old = wal.append(b"never settled").unwrap();
    wal.checkpoint(old, b"state").unwrap();
    for _ in 0..20 {
        let op = wal.append(&[7; 20_000]).unwrap();
        wal.complete(op).unwrap().wait().unwrap();
    }
    wal.housekeep().unwrap();
    assert!(wal.stats().log_bytes > 20 * 20_000, "the application replays all of it");
    wal.checkpoint(wal.durable_lsn().next(), b"state").unwrap();
    wal.housekeep().unwrap();
    let stats = wal.stats();
    assert!(stats.log_bytes <= 2 * (SEGMENT + 20_100), "{stats:?}");
    assert_eq!(wal.read(old).unwrap().payload, b"never settled");
}

#[test]
fn taking_back_a_settlement_makes_the_operation_pending_again() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = by_hand().open(dir.path()).unwrap();
    let ops: Vec<_> = (0..4_u8).map(|n| wal.append(&[n]).unwrap()).collect();
    wal.checkpoint(ops[0], b"").unwrap();
    wal.complete(ops[0]).unwrap().wait().unwrap();
    let kept = wal.durable_lsn();
    wal.complete(ops[1]).unwrap().wait().unwrap();
    let late = wal.append(b"late").unwrap();
    wal.truncate_after(kept).unwrap();
    let left = [ops[1], ops[2], ops[3]];
    assert_eq!(wal.pending(), left);
    assert!(matches!(wal.complete(late), Err(WalError::NotPending { .. })));
    wal.complete(ops[2]).unwrap().wait().unwrap();
    // Behind a checkpoint it is not known any more what was pending.
    wal.checkpoint(ops[0], b"").unwrap();
    wal.append(b"more").unwrap();
    assert!(matches!(wal.truncate_after(kept), Err(WalError::Checkpointed { .. })));
    drop(wal);
    let (_, recovery) = by_hand().open(dir.path()).unwrap();
    assert_eq!(recovery.pending()[..2], [ops[1], ops[3]]);
}
