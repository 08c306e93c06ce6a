//! What the features `metrics` and `tracing` emit, and that neither says what a record holds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bucket_core::ByteCount;

use super::fault_vfs::FaultVfs;
use crate::sync::{Arc, Ordering};
use crate::{
    ArchiveDir, ArchiveSink, Lsn, RecoveryPolicy, SealedSegment, Wal, WalError, WalOptions,
};

fn options() -> WalOptions {
    Wal::options().segment_size(ByteCount::kib(64)).unwrap().housekeeping_by_hand(true)
}

/// What every record holds, and nothing that is told may contain.
const SECRET: &str = "tell-nobody";

fn record() -> Vec<u8> {
    SECRET.repeat(1_000).into_bytes()
}

/// A log that is opened, rotates four times, takes a checkpoint, archives and trims.
fn run(dir: &Path) -> Wal {
    let archive = Arc::new(ArchiveDir::new(dir.join("archive")));
    let (wal, _) = options().archive(archive).keep_checkpoints(1).unwrap().open(dir).unwrap();
    for _ in 0..20 {
        wal.append(&record()).unwrap();
    }
    wal.append_batch([&b"tell-nobody"[..], b"tell-nobody"]).unwrap();
    wal.checkpoint(wal.durable_lsn(), SECRET.as_bytes()).unwrap();
    wal.housekeep().unwrap();
    wal
}

/// The log that [`run`] leaves, with a damaged record, opened by salvage.
fn salvage(dir: &Path) {
    let (wal, _) = options().open(dir).unwrap();
    wal.append(&record()).unwrap();
    wal.append(&record()).unwrap();
    drop(wal);
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.to_string_lossy().contains("seg-");
    let newest = entries.filter(is_segment).max().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    bytes[4_096 + 500] ^= 1;
    fs::write(&newest, bytes).unwrap();
    options().recovery(RecoveryPolicy::Salvage).open(dir).unwrap();
}

/// A log whose sync fails.
fn poison(dir: &Path) {
    let (vfs, faults) = FaultVfs::new();
    let (wal, _) = options().vfs(vfs).open(dir).unwrap();
    wal.append(&record()).unwrap();
    faults.fail_sync.store(true, Ordering::SeqCst);
    wal.append(&record()).unwrap_err();
}

/// A log whose archive takes nothing, and whose checkpoint cannot be written.
fn fail_to_keep(dir: &Path) {
    #[derive(Debug)]
    struct Full;
    impl ArchiveSink for Full {
        fn archive(&self, _segment: &SealedSegment) -> io::Result<()> {
            Err(io::Error::other("no more room"))
        }
    }
    let policy = crate::CheckpointPolicy::never().records(1).unwrap();
    let too_much = || Some((Lsn::new(1), vec![0; 2 << 20].into()));
    let options = options().archive(Arc::new(Full)).keep_checkpoints(1).unwrap();
    let (wal, _) = options.checkpoints(policy).checkpoint_source(too_much).open(dir).unwrap();
    for _ in 0..6 {
        wal.append(&record()).unwrap();
    }
    wal.housekeep().unwrap_err();
    wal.checkpoint(wal.durable_lsn(), b"").unwrap();
    wal.housekeep().unwrap();
}

/// A log with a record that is damaged while it is open.
fn read_damage(dir: &Path) {
    let (wal, _) = options().open(dir).unwrap();
    wal.append(&record()).unwrap();
    let path = dir.join("seg-0000000000000001.wal");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096 + 500] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(wal.read(Lsn::new(1)), Err(WalError::Corrupt { .. })));
}

#[cfg(feature = "metrics")]
mod figures {
    use std::collections::BTreeMap;

    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata,
        Recorder, SharedString, Unit,
    };

    use super::*;
    use crate::sync::Mutex;

    /// Remembers what it is told, by name.
    #[derive(Clone, Default)]
    struct Book(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

    struct Entry(Book, String);

    impl Entry {
        fn change(&self, to: impl FnOnce(f64) -> f64) {
            let mut book = self.0.0.lock();
            let values = book.entry(self.1.clone()).or_default();
            let last = values.last().copied().unwrap_or(0.0);
            values.push(to(last));
        }
    }

    impl CounterFn for Entry {
        fn increment(&self, by: u64) {
            self.change(|is| is + by as f64);
        }

        fn absolute(&self, to: u64) {
            self.change(|_| to as f64);
        }
    }

    impl GaugeFn for Entry {
        fn increment(&self, by: f64) {
            self.change(|is| is + by);
        }

        fn decrement(&self, by: f64) {
            self.change(|is| is - by);
        }

        fn set(&self, to: f64) {
            self.change(|_| to);
        }
    }

    impl HistogramFn for Entry {
        fn record(&self, value: f64) {
            self.change(|_| value);
        }
    }

    impl Book {
        fn entry(&self, key: &Key) -> Arc<Entry> {
            let labels: Vec<_> = key.labels().map(|label| label.key()).collect();
            assert_eq!(labels, ["log"]);
            self.0.lock().entry(key.name().into()).or_default();
            Arc::new(Entry(self.clone(), key.name().into()))
        }

        fn last(&self, name: &str) -> f64 {
            let book = self.0.lock();
            let values = book.get(name).unwrap_or_else(|| panic!("{name} is not registered"));
            values.last().copied().unwrap_or(0.0)
        }

        fn times(&self, name: &str) -> usize {
            self.0.lock()[name].len()
        }
    }

    impl Recorder for Book {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.entry(key))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.entry(key))
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.entry(key))
        }
    }

    fn heard<T>(run: impl FnOnce() -> T) -> (Book, T) {
        let book = Book::default();
        let result = metrics::with_local_recorder(&book, run);
        (book, result)
    }

    #[test]
    fn figures_agree_with_the_statistics() {
        let dir = tempfile::tempdir().unwrap();
        let (book, wal) = heard(|| run(dir.path()));
        let stats = wal.stats();
        for (name, is) in [
            ("bucket_wal_records_total", stats.records),
            ("bucket_wal_groups_total", stats.groups),
            ("bucket_wal_syncs_total", stats.syncs),
            ("bucket_wal_payload_bytes_total", stats.payload_bytes),
            ("bucket_wal_checkpoints_total", stats.checkpoints),
            ("bucket_wal_archived_total", stats.archived),
            ("bucket_wal_segments", stats.segments),
            ("bucket_wal_refused_total", stats.refused),
            ("bucket_wal_poisoned", 0),
        ] {
            assert_eq!(book.last(name), is as f64, "{name}");
        }
        assert_eq!(stats.records, 22);
        assert_eq!(book.last("bucket_wal_group_records"), 2.0, "the last group is a batch");
        // One value a group, not one a record.
        assert_eq!(book.times("bucket_wal_commit_seconds"), 21);
        assert_eq!(book.times("bucket_wal_recovery_seconds"), 1);
        assert_eq!(book.times("bucket_wal_checkpoint_seconds"), 1);
        assert!(book.last("bucket_wal_checkpoint_timestamp_seconds") > 1e9);
        let (rotations, trimmed) =
            (book.last("bucket_wal_rotations_total"), book.last("bucket_wal_trimmed_total"));
        assert!(trimmed >= 3.0 && rotations - trimmed == stats.segments as f64);
        // As of the last segment that came or went: no more than the log has now.
        let bytes = book.last("bucket_wal_log_bytes");
        assert!(bytes > 4_096.0 && bytes <= stats.log_bytes as f64, "{bytes} of {stats:?}");
    }

    #[test]
    fn trouble_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        drop(run(dir.path()));
        let (book, ()) = heard(|| salvage(dir.path()));
        assert_eq!(book.last("bucket_wal_damage_found_total"), 1.0);
        assert_eq!(book.last("bucket_wal_damaged_records_total"), 1.0);
        let dir = tempfile::tempdir().unwrap();
        let (book, ()) = heard(|| poison(dir.path()));
        assert_eq!(book.last("bucket_wal_poisoned"), 1.0);
        assert_eq!(book.last("bucket_wal_syncs_total"), 1.0);
        let dir = tempfile::tempdir().unwrap();
        let (book, ()) = heard(|| fail_to_keep(dir.path()));
        assert_eq!(book.last("bucket_wal_housekeeping_failures_total"), 1.0);
        assert!(book.last("bucket_wal_archive_failures_total") >= 1.0);
        let dir = tempfile::tempdir().unwrap();
        let (book, ()) = heard(|| read_damage(dir.path()));
        assert_eq!(book.last("bucket_wal_damage_read_total"), 1.0);
        // The record of the log before was copied by recovery, because nothing vouches for it.
        let dir = tempfile::tempdir().unwrap();
        options().open(dir.path()).unwrap().0.append(b"record").unwrap();
        let (book, _) = heard(|| options().open(dir.path()).unwrap());
        assert_eq!(book.last("bucket_wal_recovery_copied_records_total"), 1.0);
        let (vfs, faults) = FaultVfs::new();
        let (book, ()) = heard(|| {
            let (wal, _) = options().vfs(vfs).open(dir.path().join("full")).unwrap();
            wal.append(b"fits").unwrap();
            faults.max_len.store(64 << 10, Ordering::SeqCst);
            assert!(matches!(wal.append(&[1; 1 << 20]), Err(WalError::NoSpace { .. })));
        });
        assert_eq!(book.last("bucket_wal_refused_total"), 1.0);
    }
}

#[cfg(feature = "tracing")]
mod events {
    use std::cell::RefCell;
    use std::fmt::{Debug, Write as _};
    use std::sync::Once;

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::*;

    /// Hears the whole process, because whether anybody listens to an event is remembered for all threads
    /// by the first that comes by.
    struct Ear;

    thread_local! {
        /// The events of this thread: level, and fields as text.
        static HEARD: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
    }

    struct Book(Vec<(Level, String)>);

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let _ = write!(self.0, "{}={value:?} ", field.name());
        }
    }

    impl Subscriber for Ear {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().starts_with("bucket_wal")
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut text = Text(String::new());
            event.record(&mut text);
            HEARD.with_borrow_mut(|heard| heard.push((*event.metadata().level(), text.0)));
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    impl Book {
        /// The events with this message, at this level.
        fn all(&self, level: Level, message: &str) -> Vec<String> {
            let wanted = format!("message={message} ");
            let found = self.0.iter().filter(|(_, text)| text.contains(&wanted));
            found
                .map(|(is, text)| {
                    assert_eq!(*is, level, "{text}");
                    text.clone()
                })
                .collect()
        }
    }

    fn heard<T>(run: impl FnOnce() -> T) -> (Book, T) {
        static EAR: Once = Once::new();
        EAR.call_once(|| tracing::subscriber::set_global_default(Ear).expect("the only one"));
        HEARD.take();
        let result = run();
        let book = Book(HEARD.take());
        for (_, text) in &book.0 {
            assert!(text.contains("log="), "which log? {text}");
            assert!(!text.contains(SECRET), "{text}");
        }
        (book, result)
    }

    #[test]
    fn every_step_of_a_log_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let (book, wal) = heard(|| run(dir.path()));
        let stats = wal.stats();
        let opened = book.all(Level::INFO, "opened");
        assert!(opened.len() == 1 && opened[0].contains("took="), "{opened:?}");
        let trimmed = book.all(Level::DEBUG, "trimmed").len() as u64;
        assert_eq!(book.all(Level::DEBUG, "archived").len() as u64, stats.archived);
        assert_eq!(trimmed, stats.archived);
        assert_eq!(book.all(Level::DEBUG, "rotated").len() as u64, stats.segments + trimmed);
        assert_eq!(book.all(Level::DEBUG, "checkpoint taken").len(), 1);
        // And nothing else: appending is silent.
        let total = book.0.len() as u64;
        assert_eq!(total, 2 + 3 * trimmed + stats.segments);
    }

    #[test]
    fn trouble_is_told() {
        let dir = tempfile::tempdir().unwrap();
        drop(run(dir.path()));
        let (book, ()) = heard(|| salvage(dir.path()));
        let damage = book.all(Level::WARN, "damage found");
        assert!(damage.len() == 1 && damage[0].contains("offset=4096"), "{damage:?}");
        let dir = tempfile::tempdir().unwrap();
        let (book, ()) = heard(|| poison(dir.path()));
        let poisoned = book.all(Level::ERROR, "poisoned");
        assert!(poisoned.len() == 1 && poisoned[0].contains("planted sync failure"));
        assert!(poisoned[0].contains("durable_lsn=1 "), "{poisoned:?}");
        let dir = tempfile::tempdir().unwrap();
        let (book, ()) = heard(|| fail_to_keep(dir.path()));
        assert!(!book.all(Level::WARN, "not archived, to be tried again").is_empty());
        assert_eq!(book.all(Level::WARN, "housekeeping failed, to be tried again").len(), 1);
        let dir = tempfile::tempdir().unwrap();
        let (book, ()) = heard(|| read_damage(dir.path()));
        assert_eq!(book.all(Level::WARN, "damage read").len(), 1);
    }
}
