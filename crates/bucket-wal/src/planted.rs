//! Bugs planted on purpose, so that the checks that must catch them can be seen to do so.
//!
//! They exist only under `--cfg bucket_planted`, a cfg and not a feature, so that no dependency can
//! ever turn them on; everywhere else [`Planted::has`] is `false` to the compiler and costs nothing.

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(bucket_planted), expect(unreachable_pub, reason = "public where planted"))]
#[non_exhaustive]
pub enum Bug {
    /// A record is acknowledged before the sync that covers it.
    AcknowledgeBeforeSync,
    /// The log goes on in the newest segment behind what recovery has found there.
    AppendAfterTail,
    /// A segment is removed although its copy in the archive is neither synced nor read back.
    ArchiveUnverified,
    /// A checkpoint is written without the records that it vouches for.
    CheckpointBeforeData,
    /// Trimming removes records that no checkpoint has released.
    EvictUndrained,
    /// A segment gets its name before it is synced.
    ExposeBeforeSync,
    /// A new segment states how much of the one before counts before that is synced.
    HeaderBeforeData,
    /// A failed sync is taken for one that succeeded.
    IgnoreFailedSync,
    /// The directory of a new segment is not synced.
    NoDirectorySync,
    /// The next batch is not told that it may lead.
    NoHandOver,
    /// A leader that fails does not tell the next batch.
    NoPoisonWake,
    /// The checks of frames depend neither on the segment nor on the place.
    NoSeed,
    /// Those who follow the log are not woken.
    NoTailWake,
    /// A segment's file is written again while its old name may come back.
    ReuseBeforeGone,
    /// A failed sync is tried again, and believed.
    RetrySync,
    /// An operation counts as settled although its settlement may still be refused.
    SettleBeforeAccepted,
    /// Recovery leaves out the newest records, which nothing vouches for.
    SkipReplay,
    /// A copy forward counts before it is durable, and the segment that it was copied from goes.
    SurvivorBeforeDurable,
    /// Recovery syncs the newest segment and trusts it, where it should copy what nothing vouches for.
    SyncOldFile,
    /// A durable tail shows what was only written.
    TailAhead,
}

/// Which bug is planted in one log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planted(#[cfg(bucket_planted)] Option<Bug>);

impl Planted {
    #[cfg(bucket_planted)]
    pub(crate) const fn new(bug: Bug) -> Self {
        Self(Some(bug))
    }

    #[cfg(bucket_planted)]
    pub(crate) fn has(self, bug: Bug) -> bool {
        self.0 == Some(bug)
    }

    #[cfg(not(bucket_planted))]
    #[expect(clippy::unused_self, reason = "the planted build reads it")]
    pub(crate) const fn has(self, _bug: Bug) -> bool {
        false
    }
}

/// Whether [`Bug::NoSeed`] is planted in this thread: whoever computes a check knows no log.
pub(crate) fn is_unseeded() -> bool {
    #[cfg(bucket_planted)]
    let planted = THREAD.get();
    #[cfg(not(bucket_planted))]
    let planted = Planted::default();
    planted.has(Bug::NoSeed)
}

#[cfg(bucket_planted)]
thread_local! {
    /// The bug of this thread's logs.
    pub(crate) static THREAD: std::cell::Cell<Planted> = const { std::cell::Cell::new(Planted(None)) };
}
