//! When housekeeping is due, and the thread that does it: started by the first thing that is due, asleep
//! without a timer while nothing can become so.

use bucket_core::Tick;

use crate::checkpoint::CheckpointPolicy;
use crate::commit::{Shared, State};
use crate::error::WalError;
use crate::options::WalOptions;
use crate::spares::Spares;
use crate::sync::{self, Arc};

/// What makes housekeeping due, and what it has done. Part of the state of the log.
#[derive(Debug)]
pub(crate) struct Keep {
    policy: CheckpointPolicy,
    /// Nobody but the user does it.
    by_hand: bool,
    segment_bytes: u64,
    /// What became durable since the last checkpoint, and when the first of it did.
    records: u64,
    bytes: u64,
    since: Tick,
    /// Segments wait for the archive.
    pub(super) trim: bool,
    /// Bytes of all segments; kept for logs with a lifecycle.
    pub(crate) log_bytes: u64,
    spares: Arc<Spares>,
    /// Below this, cleaning was tried and did not help.
    pub(super) clean_above: u64,
    thread: Keeper,
    /// How many are at work on the files of the log beside the leader.
    pub(crate) at_work: u32,
    /// Somebody closes the log and waits for them.
    pub(crate) closing: bool,
    pub(crate) done: Done,
}

/// What housekeeping has done since the log was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) checkpoints: u64,
    /// When the newest one was taken, in milliseconds since 1970; 0 for never.
    pub(crate) newest_checkpoint: u64,
    pub(crate) failures: u64,
    pub(crate) survivors: u64,
    pub(crate) archived: u64,
    pub(crate) archive_failures: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeper {
    /// Never needed so far.
    None,
    /// Waits to be told.
    Idle,
    /// Waits for a moment, or to be told.
    Timed,
    Busy,
}

enum Due {
    Never,
    At(Tick),
    Now,
}

impl Keep {
    /// `since_checkpoint` records were found behind the newest checkpoint.
    pub(crate) fn new(
        options: &WalOptions,
        since_checkpoint: u64,
        taken: u64,
        spares: Arc<Spares>,
    ) -> Self {
        let automatic = options.checkpoint_policy.unwrap_or(if options.lifecycle {
            CheckpointPolicy::of_lifecycle()
        } else {
            CheckpointPolicy::never()
        });
        let can = options.lifecycle || options.checkpoint_source.is_some();
        Self {
            policy: if can { automatic } else { CheckpointPolicy::never() },
            by_hand: options.housekeeping_by_hand,
            segment_bytes: options.segment_bytes,
            records: since_checkpoint,
            bytes: 0,
            since: Tick::ZERO,
            trim: false,
            log_bytes: 0,
            spares,
            clean_above: 0,
            thread: Keeper::None,
            at_work: 0,
            closing: false,
            done: Done { newest_checkpoint: taken, ..Done::default() },
        }
    }

    pub(super) fn begin_checkpoint(&mut self) {
        (self.records, self.bytes) = (0, 0);
    }

    pub(super) fn took_checkpoint(&mut self, taken: u64) {
        self.done.checkpoints += 1;
        self.done.newest_checkpoint = taken;
    }

    /// Whether a checkpoint at the end would say anything new.
    pub(crate) fn wants_last_checkpoint(&self) -> bool {
        self.records > 0 && self.policy != CheckpointPolicy::never()
    }

    fn checkpoint_due(&self) -> Due {
        let reached = |is: u64, bound: Option<u64>| bound.is_some_and(|bound| is >= bound);
        if reached(self.records, self.policy.records) || reached(self.bytes, self.policy.bytes) {
            return Due::Now;
        }
        match self.policy.interval {
            Some(interval) if self.records > 0 => Due::At(self.since.after(interval)),
            _ => Due::Never,
        }
    }
}

impl State {
    /// How many bytes a log with a lifecycle should have at most: twice what is pending takes, and two
    /// segments. `None` for others, which nothing but their user can make shorter.
    pub(super) fn log_limit(&self) -> Option<u64> {
        let weight = self.lifecycle.as_ref()?.weight();
        Some(weight.saturating_mul(2).saturating_add(self.keep.segment_bytes.saturating_mul(2)))
    }

    pub(super) fn is_too_long(&self) -> bool {
        let limit = self.log_limit();
        let bytes = self.keep.log_bytes.saturating_add(self.keep.spares.bytes());
        limit.is_some_and(|limit| bytes > limit.max(self.keep.clean_above))
    }

    fn keep_due(&self) -> Due {
        if self.keep.trim || self.is_too_long() { Due::Now } else { self.keep.checkpoint_due() }
    }
}

impl Shared {
    /// Counts what became durable, and tells the thread when that makes something due.
    pub(crate) fn keep_up(&self, state: &mut State, records: u64, bytes: u64) {
        let keep = &mut state.keep;
        if keep.records == 0 && records > 0 {
            keep.since = self.keep_time(keep.policy);
        }
        keep.records += records;
        keep.bytes += bytes;
        self.wake_keeper(state);
    }

    /// Starts the thread, or tells it that there is something to do, if there is.
    pub(crate) fn wake_keeper(&self, state: &mut State) {
        if state.keep.by_hand || state.keep.thread == Keeper::Busy || state.check().is_err() {
            return;
        }
        match (state.keep_due(), state.keep.thread) {
            (Due::Never, _) => {}
            (_, Keeper::None) => {
                let Some(shared) = self.weak.upgrade() else { return };
                // Without a thread it is tried again with the next record.
                if sync::spawn("wal-keep", move || shared.keep_house()).is_ok() {
                    state.keep.thread = Keeper::Busy;
                }
            }
            // The moment that it waits for is no later: the first record counts.
            (Due::At(_), Keeper::Timed) => {}
            _ => {
                state.keep.thread = Keeper::Busy;
                self.keeper.notify_one();
            }
        }
    }

    /// The life of the thread: ends with the log.
    fn keep_house(self: Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            loop {
                if state.check().is_err() {
                    return;
                }
                match state.keep_due() {
                    Due::Now => break,
                    Due::At(at) => {
                        let left = at.since(self.keep_time(state.keep.policy));
                        if left.is_zero() {
                            break;
                        }
                        state.keep.thread = Keeper::Timed;
                        self.keeper.wait_for(&mut state, left);
                    }
                    Due::Never => {
                        state.keep.thread = Keeper::Idle;
                        self.keeper.wait(&mut state);
                    }
                }
                state.keep.thread = Keeper::Busy;
            }
            drop(state);
            // It is counted, and tried again when it is due again.
            let _ = self.housekeep();
        }
    }

    /// Does what is due.
    pub(crate) fn housekeep(self: &Arc<Self>) -> Result<(), WalError> {
        let result = self.unless_it_panics_beside(|| self.housekeep_once());
        if let Err(error) = &result {
            self.telemetry.housekeeping_failed(error);
            let mut state = self.state.lock();
            state.keep.done.failures += 1;
            // Whatever it was, not before the log has grown.
            state.keep.clean_above = state.keep.log_bytes + self.rules.segment_bytes;
        }
        result
    }

    fn housekeep_once(self: &Arc<Self>) -> Result<(), WalError> {
        let mut state = self.state.lock();
        state.check()?;
        let checkpoint = match state.keep.checkpoint_due() {
            Due::Now => true,
            Due::At(at) => at <= self.keep_time(state.keep.policy),
            Due::Never => false,
        };
        if checkpoint {
            state.keep.begin_checkpoint();
        }
        drop(state);
        if checkpoint {
            self.take_automatic()?;
        }
        let _work = self.begin_work()?;
        let _turn = self.housekeeper.lock();
        self.clean()?;
        self.state.lock().keep.trim = false;
        self.trim().map(drop)
    }

    /// Takes a checkpoint that nobody asked for. The application is asked without any lock.
    fn take_automatic(&self) -> Result<(), WalError> {
        let given = match &self.rules.source {
            Some(source) => match (source.0)() {
                Some((from, content)) => Some((from.get(), content)),
                None => return Ok(()),
            },
            None => None,
        };
        if let Some((_, content)) = &given {
            content.check()?;
        }
        let _work = self.begin_work()?;
        self.with_room(|| self.take(&mut *self.checkpoints()?, given.clone()))
    }

    /// Takes the last checkpoint of a log that is being closed, if it would say anything new. A failure
    /// costs the next opening a little time and nothing else.
    pub(crate) fn take_last(&self) {
        let state = self.state.lock();
        let wanted = state.lifecycle.is_some() && state.keep.wants_last_checkpoint();
        drop(state);
        if wanted && let Ok(_work) = self.begin_work() {
            self.unless_it_panics_beside(|| {
                let taken = self.checkpoints().and_then(|mut held| self.take(&mut held, None));
                if taken.is_ok() && self.rules.archive.is_none() {
                    let _ = self.trim();
                }
            });
        }
    }
}
