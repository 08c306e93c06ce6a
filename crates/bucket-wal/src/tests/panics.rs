//! Code of the application's that panics in the middle of what the log does: the panic goes on its way,
//! the log is poisoned, everybody who waits hears so, and nothing acknowledged is lost.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bucket_core::ByteCount;
use bucket_vfs::sim::SimDisk;
use bucket_vfs::{DirEntry, LockError, OpenMode, Vfs, VfsFile, VfsLock};

use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use crate::{
    ArchiveSink, CheckpointPolicy, CheckpointState, Lsn, ReadLevel, SealedSegment, Wal, WalError,
    WalOptions,
};

/// Nobody waits longer, or the test fails.
const LONG: Duration = Duration::from_secs(60);
const LOG: &str = "/log";

/// A file layer that panics at the operation whose turn it is, and all of that kind after it.
#[derive(Clone, Debug)]
struct Panicking(Arc<dyn Vfs>, Arc<Turn>);

#[derive(Debug)]
struct Turn {
    /// How many operations are left before it; nothing panics while it is `u64::MAX`.
    left: AtomicU64,
    panics: AtomicU64,
    /// The next sync says that it has begun, and waits to be let go.
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

#[derive(Debug)]
struct PanickingFile(Arc<dyn VfsFile>, Arc<Turn>);

impl Turn {
    fn take(&self) {
        let left = self.left.load(Ordering::SeqCst);
        if left == u64::MAX {
            return;
        }
        let fewer = |left: u64| Some(left.saturating_sub(1));
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer) == Ok(0) {
            self.panics.fetch_add(1, Ordering::SeqCst);
            planted();
        }
    }
}

/// A panic that does not print.
fn planted() -> ! {
    resume_unwind(Box::new("planted"))
}

impl Panicking {
    fn on(disk: &SimDisk) -> Self {
        let (left, panics) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        Self(disk.mount(), Arc::new(Turn { left, panics, gate: Mutex::new(None) }))
    }

    fn arm(&self, after: u64) {
        self.1.left.store(after, Ordering::SeqCst);
    }

    fn has_panicked(&self) -> bool {
        self.1.panics.load(Ordering::SeqCst) > 0
    }
}

impl VfsFile for PanickingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.1.take();
        self.0.write_all_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.1.take();
        let gate = self.1.gate.lock().take();
        if let Some((begun, go_on)) = gate {
            begun.send(()).unwrap();
            go_on.recv_timeout(LONG).unwrap();
        }
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.1.take();
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

impl Vfs for Panicking {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        self.1.take();
        Ok(Arc::new(PanickingFile(self.0.open(path, mode)?, Arc::clone(&self.1))))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.1.take();
        self.0.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        // Also called while a panic is under way, when a second one would end the process.
        if !std::thread::panicking() {
            self.1.take();
        }
        self.0.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.1.take();
        self.0.sync_dir(path)
    }

    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn VfsLock>, LockError> {
        self.0.lock(path, holder)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        self.0.available_bytes(path)
    }
}

fn options() -> WalOptions {
    Wal::options().segment_size(ByteCount::kib(64)).unwrap()
}

/// A log with one record.
fn open(options: WalOptions, vfs: &Panicking) -> Wal {
    let (wal, _) = options.vfs(Arc::new(vfs.clone())).open(Path::new(LOG)).unwrap();
    assert_eq!(wal.append(b"before").unwrap(), Lsn::new(1));
    wal
}

/// The log takes nothing more, and says why; what was acknowledged by then is read after a restart.
fn is_poisoned(wal: Wal, disk: &SimDisk, acknowledged: &[u64]) {
    match wal.append(b"after") {
        Err(error @ WalError::Poisoned { durable_lsn, .. }) => {
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert_eq!(source, "a panic: planted");
            let newest = acknowledged.iter().max().copied().unwrap_or(1);
            assert!(durable_lsn.get() >= newest, "{durable_lsn} and {newest}");
        }
        other => panic!("{other:?}"),
    }
    disk.kill();
    drop(wal);
    let (wal, _) = options().vfs(disk.mount()).open(Path::new(LOG)).unwrap();
    let found: Vec<u64> = wal.reader(Lsn::new(1)).map(|record| record.unwrap().lsn.get()).collect();
    assert!(acknowledged.iter().all(|lsn| found.contains(lsn)), "{acknowledged:?}, {found:?}");
}

/// Starts a thread whose outcome is waited for, but not for ever: a panic is `None`.
fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<Option<T>> {
    let (say, hear) = channel();
    std::thread::spawn(move || say.send(catch_unwind(AssertUnwindSafe(work)).ok()));
    hear
}

/// Appends five records, waiting for each in another way, until one is not accepted.
fn appender(wal: Wal) -> (Vec<u64>, Option<WalError>) {
    let mut acknowledged = Vec::new();
    for n in 0..5 {
        let payload = vec![n; 15_000];
        let result = match n % 3 {
            0 => wal.append(&payload),
            1 => wal.submit(&payload).and_then(|ticket| ticket.wait()),
            // The thread of the log leads.
            _ => wal
                .submit(&payload)
                .and_then(|ticket| wal.wait_durable(ticket.lsn()).map(|()| ticket.lsn())),
        };
        match result {
            Ok(lsn) => acknowledged.push(lsn.get()),
            Err(error) => return (acknowledged, Some(error)),
        }
    }
    (acknowledged, None)
}

#[test]
fn a_panic_of_a_leader_reaches_everybody_who_waits() {
    let mut visited = 0;
    for after in 0.. {
        let disk = SimDisk::new();
        let vfs = Panicking::on(&disk);
        let wal = open(options(), &vfs);
        vfs.arm(after);
        let threads = [(); 3].map(|()| {
            let wal = wal.clone();
            spawn(move || appender(wal))
        });
        let outcomes = threads.map(|thread| thread.recv_timeout(LONG).expect("somebody hangs"));
        if !vfs.has_panicked() {
            assert!(outcomes.iter().flatten().all(|(_, error)| error.is_none()));
            break;
        }
        visited += 1;
        let acknowledged: Vec<u64> =
            outcomes.iter().flatten().flat_map(|(lsns, _)| lsns.clone()).collect();
        for (_, error) in outcomes.iter().flatten() {
            assert!(matches!(error, None | Some(WalError::Poisoned { .. })), "{error:?}");
        }
        vfs.arm(u64::MAX);
        is_poisoned(wal, &disk, &acknowledged);
    }
    assert!(visited > 30, "{visited} operations");
}

#[test]
fn a_panic_in_work_that_needs_the_log_for_itself_poisons_it() {
    type Work = fn(&Wal) -> Result<(), WalError>;
    let works: [Work; 4] = [
        |wal| wal.seal(),
        |wal| wal.begin_epoch(7),
        |wal| wal.truncate_after(Lsn::new(2)),
        |wal| wal.checkpoint(Lsn::new(2), b"state"),
    ];
    for (nth, work) in works.into_iter().enumerate() {
        let mut visited = 0;
        for after in 0.. {
            let disk = SimDisk::new();
            let vfs = Panicking::on(&disk);
            let wal = open(options(), &vfs);
            for _ in 0..3 {
                wal.append(b"record").unwrap();
            }
            vfs.arm(after);
            let result = catch_unwind(AssertUnwindSafe(|| work(&wal)));
            if !vfs.has_panicked() {
                result.expect("no panic").unwrap();
                break;
            }
            let panic = result.expect_err("it was swallowed");
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"planted"));
            visited += 1;
            vfs.arm(u64::MAX);
            // What is taken back may be gone.
            is_poisoned(wal, &disk, &[1, 2]);
        }
        assert!(visited >= 2, "work {nth}: {visited} operations");
    }
}

/// An archive that panics.
#[derive(Debug)]
struct Lost;

impl ArchiveSink for Lost {
    fn archive(&self, _segment: &SealedSegment) -> io::Result<()> {
        planted()
    }
}

#[test]
fn a_panic_of_the_archive_reaches_the_caller_and_poisons_the_log() {
    let disk = SimDisk::new();
    let vfs = Panicking::on(&disk);
    let options = options().archive(Arc::new(Lost)).keep_checkpoints(1).unwrap();
    let wal = open(options.housekeeping_by_hand(true), &vfs);
    for _ in 0..5 {
        wal.append(&[1; 30_000]).unwrap();
    }
    wal.checkpoint(Lsn::new(6), b"").unwrap();
    catch_unwind(AssertUnwindSafe(|| wal.housekeep())).expect_err("it was swallowed");
    is_poisoned(wal, &disk, &[6]);
}

fn panicking_source() -> Option<(Lsn, CheckpointState)> {
    planted()
}

#[test]
fn a_panic_on_the_logs_own_thread_reaches_those_who_follow_the_log() {
    let disk = SimDisk::new();
    let vfs = Panicking::on(&disk);
    let policy = CheckpointPolicy::never().records(2).unwrap();
    let options = options().checkpoints(policy).checkpoint_source(panicking_source);
    let wal = open(options, &vfs);
    let tail = wal.tail(Lsn::new(3), ReadLevel::Durable);
    let follower = spawn(move || tail.last());
    let second = wal.append(b"second").unwrap();
    let last = follower.recv_timeout(LONG).expect("it hangs").expect("it panicked");
    assert!(matches!(last, Some(Err(WalError::Poisoned { .. }))), "{last:?}");
    is_poisoned(wal, &disk, &[second.get()]);
}

#[test]
fn a_leader_finishes_its_turn_when_something_beside_it_panics() {
    let disk = SimDisk::new();
    let vfs = Panicking::on(&disk);
    let policy = CheckpointPolicy::never().records(1).unwrap();
    let options = options().checkpoints(policy).checkpoint_source(panicking_source);
    let wal = open(options.housekeeping_by_hand(true), &vfs);
    let ((begun, has_begun), (go, go_on)) = (channel(), channel());
    *vfs.1.gate.lock() = Some((begun, go_on));
    let leader = {
        let wal = wal.clone();
        spawn(move || wal.append(b"under way"))
    };
    has_begun.recv_timeout(LONG).unwrap();
    // Waits for the group after the one that is under way.
    let waiter = {
        let wal = wal.clone();
        let ticket = wal.submit(b"next").unwrap();
        spawn(move || ticket.wait())
    };
    catch_unwind(AssertUnwindSafe(|| wal.housekeep())).expect_err("it was swallowed");
    go.send(()).unwrap();
    let lsn = leader.recv_timeout(LONG).expect("it hangs").expect("it panicked").unwrap();
    let refused = waiter.recv_timeout(LONG).expect("it hangs").expect("it panicked");
    let Err(WalError::Poisoned { durable_lsn, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(durable_lsn, lsn, "what the leader has made durable counts");
    is_poisoned(wal, &disk, &[lsn.get()]);
}
