//! What must hold when a log is opened whose files were tampered with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bucket_vfs::OpenMode;
use bucket_vfs::sim::SimDisk;
use sha2::{Digest, Sha256};

use crate::entropy::Entropy;
use crate::sync::{Arc, AtomicU64};
use crate::{Lsn, RecoveryPolicy, VerifyOnOpen, Wal, WalError, WalOptions};

const DIR: &str = "/log";
/// Bytes of an input for one edit.
const EDIT_LEN: usize = 4;

/// Reads `data` as edits to the files of a valid log, and opens what they leave under every policy.
///
/// The first byte says how: with its lowest bit set, the checks of segment headers and checkpoints are
/// put right after the edits, so that what they say is believed; no fuzzer guesses a check. The second
/// lowest has everything verified at opening. The third takes a log whose files were segments before.
///
/// # Panics
///
/// When opening breaks a promise: it fails for a reason other than damage, changes something under
/// [`RecoveryPolicy::Strict`], makes a record up, or leaves a log that is not whole.
pub fn open_log(data: &[u8]) {
    let Some((&how, edits)) = data.split_first() else { return };
    let mut files = log(how & 4 != 0).clone();
    edits.chunks_exact(EDIT_LEN).for_each(|edit| apply(&mut files, edit));
    let is_forged = how & 1 != 0;
    if is_forged {
        files.iter_mut().for_each(|(path, bytes)| forge(path, bytes));
    }
    let verify = if how & 2 == 0 { VerifyOnOpen::SinceCheckpoint } else { VerifyOnOpen::Full };
    let options = |policy| WalOptions::verify_on_open(Wal::options().recovery(policy), verify);

    let disk = disk_with(&files);
    let strict = open(&disk, options(RecoveryPolicy::Strict));
    match &strict {
        Ok((wal, _)) => drop(readable(wal, is_forged)),
        Err(error) => {
            assert!(is_refusal(error), "{error:?}");
            assert_eq!(contents(&disk), files, "a refused opening has changed something");
        }
    }
    drop(strict);
    let inspection = Wal::options().vfs(disk.mount()).inspect(DIR);
    assert!(inspection.is_ok() || inspection.is_err_and(|error| is_refusal(&error)));

    for policy in [RecoveryPolicy::Salvage, RecoveryPolicy::PointInTime] {
        let disk = disk_with(&files);
        let (wal, _) = match open(&disk, options(policy)) {
            Ok(opened) => opened,
            Err(WalError::UnsupportedFormat { .. }) if is_forged => continue,
            Err(error) => panic!("{policy:?}: {error:?}"),
        };
        let found = readable(&wal, is_forged);
        let next = wal.append(b"next").expect("the disk is healthy").get();
        assert!(found.keys().all(|lsn| *lsn < next), "{next} was given before");
        drop(wal);
        let (wal, recovery) = open(&disk, options(RecoveryPolicy::Strict))
            .unwrap_or_else(|error| panic!("{policy:?} left damage: {error:?}"));
        assert!(recovery.report().damage.is_empty());
        let mut again = readable(&wal, true);
        assert_eq!(again.remove(&next).as_deref(), Some(&b"next"[..]));
        assert_eq!(again, found, "{policy:?} has shown other records than it left");
    }
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The files of a valid log: five segments, sealed and not, with gaps and batches, two checkpoints. All
/// in new files, or some in files that were segments before.
fn log(is_reused: bool) -> &'static Files {
    static LOGS: [OnceLock<Files>; 2] = [OnceLock::new(), OnceLock::new()];
    LOGS[usize::from(is_reused)].get_or_init(|| {
        let disk = SimDisk::new();
        let (wal, _) = open(&disk, Wal::options()).expect("the disk is healthy");
        let mut lsn = 0;
        if is_reused {
            for _ in 0..4 {
                for len in [900, 200, 2_000] {
                    lsn += 1;
                    wal.append(&payload(lsn, len)).expect("the disk is healthy");
                }
                wal.seal().expect("the disk is healthy");
                wal.checkpoint(Lsn::new(lsn + 1), b"left behind").expect("the disk is healthy");
            }
        }
        let before = lsn;
        for segment in 0..5 {
            for len in [0, 30, 700, 40 << segment] {
                lsn += 1;
                wal.append(&payload(lsn, len)).expect("the disk is healthy");
            }
            let batch = [payload(lsn + 1, 9), payload(lsn + 2, 90)];
            lsn += 2;
            wal.append_batch(batch.iter().map(Vec::as_slice)).expect("the disk is healthy");
            match segment {
                1 => wal.checkpoint(Lsn::new(before + 5), b"older").expect("the disk is healthy"),
                2 => wal.checkpoint(Lsn::new(before + 9), b"newer").expect("the disk is healthy"),
                4 => break,
                _ => {}
            }
            wal.seal().expect("the disk is healthy");
        }
        assert!(!is_reused || wal.stats().reused > 1, "no file was used again");
        drop(wal);
        contents(&disk)
    })
}

/// The content of a record, which tells its number.
fn payload(lsn: u64, len: usize) -> Vec<u8> {
    vec![lsn as u8; len]
}

fn open(disk: &SimDisk, options: WalOptions) -> Result<(Wal, crate::Recovery), WalError> {
    let entropy = Entropy::Counter(Arc::new(AtomicU64::new(disk.operations() + 1)));
    let options = options.vfs(disk.mount()).entropy(entropy).recovery_threads(1);
    options.expect("one thread is allowed").open(DIR)
}

/// The records that can be read, each of which has to be one that was written, unless the log is forged.
fn readable(wal: &Wal, is_forged: bool) -> BTreeMap<u64, Vec<u8>> {
    let records =
        wal.reader(Lsn::new(1)).flatten().map(|record| (record.lsn.get(), record.payload));
    let records: BTreeMap<_, _> = records.collect();
    for (lsn, found) in &records {
        assert!(is_forged || *found == payload(*lsn, found.len()), "record {lsn} was made up");
    }
    records
}

fn is_refusal(error: &WalError) -> bool {
    error.is_damage() || matches!(error, WalError::UnsupportedFormat { .. })
}

fn disk_with(files: &Files) -> SimDisk {
    let disk = SimDisk::new();
    let vfs = disk.mount();
    vfs.create_dir(Path::new(DIR)).expect("the disk is empty");
    for (path, bytes) in files {
        let file = vfs.open(path, OpenMode::CreateNew).expect("the directory is empty");
        file.write_all_at(bytes, 0).expect("the disk is healthy");
        file.sync_data().expect("the disk is healthy");
    }
    for dir in [DIR, "/"] {
        vfs.sync_dir(Path::new(dir)).expect("the disk is healthy");
    }
    disk
}

/// All files but the lock.
fn contents(disk: &SimDisk) -> Files {
    disk.durable_files().into_iter().filter(|(path, _)| !path.ends_with("LOCK")).collect()
}

fn apply(files: &mut Files, edit: &[u8]) {
    let count = files.len();
    let nth = |n: u8| move |files: &Files| files.keys().nth(usize::from(n) % count.max(1)).cloned();
    let Some(path) = nth(edit[0] & 0x3f)(files) else { return };
    let at = usize::from(u16::from_le_bytes([edit[1], edit[2]]));
    match edit[0] >> 6 {
        2 => {
            if let Some(bytes) = files.get_mut(&path) {
                bytes.truncate(at);
            }
        }
        3 if edit[3] & 1 == 0 => drop(files.remove(&path)),
        3 => {
            // One file under the name of another, or under a name that nobody has.
            let bytes = files.get(&path).cloned().unwrap_or_default();
            let known = nth(edit[3] >> 1)(files);
            let fresh = Path::new(DIR).join(format!("seg-{:016x}.wal", at));
            let to = if edit[3] & 0x80 == 0 { known.unwrap_or(fresh) } else { fresh };
            files.insert(to, bytes);
        }
        _ => {
            if let Some(byte) = files.get_mut(&path).and_then(|bytes| bytes.get_mut(at)) {
                *byte = edit[3];
            }
        }
    }
}

/// Puts the check of a segment's header or of a checkpoint right.
fn forge(path: &Path, bytes: &mut [u8]) {
    if path.extension().is_some_and(|extension| extension == "wal") {
        if let Some((header, check)) =
            bytes.get_mut(..4_096).map(|header| header.split_at_mut(4_092))
        {
            check.copy_from_slice(&crc32fast::hash(header).to_le_bytes());
        }
    } else if let Some(len) = bytes.len().checked_sub(32) {
        let (body, sum) = bytes.split_at_mut(len);
        sum.copy_from_slice(&Sha256::digest(body));
    }
}
