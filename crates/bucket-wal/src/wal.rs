//! [`Wal`]: the log itself.

use std::ops::RangeInclusive;
use std::path::Path;

use bucket_core::{Clock, SystemClock};
use bucket_vfs::{LockError, VfsLock};

use crate::checkpoint::{Checkpoint, CheckpointState};
use crate::commit::{Records, Shared, Ticket};
use crate::error::WalError;
use crate::frame::Entry;
use crate::lsn::Lsn;
use crate::options::{RecoveryPolicy, WalOptions};
use crate::range_hash::{RangeHash, range_hash};
use crate::reader::{Reader, Record, read_one};
use crate::recovery::{Recovery, recover};
use crate::replay::Replay;
use crate::stats::WalStats;
use crate::sync::Arc;
use crate::tail::{ReadLevel, Tail};
use crate::tuning;

/// A durable log of records. Clones share one log.
///
/// Appending from several threads shares syncs: whoever waits first writes and syncs for all who have
/// come by then. No thread runs in the background unless [`Wal::submit`] was used.
///
/// Dropping the last clone is like a crash: it gives up the lock and loses nothing that was
/// acknowledged; tickets that still wait get [`WalError::Closed`]. [`Wal::close`] writes what is
/// buffered and says whether all went well.
#[derive(Clone, Debug)]
pub struct Wal {
    pub(crate) shared: Arc<Shared>,
    /// Tickets, readers and the committer thread share the state; only clones of the log own it.
    #[expect(dead_code, reason = "held for its drop")]
    owner: Arc<Owner>,
}

/// Gives the log up when the last clone is dropped.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Wal {
    /// Opens the log in `dir` with the default options.
    ///
    /// # Errors
    ///
    /// As [`WalOptions::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<(Self, Recovery), WalError> {
        Self::options().open(dir)
    }

    /// The default options, to be changed.
    pub fn options() -> WalOptions {
        WalOptions::new()
    }

    pub(crate) fn open_with(
        dir: &Path,
        mut options: WalOptions,
    ) -> Result<(Self, Recovery), WalError> {
        let lock = claim(dir, &options)?;
        if options.sync_method.is_none() {
            options.sync_method = tuning::stored(&*options.vfs, dir);
        }
        let clock = SystemClock::new();
        let start = clock.now();
        let recovered = recover(dir, &options)?;
        let mut recovery = recovered.recovery.clone();
        let newest = recovered.manifests.readable.first();
        let needed_from =
            newest.map_or(1, |newest| newest.pending_from.unwrap_or(newest.replay_from));
        let (lifecycle, planted) = (options.lifecycle, options.planted);
        let salvage = options.recovery != RecoveryPolicy::Strict;
        let shared = Shared::new(dir.to_owned(), options, lock, recovered);
        let owner = Arc::new(Owner(Arc::clone(&shared)));
        if lifecycle {
            recovery.pending = shared.restore_lifecycle(needed_from, salvage, planted)?;
        }
        let log_bytes = shared.index().lock().bytes();
        shared.telemetry.opened(recovery.report(), log_bytes, clock.now().since(start));
        Ok((Self { shared, owner }, recovery))
    }

    /// Appends a record.
    ///
    /// # Durability
    ///
    /// Under [`SyncPolicy::Always`](crate::SyncPolicy), the default, the record survives the end of the
    /// process and a power loss once this returns, and so do all records with smaller numbers. Under
    /// the other policies it is accepted and becomes durable later, as the policy says;
    /// [`Wal::wait_durable`] waits for that.
    ///
    /// # Errors
    ///
    /// [`WalError::RecordTooLarge`] above 16 MiB and [`WalError::NoSpace`]: not accepted, the log goes
    /// on. [`WalError::Poisoned`]: not acknowledged, may appear after reopening; the log is of no more
    /// use. [`WalError::Closed`].
    pub fn append(&self, payload: &[u8]) -> Result<Lsn, WalError> {
        Records::check(&[payload])?;
        let (payloads, entries) = ([payload], [Entry::of(payload)]);
        self.shared.append(Records::new(&payloads, &entries, false)).map(Lsn::new)
    }

    /// Appends records that survive all together or not at all, and returns the number of the last. They
    /// have consecutive numbers. An empty batch changes nothing and returns the newest number.
    ///
    /// # Durability
    ///
    /// As [`Wal::append`].
    ///
    /// # Errors
    ///
    /// As [`Wal::append`]; [`WalError::RecordTooLarge`] when they have more than 16 MiB together, each
    /// but one counted with 9 bytes more than it has.
    pub fn append_batch<'a>(
        &self,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Lsn, WalError> {
        let payloads: Vec<_> = records.into_iter().collect();
        if payloads.is_empty() {
            return Ok(Lsn::new(self.shared.newest()?));
        }
        Records::check(&payloads)?;
        let entries: Vec<_> = payloads.iter().map(|payload| Entry::of(payload)).collect();
        self.shared.append(Records::new(&payloads, &entries, false)).map(Lsn::new)
    }

    /// Appends a record without waiting for the disk.
    ///
    /// The record gets its place at once; the [`Ticket`] says when it is durable, by `wait` or
    /// `.await`. Without a waiter it is written within about a millisecond, and synced then or later,
    /// as the policy says. Dropping the ticket changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Wal::append`], as far as they are known before the write.
    pub fn submit(&self, payload: &[u8]) -> Result<Ticket, WalError> {
        self.submit_as(payload, false)
    }

    /// As [`Wal::submit`], for a record that leads to space being freed, such as a settlement: on a
    /// full disk it may use the reserve.
    ///
    /// # Errors
    ///
    /// As [`Wal::submit`].
    pub fn submit_reserved(&self, payload: &[u8]) -> Result<Ticket, WalError> {
        self.submit_as(payload, true)
    }

    fn submit_as(&self, payload: &[u8], reserved: bool) -> Result<Ticket, WalError> {
        Records::check(&[payload])?;
        let (payloads, entries) = ([payload], [Entry::of(payload)]);
        self.shared.submit(Records::new(&payloads, &entries, reserved))
    }

    /// Waits until the record with this number is durable, and all before it. A number that was refused
    /// counts as durable once all before it are.
    ///
    /// # Errors
    ///
    /// [`WalError::NotFound`] when no record has that number yet; [`WalError::Poisoned`] and
    /// [`WalError::Closed`].
    pub fn wait_durable(&self, lsn: Lsn) -> Result<(), WalError> {
        self.shared.wait_durable(lsn.get())
    }

    /// Makes everything durable that was accepted by now, and returns the newest number of it.
    ///
    /// # Errors
    ///
    /// [`WalError::Poisoned`] and [`WalError::Closed`].
    pub fn sync(&self) -> Result<Lsn, WalError> {
        self.shared.sync().map(Lsn::new)
    }

    /// The newest record up to which all were handed to the operating system: they survive the end of
    /// the process, and perhaps not a power loss.
    pub fn written_lsn(&self) -> Lsn {
        Lsn::new(self.shared.written())
    }

    /// The newest record up to which all are durable.
    pub fn durable_lsn(&self) -> Lsn {
        Lsn::new(self.shared.durable())
    }

    /// Reads one durable record. An operation that is pending is found under its own number, also after
    /// it was copied forward.
    ///
    /// # Errors
    ///
    /// [`WalError::NotFound`] when it was trimmed, refused or is not durable yet;
    /// [`WalError::Corrupt`] when it does not validate any more; [`WalError::Io`].
    pub fn read(&self, lsn: Lsn) -> Result<Record, WalError> {
        loop {
            let copy = self.shared.moved_to(lsn.get());
            match self.read_at(copy.map_or(lsn, Lsn::new)) {
                // Copied, and the place that it was copied from trimmed away, under our eyes.
                Err(_) if self.shared.moved_to(lsn.get()) != copy => {}
                record if copy.is_some() => return record.map(Record::into_original),
                record => return record,
            }
        }
    }

    /// Reads the record that has this number in the log.
    fn read_at(&self, lsn: Lsn) -> Result<Record, WalError> {
        if lsn.get() > self.shared.durable() {
            return Err(WalError::NotFound { lsn });
        }
        read_one(&self.shared, lsn.get())
    }

    /// Iterates over the durable records from `from` on.
    pub fn reader(&self, from: Lsn) -> Reader {
        Reader::new(Arc::clone(&self.shared), from)
    }

    /// Goes through the durable records from `from` on with several threads. Nothing happens before
    /// [`Replay::ordered`] or [`Replay::partitioned`] is called.
    pub fn replay<'a>(&self, from: Lsn) -> Replay<'a> {
        Replay::new(Arc::clone(&self.shared), from)
    }

    /// The hash of the records of a range, for replicas to compare what they hold. Numbers that were
    /// refused are no records. An empty range has [`RangeHash::EMPTY`].
    ///
    /// # Errors
    ///
    /// [`WalError::NotFound`] when the end of the range is not durable yet, or its start was trimmed;
    /// [`WalError::Corrupt`] and [`WalError::Io`] when a record in it cannot be read.
    pub fn range_hash(&self, range: RangeInclusive<Lsn>) -> Result<RangeHash, WalError> {
        self.range_hash_after(RangeHash::EMPTY, range)
    }

    /// As [`Wal::range_hash`], going on from the hash of the records before.
    ///
    /// # Errors
    ///
    /// As [`Wal::range_hash`].
    pub fn range_hash_after(
        &self,
        hash: RangeHash,
        range: RangeInclusive<Lsn>,
    ) -> Result<RangeHash, WalError> {
        range_hash(&self.shared, hash, range)
    }

    /// Follows the log from the record `from` on, which may be yet to come.
    pub fn tail(&self, from: Lsn, level: ReadLevel) -> Tail {
        Tail::new(Arc::clone(&self.shared), from, level)
    }

    /// Records durably that replay may start at `replay_from`, with `state` for the application, and
    /// removes the segments that no kept checkpoint needs.
    ///
    /// The state is bytes, at most 1 MiB, or a [`CheckpointState::Reference`] to what the application has
    /// stored elsewhere. As many checkpoints are kept as
    /// [`WalOptions::keep_checkpoints`] says, and the log keeps what the oldest needs; also what is
    /// pending, and what is not replicated once [`Wal::set_replicated`] was used. What comes before
    /// `replay_from` is made durable first, if it is not; a number beyond the newest record stands for the
    /// one after it. With an archive, segments are removed later, by the housekeeping.
    ///
    /// # Errors
    ///
    /// [`WalError::RecordTooLarge`] when `state` is too long; [`WalError::Io`], [`WalError::Closed`], and
    /// [`WalError::NoSpace`] when the disk is full and the state longer than 28 KiB or so, which fits into a
    /// file in reserve.
    /// The previous checkpoints still hold then.
    pub fn checkpoint(
        &self,
        replay_from: Lsn,
        state: impl Into<CheckpointState>,
    ) -> Result<(), WalError> {
        self.shared.checkpoint(replay_from.get(), state.into())
    }

    /// Gives up the records before `lsn`, durably: replay starts there or later, and segments that hold
    /// nothing else are removed.
    ///
    /// For whoever knows that nobody needs them any more. It takes checkpoints, as [`Wal::checkpoint`] does,
    /// until none that is kept goes back behind `lsn`; they have the state of the newest one, so whoever has
    /// a state that stands for what came before takes the checkpoint instead. What is pending stays, and
    /// so does what is not replicated once [`Wal::set_replicated`] was used, and what shares a segment with
    /// `lsn`; an archive gets the segments first, from the housekeeping. Where all was done before, nothing
    /// is written. A number beyond the newest record stands for the one after it.
    ///
    /// # Durability
    ///
    /// Once this returns, every opening replays from `lsn` or later, or from what is pending. A crash before
    /// leaves the newest checkpoint as it was, or as it is to be.
    ///
    /// # Errors
    ///
    /// [`WalError::Io`], [`WalError::NoSpace`], [`WalError::Poisoned`] and [`WalError::Closed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use bucket_wal::Wal;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let dir = dir.path().join("log");
    /// let (wal, _) = Wal::open(&dir)?;
    /// wal.append(b"sent")?;
    /// let lsn = wal.append(b"to be sent")?;
    /// wal.truncate_before(lsn)?;
    /// drop(wal);
    ///
    /// let (_wal, recovery) = Wal::open(&dir)?;
    /// assert_eq!(recovery.replay_from(), lsn);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn truncate_before(&self, lsn: Lsn) -> Result<(), WalError> {
        self.shared.truncate_before(lsn.get())
    }

    /// Takes back all records after `lsn`, durably. Their numbers are given again, in a higher
    /// [`Wal::epoch`].
    ///
    /// For whoever replicates, and finds that the newest records were never agreed on. Waits until what
    /// was accepted is durable; the caller sees to it that nothing is appended or read meanwhile that
    /// should not be. Readers that are under way may still yield what was taken back. After `lsn` as the
    /// newest record nothing happens.
    ///
    /// # Errors
    ///
    /// [`WalError::Checkpointed`] when a checkpoint replays from a record behind it, or was taken behind it
    /// in a log with a lifecycle; or
    /// [`WalError::NotFound`] when the records after it were trimmed: nothing was changed.
    /// [`WalError::NoSpace`], [`WalError::Corrupt`], [`WalError::Io`]: the same. [`WalError::Poisoned`]:
    /// they may be back after reopening.
    pub fn truncate_after(&self, lsn: Lsn) -> Result<(), WalError> {
        self.shared.truncate_after(lsn.get())
    }

    /// Finishes the newest segment, so that all its records are in a file that does not change any more.
    /// Without records in it nothing happens. The next record begins another.
    ///
    /// # Errors
    ///
    /// [`WalError::Poisoned`] and [`WalError::Closed`].
    pub fn seal(&self) -> Result<(), WalError> {
        self.shared.seal()
    }

    /// Who writes: a number that grows with [`Wal::truncate_after`] and [`Wal::begin_epoch`], 0 in a new
    /// log. Two logs that share records up to some number and were then written by different writers
    /// differ in it.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch()
    }

    /// Begins a higher epoch, durably, with a segment of its own.
    ///
    /// # Errors
    ///
    /// [`WalError::StaleEpoch`] when the log is in this or a later one, and [`WalError::NoSpace`]: nothing
    /// was changed. [`WalError::Poisoned`] and [`WalError::Closed`].
    pub fn begin_epoch(&self, epoch: u64) -> Result<(), WalError> {
        self.shared.begin_epoch(epoch)
    }

    /// The checkpoints that are kept and can be read, the newest first.
    ///
    /// # Errors
    ///
    /// [`WalError::Io`], [`WalError::Poisoned`] and [`WalError::Closed`].
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, WalError> {
        self.shared.list_checkpoints()
    }

    /// Takes the automatic checkpoint that is due, copies forward what keeps a log with a lifecycle too
    /// long, and archives and removes what is not needed. With nothing due it does nothing. The log does
    /// this by itself, unless [`WalOptions::housekeeping_by_hand`] was asked for.
    ///
    /// # Errors
    ///
    /// [`WalError::Io`], [`WalError::NoSpace`] and [`WalError::Corrupt`]: it is counted, and tried again
    /// when it is next due. [`WalError::Poisoned`] and [`WalError::Closed`].
    pub fn housekeep(&self) -> Result<(), WalError> {
        self.shared.housekeep()
    }

    /// Says that everything up to `lsn` is safe elsewhere. A lower number than before changes nothing.
    ///
    /// From the first call on, [`Lsn::ZERO`] included, the log keeps what is not replicated, whatever the
    /// checkpoints say; it remembers the number with the next checkpoint, and a record up to there that is
    /// missing at a later opening is damage.
    ///
    /// # Errors
    ///
    /// [`WalError::NotFound`] when no record has that number yet; [`WalError::Poisoned`] and
    /// [`WalError::Closed`].
    pub fn set_replicated(&self, lsn: Lsn) -> Result<(), WalError> {
        self.shared.set_replicated(lsn.get())
    }

    /// The newest record that is known to be elsewhere; `None` when nobody ever said so.
    pub fn replicated_lsn(&self) -> Option<Lsn> {
        self.shared.replicated().map(Lsn::new)
    }

    /// How many batches are kept for those who may ask for their outcome.
    #[cfg(all(test, not(bucket_loom)))]
    pub(crate) fn remembered(&self) -> usize {
        self.shared.remembered()
    }

    /// What the log has done since it was opened.
    pub fn stats(&self) -> WalStats {
        self.shared.stats()
    }

    /// Writes what is buffered, marks the end as clean, and gives up the lock. Further calls on other
    /// clones return [`WalError::Closed`].
    ///
    /// # Errors
    ///
    /// [`WalError::Poisoned`] or [`WalError::NoSpace`] when what was buffered could not be made
    /// durable. What was acknowledged before is safe.
    pub fn close(self) -> Result<(), WalError> {
        self.shared.close()
    }
}

/// Makes sure that the directory is there, and takes its lock.
pub(crate) fn claim(dir: &Path, options: &WalOptions) -> Result<Box<dyn VfsLock>, WalError> {
    let vfs = &*options.vfs;
    match vfs.create_dir(dir) {
        Ok(()) => {
            let parent = match dir.parent() {
                Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
                Some(parent) => parent,
                None => dir,
            };
            vfs.sync_dir(parent).map_err(|error| WalError::io("sync", parent, error))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(WalError::io("create", dir, error)),
    }
    vfs.lock(&dir.join("LOCK"), &options.holder).map_err(|error| match error {
        LockError::Held { holder } => WalError::Locked { path: dir.to_owned(), holder },
        LockError::Io(error) => WalError::io("lock", dir, error),
        // The enum may grow; whatever it says, the lock is not ours.
        _ => WalError::Locked { path: dir.to_owned(), holder: String::new() },
    })
}
