//! Bugs planted on purpose, so that the checks that must catch them can be seen to do so.
//!
//! They exist only under `--cfg bucket_planted`, a cfg and not a feature, so that no dependency can
//! ever turn them on; everywhere else [`Planted::has`] is `false` to the compiler and costs nothing.

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(bucket_planted), expect(unreachable_pub, reason = "public where planted"))]
#[non_exhaustive]
pub enum Bug {
    /// A put is acknowledged before the sync of its blob.
    AcknowledgeBeforeSync,
    /// A checkpoint is taken before the catalog that it names is written.
    CheckpointBeforeData,
    /// A blob is given up when it is sent, not when the remote has it.
    EvictUndrained,
    /// The name of a blob is not synced.
    NoDirectorySync,
    /// The log says that an operation is settled before it is sent.
    SettleBeforeSent,
    /// Opening does not replay the log.
    SkipReplay,
    /// The log counts a copy forward before it is durable, and the segment that it was copied from goes.
    #[cfg(bucket_planted)]
    SurvivorBeforeDurable,
}

/// Which bug is planted in one bucket.
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
