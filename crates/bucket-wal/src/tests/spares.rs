//! Files of trimmed segments that are written again: what that saves, and whom it must not disturb.

use std::path::Path;

use bucket_core::ByteCount;
use bucket_vfs::sim::SimDisk;
use bucket_vfs::{OpenMode, Vfs};

use crate::segment::{HEADER_LEN, ROOM};
use crate::{Lsn, ReadLevel, TailState, Wal, WalOptions};

const LOG: &str = "/log";

fn options(disk: &SimDisk) -> WalOptions {
    let options = Wal::options().vfs(disk.mount()).keep_checkpoints(1).unwrap();
    options.segment_size(ByteCount::kib(64)).unwrap()
}

fn open(disk: &SimDisk) -> Wal {
    options(disk).open(Path::new(LOG)).unwrap().0
}

/// Appends so many records of 20 000 bytes, three of which fill a segment.
fn fill(wal: &Wal, n: u64) -> Lsn {
    let mut last = Lsn::ZERO;
    for _ in 0..n {
        let next = wal.newest_lsn().get() + 1;
        last = wal.append(&vec![next as u8; 20_000]).unwrap();
    }
    last
}

fn trim(wal: &Wal) {
    wal.checkpoint(wal.newest_lsn(), b"").unwrap();
}

fn names(vfs: &dyn Vfs, prefix: &str) -> Vec<String> {
    let entries = vfs.read_dir(Path::new(LOG)).unwrap();
    let names = entries.into_iter().map(|entry| entry.name.into_string().unwrap());
    names.filter(|name| name.starts_with(prefix)).collect()
}

impl Wal {
    fn newest_lsn(&self) -> Lsn {
        self.written_lsn()
    }
}

#[test]
fn the_file_of_a_trimmed_segment_is_the_next_one_s() {
    let disk = SimDisk::new();
    let wal = open(&disk);
    fill(&wal, 6);
    trim(&wal);
    let stats = wal.stats();
    assert!(stats.spare_bytes > 0 && stats.reused == 0, "{stats:?}");
    assert_eq!(names(&*disk.mount(), "spare-").len(), 1);
    let seen = options(&disk).inspect(LOG).unwrap();
    assert_eq!((seen.spare_files.len(), seen.other_files.len()), (1, 0), "{seen}");
    fill(&wal, 3);
    let stats = wal.stats();
    assert_eq!((stats.spare_bytes, stats.reused), (0, 1), "{stats:?}");
    for record in wal.reader(Lsn::new(6)) {
        let record = record.unwrap();
        assert_eq!(record.payload, vec![record.lsn.get() as u8; 20_000]);
    }
    // Nothing was written for it but the frames, and the header of the new segment.
    assert!(names(&*disk.mount(), "spare-").is_empty());
}

#[test]
fn no_spares_are_kept_where_none_are_wanted_and_more_than_wanted_go_at_the_next_opening() {
    let disk = SimDisk::new();
    let wal = open(&disk);
    fill(&wal, 9);
    trim(&wal);
    assert_eq!(names(&*disk.mount(), "spare-").len(), 2);
    drop(wal);
    let (wal, _) = options(&disk).spare_segments(0).unwrap().open(Path::new(LOG)).unwrap();
    assert!(names(&*disk.mount(), "spare-").is_empty());
    fill(&wal, 6);
    trim(&wal);
    assert!(names(&*disk.mount(), "spare-").is_empty());
    assert!(Wal::options().spare_segments(65).is_err());
}

#[test]
fn a_reader_never_sees_its_segment_change() {
    let disk = SimDisk::new();
    let wal = open(&disk);
    fill(&wal, 6);
    let mut reader = wal.reader(Lsn::new(1));
    let mut tail = wal.tail(Lsn::new(1), ReadLevel::Durable);
    assert_eq!(reader.next().unwrap().unwrap().lsn.get(), 1);
    assert_eq!(tail.try_next().unwrap().unwrap().lsn.get(), 1);
    trim(&wal);
    fill(&wal, 9);
    for lsn in 2..=3 {
        let record = reader.next().unwrap().unwrap();
        assert_eq!((record.lsn.get(), record.payload[0]), (lsn, lsn as u8));
        assert_eq!(tail.try_next().unwrap().unwrap().lsn.get(), lsn);
    }
    for record in reader {
        let record = record.unwrap();
        assert_eq!(record.payload[0], record.lsn.get() as u8);
    }
}

#[test]
fn who_follows_from_outside_passes_over_a_segment_that_is_another_by_now() {
    let disk = SimDisk::new();
    let wal = open(&disk);
    fill(&wal, 6);
    let mut follower = options(&disk).follow(Path::new(LOG), Lsn::new(1));
    assert_eq!(follower.try_next().unwrap().unwrap().lsn.get(), 1);
    trim(&wal);
    let last = fill(&wal, 9);
    let mut seen = 1;
    while let Some(record) = follower.try_next().unwrap() {
        assert!(record.lsn.get() > seen);
        seen = record.lsn.get();
        assert_eq!(record.payload, vec![seen as u8; 20_000]);
    }
    assert_eq!(seen, last.get());
}

/// A file that was used again has old frames behind its end, and none of its chunks is zero.
#[test]
fn what_is_torn_in_a_file_that_was_used_again_is_no_damage() {
    let disk = SimDisk::new();
    let wal = open(&disk);
    fill(&wal, 6);
    trim(&wal);
    fill(&wal, 1);
    assert_eq!(wal.stats().reused, 1);
    let newest = names(&*disk.mount(), "seg-").pop().unwrap();
    drop(wal);
    let file = disk.mount().open(&Path::new(LOG).join(newest), OpenMode::Write).unwrap();
    // The last record alone is in it; its second half is what was there before.
    let mut old = vec![0; 10_000];
    file.read_exact_at(&mut old, 30_000).unwrap();
    assert!(old.iter().all(|&byte| byte != 0));
    file.write_all_at(&old, HEADER_LEN + 10_000).unwrap();
    let (wal, recovery) = options(&disk).open(Path::new(LOG)).unwrap();
    assert!(recovery.report().is_clean(), "{}", recovery.report());
    assert_eq!(recovery.report().tail, TailState::Torn);
    assert_eq!(recovery.report().last_lsn, Lsn::new(6));
    assert_eq!(wal.append(b"on").unwrap(), Lsn::new(7));
}

#[test]
fn a_closed_log_has_nothing_old_behind_its_end() {
    let disk = SimDisk::new();
    let wal = open(&disk);
    fill(&wal, 6);
    trim(&wal);
    fill(&wal, 1);
    wal.close().unwrap();
    let newest = names(&*disk.mount(), "seg-").pop().unwrap();
    let len = disk.mount().open(&Path::new(LOG).join(newest), OpenMode::Read).unwrap().len();
    assert!(len.unwrap() < HEADER_LEN + 20_100 + ROOM + 4_096);
    let (_wal, recovery) = options(&disk).open(Path::new(LOG)).unwrap();
    assert_eq!(recovery.report().tail, TailState::Clean);
    assert_eq!(recovery.report().copied_records, 0);
}

#[test]
fn files_filled_in_advance_are_used_from_the_first_record_on() {
    let disk = SimDisk::new();
    let filling = || options(&disk).spare_segments(2).unwrap().fill_spare_segments(true);
    let (wal, _) = filling().open(Path::new(LOG)).unwrap();
    assert_eq!(names(&*disk.mount(), "spare-").len(), 2);
    // Each as long as a segment with what is kept behind its records.
    assert_eq!(wal.stats().spare_bytes, 2 * ((64 << 10) + ROOM));
    fill(&wal, 4);
    assert_eq!((wal.stats().reused, wal.stats().spare_bytes), (2, 0));
    drop(wal);
    // Zeros are behind the records of these, and tell an interrupted write from damage.
    let (wal, recovery) = filling().open(Path::new(LOG)).unwrap();
    assert_eq!(recovery.report().tail, TailState::Clean);
    assert_eq!(recovery.report().last_lsn, Lsn::new(4));
    assert_eq!(names(&*disk.mount(), "spare-").len(), 2);
    drop(wal);
}

#[test]
fn a_disk_without_space_to_fill_files_in_advance_opens_all_the_same() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(300 << 10));
    let options = options(&disk).spare_segments(8).unwrap().fill_spare_segments(true);
    let (wal, _) = options.open(Path::new(LOG)).unwrap();
    let filled = names(&*disk.mount(), "spare-").len();
    assert!((1..8).contains(&filled), "{filled}");
    assert_eq!(wal.append(&[7; 20_000]).unwrap(), Lsn::new(1));
    assert_eq!(wal.stats().reused, 1);
}

#[test]
fn a_full_disk_gives_the_spares_up() {
    let disk = SimDisk::new();
    let wal = open(&disk);
    fill(&wal, 9);
    trim(&wal);
    let spare = wal.stats().spare_bytes;
    assert!(spare > 100_000, "{spare}");
    let (vfs, log) = (disk.mount(), Path::new(LOG));
    let used: u64 = vfs.read_dir(log).unwrap().iter().map(|entry| entry.len).sum();
    disk.set_capacity(Some(used + 40_000));
    // The newest segment is full: one spare becomes the next, which then has to grow.
    wal.append(&vec![7; 200_000]).unwrap();
    assert_eq!(wal.stats().spare_bytes, 0);
    assert_eq!(wal.read(Lsn::new(10)).unwrap().payload, vec![7; 200_000]);
}

#[test]
fn a_log_with_a_lifecycle_keeps_within_its_bound() {
    let disk = SimDisk::new();
    let options = options(&disk).lifecycle(true).housekeeping_by_hand(true);
    let (wal, _) = options.open(Path::new(LOG)).unwrap();
    for _ in 0..30 {
        let lsn = fill(&wal, 1);
        wal.complete(lsn).unwrap().wait().unwrap();
        wal.housekeep().unwrap();
        let stats = wal.stats();
        let bytes = stats.log_bytes + stats.spare_bytes;
        // Two segments, and the one record that may make each longer.
        assert!(bytes <= 2 * (64 << 10) + 2 * 20_100, "{stats:?}");
    }
}
