//! Group commit: who writes, who waits, and who is woken.
//!
//! Appending reserves a number and copies the record into the open batch, under a short lock. Whoever
//! waits first becomes the leader: it takes the batch, writes and syncs it with the lock released,
//! while the next batch fills; then it hands the lead to a waiter of that next batch *before* it wakes
//! its own, so that the disk is not idle while threads are being scheduled.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bucket_vfs::{Vfs, VfsLock};

use crate::error::WalError;
use crate::frame::{Entry, MAX_RECORD_LEN};
use crate::lsn::Lsn;
use crate::planted::{Bug, Planted};
use crate::recovery::Recovered;
use crate::segment;
use crate::stats::WalStats;
use crate::sync::{self, Arc, AtomicU64, Condvar, Mutex, MutexGuard, Ordering};
use crate::wal::{Index, Segment};
use crate::writer::{CommitError, Group, Writer};

/// A batch that has grown to this is committed by whoever makes it so, so that memory stays bounded.
const BATCH_LIMIT: usize = 64 << 20;
/// How long a record waits for somebody to wait for it before the committer thread writes it.
const LINGER: Duration = Duration::from_millis(1);

/// What the clones of a log, its tickets and its readers share.
pub(crate) struct Shared {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) dir: PathBuf,
    state: Mutex<State>,
    /// Mirrors `State::durable`, for reading without the lock.
    durable: AtomicU64,
    index: Mutex<Index>,
    /// Used by the leader alone; the lock is never contended.
    writer: Mutex<Writer>,
    checkpoints: Mutex<Checkpoints>,
    committer: Condvar,
    pub(crate) planted: Planted,
}

struct State {
    open: Batch,
    next_lsn: u64,
    durable: u64,
    // Invariant: at most one thread holds `leading`, and only it touches the writer.
    leading: bool,
    /// The numbers since the last written frame were given up.
    gap: bool,
    poison: Option<Poison>,
    closed: bool,
    committer: Committer,
    lock: Option<Box<dyn VfsLock>>,
    stats: WalStats,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Committer {
    /// Never needed so far.
    None,
    /// Waits to be told of a record.
    Idle,
    Busy,
}

#[derive(Clone)]
struct Poison {
    durable: u64,
    source: Arc<std::io::Error>,
}

/// Where checkpoints stand.
pub(crate) struct Checkpoints {
    pub(crate) generation: u64,
    pub(crate) newest_replay_from: u64,
    pub(crate) log_id: u128,
}

/// The records that the next commit will write.
struct Batch {
    first_lsn: u64,
    group: Group,
    done: Arc<Done>,
}

/// How a batch ended, and who wants to know.
struct Done {
    // Written once, with the state locked.
    outcome: Mutex<Option<Result<(), WalError>>>,
    wakers: Mutex<Vec<Waker>>,
    changed: Condvar,
    waiters: AtomicU64,
}

/// A record on its way to the disk.
///
/// `wait` blocks, and does the write itself if nobody else is doing it; as a future it never blocks
/// and never writes, a thread of the log's does.
#[must_use = "the record becomes durable without it, but nobody learns when"]
pub struct Ticket {
    shared: Arc<Shared>,
    lsn: u64,
    done: Arc<Done>,
}

impl Ticket {
    /// The number of the record.
    pub fn lsn(&self) -> Lsn {
        Lsn::new(self.lsn)
    }

    /// True once the record is durable.
    pub fn is_durable(&self) -> bool {
        matches!(*self.done.outcome.lock(), Some(Ok(())))
    }

    /// Waits until the record is durable and returns its number.
    ///
    /// # Durability
    ///
    /// As [`Wal::append`](crate::Wal::append).
    ///
    /// # Errors
    ///
    /// [`WalError::NoSpace`]: not accepted. [`WalError::Poisoned`]: may appear after reopening.
    pub fn wait(self) -> Result<Lsn, WalError> {
        self.shared.wait(&self.done)?;
        Ok(Lsn::new(self.lsn))
    }
}

/// # Cancel safety
///
/// Dropping the future drops the interest in the outcome, nothing else.
impl Future for Ticket {
    type Output = Result<Lsn, WalError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut wakers = self.done.wakers.lock();
        if let Some(outcome) = &*self.done.outcome.lock() {
            return Poll::Ready(outcome.clone().map(|()| Lsn::new(self.lsn)));
        }
        // Registered under the lock that the leader takes before it wakes.
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        drop(wakers);
        self.shared.wake_committer();
        Poll::Pending
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("lsn", &self.lsn).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        dir: PathBuf,
        vfs: Arc<dyn Vfs>,
        lock: Box<dyn VfsLock>,
        recovered: Recovered,
        planted: Planted,
    ) -> Arc<Self> {
        let Recovered {
            mut index, writer, log_id, next_lsn, generation, oldest_replay_from, ..
        } = recovered;
        index.use_vfs(Arc::clone(&vfs));
        Arc::new(Self {
            vfs,
            dir,
            state: Mutex::new(State {
                open: Batch::new(next_lsn),
                next_lsn,
                durable: next_lsn - 1,
                leading: false,
                gap: false,
                poison: None,
                closed: false,
                committer: Committer::None,
                lock: Some(lock),
                stats: WalStats::default(),
            }),
            durable: AtomicU64::new(next_lsn - 1),
            index: Mutex::new(index),
            writer: Mutex::new(writer),
            checkpoints: Mutex::new(Checkpoints {
                generation,
                newest_replay_from: oldest_replay_from,
                log_id,
            }),
            committer: Condvar::new(),
            planted,
        })
    }

    pub(crate) fn durable(&self) -> u64 {
        // Acquire: whoever sees the number sees the index entry of the record.
        self.durable.load(Ordering::Acquire)
    }

    /// What a checkpoint may vouch for: what is durable.
    pub(crate) fn vouched_for(&self) -> u64 {
        if self.planted.has(Bug::CheckpointBeforeData) {
            return self.state.lock().next_lsn - 1;
        }
        self.durable()
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }

    pub(crate) fn checkpoints(&self) -> Result<MutexGuard<'_, Checkpoints>, WalError> {
        self.state.lock().check()?;
        Ok(self.checkpoints.lock())
    }

    /// Gives the record a number and a place in the open batch.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        payload: &[u8],
        reserved: bool,
    ) -> Result<Ticket, WalError> {
        if payload.len() > MAX_RECORD_LEN {
            return Err(WalError::RecordTooLarge { len: payload.len(), max: MAX_RECORD_LEN });
        }
        let entry = Entry::of(payload);
        let mut state = self.state.lock();
        state.check()?;
        let lsn = state.next_lsn;
        state.next_lsn += 1;
        let group = &mut state.open.group;
        group.reserved = reserved && (group.entries.is_empty() || group.reserved);
        group.entries.push(entry);
        group.payloads.extend_from_slice(payload);
        let ticket = Ticket { shared: Arc::clone(self), lsn, done: Arc::clone(&state.open.done) };
        let full = group_is_full(&state.open.group);
        drop(state);
        if full {
            // The outcome reaches the record's own waiter.
            let _ = self.wait(&ticket.done);
        }
        Ok(ticket)
    }

    /// Waits for the end of a batch, leading its commit if nobody does.
    fn wait(&self, done: &Arc<Done>) -> Result<(), WalError> {
        let mut state = self.state.lock();
        loop {
            if let Some(outcome) = done.outcome.lock().clone() {
                return outcome;
            }
            if !state.leading && !state.closed && Arc::ptr_eq(done, &state.open.done) {
                state = self.lead(state);
                continue;
            }
            done.waiters.fetch_add(1, Ordering::Relaxed);
            done.changed.wait(&mut state);
            done.waiters.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Commits the open batch. The caller holds the state, and nobody leads.
    fn lead<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.leading = true;
        let next = Batch::new(state.next_lsn);
        let batch = std::mem::replace(&mut state.open, next);
        let gap = state.gap;
        drop(state);

        let result = self.writer.lock().commit(batch.first_lsn, gap, &batch.group);

        let mut state = self.state.lock();
        state.leading = false;
        let records = batch.group.entries.len() as u64;
        let outcome = match result {
            Ok(committed) => {
                let mut index = self.index.lock();
                if let Some((header, file)) = committed.new_segment {
                    let path = self.dir.join(segment::file_name(header.segment_id));
                    let (frames, end) = (Vec::new(), segment::HEADER_LEN);
                    index.insert(Segment { header, path, file: Some(file), frames, end });
                }
                if let Some(newest) = index.newest_mut() {
                    newest.frames.extend(committed.frames);
                    newest.end = committed.end;
                }
                drop(index);
                state.gap = false;
                state.durable = batch.first_lsn + records - 1;
                state.stats.records += records;
                state.stats.groups += 1;
                state.stats.payload_bytes += batch.group.payloads.len() as u64;
                // Release: the partner of the load in `durable`.
                self.durable.store(state.durable, Ordering::Release);
                Ok(())
            }
            Err(CommitError::NotWritten(error)) => {
                state.gap = true;
                state.stats.refused += records;
                Err(error)
            }
            Err(CommitError::Poisoned(source)) => {
                let poison = Poison { durable: state.durable, source };
                let error = poison.error();
                state.poison = Some(poison);
                // Nobody will ever commit what has come meanwhile.
                let orphan = Batch::new(state.next_lsn);
                let orphan = std::mem::replace(&mut state.open, orphan);
                orphan.done.finish(Err(error.clone()));
                Err(error)
            }
        };
        // The next batch gets its leader first; only then do ours learn that they may go on.
        if !self.planted.has(Bug::NoHandOver) {
            state.open.done.changed.notify_one();
        }
        if state.closed {
            state.release();
        }
        batch.done.finish(outcome);
        state
    }

    /// Makes sure that a record without a waiter is written soon.
    pub(crate) fn wake_committer(self: &Arc<Self>) {
        let mut state = self.state.lock();
        match state.committer {
            Committer::Busy => {}
            Committer::Idle => {
                state.committer = Committer::Busy;
                self.committer.notify_one();
            }
            Committer::None => {
                state.committer = Committer::Busy;
                // The thread holds the log weakly, so that dropping the last clone ends it.
                let weak = Arc::downgrade(self);
                let spawned = sync::spawn("wal-commit", move || {
                    while weak.upgrade().is_some_and(|shared| shared.commit_once()) {}
                });
                if spawned.is_err() {
                    // Without a thread the caller does it; late is better than never.
                    state.committer = Committer::None;
                    if !state.leading && !state.open.group.entries.is_empty() {
                        drop(self.lead(state));
                    }
                }
            }
        }
    }

    /// One turn of the committer thread: lingers for a waiter to come, else commits. False when the
    /// log is closed.
    fn commit_once(&self) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        if state.open.group.entries.is_empty() {
            state.committer = Committer::Idle;
            // Wakes up now and then to notice that the log was dropped.
            self.committer.wait_for(&mut state, Duration::from_secs(1));
            state.committer = Committer::Busy;
            return true;
        }
        let done = Arc::clone(&state.open.done);
        self.committer.wait_for(&mut state, LINGER);
        if !state.leading && Arc::ptr_eq(&done, &state.open.done) && !state.closed {
            drop(self.lead(state));
        }
        true
    }

    pub(crate) fn stats(&self) -> WalStats {
        let state = self.state.lock();
        let index = self.index.lock();
        WalStats {
            segments: index.len() as u64,
            log_bytes: index.bytes(),
            durable_lsn: Lsn::new(state.durable),
            ..state.stats
        }
    }

    /// Ends the log as a crash would, but tells those who wait.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.closed = true;
        self.committer.notify_all();
        if !state.leading {
            state.release();
        }
    }

    pub(crate) fn close(&self) -> Result<(), WalError> {
        let mut state = self.state.lock();
        loop {
            state.check()?;
            let done = Arc::clone(&state.open.done);
            if state.leading {
                done.waiters.fetch_add(1, Ordering::Relaxed);
                done.changed.wait(&mut state);
                done.waiters.fetch_sub(1, Ordering::Relaxed);
            } else if state.open.group.entries.is_empty() {
                break;
            } else {
                state = self.lead(state);
                if let Some(Err(error)) = done.outcome.lock().clone() {
                    return Err(error);
                }
            }
        }
        state.closed = true;
        self.committer.notify_all();
        let promised = self.writer.lock().promise(state.next_lsn);
        state.lock = None;
        promised.map_err(|error| WalError::io("sync", &self.dir, error))
    }
}

impl State {
    /// Gives up the lock of a closed log. Nobody leads, so nothing is being written.
    fn release(&mut self) {
        let open = std::mem::replace(&mut self.open, Batch::new(self.next_lsn));
        open.done.finish(Err(WalError::Closed));
        self.lock = None;
    }

    fn check(&self) -> Result<(), WalError> {
        match &self.poison {
            Some(poison) => Err(poison.error()),
            None if self.closed => Err(WalError::Closed),
            None => Ok(()),
        }
    }
}

impl Poison {
    fn error(&self) -> WalError {
        WalError::Poisoned { durable_lsn: Lsn::new(self.durable), source: Arc::clone(&self.source) }
    }
}

impl Batch {
    fn new(first_lsn: u64) -> Self {
        Self { first_lsn, group: Group::default(), done: Arc::new(Done::new()) }
    }
}

impl Done {
    fn new() -> Self {
        Self {
            outcome: Mutex::new(None),
            wakers: Mutex::new(Vec::new()),
            changed: Condvar::new(),
            waiters: AtomicU64::new(0),
        }
    }

    /// Publishes the outcome and wakes everybody. Called with the state locked.
    fn finish(&self, outcome: Result<(), WalError>) {
        *self.outcome.lock() = Some(outcome);
        if self.waiters.load(Ordering::Relaxed) > 0 {
            self.changed.notify_all();
        }
        for waker in self.wakers.lock().drain(..) {
            waker.wake();
        }
    }
}

fn group_is_full(group: &Group) -> bool {
    group.payloads.len() + group.entries.len() * size_of::<Entry>() >= BATCH_LIMIT
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("dir", &self.dir).finish_non_exhaustive()
    }
}
