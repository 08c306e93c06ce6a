//! The backup before a repair: whatever the power does, the log as it was is somewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bucket_vfs::sim::{SimDisk, Survivors};

use crate::{Lsn, RecoveryPolicy, Wal, WalOptions};

const LOG: &str = "/log";
const BACKUP: &str = "/backup";

fn options(disk: &SimDisk) -> WalOptions {
    let options = Wal::options().vfs(disk.mount()).recovery(RecoveryPolicy::Salvage);
    options.backup_before_repair(BACKUP)
}

/// The segments and checkpoints that would be found in the directory after a crash.
fn durable(disk: &SimDisk, dir: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = disk.durable_files().into_iter();
    let files = files.filter_map(|(path, bytes)| {
        let name = path.strip_prefix(dir).ok()?;
        let is_one = name.extension().is_some() && name.components().count() == 1;
        is_one.then(|| (name.to_owned(), bytes))
    });
    files.collect()
}

#[test]
fn nothing_is_changed_before_the_backup_is_durable() {
    let disk = SimDisk::new();
    let (wal, _) = Wal::options().vfs(disk.mount()).open(Path::new(LOG)).unwrap();
    for n in 1..=20 {
        wal.append(&[n; 1_000]).unwrap();
    }
    wal.checkpoint(Lsn::new(1), b"state").unwrap();
    drop(wal);
    disk.crash(Survivors::All);
    disk.flip_bit("/log/seg-0000000000000001.wal", 8 * (4_096 + 2 * 1_032 + 500)).unwrap();
    disk.crash(Survivors::None);
    let before = durable(&disk, LOG);
    assert!(before.len() >= 2, "{:?}", before.keys());

    disk.keep_history();
    let first = disk.operations();
    let (wal, recovery) = options(&disk).open(Path::new(LOG)).unwrap();
    assert_eq!(recovery.report().damage.len(), 1, "{}", recovery.report());
    drop(wal);
    let has_all = |disk: &SimDisk, dir| {
        let found = durable(disk, dir);
        before.iter().all(|(name, bytes)| found.get(name) == Some(bytes))
    };
    let (mut intact, mut backed_up) = (0, 0);
    for n in first + 1..=disk.operations() {
        let crashed = disk.at_operation(n).unwrap();
        crashed.crash(Survivors::None);
        intact += u64::from(has_all(&crashed, LOG));
        backed_up += u64::from(has_all(&crashed, BACKUP));
        assert!(has_all(&crashed, LOG) || has_all(&crashed, BACKUP), "{}", disk.describe(n));
    }
    // Both were seen, or nothing was looked at.
    assert!(intact > 5 && backed_up > 2, "{intact} intact, {backed_up} backed up");
    disk.crash(Survivors::None);
    assert!(has_all(&disk, BACKUP));
}
