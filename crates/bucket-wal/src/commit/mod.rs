//! Group commit: who writes, who waits, and who is woken.
//!
//! Appending reserves a number and copies the record into the open batch, under a short lock. Whoever
//! waits first becomes the leader: it takes the batch, writes and syncs it with the lock released,
//! while the next batch fills; then it hands the lead to a waiter of that next batch *before* it wakes
//! its own, so that the disk is not idle while threads are being scheduled.
//!
//! Under a policy that does not sync for each record, a batch is written first and becomes durable with
//! a later sync; until then its waiters wait for that.

mod accept;
mod committer;
mod exclusive;
mod gather;
mod panicked;
mod ticket;
mod watch;

use std::fmt;
use std::path::PathBuf;
use std::sync::Weak;
use std::time::Duration;

use bucket_core::{SystemClock, Tick};
use bucket_vfs::{Vfs, VfsLock};

use crate::error::WalError;
use crate::format::Features;
use crate::index::{Index, Segment};
use crate::keep::{Checkpoints, Keep, Rules};
use crate::lifecycle::Lifecycle;
use crate::lsn::Lsn;
use crate::options::{SyncPolicy, WalOptions};
use crate::planted::{Bug, Planted};
use crate::recovery::Recovered;
use crate::segment::{self, Header};
use crate::spares::Spares;
use crate::stats::WalStats;
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, MutexGuard, Ordering};
use crate::telemetry::Telemetry;
use crate::writer::{CommitError, Committed, Group, NewSegment, Writer, encoded_bound};

pub(crate) use self::accept::Records;
use self::committer::Committer;
use self::gather::Gather;
use self::ticket::Done;
pub use self::ticket::Ticket;
pub(crate) use self::watch::More;
use self::watch::Watchers;

/// What the clones of a log, its tickets and its readers share.
pub(crate) struct Shared {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) dir: PathBuf,
    policy: SyncPolicy,
    write_through: bool,
    segment_bytes: u64,
    pub(crate) clock: SystemClock,
    pub(crate) state: Mutex<State>,
    /// Mirrors `State::durable`, for reading without the lock.
    durable: AtomicU64,
    index: Mutex<Index>,
    /// Used by the leader alone; the lock is never contended.
    writer: Mutex<Writer>,
    pub(crate) spares: Arc<Spares>,
    pub(crate) rules: Rules,
    pub(crate) checkpoints: Mutex<Checkpoints>,
    /// One more than the newest record that is known to be elsewhere; 0 when nobody ever said so.
    pub(crate) replicated: AtomicU64,
    /// Held by whoever copies forward and archives.
    pub(crate) housekeeper: Mutex<()>,
    pub(crate) keeper: Condvar,
    pub(crate) weak: Weak<Self>,
    committer: Condvar,
    /// For those who wait for the leader to be done, whatever it did.
    pub(crate) turn: Condvar,
    /// For the leader who waits for others to come along.
    gathered: Condvar,
    /// For those who follow the log.
    grown: Condvar,
    pub(crate) planted: Planted,
    pub(crate) telemetry: Telemetry,
}

pub(crate) struct State {
    open: Batch,
    /// The memory of the batch before, for the next.
    spare: Group,
    /// Batches that are written and not durable, the oldest first, as far as anybody has a ticket of them.
    written: Vec<Arc<Done>>,
    pub(crate) next_lsn: u64,
    written_lsn: u64,
    durable: u64,
    epoch: u64,
    features: Features,
    /// What was accepted and is not durable.
    unsynced: Unsynced,
    /// What was written and is not durable; counted once it is.
    uncounted: (u64, u64),
    /// Bytes that the writer can take without asking for space, and the same with the reserve. Kept by
    /// leaders, read by those who accept records that nobody waits for.
    room: (u64, u64),
    // Invariant: at most one thread holds `leading`, and only it touches the writer.
    leading: bool,
    turn_waiters: u64,
    gather: Gather,
    /// The numbers since the last written frame were given up.
    gap: bool,
    poison: Option<Poison>,
    /// Something beside the leader panicked: the log is poisoned once the leader's turn is over.
    doomed: Option<Arc<std::io::Error>>,
    closed: bool,
    committer: Committer,
    watchers: Watchers,
    lock: Option<Box<dyn VfsLock>>,
    stats: WalStats,
    /// Of a log that keeps account of what is pending.
    pub(crate) lifecycle: Option<Lifecycle>,
    pub(crate) keep: Keep,
}

#[derive(Clone, Copy, Debug, Default)]
struct Unsynced {
    records: u64,
    bytes: u64,
    /// When the oldest of them was accepted.
    since: Tick,
    /// A bound of the policy was reached.
    due: bool,
}

#[derive(Clone)]
struct Poison {
    durable: u64,
    source: Arc<std::io::Error>,
}

/// The records that the next commit will write.
struct Batch {
    first_lsn: u64,
    group: Group,
    done: Arc<Done>,
}

/// How far a leader goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lead {
    /// Writes what was accepted and makes everything durable.
    Sync,
    /// Writes what was accepted.
    Write,
}

impl Shared {
    pub(crate) fn new(
        dir: PathBuf,
        options: WalOptions,
        lock: Box<dyn VfsLock>,
        recovered: Recovered,
    ) -> Arc<Self> {
        let Recovered { recovery, mut index, writer, log_id, next_lsn, .. } = recovered;
        let Recovered { manifests, spares, reserve, .. } = recovered;
        let newest = manifests.readable.first();
        let behind = (next_lsn - 1).saturating_sub(newest.map_or(0, |newest| newest.durable_lsn));
        let taken = newest.map_or(0, |newest| newest.taken);
        let mut keep = Keep::new(&options, behind, taken, Arc::clone(&spares));
        keep.log_bytes = index.bytes();
        let replicated = newest.and_then(|newest| newest.replicated_lsn);
        let (rules, telemetry) = (Rules::new(&options), Telemetry::new(&dir));
        let vfs = options.vfs;
        index.use_vfs(Arc::clone(&vfs));
        Arc::new_cyclic(|weak| Self {
            vfs,
            dir,
            policy: options.sync_policy,
            write_through: options.write_through,
            segment_bytes: options.segment_bytes,
            clock: SystemClock::new(),
            state: Mutex::new(State {
                open: Batch::new(next_lsn),
                spare: Group::default(),
                written: Vec::new(),
                next_lsn,
                written_lsn: next_lsn - 1,
                durable: next_lsn - 1,
                epoch: writer.epoch(),
                features: writer.features(),
                unsynced: Unsynced::default(),
                uncounted: (0, 0),
                room: writer.room(),
                leading: false,
                turn_waiters: 0,
                gather: Gather::default(),
                gap: false,
                poison: None,
                doomed: None,
                closed: false,
                committer: Committer::None,
                watchers: Watchers::default(),
                lock: Some(lock),
                stats: WalStats {
                    sync_method: writer.method(),
                    damage_found: recovery.report().damage.len() as u64,
                    damaged_records: recovery.report().damaged_records(),
                    unreadable_checkpoints: recovery.report().unreadable_checkpoints as u64,
                    ..WalStats::default()
                },
                lifecycle: None,
                keep,
            }),
            durable: AtomicU64::new(next_lsn - 1),
            index: Mutex::new(index),
            writer: Mutex::new(writer),
            spares,
            rules,
            checkpoints: Mutex::new(Checkpoints::new(log_id, &manifests, reserve)),
            replicated: AtomicU64::new(replicated.map_or(0, |lsn| lsn.saturating_add(1))),
            housekeeper: Mutex::new(()),
            keeper: Condvar::new(),
            weak: weak.clone(),
            committer: Condvar::new(),
            turn: Condvar::new(),
            gathered: Condvar::new(),
            grown: Condvar::new(),
            planted: options.planted,
            telemetry,
        })
    }

    pub(crate) fn durable(&self) -> u64 {
        // Acquire: whoever sees the number sees the index entry of the record.
        self.durable.load(Ordering::Acquire)
    }

    /// The newest number that was given.
    pub(crate) fn newest(&self) -> Result<u64, WalError> {
        let state = self.state.lock();
        state.check()?;
        Ok(state.next_lsn - 1)
    }

    pub(crate) fn written(&self) -> u64 {
        self.state.lock().written_lsn
    }

    /// What a checkpoint may vouch for: what is durable.
    pub(crate) fn vouched_for(&self) -> u64 {
        if self.planted.has(Bug::CheckpointBeforeData) {
            return self.state.lock().next_lsn - 1;
        }
        self.durable()
    }

    /// The epoch of the newest segment.
    pub(crate) fn epoch(&self) -> u64 {
        self.state.lock().epoch
    }

    /// The features of the format that are turned on.
    pub(crate) fn features(&self) -> Features {
        self.state.lock().features
    }

    pub(crate) const fn index(&self) -> &Mutex<Index> {
        &self.index
    }

    /// Waits for the end of a batch, leading its commit if nobody does.
    fn wait(&self, done: &Arc<Done>) -> Result<(), WalError> {
        self.wait_from(self.state.lock(), done)
    }

    /// The same for a caller who holds the state already.
    fn wait_from<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        done: &Arc<Done>,
    ) -> Result<(), WalError> {
        loop {
            if let Some(outcome) = done.outcome() {
                return outcome;
            }
            if state.leading || state.closed {
                done.wait(&mut state);
            } else {
                // Without an outcome the batch is the open one, or one that no sync has covered.
                state = self.gather(state);
                state = self.lead(state, Lead::Sync);
            }
        }
    }

    /// Waits until everything up to `lsn`, which was accepted, is durable.
    pub(crate) fn wait_durable(&self, lsn: u64) -> Result<(), WalError> {
        let mut state = self.state.lock();
        loop {
            if state.durable >= lsn {
                return Ok(());
            }
            state.check()?;
            if lsn >= state.next_lsn {
                return Err(WalError::NotFound { lsn: Lsn::new(lsn) });
            }
            if state.is_all_durable() && state.open.group.entries.is_empty() && !state.leading {
                // The number was refused, and everything before it is durable.
                return Ok(());
            }
            state = self.lead_or_wait(state, Lead::Sync);
        }
    }

    /// Makes everything durable that was accepted by now; returns the newest of it.
    pub(crate) fn sync(&self) -> Result<u64, WalError> {
        let newest = self.newest()?;
        self.wait_durable(newest)?;
        Ok(newest)
    }

    /// Leads, or waits until whoever leads is done.
    fn lead_or_wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        how: Lead,
    ) -> MutexGuard<'a, State> {
        if !state.leading {
            return self.lead(state, how);
        }
        state.turn_waiters += 1;
        self.turn.wait(&mut state);
        state.turn_waiters -= 1;
        state
    }

    /// Commits the open batch, if there is anything in it, and syncs if that is asked for. The caller
    /// holds the state, and nobody leads.
    fn lead<'a>(&'a self, mut state: MutexGuard<'a, State>, how: Lead) -> MutexGuard<'a, State> {
        state.leading = true;
        let batch = (!state.open.group.entries.is_empty()).then(|| state.take_open());
        let gap = state.gap;
        if let Some(batch) = &batch {
            // What it takes at most is not there for those who come meanwhile; an empty segment takes one
            // group of any length, and nothing after a long one.
            let taken = encoded_bound(&batch.group);
            let rest = self.segment_bytes.saturating_sub(segment::HEADER_LEN + taken);
            state.room.0 = state.room.0.saturating_sub(taken).min(rest);
            state.room.1 = state.room.1.saturating_sub(taken).min(rest);
        }
        // Room for what was accepted without waiting is there already.
        let keep = self.policy == SyncPolicy::Always;
        drop(state);

        let start = self.stopwatch();
        let turn = self.unless_it_panics(batch.as_ref().map(|batch| &batch.done), || {
            let mut writer = self.writer.lock();
            let early = how == Lead::Sync && self.planted.has(Bug::AcknowledgeBeforeSync);
            let mut synced = if early { writer.sync() } else { Ok(()) };
            let write = |batch: &Batch| writer.write(batch.first_lsn, gap, &batch.group, keep);
            let wrote = batch.as_ref().map(write).transpose();
            let broken = matches!(wrote, Err(CommitError::Poisoned(_)));
            if how == Lead::Sync && !broken && !early {
                synced = writer.sync();
            }
            (wrote, synced, writer.room(), writer.method())
        });
        let (wrote, mut synced, room, method) = turn;
        let took = self.stopwatch().since(start);
        self.tell_of_turn(batch.as_ref(), &wrote, &synced, how, took);

        let mut state = self.state.lock();
        state.room = room;
        state.stats.sync_method = method;
        let mut refused = None;
        match (wrote, batch) {
            (Ok(committed), Some(batch)) => {
                if let Some(committed) = committed {
                    self.enter(&mut state, committed);
                }
                state.took(batch);
            }
            (Err(error @ CommitError::NotWritten(_)), Some(batch))
                if self.policy != SyncPolicy::Always =>
            {
                // It was accepted, and there may be nobody left to hear that it is not.
                state.written.push(batch.done);
                synced = Err(error);
            }
            (Err(CommitError::NotWritten(error)), Some(batch)) => {
                state.gave_up(&batch);
                refused = Some((batch.done, error));
            }
            (Err(CommitError::Poisoned(source)), Some(batch)) => {
                state.written.push(batch.done);
                synced = Err(CommitError::Poisoned(source));
            }
            (_, None) => {}
        }
        match (how, synced) {
            (Lead::Sync, Ok(())) => {
                let records = state.uncounted.0;
                state.gather.learn(records, took);
                let durable = self.is_durable(&mut state);
                self.end_turn(&mut state);
                durable.into_iter().for_each(|done| done.finish(Ok(())));
            }
            (_, Ok(())) => self.end_turn(&mut state),
            (_, Err(error)) => self.poison(&mut state, &error),
        }
        if let Some((done, error)) = refused {
            done.finish(Err(error));
        }
        state
    }

    /// Says what a turn of a leader came to, with the state unlocked.
    fn tell_of_turn(
        &self,
        batch: Option<&Batch>,
        wrote: &Result<Option<Committed>, CommitError>,
        synced: &Result<(), CommitError>,
        how: Lead,
        took: Duration,
    ) {
        let weight = batch.map(Batch::weight);
        let written = weight.filter(|_| wrote.is_ok());
        self.telemetry.turn(written, how == Lead::Sync && synced.is_ok(), took);
        if let Ok(Some(Committed { new_segment: Some((header, _)), .. })) = wrote {
            self.tell_of_rotation(header);
        }
        match (wrote, synced) {
            (Err(CommitError::NotWritten(_)), _) if self.policy == SyncPolicy::Always => {
                self.telemetry.refused(weight.map_or(0, |(records, _)| records));
            }
            (Err(error), _) | (_, Err(error)) => self.tell_of_poison(error),
            (Ok(_), Ok(())) => {}
        }
    }

    fn tell_of_rotation(&self, header: &Header) {
        let index = self.index.lock();
        // It may not be known yet.
        let others = index.len() - usize::from(index.contains(header.segment_id));
        let bytes = index.bytes();
        drop(index);
        self.telemetry.rotated(header.segment_id, header.first_lsn, others + 1, bytes);
    }

    fn tell_of_poison(&self, error: &CommitError) {
        self.telemetry.poisoned(self.durable(), &error.source());
    }

    /// Somebody came upon damage while reading.
    pub(crate) fn found_damage(&self, error: &WalError) {
        self.state.lock().stats.damage_read += 1;
        self.telemetry.damage_read(error);
    }

    /// Makes the frames of a commit known to readers, who see them once they are durable.
    fn enter(&self, state: &mut State, committed: Committed) {
        if let Some(segment) = committed.new_segment {
            self.begin(state, segment);
        }
        let mut index = self.index.lock();
        if let Some(newest) = index.newest_mut() {
            state.keep.log_bytes += committed.end.saturating_sub(newest.end);
            newest.extend(committed.frames, committed.end);
        }
    }

    /// Makes a new segment known.
    fn begin(&self, state: &mut State, (header, file): NewSegment) {
        let path = self.dir.join(segment::file_name(header.segment_id));
        let (frames, end) = (Vec::new(), segment::HEADER_LEN);
        state.keep.log_bytes += end;
        self.index.lock().insert(Segment { header, path, file: Some(file), frames, end });
    }

    /// Everything that was written is durable. Returns those who wait for that.
    fn is_durable(&self, state: &mut State) -> Vec<Arc<Done>> {
        state.durable = state.written_lsn;
        let (records, bytes) = std::mem::take(&mut state.uncounted);
        state.stats.records += records;
        state.stats.payload_bytes += bytes;
        state.stats.syncs += 1;
        if let Some(lifecycle) = &mut state.lifecycle {
            lifecycle.durable(state.durable);
        }
        self.keep_up(state, records, bytes);
        let (records, bytes) = state.open.weight();
        // What came meanwhile counts from now on: a sync more often than needed at worst.
        state.unsynced = Unsynced { records, bytes, since: self.start_of(records), due: false };
        // Release: the partner of the load in `durable`.
        self.durable.store(state.durable, Ordering::Release);
        std::mem::take(&mut state.written)
    }

    /// The next leader is found before those are woken who may go on.
    fn end_turn(&self, state: &mut State) {
        if let Some(source) = state.doomed.take() {
            return self.poison(state, &CommitError::Poisoned(source));
        }
        state.leading = false;
        self.tell(state);
        if !self.planted.has(Bug::NoHandOver) {
            // A waiter of something written needs a leader who syncs, and that one writes as well.
            let next = state.written.iter().find(|done| done.has_waiters());
            next.unwrap_or(&state.open.done).wake_one();
        }
        if state.turn_waiters > 0 {
            self.turn.notify_all();
        }
        state.release_if_idle();
    }

    /// The log is of no more use: everybody hears so, also those whose records would be next.
    fn poison(&self, state: &mut State, error: &CommitError) {
        let poison = Poison { durable: state.durable, source: error.source() };
        let error = poison.error();
        state.poison = Some(poison);
        state.leading = false;
        self.tell(state);
        let orphan = Batch::new(state.next_lsn);
        let orphan = std::mem::replace(&mut state.open, orphan);
        let written = std::mem::take(&mut state.written);
        self.turn.notify_all();
        self.keeper.notify_all();
        state.release_if_idle();
        let orphan = Some(orphan.done).filter(|_| !self.planted.has(Bug::NoPoisonWake));
        for done in written.into_iter().chain(orphan) {
            done.finish(Err(error.clone()));
        }
    }

    /// Now, if there is anything whose age matters.
    fn start_of(&self, records: u64) -> Tick {
        use bucket_core::Clock;
        if records == 0 || self.policy == SyncPolicy::Always {
            Tick::ZERO
        } else {
            self.clock.now()
        }
    }

    #[cfg(all(test, not(bucket_loom)))]
    pub(crate) fn remembered(&self) -> usize {
        self.state.lock().written.len()
    }

    pub(crate) fn stats(&self) -> WalStats {
        let now = self.rules.unix_ms();
        let state = self.state.lock();
        let index = self.index.lock();
        let done = state.keep.done;
        let age = (done.newest_checkpoint > 0).then(|| now.saturating_sub(done.newest_checkpoint));
        let (pending, pending_bytes) = state.lifecycle.as_ref().map_or((0, 0), Lifecycle::size);
        WalStats {
            checkpoints: done.checkpoints,
            checkpoint_age: age.map(Duration::from_millis),
            checkpoint_failures: done.failures,
            pending,
            pending_bytes,
            survivors: done.survivors,
            archived: done.archived,
            archive_failures: done.archive_failures,
            segments: index.len() as u64,
            log_bytes: index.bytes(),
            spare_bytes: self.spares.bytes(),
            reused: self.spares.reused(),
            written_lsn: Lsn::new(state.written_lsn),
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
        self.tell(&mut state);
        self.committer.notify_all();
        self.keeper.notify_all();
        self.turn.notify_all();
        state.release_if_idle();
        // Whoever is at work on the files notices soon, and whoever opens the log next finds it free.
        while state.keep.at_work > 0 {
            self.turn.wait(&mut state);
        }
        state.release_if_idle();
    }

    pub(crate) fn close(&self) -> Result<(), WalError> {
        self.state.lock().keep.closing = true;
        let mut last_taken = false;
        let mut state = self.state.lock();
        loop {
            state.check()?;
            if !state.leading && state.is_all_durable() && state.open.group.entries.is_empty() {
                if state.keep.at_work > 0 {
                    self.turn.wait(&mut state);
                    continue;
                }
                if last_taken {
                    break;
                }
                drop(state);
                self.take_last();
                last_taken = true;
                state = self.state.lock();
                continue;
            }
            let refused = state.stats.refused;
            state = self.lead_or_wait(state, Lead::Sync);
            state.check()?;
            if state.stats.refused > refused {
                return Err(WalError::NoSpace { path: self.dir.clone() });
            }
        }
        state.closed = true;
        self.tell(&mut state);
        self.committer.notify_all();
        self.keeper.notify_all();
        self.turn.notify_all();
        let promised = self.writer.lock().promise(state.next_lsn, state.gap);
        state.lock = None;
        promised.map_err(|error| WalError::io("sync", &self.dir, error))
    }
}

impl State {
    /// Takes the open batch, and opens the next in the memory of the one before.
    fn take_open(&mut self) -> Batch {
        let group = std::mem::take(&mut self.spare);
        let next = Batch { group, ..Batch::new(self.next_lsn) };
        std::mem::replace(&mut self.open, next)
    }

    /// The batch is written.
    fn took(&mut self, batch: Batch) {
        let (records, bytes) = batch.weight();
        self.gap = false;
        self.written_lsn = batch.first_lsn + records - 1;
        self.uncounted.0 += records;
        self.uncounted.1 += bytes;
        self.stats.groups += 1;
        // Tickets are made with the state locked, and of the open batch alone: without one there is nobody
        // to tell. Under a policy that seldom syncs, thousands of such batches would pile up here.
        if Arc::strong_count(&batch.done) > 1 {
            self.written.push(batch.done);
        }
        self.spare = batch.group.cleared();
    }

    /// Everything that was written is durable.
    pub(crate) const fn is_all_durable(&self) -> bool {
        self.written_lsn == self.durable
    }

    /// The batch was refused, and its numbers are left out.
    fn gave_up(&mut self, batch: &Batch) {
        let (records, bytes) = batch.weight();
        self.gap = true;
        if let Some(lifecycle) = &mut self.lifecycle {
            lifecycle.refused(batch.first_lsn, batch.first_lsn + records - 1);
        }
        self.stats.refused += records;
        self.unsynced.records = self.unsynced.records.saturating_sub(records);
        self.unsynced.bytes = self.unsynced.bytes.saturating_sub(bytes);
    }

    /// Tells those who wait for a closed log, and gives up its lock, unless somebody still works on it.
    pub(crate) fn release_if_idle(&mut self) {
        if !self.closed || self.leading {
            return;
        }
        let open = std::mem::replace(&mut self.open, Batch::new(self.next_lsn));
        for done in std::mem::take(&mut self.written).into_iter().chain([open.done]) {
            done.finish(Err(WalError::Closed));
        }
        if self.keep.at_work == 0 {
            self.lock = None;
        }
    }

    pub(crate) fn check(&self) -> Result<(), WalError> {
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

    /// How many records it has, and how many bytes of content.
    const fn weight(&self) -> (u64, u64) {
        (self.group.entries.len() as u64, self.group.payloads.len() as u64)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("dir", &self.dir).finish_non_exhaustive()
    }
}
