//! [`Faults`]: the switches of a [`FaultyRemote`](super::FaultyRemote), and the dice it throws.

use std::collections::VecDeque;
use std::fmt;
#[expect(
    clippy::disallowed_types,
    reason = "this crate has no parking_lot, and no loom model"
)]
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{RemoteError, RemoteErrorKind};

/// The switches of a [`FaultyRemote`](super::FaultyRemote). Clones share them.
#[derive(Clone, Default)]
pub struct Faults {
    #[expect(clippy::disallowed_types, reason = "see the imports")]
    switches: Arc<Mutex<Switches>>,
}

/// How often each operation was called, faults included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallStats {
    /// Calls of [`Remote::put`](crate::Remote::put).
    pub put: u64,
    /// Calls of [`Remote::get`](crate::Remote::get).
    pub get: u64,
    /// Calls of [`Remote::head`](crate::Remote::head).
    pub head: u64,
    /// Calls of [`Remote::delete`](crate::Remote::delete).
    pub delete: u64,
    /// Calls of [`Remote::list`](crate::Remote::list).
    pub list: u64,
}

type MakeError = Arc<dyn Fn() -> RemoteError + Send + Sync>;
type Late = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Switches {
    down: bool,
    latency: Duration,
    late: bool,
    lose_replies: u16,
    fail: Option<(u16, RemoteErrorKind)>,
    script: VecDeque<(MakeError, bool)>,
    random: u64,
    queue: Vec<Late>,
    stats: CallStats,
}

/// What one call will meet, decided under the lock and carried out without it.
pub(super) struct Plan {
    pub(super) down: bool,
    pub(super) latency: Duration,
    pub(super) late: bool,
    lose_reply: bool,
    fail: Option<RemoteErrorKind>,
    script: Option<(MakeError, bool)>,
}

impl Faults {
    /// Every call is refused as `Unavailable`, at once, and nothing is applied.
    pub fn down(&self, down: bool) {
        self.lock().down = down;
    }

    /// Every call takes this long. When the deadline or a cancellation comes first, a mutation ends
    /// ambiguous and is not applied, unless [`Faults::late`] says so.
    pub fn latency(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// Mutations whose caller stopped waiting are kept, for [`Faults::release_late`].
    pub fn late(&self, late: bool) {
        self.lock().late = late;
    }

    /// Applies the mutations that were kept, the oldest first, and returns how many those were.
    /// Their preconditions are judged now.
    pub fn release_late(&self) -> usize {
        let queue = std::mem::take(&mut self.lock().queue);
        let released = queue.len();
        queue.into_iter().for_each(|late| late());
        released
    }

    /// Of 1 000 calls, this many are carried out and their reply is lost: `Transient`, ambiguous for
    /// mutations.
    pub fn lose_replies(&self, per_mille: u16) {
        self.lock().lose_replies = per_mille;
    }

    /// Of 1 000 calls, this many are refused with `kind`, and nothing is applied.
    pub fn fail(&self, per_mille: u16, kind: RemoteErrorKind) {
        self.lock().fail = Some((per_mille, kind));
    }

    /// The next `n` calls end with what `error` makes: after the call was carried out when `applied`,
    /// else instead of it. The error is passed on as it is, so a test can also plant a lie.
    pub fn fail_next(
        &self,
        n: usize,
        error: impl Fn() -> RemoteError + Send + Sync + 'static,
        applied: bool,
    ) {
        let error: MakeError = Arc::new(error);
        self.lock().script.extend((0..n).map(|_| (Arc::clone(&error), applied)));
    }

    /// Restarts the random numbers that decide which calls fail.
    pub fn seed(&self, seed: u64) {
        self.lock().random = seed;
    }

    /// How often each operation was called so far.
    pub fn stats(&self) -> CallStats {
        self.lock().stats
    }

    pub(super) fn plan(&self, count: fn(&mut CallStats) -> &mut u64) -> Plan {
        let mut switches = self.lock();
        *count(&mut switches.stats) += 1;
        // Two draws a call, always, so that switching one fault does not move the other.
        let (first, second) = (switches.per_mille(), switches.per_mille());
        Plan {
            down: switches.down,
            latency: switches.latency,
            late: switches.late,
            lose_reply: first < switches.lose_replies,
            fail: switches.fail.and_then(|(rate, kind)| (second < rate).then_some(kind)),
            // A call that finds the remote down does not use up the script.
            script: if switches.down { None } else { switches.script.pop_front() },
        }
    }

    /// Keeps a mutation whose caller stopped waiting.
    pub(super) fn keep_late(&self, mutation: impl FnOnce() + Send + 'static) {
        self.lock().queue.push(Box::new(mutation));
    }

    // Every change is a single store, so a poisoned lock still guards a valid state.
    fn lock(&self) -> MutexGuard<'_, Switches> {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let switches = self.lock();
        f.debug_struct("Faults")
            .field("down", &switches.down)
            .field("latency", &switches.latency)
            .field("late", &switches.late)
            .field("lose_replies", &switches.lose_replies)
            .field("fail", &switches.fail)
            .field("script", &switches.script.len())
            .field("queue", &switches.queue.len())
            .finish_non_exhaustive()
    }
}

impl Switches {
    /// The next number below 1 000, by [splitmix64](https://doi.org/10.1145/2714064.2660195).
    fn per_mille(&mut self) -> u16 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % 1_000) as u16
    }
}

impl Plan {
    /// The error that comes instead of the call.
    pub(super) fn before(&self) -> Option<RemoteError> {
        match &self.script {
            Some((error, false)) => Some(error()),
            Some((_, true)) => None,
            None => self.fail.map(RemoteError::refused),
        }
    }

    /// The error that comes instead of the reply to a call that succeeded.
    pub(super) fn after(&self, lost: fn(RemoteErrorKind) -> RemoteError) -> Option<RemoteError> {
        match &self.script {
            Some((error, true)) => Some(error()),
            _ => self.lose_reply.then(|| lost(RemoteErrorKind::Transient)),
        }
    }
}
