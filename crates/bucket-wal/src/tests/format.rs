//! Features of the format, played with one that no version has: off until they are turned on, then in every
//! file, and refused by whoever does not know them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bucket_core::ByteCount;
use bucket_vfs::OpenMode;
use bucket_vfs::sim::{Fault, FaultKind, SimDisk};

use crate::format::Features;
use crate::manifest::Manifest;
use crate::segment::Header;
use crate::{Lsn, RecoveryPolicy, Wal, WalError, WalOptions};

const DIR: &str = "/log";
/// The feature that the new version knows.
const FEATURE: u32 = 1 << 9;

/// The version before.
fn old(disk: &SimDisk) -> WalOptions {
    let options = Wal::options().vfs(disk.mount()).segment_size(ByteCount::kib(64));
    options.expect("within the bounds")
}

fn new(disk: &SimDisk) -> WalOptions {
    old(disk).known(FEATURE)
}

fn files(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let is_ours = |path: &Path| path.extension().is_some();
    disk.durable_files().into_iter().filter(|(path, _)| is_ours(path)).collect()
}

/// What the file says that is turned on.
fn features_of(path: &Path, bytes: &[u8]) -> u32 {
    let all = Features::from_bits(u32::MAX);
    let features = if path.extension().is_some_and(|extension| extension == "man") {
        Manifest::decode(bytes, all).expect("it was written just now").features
    } else {
        Header::decode(bytes, all).expect("it was written just now").features
    };
    features.bits()
}

#[test]
fn the_version_before_opens_what_was_not_finalized() {
    let disk = SimDisk::new();
    let (wal, _) = new(&disk).open(DIR).unwrap();
    let lsn = wal.append(b"by the new version").unwrap();
    wal.checkpoint(lsn, b"state").unwrap();
    assert_eq!(wal.format().features, 0);
    wal.close().unwrap();
    let (wal, _) = old(&disk).open(DIR).unwrap();
    assert_eq!(wal.read(lsn).unwrap().payload, b"by the new version");
    assert_eq!(wal.append(b"and by the old one").unwrap().get(), 2);
}

#[test]
fn what_was_finalized_is_refused_by_the_version_before_and_not_changed() {
    let disk = SimDisk::new();
    let (wal, _) = new(&disk).open(DIR).unwrap();
    wal.append(b"before").unwrap();
    wal.finalize().unwrap();
    assert_eq!((wal.format().major, wal.format().features), (1, FEATURE));
    // Not closed, and nothing was written since.
    drop(wal);
    let before = files(&disk);
    for policy in [RecoveryPolicy::Strict, RecoveryPolicy::PointInTime, RecoveryPolicy::Salvage] {
        let error = old(&disk).recovery(policy).open(DIR).unwrap_err();
        let flags = match &error {
            WalError::UnsupportedFormat { major: 1, flags, .. } => *flags,
            other => panic!("{other:?}"),
        };
        assert_eq!(flags, FEATURE);
        assert_eq!(files(&disk), before, "{policy:?} has changed something");
    }
    let refused = |error| matches!(error, WalError::UnsupportedFormat { .. });
    assert!(refused(old(&disk).inspect(DIR).unwrap_err()));
    assert!(refused(old(&disk).follow(DIR, Lsn::new(2)).try_next().unwrap_err()));

    let (wal, recovery) = new(&disk).open(DIR).unwrap();
    assert!(recovery.report().is_clean());
    assert_eq!(wal.read(Lsn::new(1)).unwrap().payload, b"before");
    assert_eq!(new(&disk).inspect(DIR).unwrap().format, wal.format());
}

#[test]
fn a_feature_that_is_on_is_in_every_file_from_then_on() {
    let disk = SimDisk::new();
    let (wal, _) = new(&disk).open(DIR).unwrap();
    wal.append(b"before").unwrap();
    wal.checkpoint(Lsn::new(1), b"kept").unwrap();
    let before = files(&disk);
    wal.finalize().unwrap();
    let checkpoint = wal.checkpoints().unwrap().remove(0);
    assert_eq!((checkpoint.generation, checkpoint.replay_from), (2, Lsn::new(1)));
    assert_eq!(checkpoint.state.bytes(), b"kept");
    // Rotation, taking back, an epoch, and what recovery writes.
    for _ in 0..3 {
        wal.append(&[7; 40_000]).unwrap();
    }
    wal.truncate_after(Lsn::new(3)).unwrap();
    wal.begin_epoch(9).unwrap();
    wal.append(b"not vouched for").unwrap();
    disk.kill();
    drop(wal);
    // Whether a version that knows more opens it is nothing to the log.
    let (wal, recovery) = new(&disk).known(FEATURE | 2).open(DIR).unwrap();
    assert_eq!(recovery.report().copied_records, 1);
    assert_eq!(wal.format().features, FEATURE);
    wal.checkpoint(Lsn::new(3), b"newer").unwrap();
    drop(wal);
    let mut count = 0;
    for (path, bytes) in files(&disk) {
        let expected = if before.contains_key(&path) { 0 } else { FEATURE };
        assert_eq!(features_of(&path, &bytes), expected, "{}", path.display());
        count += u32::from(expected > 0);
    }
    assert!(count >= 6, "{count} files were written since");
}

#[test]
fn finalizing_with_nothing_new_writes_nothing() {
    let disk = SimDisk::new();
    for (options, features) in [(old(&disk), 0), (new(&disk), FEATURE)] {
        let (wal, _) = options.open(DIR).unwrap();
        let lsn = wal.append(b"record").unwrap();
        wal.checkpoint(lsn, b"state").unwrap();
        wal.finalize().unwrap();
        let before = disk.operations();
        wal.finalize().unwrap();
        assert_eq!((disk.operations(), wal.format().features), (before, features));
    }
    let (wal, _) = old(&disk).known(FEATURE).open(DIR).unwrap();
    let before = disk.operations();
    wal.finalize().unwrap();
    assert_eq!(disk.operations(), before);
}

/// The segment decides; the checkpoint is for when it is lost.
#[test]
fn a_checkpoint_that_could_not_be_taken_is_taken_by_the_next_call() {
    let disk = SimDisk::new();
    let (wal, _) = new(&disk).open(DIR).unwrap();
    wal.checkpoint(Lsn::new(1), b"state").unwrap();
    disk.inject(Fault::new(FaultKind::WriteError).on("ckpt"));
    wal.finalize().unwrap_err();
    assert_eq!(wal.format().features, FEATURE);
    disk.clear_faults();
    drop(wal);
    let (wal, _) = new(&disk).open(DIR).unwrap();
    wal.finalize().unwrap();
    let newest =
        files(&disk).into_iter().rfind(|(path, _)| path.extension() == Some("man".as_ref()));
    let (path, bytes) = newest.unwrap();
    assert_eq!(features_of(&path, &bytes), FEATURE);
}

#[test]
fn a_feature_stays_on_when_the_segment_that_says_so_is_lost() {
    let disk = SimDisk::new();
    let (wal, _) = new(&disk).open(DIR).unwrap();
    wal.append(b"before").unwrap();
    wal.checkpoint(Lsn::new(1), b"state").unwrap();
    wal.finalize().unwrap();
    drop(wal);
    let newest = files(&disk).into_keys().rfind(|path| path.extension() == Some("wal".as_ref()));
    let vfs = disk.mount();
    let file = vfs.open(&newest.unwrap(), OpenMode::Write).unwrap();
    file.write_all_at(&[0; 4_096], 0).unwrap();
    let (wal, _) = new(&disk).recovery(RecoveryPolicy::Salvage).open(DIR).unwrap();
    assert_eq!(wal.format().features, FEATURE);
    assert_eq!(wal.read(Lsn::new(1)).unwrap().payload, b"before");
    drop(wal);
    let refused = old(&disk).open(DIR).unwrap_err();
    assert!(matches!(refused, WalError::UnsupportedFormat { .. }), "{refused:?}");
}
