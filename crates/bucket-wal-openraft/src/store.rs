//! [`LogStore`] and [`LogReader`]: opening, closing, and how writes and reads go.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bucket_wal::{
    Lsn, RecoveryPolicy, RecoveryReport, SyncPolicy, Ticket, Wal, WalError, WalOptions, WalStats,
};
use openraft::async_runtime::AsyncOneshotSendExt;
use openraft::{AsyncRuntime, LogId, RaftLogId, RaftTypeConfig, Vote};
use parking_lot::{Mutex, MutexGuard};

use crate::codec::{Codec, Json};
use crate::error::LogStoreError;
use crate::record::{self, Record};
use crate::state::State;
use crate::worker::Worker;

/// The log of one Raft node: entries, the vote, and what was committed, in one write-ahead log.
///
/// It implements openraft's `RaftLogStorage` and `RaftLogReader`. Clones share one log; keep one to
/// [`close`](LogStore::close) it after the node was shut down.
///
/// # Durability
///
/// The callback of an append comes after the sync that covers the entries, and so does the return of
/// `save_vote`, `truncate` and `purge`. `save_committed` waits for nothing: openraft does not need it,
/// and an older one is found after a crash at worst.
///
/// No method blocks the executor: waiting for the disk and reading what is not in memory is done by two
/// threads of the store. Appends that come while a sync is under way share the next one.
///
/// After a write that failed, what follows it cannot be stored: everything that writes returns
/// [`LogStoreError::Ended`] until the log is opened again.
pub struct LogStore<C: RaftTypeConfig, K: Codec = Json> {
    pub(crate) shared: Arc<Shared<C, K>>,
}

/// Reads entries for replication; see [`LogStore`].
pub struct LogReader<C: RaftTypeConfig, K: Codec = Json> {
    pub(crate) shared: Arc<Shared<C, K>>,
}

/// What a store, its clones, its readers and its threads share.
pub(crate) struct Shared<C: RaftTypeConfig, K: Codec> {
    wal: Wal,
    // Invariant: says what the log will say once all that was submitted is durable; submitting and
    // changing it are one step.
    state: Mutex<State<C>>,
    /// The first write that failed. Records behind it may be durable and still not count.
    ended: OnceLock<WalError>,
    /// Waits for writes, in the order of the log.
    syncing: Worker,
    /// Reads what is not in memory, and writes checkpoints.
    reading: Worker,
    /// The newest purge that a checkpoint was written for.
    checkpointed: Mutex<Lsn>,
    codec: PhantomData<fn() -> K>,
}

impl<C: RaftTypeConfig, K: Codec> LogStore<C, K> {
    /// Opens the log in `dir` with the default options, creating the directory if its parent exists.
    ///
    /// # Errors
    ///
    /// As [`LogStore::open_with`].
    pub fn open(dir: impl AsRef<Path>) -> Result<(Self, RecoveryReport), LogStoreError> {
        Self::open_with(Wal::options(), dir)
    }

    /// Opens the log in `dir`. It blocks while the log is read.
    ///
    /// The options may choose all but the policies for syncing and recovery. Damage is always an error:
    /// a node that has lost a vote or an entry that it acknowledged must not take part under its old
    /// name. Give it a new one and an empty directory.
    ///
    /// # Errors
    ///
    /// [`LogStoreError::Wal`] when the log cannot be opened; [`LogStoreError::Foreign`] and
    /// [`LogStoreError::Codec`] when it is not the log of a node with these types and this codec.
    #[expect(clippy::missing_panics_doc, reason = "the policy has no bounds to miss")]
    pub fn open_with(
        options: WalOptions,
        dir: impl AsRef<Path>,
    ) -> Result<(Self, RecoveryReport), LogStoreError> {
        // Every write is waited for, by threads that may; under another policy submitting may block.
        let options = options.sync_policy(SyncPolicy::Always).expect("it has no bounds");
        let (wal, recovery) = options.recovery(RecoveryPolicy::Strict).open(dir)?;
        let state = State::replay::<K>(&wal, &recovery)?;
        let shared = Shared {
            wal,
            state: Mutex::new(state),
            ended: OnceLock::new(),
            syncing: Worker::start("raft-log-sync")?,
            reading: Worker::start("raft-log-read")?,
            checkpointed: Mutex::new(Lsn::ZERO),
            codec: PhantomData,
        };
        Ok((Self { shared: Arc::new(shared) }, recovery.report().clone()))
    }

    /// Writes what is buffered, marks the end as clean, and gives up the lock of the directory. Blocks
    /// meanwhile. Clones and readers return errors from then on.
    ///
    /// Without it nothing is lost that was acknowledged; the next opening has more to check.
    ///
    /// # Errors
    ///
    /// [`LogStoreError::Wal`] when what was buffered could not be written.
    pub fn close(self) -> Result<(), LogStoreError> {
        Ok(self.shared.wal.clone().close()?)
    }

    /// What the log has done since it was opened.
    pub fn stats(&self) -> WalStats {
        self.shared.wal.stats()
    }
}

impl<C: RaftTypeConfig, K: Codec> Shared<C, K> {
    pub(crate) fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock()
    }

    /// Appends the entries, and tells `flushed` from another thread once they are durable, or why they
    /// are not.
    pub(crate) fn append(
        self: &Arc<Self>,
        entries: impl IntoIterator<Item = C::Entry>,
        flushed: impl FnOnce(Result<(), LogStoreError>) + Send + 'static,
    ) -> Result<(), LogStoreError> {
        let mut encoded = Vec::new();
        for entry in entries {
            encoded.push((entry.get_log_id().clone(), record::entry::<C, K>(&entry)?));
        }
        let mut state = self.writable()?;
        // Entries that were purged are in a snapshot; nothing is left to store of them.
        let purged = state.index.purged().map(|purged| purged.index);
        encoded.retain(|(log_id, _)| Some(log_id.index) > purged);
        let mut next = state.index.next_index();
        for (log_id, _) in &encoded {
            if log_id.index < next {
                return Err(LogStoreError::Overlap { index: log_id.index, next });
            }
            next = log_id.index.saturating_add(1);
        }
        let durable = self.wal.durable_lsn();
        let mut tickets = Vec::with_capacity(encoded.len());
        for (log_id, mut record) in encoded {
            record::set_follows(&mut record, state.index.next_index());
            let ticket = match self.wal.submit(&record) {
                Ok(ticket) => ticket,
                Err(error) if tickets.is_empty() => return Err(error.into()),
                // Some of the entries are in the log, and nobody will hear that they are.
                Err(error) => return Err(self.end(error)),
            };
            state.index.append(&log_id, ticket.lsn());
            state.recent.push(log_id.index, ticket.lsn(), record, durable);
            tickets.push(ticket);
        }
        self.when_durable(tickets, flushed);
        Ok(())
    }

    pub(crate) async fn save_vote(
        self: &Arc<Self>,
        vote: &Vote<C::NodeId>,
    ) -> Result<(), LogStoreError> {
        let record = record::vote::<C, K>(vote)?;
        let done = {
            let mut state = self.writable()?;
            let ticket = self.wal.submit(&record)?;
            state.vote = Some(vote.clone());
            self.durable(ticket)
        };
        done.await
    }

    /// Nobody waits for it: whoever needs the newest one learns it from the leader.
    pub(crate) fn save_committed(
        &self,
        committed: Option<LogId<C::NodeId>>,
    ) -> Result<(), LogStoreError> {
        let record = record::committed::<C, K>(&committed)?;
        let mut state = self.writable()?;
        drop(self.wal.submit(&record)?);
        state.committed = committed;
        Ok(())
    }

    pub(crate) async fn truncate(self: &Arc<Self>, index: u64) -> Result<(), LogStoreError> {
        let record = record::truncate(index);
        let done = {
            let mut state = self.writable()?;
            if index >= state.index.next_index() {
                return Ok(());
            }
            let ticket = self.wal.submit_reserved(&record)?;
            state.truncate(index);
            self.durable(ticket)
        };
        done.await
    }

    /// Forgets entries, then frees what space that leaves. The record alone would do to forget them:
    /// should the newest checkpoint be damaged one day, the log still says what it said.
    pub(crate) async fn purge(
        self: &Arc<Self>,
        log_id: LogId<C::NodeId>,
    ) -> Result<(), LogStoreError> {
        let record = record::purge::<C, K>(&log_id)?;
        let (lsn, replay_from, saved, done) = {
            let mut state = self.writable()?;
            if state.index.purged() >= Some(&log_id) {
                return Ok(());
            }
            let ticket = self.wal.submit_reserved(&record)?;
            let lsn = ticket.lsn();
            state.purge(log_id);
            let replay_from = state.index.first_lsn().unwrap_or(lsn.next());
            (lsn, replay_from, state.saved(), self.durable(ticket))
        };
        done.await?;
        let saved = saved.encode::<K>()?;
        self.read(move |shared| shared.checkpoint(lsn, replay_from, &saved)).await
    }

    fn checkpoint(&self, lsn: Lsn, replay_from: Lsn, saved: &[u8]) -> Result<(), LogStoreError> {
        let mut checkpointed = self.checkpointed.lock();
        if *checkpointed >= lsn {
            // A later purge was faster; the log has freed what an earlier checkpoint would need.
            return Ok(());
        }
        match self.wal.checkpoint(replay_from, saved) {
            Ok(()) => {
                *checkpointed = lsn;
                Ok(())
            }
            // The purge holds all the same, and the next one tries again.
            Err(WalError::NoSpace { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The entries in `range` that are there.
    pub(crate) async fn entries(
        self: &Arc<Self>,
        range: Range<u64>,
    ) -> Result<Vec<C::Entry>, LogStoreError> {
        let (stored, recent) = {
            let state = self.state();
            let (first, recent) = state.recent.range(&range);
            let stored: Vec<_> = state.index.lsns(range.start..range.end.min(first)).collect();
            (stored, recent)
        };
        let mut entries = if stored.is_empty() {
            Vec::with_capacity(recent.len())
        } else {
            self.read(move |shared| shared.read_entries(&stored)).await?
        };
        for held in recent {
            entries.push(decode_entry::<C, K>(&held.record, held.lsn)?);
        }
        Ok(entries)
    }

    /// Reads entries from the files, given their indexes and numbers.
    fn read_entries(&self, mut wanted: &[(u64, Lsn)]) -> Result<Vec<C::Entry>, LogStoreError> {
        let mut entries = Vec::with_capacity(wanted.len());
        while let Some(&(_, first)) = wanted.first() {
            let mut reader = self.wal.reader(first);
            while let Some(&(index, lsn)) = wanted.first() {
                match reader.next_ref().transpose()? {
                    // What lies between entries.
                    Some(record) if record.lsn < lsn => {}
                    Some(record) if record.lsn == lsn => {
                        entries.push(decode_entry::<C, K>(record.payload, lsn)?);
                        wanted = &wanted[1..];
                    }
                    _ => {
                        let purged = self.state().index.purged().map(|purged| purged.index);
                        if purged < Some(index) {
                            return Err(WalError::NotFound { lsn }.into());
                        }
                        // Trimmed away since it was looked up.
                        let gone = wanted.partition_point(|(index, _)| Some(*index) <= purged);
                        wanted = &wanted[gone..];
                        break;
                    }
                }
            }
        }
        Ok(entries)
    }

    /// The state, for a change that is submitted with the lock held.
    fn writable(&self) -> Result<MutexGuard<'_, State<C>>, LogStoreError> {
        let state = self.state.lock();
        self.check()?;
        Ok(state)
    }

    fn check(&self) -> Result<(), LogStoreError> {
        match self.ended.get() {
            Some(source) => Err(LogStoreError::Ended { source: source.clone() }),
            None => Ok(()),
        }
    }

    fn end(&self, error: WalError) -> LogStoreError {
        LogStoreError::Ended { source: self.ended.get_or_init(|| error).clone() }
    }

    /// Waits in the background until the records are durable, and all that was submitted before. Called
    /// with the state locked, so that the order is that of the log.
    fn when_durable(
        self: &Arc<Self>,
        tickets: Vec<Ticket>,
        then: impl FnOnce(Result<(), LogStoreError>) + Send + 'static,
    ) {
        let shared = Arc::clone(self);
        self.syncing.run(move || {
            let waited = tickets.into_iter().try_for_each(|ticket| ticket.wait().map(drop));
            let outcome = match waited {
                // After a write that failed even what is durable does not count.
                Ok(()) => shared.check(),
                Err(error) => Err(shared.end(error)),
            };
            // Whoever hears of it may want to open the log again.
            drop(shared);
            then(outcome);
        });
    }

    fn durable(
        self: &Arc<Self>,
        ticket: Ticket,
    ) -> impl Future<Output = Result<(), LogStoreError>> + Send + use<C, K> {
        let (sender, receiver) = C::AsyncRuntime::oneshot();
        self.when_durable(vec![ticket], move |outcome| {
            // Nobody has to wait for it.
            let _ = sender.send(outcome);
        });
        async move { receiver.await.unwrap_or(Err(LogStoreError::Wal(WalError::Closed))) }
    }

    /// Does what may block on a thread of its own.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&Self) -> Result<T, LogStoreError> + Send + 'static,
    ) -> Result<T, LogStoreError> {
        let (sender, receiver) = C::AsyncRuntime::oneshot();
        let shared = Arc::clone(self);
        self.reading.run(move || {
            let outcome = job(&shared);
            drop(shared);
            let _ = sender.send(outcome);
        });
        receiver.await.unwrap_or(Err(LogStoreError::Wal(WalError::Closed)))
    }
}

fn decode_entry<C: RaftTypeConfig, K: Codec>(
    record: &[u8],
    lsn: Lsn,
) -> Result<C::Entry, LogStoreError> {
    match Record::<C>::decode::<K>(record, lsn)? {
        Record::Entry { entry, .. } => Ok(entry),
        _ => Err(LogStoreError::Foreign { lsn }),
    }
}

impl<C: RaftTypeConfig, K: Codec> Clone for LogStore<C, K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C: RaftTypeConfig, K: Codec> Clone for LogReader<C, K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C: RaftTypeConfig, K: Codec> fmt::Debug for LogStore<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore").field("wal", &self.shared.wal).finish_non_exhaustive()
    }
}

impl<C: RaftTypeConfig, K: Codec> fmt::Debug for LogReader<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader").field("wal", &self.shared.wal).finish_non_exhaustive()
    }
}
