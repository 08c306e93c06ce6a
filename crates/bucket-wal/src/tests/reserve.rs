//! The files in reserve: made where there are none, and of the files of segments that go.

use std::path::{Path, PathBuf};

use bucket_vfs::OpenMode;
use bucket_vfs::sim::SimDisk;

use super::refusing_vfs::{Op, Refusing};
use crate::reserve::{LEN, Reserve};

const LOG: &str = "/log";
const OLD: &str = "/log/spare";

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.mount().create_dir(Path::new(LOG)).unwrap();
    disk
}

fn files(disk: &SimDisk) -> Vec<(String, u64)> {
    let entries = disk.mount().read_dir(Path::new(LOG)).unwrap();
    entries.into_iter().map(|entry| (entry.name.into_string().unwrap(), entry.len)).collect()
}

fn name(n: usize) -> String {
    format!("reserve-{n:016x}")
}

/// A file that was a segment.
fn old(disk: &SimDisk, len: u64) {
    let file = disk.mount().open(Path::new(OLD), OpenMode::CreateNew).unwrap();
    file.write_all_at(&vec![7; len as usize], 0).unwrap();
}

fn make_from(reserve: &mut Reserve, disk: &SimDisk) -> bool {
    reserve.make_from(&*disk.mount(), Path::new(LOG), Path::new(OLD))
}

#[test]
fn a_file_that_cannot_be_opened_is_lacking_and_not_made_anew() {
    let disk = disk();
    let vfs = Refusing::on(disk.mount());
    let first: PathBuf = Path::new(LOG).join(name(0));
    vfs.refuse(Op::Open(OpenMode::Write), &first, 0);
    let mut reserve = Reserve::new(1);
    reserve.make(&*vfs, Path::new(LOG));
    assert!(!reserve.is_whole());
    assert_eq!(files(&disk), [(name(1), LEN)]);
    reserve.make(&*vfs, Path::new(LOG));
    assert!(reserve.is_whole());
    assert_eq!(files(&disk), [(name(0), LEN), (name(1), LEN)]);
}

#[test]
fn a_file_as_long_as_one_of_the_reserve_or_longer_becomes_one() {
    for len in [LEN, LEN + 5_000] {
        let disk = disk();
        let mut reserve = Reserve::new(1);
        old(&disk, len);
        assert!(make_from(&mut reserve, &disk), "{len}");
        assert_eq!(files(&disk), [(name(0), LEN)]);
        assert!(!reserve.is_whole(), "one of two");
        old(&disk, len);
        assert!(make_from(&mut reserve, &disk) && reserve.is_whole());
        // Nothing is lacking: the next is left to whoever has it.
        old(&disk, len);
        assert!(!make_from(&mut reserve, &disk));
        assert_eq!(files(&disk), [(name(0), LEN), (name(1), LEN), ("spare".into(), len)]);
    }
}

/// Its blocks would not be enough for the manifest that is written into it.
#[test]
fn a_file_that_is_shorter_stays_as_it_is() {
    let disk = disk();
    let mut reserve = Reserve::new(1);
    old(&disk, LEN - 1);
    assert!(!make_from(&mut reserve, &disk) && !reserve.is_whole());
    assert_eq!(files(&disk), [("spare".into(), LEN - 1)]);
}
