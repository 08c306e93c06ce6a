//! Giving up old records: what nobody needs goes, what anybody needs stays.

use bucket_core::ByteCount;
use bucket_vfs::sim::SimDisk;

use crate::sync::Arc;
use crate::{ArchiveDir, CheckpointState, Lsn, Wal, WalError, WalOptions};

fn options(disk: &SimDisk) -> WalOptions {
    let options = Wal::options().vfs(disk.mount()).housekeeping_by_hand(true);
    options.segment_size(ByteCount::kib(64)).unwrap()
}

fn open(options: WalOptions) -> Wal {
    options.open("/log").unwrap().0
}

/// Six or seven records in a segment.
fn fill(wal: &Wal, count: u64) {
    for _ in 0..count {
        wal.append(&[5; 9_000]).unwrap();
    }
}

fn first(wal: &Wal) -> u64 {
    wal.reader(Lsn::new(1)).next().unwrap().unwrap().lsn.get()
}

#[test]
fn records_before_a_number_go_and_those_from_it_on_stay() {
    let disk = SimDisk::new();
    let wal = open(options(&disk));
    fill(&wal, 60);
    for lsn in [1, 30, 20, 31, 60] {
        wal.truncate_before(Lsn::new(lsn)).unwrap();
        let kept = if lsn == 20 { 30 } else { lsn };
        // What shares a segment with the first that is needed may still be there.
        assert!((kept.saturating_sub(7)..=kept).contains(&first(&wal)), "{lsn}: {}", first(&wal));
        assert!(wal.reader(Lsn::new(kept)).flatten().count() as u64 == 61 - kept);
    }
    let gone = wal.read(Lsn::new(29)).unwrap_err();
    assert!(matches!(gone, WalError::NotFound { .. }), "{gone:?}");
    drop(wal);
    let (wal, recovery) = options(&disk).open("/log").unwrap();
    assert!(recovery.report().is_clean());
    assert_eq!(recovery.replay_from(), Lsn::new(60));
    assert_eq!(wal.append(b"next").unwrap(), Lsn::new(61));
}

#[test]
fn no_kept_checkpoint_goes_back_further_and_the_newest_keeps_its_state() {
    let disk = SimDisk::new();
    let wal = open(options(&disk).keep_checkpoints(3).unwrap());
    fill(&wal, 40);
    wal.checkpoint(Lsn::new(3), b"older").unwrap();
    wal.checkpoint(Lsn::new(25), b"newer").unwrap();
    // Before what the newest replays from: only the older one has to go.
    for (lsn, from) in [(20, 25), (33, 33)] {
        wal.truncate_before(Lsn::new(lsn)).unwrap();
        let kept = wal.checkpoints().unwrap();
        assert_eq!(kept.len(), 3);
        for checkpoint in &kept {
            assert_eq!(checkpoint.replay_from, Lsn::new(from));
            assert_eq!(checkpoint.state, CheckpointState::Inline(b"newer".to_vec()));
        }
    }
    let before = disk.operations();
    wal.truncate_before(Lsn::new(33)).unwrap();
    wal.truncate_before(Lsn::new(2)).unwrap();
    assert_eq!(disk.operations(), before, "it was done before");
}

#[test]
fn what_was_accepted_and_is_not_there_yet_can_be_given_up() {
    let disk = SimDisk::new();
    let wal = open(options(&disk));
    let ticket = wal.submit(b"not synced").unwrap();
    wal.truncate_before(Lsn::new(99)).unwrap();
    assert!(ticket.is_durable(), "its number must not be given again");
    disk.kill();
    drop(wal);
    let (_wal, recovery) = options(&disk).open("/log").unwrap();
    assert_eq!(recovery.replay_from(), Lsn::new(2));
}

#[test]
fn what_is_pending_or_not_elsewhere_stays() {
    let disk = SimDisk::new();
    let wal = open(options(&disk).lifecycle(true));
    let op = wal.append(b"pending").unwrap();
    fill(&wal, 20);
    for n in 2..=21 {
        wal.complete(Lsn::new(n)).unwrap().wait().unwrap();
    }
    wal.truncate_before(Lsn::new(41)).unwrap();
    assert_eq!((first(&wal), wal.pending()), (1, vec![op]));
    drop(wal);
    let (wal, recovery) = options(&disk).lifecycle(true).open("/log").unwrap();
    assert_eq!(recovery.pending(), [op]);
    wal.complete(op).unwrap().wait().unwrap();
    wal.set_replicated(Lsn::new(9)).unwrap();
    wal.truncate_before(Lsn::new(41)).unwrap();
    assert!((3..=10).contains(&first(&wal)), "{}", first(&wal));
    wal.set_replicated(Lsn::new(42)).unwrap();
    wal.truncate_before(Lsn::new(41)).unwrap();
    assert!(first(&wal) > 10, "{}", first(&wal));
}

#[test]
fn the_archive_has_what_was_given_up() {
    let disk = SimDisk::new();
    let archive = Arc::new(ArchiveDir::new("/archive").vfs(disk.mount()));
    let wal = open(options(&disk).archive(archive));
    fill(&wal, 40);
    wal.truncate_before(Lsn::new(40)).unwrap();
    assert_eq!(first(&wal), 1);
    wal.housekeep().unwrap();
    assert!(first(&wal) > 30);
    let archived = options(&disk).inspect("/archive").unwrap();
    assert_eq!(archived.first_lsn(), Some(Lsn::new(1)));
    assert_eq!(archived.records(), first(&wal) - 1);
}
