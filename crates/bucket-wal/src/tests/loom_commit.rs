//! Models of group commit under several threads: loom runs the code of this crate through every
//! interleaving with at most so many preemptions, and reports a deadlock when somebody sleeps whom
//! nobody will wake.
//!
//! What they leave out: more threads and records than are written here; anything between two writes of
//! one commit, for the files are memory behind a lock that loom does not see; and how long anything
//! takes. The committer's linger ends at any moment, its second of idleness never, see `sync::model`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
#[expect(clippy::disallowed_types, reason = "the files are out of loom's sight on purpose")]
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use bucket_vfs::{DirEntry, EntryKind, LockError, OpenMode, Vfs, VfsFile, VfsLock};
use loom::thread::{self, JoinHandle};

use crate::entropy::Entropy;
use crate::sync::{Arc, AtomicU64};
use crate::{Lsn, SyncPolicy, Wal, WalError, WalOptions};

#[test]
fn every_append_is_synced_before_it_is_acknowledged() {
    explore(3, || three_append(Wal::options()));
}

/// Three threads, one record each: some lead, some wait, some are handed the lead.
fn three_append(options: WalOptions) {
    let (wal, disk) = begin(options);
    let appends = RECORDS.map(|record| append(&wal, &disk, record));
    let mut lsns = Vec::new();
    for (handle, record) in appends.into_iter().zip(RECORDS) {
        let (lsn, synced) = handle.join().unwrap();
        let lsn = lsn.unwrap();
        assert!(synced, "acknowledged before it was synced");
        assert_eq!(wal.read(lsn).unwrap().payload, record);
        lsns.push(lsn.get());
    }
    lsns.sort_unstable();
    assert_eq!(lsns, [2, 3, 4], "each record has its own number");
    let stats = wal.stats();
    assert_eq!((stats.records, stats.durable_lsn), (4, Lsn::new(4)));
    assert!((2..=4).contains(&stats.groups), "{stats:?}");
}

#[test]
fn the_lead_goes_round_between_threads_that_append_twice() {
    explore(3, || {
        let (wal, disk) = begin(Wal::options());
        let threads = [[RECORDS[0], RECORDS[1]], [RECORDS[2], b"fourth"]].map(|records| {
            let (wal, disk) = (wal.clone(), disk.clone());
            thread::spawn(move || {
                records.map(|record| (wal.append(record).map(Lsn::get), disk.has_synced(record)))
            })
        });
        for thread in threads {
            let [(first, a), (second, b)] = thread.join().unwrap();
            assert!(first.unwrap() < second.unwrap(), "a thread's records stay in order");
            assert!(a && b, "acknowledged before it was synced");
        }
        assert_eq!(wal.durable_lsn(), Lsn::new(5));
    });
}

#[test]
fn a_failed_sync_poisons_every_waiter() {
    explore(3, || a_sync_fails(Wal::options()));
}

fn a_sync_fails(options: WalOptions) {
    let (wal, disk) = begin(options);
    disk.0.fail_sync.store(true, SeqCst);
    let appends = RECORDS.map(|record| append(&wal, &disk, record));
    for append in appends {
        let (result, synced) = append.join().unwrap();
        assert!(!synced);
        let Err(WalError::Poisoned { durable_lsn, .. }) = result else {
            panic!("acknowledged without a sync: {result:?}");
        };
        assert_eq!(durable_lsn, Lsn::new(1));
    }
    disk.0.fail_sync.store(false, SeqCst);
    assert!(matches!(wal.append(b"later"), Err(WalError::Poisoned { .. })), "it stays so");
}

#[test]
fn a_full_disk_refuses_every_waiter_and_the_log_goes_on() {
    explore(3, || {
        let (wal, disk) = begin(Wal::options());
        disk.0.full.store(true, SeqCst);
        let appends = [(); 2].map(|()| {
            let wal = wal.clone();
            thread::spawn(move || wal.append(&LARGE).map_err(|error| error.to_string()))
        });
        for append in appends {
            let error = append.join().unwrap().unwrap_err();
            assert!(error.contains("space"), "{error}");
        }
        disk.0.full.store(false, SeqCst);
        let lsn = wal.append(b"later").unwrap();
        assert_eq!(wal.read(lsn).unwrap().payload, b"later");
    });
}

#[test]
fn a_submitted_record_outlives_its_ticket_and_closing_waits_for_it() {
    explore(3, || {
        let (wal, disk) = begin(Wal::options());
        drop(wal.submit(RECORDS[0]).unwrap());
        let append = append(&wal, &disk, RECORDS[1]);
        let (lsn, synced) = append.join().unwrap();
        assert!(lsn.is_ok() && synced);
        wal.close().unwrap();
        assert!(disk.has_synced(RECORDS[0]), "closed before it was synced");
    });
}

#[test]
fn a_ticket_that_is_polled_is_woken_by_the_committer_or_a_leader() {
    explore(3, || {
        let (wal, disk) = begin(Wal::options());
        let append = append(&wal, &disk, RECORDS[1]);
        let lsn = loom::future::block_on(wal.submit(RECORDS[0]).unwrap()).unwrap();
        assert!(disk.has_synced(RECORDS[0]), "acknowledged before it was synced");
        assert_eq!(wal.read(lsn).unwrap().payload, RECORDS[0]);
        assert!(append.join().unwrap().1);
    });
}

#[test]
fn an_idle_committer_is_woken_for_the_next_record() {
    explore(3, || {
        let (wal, disk) = begin(Wal::options());
        // Nobody blocks on these, so the committer writes them; between the two it may have gone idle.
        for record in [RECORDS[0], RECORDS[1]] {
            loom::future::block_on(wal.submit(record).unwrap()).unwrap();
            assert!(disk.has_synced(record), "acknowledged before it was synced");
        }
        assert_eq!(wal.durable_lsn(), Lsn::new(3));
    });
}

/// The same models with a bug planted, which loom has to find.
/// Under a policy that does not wait for the disk some leaders only write. Whoever waits for the sync must
/// then be found as the next leader.
#[test]
fn who_waits_is_not_left_behind_by_a_leader_that_only_writes() {
    explore(3, || one_writes_and_one_waits(lazy()));
}

fn one_writes_and_one_waits(options: WalOptions) {
    let (wal, disk) = begin(options);
    let writer = append(&wal, &disk, RECORDS[0]);
    let waiter = {
        let (wal, disk) = (wal.clone(), disk.clone());
        thread::spawn(move || {
            let lsn = wal.submit(RECORDS[1]).unwrap().wait().unwrap();
            (disk.has_synced(RECORDS[1]), wal.durable_lsn() >= lsn)
        })
    };
    assert!(writer.join().unwrap().0.is_ok());
    assert_eq!(waiter.join().unwrap(), (true, true), "acknowledged before it was synced");
    assert_eq!(wal.written_lsn(), Lsn::new(3));
}

pub(super) fn lazy() -> WalOptions {
    Wal::options().sync_policy(SyncPolicy::None).unwrap().write_through(true)
}

/// The committer writes at some moment, and whoever waits for the sync does it.
#[test]
fn the_committer_that_writes_and_a_waiter_that_syncs_do_not_miss_each_other() {
    explore(3, || {
        let (wal, disk) = begin(Wal::options().sync_policy(SyncPolicy::None).unwrap());
        let lsn = wal.append(RECORDS[0]).unwrap();
        let waiter = {
            let (wal, disk) = (wal.clone(), disk.clone());
            thread::spawn(move || {
                wal.wait_durable(lsn).unwrap();
                disk.has_synced(RECORDS[0])
            })
        };
        assert!(waiter.join().unwrap(), "acknowledged before it was synced");
        wal.close().unwrap();
    });
}

#[cfg(bucket_planted)]
pub(super) mod planted {
    use super::*;
    use crate::Bug;

    #[test]
    fn a_lead_that_is_not_handed_over_is_found() {
        finds("deadlock", || three_append(Wal::options().planted(Bug::NoHandOver)));
    }

    #[test]
    fn a_waiter_that_a_writing_leader_leaves_behind_is_found() {
        finds("deadlock", || one_writes_and_one_waits(lazy().planted(Bug::NoHandOver)));
    }

    #[test]
    fn a_leader_that_fails_and_leaves_the_next_batch_waiting_is_found() {
        finds("deadlock", || a_sync_fails(Wal::options().planted(Bug::NoPoisonWake)));
    }

    #[test]
    fn an_acknowledgement_before_the_sync_is_found() {
        finds("acknowledged before it was synced", || {
            three_append(Wal::options().planted(Bug::AcknowledgeBeforeSync));
        });
    }

    /// Runs a model and fails unless loom stops it with a message that contains `wanted`.
    pub(in crate::tests) fn finds(wanted: &str, model: impl Fn() + Send + Sync + 'static) {
        let run = std::panic::AssertUnwindSafe(|| explore(3, model));
        let panic = std::panic::catch_unwind(run).expect_err("loom found nothing");
        let message = panic.downcast::<String>().map_or_else(
            |panic| panic.downcast::<&str>().map_or_else(|_| String::new(), |text| (*text).into()),
            |text| *text,
        );
        assert!(message.contains(wanted), "stopped for another reason: {message}");
    }
}

/// What the threads append.
pub(super) const RECORDS: [&[u8]; 3] = [b"the first", b"the second", b"the third"];

/// More than the zeros that are written ahead leave room for.
static LARGE: [u8; 200 << 10] = [0x5a; 200 << 10];

/// A log with one record, so that its segment is begun.
pub(super) fn begin(options: WalOptions) -> (Wal, Disk) {
    let disk = Disk::default();
    let entropy = Entropy::Counter(Arc::new(AtomicU64::new(0)));
    let options = options.vfs(Arc::new(disk.clone())).entropy(entropy);
    let (wal, _) = options.open("log").unwrap();
    assert_eq!(wal.append(b"before").unwrap(), Lsn::new(1));
    (wal, disk)
}

/// Starts a thread that appends a record and looks, once that is acknowledged, whether it was synced.
/// The threads own their handles and the test only joins, so that the one that finds itself deadlocked
/// does not drop the last handle, which would need loom again.
pub(super) fn append(
    wal: &Wal,
    disk: &Disk,
    record: &'static [u8],
) -> JoinHandle<(Result<Lsn, WalError>, bool)> {
    let (wal, disk) = (wal.clone(), disk.clone());
    thread::spawn(move || (wal.append(record), disk.has_synced(record)))
}

/// Files in memory that know what of them was synced.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(pub(super) Arc<Inner>);

#[expect(clippy::disallowed_types, reason = "see the imports")]
#[derive(Debug, Default)]
pub(super) struct Inner {
    files: Mutex<BTreeMap<PathBuf, Arc<MemFile>>>,
    pub(super) fail_sync: AtomicBool,
    full: AtomicBool,
    /// A segment got its name while something in another was not synced.
    pub(super) named_early: AtomicBool,
}

#[expect(clippy::disallowed_types, reason = "see the imports")]
#[derive(Debug)]
struct MemFile {
    disk: Disk,
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    /// Zeros follow up to `len`.
    bytes: Vec<u8>,
    len: u64,
    /// What was written since the last sync, and before it, one after the other.
    pending: Vec<u8>,
    synced: Vec<u8>,
}

impl Disk {
    pub(super) fn has_synced(&self, record: &[u8]) -> bool {
        let files = self.0.files.lock().unwrap();
        files.values().any(|file| {
            let content = file.content.lock().unwrap();
            content.synced.windows(record.len()).any(|window| window == record)
        })
    }
}

impl VfsFile for MemFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content.lock().unwrap();
        let n = buf.len().min(content.len.saturating_sub(offset) as usize);
        let at = content.bytes.len().min(offset as usize);
        let there = &content.bytes[at..content.bytes.len().min(at + n)];
        buf[..n].fill(0);
        buf[..there.len()].copy_from_slice(there);
        Ok(n)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let (start, end) = (offset as usize, offset as usize + buf.len());
        let mut content = self.content.lock().unwrap();
        if end as u64 > content.len && self.disk.0.full.load(SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.len = content.len.max(end as u64);
        if start >= content.bytes.len() && buf.iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        if content.bytes.len() < end {
            content.bytes.resize(end, 0);
        }
        content.bytes[start..end].copy_from_slice(buf);
        content.pending.extend_from_slice(buf);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.disk.0.fail_sync.load(SeqCst) {
            return Err(io::Error::other("scripted"));
        }
        let mut content = self.content.lock().unwrap();
        let mut pending = std::mem::take(&mut content.pending);
        content.synced.append(&mut pending);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut content = self.content.lock().unwrap();
        content.bytes.truncate(len as usize);
        content.len = len;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().len)
    }
}

impl Vfs for Disk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let mut files = self.0.files.lock().unwrap();
        if mode == OpenMode::CreateNew {
            let file = MemFile { disk: self.clone(), content: Default::default() };
            files.insert(path.to_owned(), Arc::new(file));
        }
        let file = files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::clone(file) as Arc<dyn VfsFile>)
    }

    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let files = self.0.files.lock().unwrap();
        let within = files.iter().filter(|(name, _)| name.parent() == Some(path));
        let entry = |(name, file): (&PathBuf, &Arc<MemFile>)| {
            let len = file.content.lock().unwrap().len;
            DirEntry::new(name.file_name().unwrap(), EntryKind::File, len)
        };
        Ok(within.map(entry).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.0.files.lock().unwrap();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        if to.extension().is_some_and(|extension| extension == "wal") {
            let is_unsynced =
                |file: &Arc<MemFile>| !file.content.lock().unwrap().pending.is_empty();
            self.0.named_early.fetch_or(files.values().any(is_unsynced), SeqCst);
        }
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let removed = self.0.files.lock().unwrap().remove(path);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _path: &Path, _holder: &str) -> Result<Box<dyn VfsLock>, LockError> {
        Ok(Box::new(Unlocked))
    }

    fn available_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// The model has one process.
#[derive(Debug)]
struct Unlocked;

impl VfsLock for Unlocked {}

/// Runs a model through its interleavings. `LOOM_MAX_PREEMPTIONS` overrides the bound.
pub(super) fn explore(max_preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut loom = loom::model::Builder::new();
    loom.preemption_bound.get_or_insert(max_preemptions);
    let explored = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&explored);
    loom.check(move || {
        count.fetch_add(1, SeqCst);
        model();
    });
    let n = explored.load(SeqCst);
    println!("explored {n} interleavings");
    assert!(n > 1, "nothing was interleaved");
}
