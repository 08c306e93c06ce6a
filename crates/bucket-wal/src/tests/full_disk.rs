//! A disk without space: what frees some must not need any, and others take what is given back.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bucket_core::ByteCount;
use bucket_vfs::sim::{SimDisk, Survivors};
use bucket_vfs::{OpenMode, VfsFile};

use crate::{Lsn, Wal, WalError, WalOptions, reserve};

const LOG: &str = "/log";
const CAPACITY: u64 = 400 << 10;

fn options(disk: &SimDisk) -> WalOptions {
    let options = Wal::options().vfs(disk.mount()).keep_checkpoints(1).unwrap();
    options.segment_size(ByteCount::kib(64)).unwrap()
}

/// A program that fills the disk.
struct Hog(SimDisk);

impl Hog {
    fn new(disk: &SimDisk) -> Self {
        disk.mount().open(Path::new("/hog"), OpenMode::CreateNew).unwrap();
        Self(disk.clone())
    }

    /// Also after a crash.
    fn file(&self) -> Arc<dyn VfsFile> {
        self.0.mount().open(Path::new("/hog"), OpenMode::Write).unwrap()
    }

    fn eat(&self) {
        let left = self.0.mount().available_bytes(Path::new("/")).unwrap();
        self.take(self.file().len().unwrap() + left);
    }

    fn take(&self, bytes: u64) {
        self.file().set_len(bytes).unwrap();
    }
}

/// Appends until there is no space.
fn fill(wal: &Wal) -> u64 {
    let mut taken = 0;
    loop {
        match wal.append(&[7; 10_000]) {
            Ok(_) => taken += 1,
            Err(WalError::NoSpace { .. }) => return taken,
            Err(other) => panic!("{other}"),
        }
    }
}

/// What a checkpoint gave back was gone before the next, which then needed space, and so for ever.
#[test]
fn a_checkpoint_is_taken_on_a_full_disk_whoever_takes_what_the_last_gave_back() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(CAPACITY));
    let (wal, _) = options(&disk).spare_segments(0).unwrap().open(Path::new(LOG)).unwrap();
    let hog = Hog::new(&disk);
    for round in 0..6 {
        assert!(fill(&wal) > 0, "round {round}");
        hog.eat();
        let before = wal.stats().log_bytes;
        wal.checkpoint(wal.durable_lsn(), b"state").unwrap();
        assert!(wal.stats().log_bytes < before);
        // Nothing of it, then all of it.
        if round % 2 == 1 {
            hog.eat();
            wal.checkpoint(wal.durable_lsn(), b"state").unwrap();
            // As a person would: the rounds go on.
            hog.take(0);
        }
    }
    let newest = wal.durable_lsn();
    drop(wal);
    disk.crash(Survivors::None);
    let (wal, recovery) = options(&disk).open(Path::new(LOG)).unwrap();
    assert!(recovery.report().is_clean(), "{}", recovery.report());
    assert_eq!(wal.reader(recovery.replay_from()).last().unwrap().unwrap().lsn, newest);
    let files = disk.mount().read_dir(Path::new(LOG)).unwrap();
    let reserve = files.iter().filter(|file| reserve::is_name(file.name.to_str().unwrap()));
    assert_eq!(reserve.map(|file| file.len).collect::<Vec<_>>(), [reserve::LEN; 2]);
}

/// A manifest that does not fit is refused as it would be anyway, and the log goes on.
#[test]
fn a_state_beyond_the_reserve_needs_space() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(CAPACITY));
    let (wal, _) = options(&disk).spare_segments(0).unwrap().open(Path::new(LOG)).unwrap();
    let hog = Hog::new(&disk);
    hog.take(100 << 10);
    assert!(fill(&wal) > 0);
    hog.eat();
    let refused = wal.checkpoint(wal.durable_lsn(), vec![1; 60_000].as_slice()).unwrap_err();
    assert!(matches!(refused, WalError::NoSpace { .. }), "{refused}");
    hog.take(0);
    wal.checkpoint(wal.durable_lsn(), vec![1; 60_000].as_slice()).unwrap();
    assert!(fill(&wal) > 0);
}

/// Opening copies what nothing vouches for into a new segment.
#[test]
fn a_log_opens_on_a_full_disk_in_the_place_of_its_spares() {
    for has_reserve in [true, false] {
        let disk = SimDisk::new();
        let options = || options(&disk).reserve_files(has_reserve);
        let (wal, _) = options().open(Path::new(LOG)).unwrap();
        for n in 0..12 {
            wal.append(&[n; 20_000]).unwrap();
        }
        wal.checkpoint(wal.durable_lsn(), b"").unwrap();
        assert!(wal.stats().spare_bytes > 0);
        wal.append(b"newest").unwrap();
        disk.set_capacity(Some(CAPACITY));
        Hog::new(&disk).eat();
        disk.crash(Survivors::All);
        drop(wal);
        let (wal, recovery) = options().open(Path::new(LOG)).unwrap();
        assert!(recovery.report().copied_records > 0, "{}", recovery.report());
        assert_eq!(wal.stats().spare_bytes, 0);
        assert_eq!(wal.read(Lsn::new(13)).unwrap().payload, b"newest");
    }
}

/// Each opening copies into a segment of its own, and gives the place of what it copied back.
#[test]
fn a_log_that_crashes_again_and_again_on_a_full_disk_opens_and_takes_a_checkpoint() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(CAPACITY));
    let options = || options(&disk).spare_segments(0).unwrap();
    let (mut wal, _) = options().open(Path::new(LOG)).unwrap();
    let hog = Hog::new(&disk);
    hog.take(1_000);
    assert!(fill(&wal) > 10);
    for n in 0..30_u64 {
        // Something that nothing vouches for, with what a person has freed.
        disk.set_capacity(Some(CAPACITY + 80_000 * (n + 1)));
        let newest = wal.append(b"newest").unwrap();
        hog.eat();
        disk.kill();
        drop(wal);
        let opened = options().open(Path::new(LOG));
        wal = opened.unwrap_or_else(|error| panic!("after {n} crashes: {error}")).0;
        assert_eq!(wal.reader(Lsn::new(1)).last().unwrap().unwrap().lsn, newest);
    }
    let before = wal.stats().log_bytes;
    wal.checkpoint(wal.durable_lsn(), b"state").unwrap();
    assert!(wal.stats().log_bytes < before);
    assert!(fill(&wal) > 0);
}

/// They stayed for good, 32 KiB each.
#[test]
fn a_log_that_keeps_fewer_checkpoints_has_fewer_files_in_reserve() {
    let disk = SimDisk::new();
    let names = |disk: &SimDisk| {
        let files = disk.mount().read_dir(Path::new(LOG)).unwrap();
        let names = files.into_iter().map(|file| file.name.into_string().unwrap());
        names.filter(|name| name.contains("reserve")).collect::<BTreeSet<_>>()
    };
    let reserve = |n: u64| (0..n).map(|n| format!("reserve-{n:016x}")).collect::<BTreeSet<_>>();
    drop(options(&disk).keep_checkpoints(16).unwrap().open(Path::new(LOG)).unwrap());
    assert_eq!(names(&disk), reserve(17));

    // Somebody else's, or nobody's.
    let others = BTreeSet::from([
        "reserve-4".to_owned(),
        "reserve-000000000000000g".to_owned(),
        "reserve-0000000000000004.old".to_owned(),
        "my-reserve-0000000000000004".to_owned(),
    ]);
    for name in &others {
        disk.mount().open(&Path::new(LOG).join(name), OpenMode::CreateNew).unwrap();
    }
    for keep in [3, 1] {
        drop(options(&disk).keep_checkpoints(keep).unwrap().open(Path::new(LOG)).unwrap());
        assert_eq!(names(&disk), &reserve(keep as u64 + 1) | &others);
    }
}
