//! Checkpoints: how many are kept, that each can be gone back to, when the log takes them by itself, and
//! what replication holds back.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bucket_core::ByteCount;
use bucket_vfs::StdVfs;
use bucket_vfs::sim::{Fault, FaultKind, SimDisk};
use parking_lot::Mutex;

use crate::format::Features;
use crate::manifest;
use crate::{CheckpointPolicy, CheckpointState, Lsn, Recovery, Wal, WalError, WalOptions};

fn options() -> WalOptions {
    Wal::options().segment_size(ByteCount::kib(64)).unwrap()
}

fn manifest_path(dir: &Path, generation: u64) -> std::path::PathBuf {
    manifest::path_of(dir, generation)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn newest(recovery: &Recovery) -> (u64, Lsn, Vec<u8>) {
    let checkpoint = recovery.checkpoint().unwrap();
    (checkpoint.generation, checkpoint.replay_from, checkpoint.state.bytes().to_vec())
}

#[test]
fn every_kept_checkpoint_can_be_gone_back_to() {
    for lifecycle in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let options = options().lifecycle(lifecycle).housekeeping_by_hand(true);
            options.keep_checkpoints(3).unwrap().open(dir.path()).unwrap()
        };
        let (wal, _) = open();
        let mut taken = Vec::new();
        for n in 1..=7_u64 {
            let ops: Vec<_> = (0..30).map(|_| wal.append(&[n as u8; 5_000]).unwrap()).collect();
            for op in ops.iter().skip(1).filter(|_| lifecycle) {
                wal.complete(*op).unwrap().wait().unwrap();
            }
            wal.checkpoint(ops[20], &n.to_le_bytes()).unwrap();
            taken.push((n, ops[20], n.to_le_bytes().to_vec()));
        }
        let last = wal.append(b"last").unwrap();
        let listed: Vec<_> = wal.checkpoints().unwrap().iter().map(|c| c.generation).collect();
        assert_eq!(listed, [7, 6, 5]);
        // One pending operation of each round keeps them all; else only what the checkpoints need stays.
        let is_trimmed = matches!(wal.read(Lsn::new(2)), Err(WalError::NotFound { .. }));
        assert_eq!(is_trimmed, !lifecycle);
        let pending = wal.pending();
        assert_eq!(pending.len(), if lifecycle { 8 } else { 0 });
        drop(wal);
        for n in [7, 6, 5] {
            let (wal, recovery) = open();
            assert_eq!(newest(&recovery), taken[n - 1]);
            assert_eq!((recovery.pending(), wal.pending()), (&pending[..], pending.clone()));
            let replayed = wal.reader(recovery.replay_from()).map(|record| record.unwrap().lsn);
            let expected = (recovery.replay_from().get()..=last.get()).map(Lsn::new);
            assert!(replayed.eq(expected), "everything from {} on", recovery.replay_from());
            drop(wal);
            // By hand: one is damaged, one is removed.
            let path = manifest_path(dir.path(), n as u64);
            if n == 7 { flip(&path, 100) } else { fs::remove_file(path).unwrap() }
        }
    }
}

#[test]
fn a_checkpoint_that_was_replaced_by_another_valid_one_is_not_believed() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (wal, _) = Wal::open(dir.path()).unwrap();
    let lsn = wal.append(b"record").unwrap();
    wal.checkpoint(lsn, b"first").unwrap();
    drop(wal);
    // The same log goes on twice, and the copies differ from the second checkpoint on.
    for entry in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), other.path().join(entry.file_name())).unwrap();
    }
    let go_on = |dir: &Path, states: &[&[u8]]| {
        let (wal, _) = Wal::options().keep_checkpoints(3).unwrap().open(dir).unwrap();
        states.iter().for_each(|state| wal.checkpoint(lsn, *state).unwrap());
    };
    go_on(dir.path(), &[b"second", b"third"]);
    go_on(other.path(), &[b"another second"]);
    assert!(Wal::open(dir.path()).unwrap().1.report().is_clean());
    fs::copy(manifest_path(other.path(), 2), manifest_path(dir.path(), 2)).unwrap();
    let (_, recovery) = Wal::open(dir.path()).unwrap();
    assert_eq!(newest(&recovery).2, b"third");
    assert_eq!(recovery.report().unreadable_checkpoints, 1);
    let inspection = Wal::options().inspect(dir.path()).unwrap();
    let readable = inspection.checkpoints.iter().map(|found| found.is_readable);
    assert_eq!(readable.collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn a_damaged_checkpoint_keeps_its_number_and_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path()).unwrap();
    let lsn = wal.append(b"record").unwrap();
    wal.checkpoint(lsn, b"first").unwrap();
    wal.checkpoint(lsn, b"second").unwrap();
    drop(wal);
    flip(&manifest_path(dir.path(), 2), 60);
    let (wal, recovery) = Wal::open(dir.path()).unwrap();
    assert_eq!(newest(&recovery).0, 1);
    wal.checkpoint(lsn, b"third").unwrap();
    assert!(manifest_path(dir.path(), 2).exists(), "what is damaged is evidence");
    drop(wal);
    let (wal, recovery) = Wal::open(dir.path()).unwrap();
    assert_eq!((newest(&recovery).0, recovery.report().unreadable_checkpoints), (3, 1));
    wal.checkpoint(lsn, b"fourth").unwrap();
    assert_eq!(wal.checkpoints().unwrap().len(), 2);
    drop(wal);
    assert!(Wal::open(dir.path()).unwrap().1.report().is_clean());
}

#[test]
fn a_state_may_be_kept_elsewhere_and_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path()).unwrap();
    let reference = CheckpointState::reference("file:state-7", 1 << 33, [5; 32]);
    wal.checkpoint(Lsn::new(1), reference.clone()).unwrap();
    let long =
        [vec![0; (1 << 20) + 1].into(), CheckpointState::reference("x".repeat(5_000), 0, [0; 32])];
    for state in long {
        let error = wal.checkpoint(Lsn::new(1), state).unwrap_err();
        assert!(matches!(error, WalError::RecordTooLarge { .. }));
    }
    wal.close().unwrap();
    let (_, recovery) = Wal::open(dir.path()).unwrap();
    assert_eq!(recovery.checkpoint().unwrap().state, reference);
}

#[test]
fn a_start_of_replay_outside_the_log_is_brought_inside() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = options().open(dir.path()).unwrap();
    let last = (0..60).map(|_| wal.append(&[1; 5_000]).unwrap()).max().unwrap();
    wal.checkpoint(last, b"").unwrap();
    wal.checkpoint(Lsn::new(99_999), b"").unwrap();
    wal.checkpoint(Lsn::ZERO, b"").unwrap();
    let replay_from =
        |wal: &Wal| wal.checkpoints().unwrap().iter().map(|c| c.replay_from).collect::<Vec<_>>();
    let [newest, beyond] = replay_from(&wal)[..] else { panic!("two are kept") };
    assert_eq!(beyond, last.next());
    assert!(newest > Lsn::ZERO && wal.read(newest).is_ok());
    drop(wal);
    assert!(options().open(dir.path()).unwrap().1.report().is_clean());
}

#[test]
fn what_is_not_replicated_is_held_back_and_the_number_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = options().open(dir.path()).unwrap();
    assert_eq!(wal.replicated_lsn(), None);
    let append = |wal: &Wal| (0..40).map(|_| wal.append(&[1; 5_000]).unwrap()).max().unwrap();
    let first = append(&wal);
    wal.set_replicated(Lsn::ZERO).unwrap();
    (0..3).for_each(|_| wal.checkpoint(first, b"").unwrap());
    assert!(wal.read(Lsn::new(1)).is_ok(), "nothing is replicated");
    assert!(matches!(wal.set_replicated(first.next()), Err(WalError::NotFound { .. })));
    wal.set_replicated(Lsn::new(30)).unwrap();
    wal.set_replicated(Lsn::new(20)).unwrap();
    wal.checkpoint(first, b"").unwrap();
    assert!(matches!(wal.read(Lsn::new(1)), Err(WalError::NotFound { .. })));
    assert!(wal.read(Lsn::new(31)).is_ok());
    drop(wal);
    let (wal, _) = options().open(dir.path()).unwrap();
    assert_eq!(wal.replicated_lsn(), Some(Lsn::new(30)));
    let second = append(&wal);
    (0..3).for_each(|_| wal.checkpoint(second, b"").unwrap());
    assert!(wal.read(Lsn::new(31)).is_ok(), "it is remembered");
}

/// Rule 3: nothing but the number of what is elsewhere vouches for the record that is gone.
#[test]
fn a_lost_record_that_was_replicated_is_corruption() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path()).unwrap();
    let lsn = wal.append(&[1; 3_000]).unwrap();
    wal.checkpoint(Lsn::new(1), b"").unwrap();
    drop(wal);
    let vfs = StdVfs::new();
    let path = dir.path().join("seg-0000000000000001.wal");
    let mut bytes = fs::read(&path).unwrap();
    bytes[5_000..].fill(0);
    fs::write(&path, bytes).unwrap();
    for (replicated, is_lost) in [(None, false), (Some(lsn.get()), true)] {
        let mut found = manifest::read(&vfs, dir.path(), 1, Features::NONE).unwrap().unwrap();
        (found.durable_lsn, found.replicated_lsn) = (0, replicated);
        let path = manifest::path_of(dir.path(), 1);
        bucket_vfs::write_atomic(&vfs, &path, &found.encode()).unwrap();
        let opened = Wal::open(dir.path());
        assert_eq!(matches!(opened, Err(WalError::Corrupt { .. })), is_lost, "{opened:?}");
    }
}

#[test]
fn a_log_takes_checkpoints_by_itself_from_what_its_application_says() {
    let held: Arc<Mutex<Option<Wal>>> = Arc::default();
    let source = {
        let held = Arc::clone(&held);
        move || {
            // Called without any lock, so that the log can be used.
            let wal = held.lock().clone()?;
            let lsn = wal.append(b"from within").ok()?;
            Some((lsn, b"state".into()))
        }
    };
    let disk = SimDisk::new();
    let policy = CheckpointPolicy::never().records(5).unwrap().bytes(ByteCount::kib(10)).unwrap();
    let options = options().checkpoints(policy).checkpoint_source(source);
    let options = options.vfs(disk.mount()).housekeeping_by_hand(true);
    let (wal, _) = options.open(Path::new("/log")).unwrap();
    let append = |n: usize, len: usize| {
        (0..n).for_each(|_| drop(wal.append(&vec![1; len])));
        wal.housekeep().unwrap();
        wal.stats().checkpoints
    };
    assert_eq!(append(5, 10), 0, "the application says not now");
    *held.lock() = Some(wal.clone());
    assert_eq!([append(4, 10), append(1, 10), append(4, 10), append(1, 10)], [0, 1, 1, 2]);
    assert_eq!(append(1, 11_000), 3, "by bytes");
    let newest = &wal.checkpoints().unwrap()[0];
    assert_eq!((newest.replay_from, newest.state.bytes()), (wal.durable_lsn(), &b"state"[..]));
    assert!(wal.stats().checkpoint_age.is_some());
    *held.lock() = None;
}

#[test]
fn a_log_takes_a_checkpoint_some_time_after_something_has_changed() {
    let disk = SimDisk::new();
    let policy = CheckpointPolicy::never().interval(Duration::from_millis(5)).unwrap();
    let options = options().checkpoints(policy).lifecycle(true).vfs(disk.mount());
    let (wal, _) = options.open(Path::new("/log")).unwrap();
    for round in 1..=3 {
        wal.append(b"record").unwrap();
        for _ in 0..10_000_000_u32 {
            if wal.stats().checkpoints == round {
                break;
            }
            std::thread::yield_now();
        }
        assert_eq!(wal.stats().checkpoints, round);
    }
}

#[test]
fn a_checkpoint_that_fails_is_counted_and_tried_again_with_the_next_trigger() {
    let disk = SimDisk::new();
    let policy = CheckpointPolicy::never().records(3).unwrap();
    let options = options().checkpoints(policy).lifecycle(true).housekeeping_by_hand(true);
    let (wal, _) = options.vfs(disk.mount()).open(Path::new("/log")).unwrap();
    let round = || {
        for _ in 0..3 {
            wal.append(b"record").unwrap();
        }
        let result = wal.housekeep();
        (result.is_ok(), wal.stats().checkpoints, wal.stats().checkpoint_failures)
    };
    // There is no space for it, and then there is no reserve either.
    disk.inject(Fault::new(FaultKind::NoSpace).on("ckpt"));
    disk.inject(Fault::new(FaultKind::WriteError).on("reserve"));
    assert_eq!(round(), (false, 0, 1));
    wal.housekeep().unwrap();
    assert_eq!(wal.stats().checkpoints, 0, "not before the next trigger");
    assert_eq!(round(), (true, 1, 1));
    assert_eq!(wal.checkpoints().unwrap().len(), 1);
    wal.append(b"it goes on").unwrap();
}

#[test]
fn a_checkpoint_says_what_was_durable_of_each_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = options().housekeeping_by_hand(true).open(dir.path()).unwrap();
    for _ in 0..100 {
        wal.append(&[7; 1_500]).unwrap();
    }
    wal.checkpoint(Lsn::new(1), b"").unwrap();
    let vfs = StdVfs::new();
    let manifest = manifest::read(&vfs, dir.path(), 1, Features::NONE).unwrap().unwrap();
    let inspection = Wal::options().inspect(dir.path()).unwrap();
    let found: Vec<_> = inspection.segments.iter().map(|held| (held.id, held.end_offset)).collect();
    let table: Vec<_> = manifest.segments.iter().map(|held| (held.id, held.data_len)).collect();
    assert!(table.len() > 2);
    assert_eq!(table, found);
    let ends: Vec<_> = manifest.segments.iter().map(|held| held.next_lsn).collect();
    let begins: Vec<_> = manifest.segments.iter().map(|held| held.first_lsn).collect();
    assert_eq!((begins[0], &begins[1..]), (1, &ends[..ends.len() - 1]));
    assert_eq!(ends.last(), Some(&101));
}

/// Two who work on the same files would undo each other's work.
#[test]
fn closing_keeps_the_lock_until_a_checkpoint_that_is_under_way_is_taken() {
    let disk = SimDisk::new();
    let open = || Wal::options().vfs(disk.mount()).housekeeping_by_hand(true).open("/log");
    let (wal, _) = open().unwrap();
    wal.append(b"record").unwrap();
    std::thread::scope(|scope| {
        disk.inject(Fault::new(FaultKind::Stall).on("ckpt"));
        let checkpoint = scope.spawn(|| wal.checkpoint(Lsn::new(2), b"state"));
        disk.wait_until_stalled();
        let closer = scope.spawn(|| wal.clone().close());
        let mut found = open().map(drop);
        for _ in 0..5_000 {
            if found.is_ok() || closer.is_finished() {
                break;
            }
            std::thread::yield_now();
            found = open().map(drop);
        }
        let is_closed = closer.is_finished();
        disk.release();
        checkpoint.join().unwrap().unwrap();
        closer.join().unwrap().unwrap();
        assert!(matches!(found, Err(WalError::Locked { .. })), "{found:?}");
        assert!(!is_closed, "closed while a checkpoint was under way");
    });
    assert_eq!(newest(&open().unwrap().1), (1, Lsn::new(2), b"state".to_vec()));
}
