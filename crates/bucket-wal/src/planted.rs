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
    /// A checkpoint is written without the records that it vouches for.
    CheckpointBeforeData,
    /// Trimming removes records that no checkpoint has released.
    EvictUndrained,
    /// The directory of a new segment is not synced.
    NoDirectorySync,
    /// The next batch is not told that it may lead.
    NoHandOver,
    /// Recovery leaves out the newest records, which nothing vouches for.
    SkipReplay,
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
