//! Bugs planted on purpose, so that the models that must catch them can be seen to do so.
//!
//! They exist only under `--cfg bucket_planted`, a cfg and not a feature, so that no dependency can
//! ever turn them on; everywhere else [`Planted::has`] is `false` to the compiler and costs nothing.

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(bucket_planted), expect(unreachable_pub, reason = "public where planted"))]
#[non_exhaustive]
pub enum Bug {
    /// A transition is stored whatever has become of the word since it was read.
    BlindStore,
    /// The time of a probe is noted after the probe can be seen.
    LateProbeTime,
    /// A result counts whatever generation it was admitted in.
    LateResultCounts,
}

/// Which bug is planted in one breaker.
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
