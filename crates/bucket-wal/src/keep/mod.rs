//! Housekeeping: checkpoints, what they let go of, and what makes them due.
//!
//! Whatever is written here is written in an order that a crash can break off anywhere: a checkpoint is
//! durable before an older one goes, the older one's name is gone for good before a segment goes that
//! only it needed, and segments go one by one, the oldest first, so that no hole is left.

mod due;
mod room;
mod survivors;
mod trim;

use bucket_core::Tick;

use crate::checkpoint::{Checkpoint, CheckpointPolicy, CheckpointState};
use crate::commit::Shared;
use crate::error::WalError;
use crate::format::Features;
use crate::lifecycle::Lifecycle;
use crate::lsn::Lsn;
use crate::manifest::{self, Manifest, Manifests, SegmentEntry, Sum};
use crate::options::WalOptions;
use crate::reserve::Reserve;
use crate::sync::{MutexGuard, Ordering};

pub(crate) use self::due::Keep;

/// Where checkpoints stand. Its lock orders everything that writes or removes files, save the writer's.
pub(crate) struct Checkpoints {
    pub(crate) log_id: u128,
    /// Those on disk, the oldest first.
    kept: Vec<Kept>,
    /// The highest number that a file has or may have.
    last_generation: u64,
    /// Segments before this one are in the archive.
    archived_before: u64,
    /// The newest state that the application gave, with the start of its replay.
    app: Option<(u64, CheckpointState)>,
    /// Names of checkpoints were removed and may come back after a crash.
    names_pending: bool,
    reserve: Reserve,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    generation: u64,
    durable_lsn: u64,
    replay_from: u64,
    pending_from: Option<u64>,
    features: Features,
    sum: Sum,
}

impl Checkpoints {
    pub(crate) fn new(log_id: u128, manifests: &Manifests, reserve: Reserve) -> Self {
        let newest = manifests.readable.first();
        Self {
            log_id,
            kept: manifests.readable.iter().rev().map(Kept::new).collect(),
            last_generation: manifests.last_generation,
            archived_before: newest.map_or(0, |manifest| manifest.archived_before),
            app: newest.and_then(app_state),
            names_pending: false,
            reserve,
        }
    }

    /// The log has to keep everything from here on for what is kept to be of use. While there are not
    /// as many as there should be, the beginning of the log stands for those that are missing.
    fn keep_from(&self, wanted: usize) -> u64 {
        if self.kept.len() < wanted {
            return 0;
        }
        self.kept.iter().map(Kept::keep_from).min().unwrap_or(0)
    }

    /// Whether one of as many as should be kept, or the beginning of the log in the place of a missing one,
    /// has the application replay a record before `lsn`, or pins one although only those from `pending` on
    /// are needed.
    fn goes_back_behind(&self, lsn: u64, pending: u64, wanted: usize) -> bool {
        let behind = |kept: &Kept| kept.replay_from < lsn || kept.keep_from() < lsn.min(pending);
        self.kept.len() < wanted || self.kept.iter().any(behind)
    }

    /// The last record from which any of them has the application replay.
    pub(crate) fn replay_from(&self) -> u64 {
        self.kept.iter().map(|kept| kept.replay_from).max().unwrap_or(0)
    }

    /// The newest record that any of them counts on.
    pub(crate) fn durable_lsn(&self) -> u64 {
        self.kept.iter().map(|kept| kept.durable_lsn).max().unwrap_or(0)
    }

    /// Whether there is a newest checkpoint that does not say that exactly these features are on.
    pub(crate) fn lacks(&self, features: Features) -> bool {
        self.kept.last().is_some_and(|newest| newest.features != features)
    }

    /// The first record that says anything about what is pending.
    pub(crate) fn needed_from(&self) -> u64 {
        let newest = self.kept.last();
        newest.map_or(1, |newest| newest.pending_from.unwrap_or(newest.replay_from))
    }
}

impl Kept {
    fn new(manifest: &Manifest) -> Self {
        Self {
            generation: manifest.generation,
            durable_lsn: manifest.durable_lsn,
            replay_from: manifest.replay_from,
            pending_from: manifest.pending_from,
            features: manifest.features,
            sum: manifest.sum,
        }
    }

    fn keep_from(&self) -> u64 {
        self.pending_from.map_or(self.replay_from, |from| from.min(self.replay_from))
    }
}

/// A checkpoint without a state was taken by the log itself, or asks for nothing more than such a one.
fn app_state(manifest: &Manifest) -> Option<(u64, CheckpointState)> {
    let state = &manifest.state;
    (*state != CheckpointState::None).then(|| (manifest.replay_from, state.clone()))
}

/// What the options say about housekeeping.
#[derive(Debug)]
pub(crate) struct Rules {
    /// How many checkpoints are kept.
    keep: usize,
    segment_bytes: u64,
    source: Option<crate::checkpoint::Source>,
    archive: Option<crate::sync::Arc<dyn crate::archive::ArchiveSink>>,
    entropy: crate::entropy::Entropy,
    /// The features of the format that this version knows.
    pub(crate) known: Features,
}

impl Rules {
    pub(crate) fn new(options: &WalOptions) -> Self {
        Self {
            keep: options.keep_checkpoints,
            segment_bytes: options.segment_bytes,
            source: options.checkpoint_source.clone(),
            archive: options.archive.clone(),
            entropy: options.entropy.clone(),
            known: options.known,
        }
    }

    pub(crate) fn unix_ms(&self) -> u64 {
        self.entropy.unix_ms()
    }
}

/// Somebody is at work on the files of the log, which therefore stays locked.
pub(crate) struct AtWork<'a>(&'a Shared);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.keep.at_work -= 1;
        self.0.turn.notify_all();
        state.release_if_idle();
    }
}

impl Shared {
    pub(crate) fn begin_work(&self) -> Result<AtWork<'_>, WalError> {
        let mut state = self.state.lock();
        state.check()?;
        state.keep.at_work += 1;
        Ok(AtWork(self))
    }

    pub(crate) fn checkpoints(&self) -> Result<MutexGuard<'_, Checkpoints>, WalError> {
        self.state.lock().check()?;
        Ok(self.checkpoints.lock())
    }

    /// Takes a checkpoint that the application asked for, and lets go of what nobody needs any more.
    pub(crate) fn checkpoint(&self, from: u64, state: CheckpointState) -> Result<(), WalError> {
        self.unless_it_panics_beside(|| self.checkpoint_now(from, state))
    }

    fn checkpoint_now(&self, from: u64, state: CheckpointState) -> Result<(), WalError> {
        state.check()?;
        let _work = self.begin_work()?;
        self.with_room(|| self.take(&mut *self.checkpoints()?, Some((from, state.clone()))))?;
        self.let_go()
    }

    /// Has every checkpoint that is kept replay from `lsn` or later, and lets go of what nobody needs any
    /// more.
    pub(crate) fn truncate_before(&self, lsn: u64) -> Result<(), WalError> {
        let _work = self.begin_work()?;
        let mut checkpoints = self.checkpoints()?;
        let lsn = lsn.min(self.newest()? + 1);
        if lsn <= 1 {
            return Ok(());
        }
        let state = self.state.lock();
        let pending = state.lifecycle.as_ref().and_then(Lifecycle::needed_from);
        let pending = pending.unwrap_or(u64::MAX);
        drop(state);
        // Each pushes out the oldest.
        for _ in 0..self.rules.keep {
            if checkpoints.goes_back_behind(lsn, pending, self.rules.keep) {
                self.repeat(&mut checkpoints, lsn)?;
            }
        }
        drop(checkpoints);
        self.let_go()
    }

    /// Removes what no kept checkpoint needs, or has it archived first.
    fn let_go(&self) -> Result<(), WalError> {
        // What the application's last checkpoint held back may be copied forward now.
        let mut state = self.state.lock();
        state.keep.clean_above = 0;
        if self.rules.archive.is_some() {
            // The archive may be slow, and is none of the caller's business.
            state.keep.trim = true;
            self.wake_keeper(&mut state);
            return Ok(());
        }
        drop(state);
        self.trim().map(drop)
    }

    /// The checkpoints on disk, the newest first.
    pub(crate) fn list_checkpoints(&self) -> Result<Vec<Checkpoint>, WalError> {
        let _guard = self.checkpoints()?;
        let manifests = manifest::load(&*self.vfs, &self.dir, self.rules.known)?;
        Ok(manifests.readable.iter().map(Checkpoint::from).collect())
    }

    /// Takes the newest checkpoint once more, for a replay that starts no earlier than `from`.
    pub(crate) fn repeat(&self, checkpoints: &mut Checkpoints, from: u64) -> Result<(), WalError> {
        let replay_from =
            checkpoints.kept.last().map_or(from, |newest| newest.replay_from.max(from));
        let state = checkpoints.app.as_ref().map(|(_, state)| state.clone());
        self.take(checkpoints, Some((replay_from, state.unwrap_or_default())))
    }

    /// Writes a manifest, of what the application gave or of what is needed for what is pending.
    fn take(
        &self,
        checkpoints: &mut Checkpoints,
        given: Option<(u64, CheckpointState)>,
    ) -> Result<(), WalError> {
        let start = self.stopwatch();
        let mut state = self.state.lock();
        state.check()?;
        let next = state.next_lsn;
        let pending_from =
            state.lifecycle.as_ref().map(|lifecycle| lifecycle.needed_from().unwrap_or(next));
        state.keep.begin_checkpoint();
        drop(state);
        let (replay_from, content) = match (given, &checkpoints.app) {
            (Some(given), _) => given,
            (None, Some(app)) => app.clone(),
            (None, None) => (pending_from.unwrap_or(0), CheckpointState::None),
        };

        // Records that a checkpoint skips must not come back with other content under the same numbers,
        // and what is vouched for must not be missing after a crash.
        let replicated = self.replicated();
        let vouched = replicated.unwrap_or(0).saturating_add(1).max(replay_from);
        if vouched > self.durable() + 1 {
            self.sync()?;
        }
        let durable = self.vouched_for();
        // What is gone is not asked for, or the next opening would look for it.
        let first =
            self.index().lock().segments().next().map_or(1, |oldest| oldest.header.first_lsn);
        let bounded = |from: u64| from.max(first).min(durable + 1);
        let mut manifest = Manifest {
            generation: checkpoints.last_generation + 1,
            log_id: checkpoints.log_id,
            epoch: self.epoch(),
            durable_lsn: durable,
            replay_from: bounded(replay_from),
            pending_from: pending_from.map(bounded),
            replicated_lsn: replicated,
            archived_before: checkpoints.archived_before,
            taken: self.rules.unix_ms(),
            previous: checkpoints.kept.last().map_or([0; 32], |newest| newest.sum),
            segments: self.segment_table(durable),
            state: content,
            features: self.features(),
            sum: [0; 32],
        };
        self.write_manifest(checkpoints, &mut manifest)?;
        checkpoints.last_generation = manifest.generation;
        checkpoints.kept.push(Kept::new(&manifest));
        checkpoints.app = app_state(&manifest);
        let surplus = checkpoints.kept.len().saturating_sub(self.rules.keep);
        checkpoints.kept.drain(..surplus);
        self.state.lock().keep.took_checkpoint(manifest.taken);
        self.telemetry.checkpoint(&manifest, self.stopwatch().since(start));
        if let Some(oldest) = checkpoints.kept.first() {
            let removed = manifest::remove_before(&*self.vfs, &self.dir, oldest.generation)?;
            checkpoints.names_pending |= removed;
        }
        Ok(())
    }

    /// What is durable of each segment. Of the newest only the records are known for sure.
    fn segment_table(&self, durable: u64) -> Vec<SegmentEntry> {
        let mut state = self.state.lock();
        let index = self.index().lock();
        state.keep.log_bytes = index.bytes();
        let mut table: Vec<SegmentEntry> = Vec::with_capacity(index.len());
        for segment in index.segments() {
            let header = &segment.header;
            if let Some(before) = table.last_mut() {
                before.next_lsn = header.prev_next_lsn;
                (before.data_len, before.chain) = (header.prev_data_len, header.prev_chain);
            }
            table.push(SegmentEntry {
                id: header.segment_id,
                first_lsn: header.first_lsn,
                next_lsn: header.first_lsn.max(durable + 1),
                data_len: if !state.is_all_durable() { 0 } else { segment.end },
                chain: 0,
            });
        }
        table.split_off(table.len().saturating_sub(manifest::MAX_SEGMENTS))
    }

    /// Everything up to here is elsewhere; `None` when nobody ever said so.
    pub(crate) fn replicated(&self) -> Option<u64> {
        // Relaxed: a number alone, nothing is read on its account.
        self.replicated.load(Ordering::Relaxed).checked_sub(1)
    }

    pub(crate) fn set_replicated(&self, lsn: u64) -> Result<(), WalError> {
        if lsn > self.newest()? {
            return Err(WalError::NotFound { lsn: Lsn::new(lsn) });
        }
        // As above. One more than the number: zero stands for a log that is not replicated.
        self.replicated.fetch_max(lsn + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Now, if there is anything to be timed.
    fn keep_time(&self, policy: CheckpointPolicy) -> Tick {
        use bucket_core::Clock;
        if policy.interval.is_some() { self.clock.now() } else { Tick::ZERO }
    }
}
