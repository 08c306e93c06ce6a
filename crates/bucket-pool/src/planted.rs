//! Bugs planted on purpose, so that the models that must catch them can be seen to do so.
//!
//! They exist only under `--cfg bucket_planted`, a cfg and not a feature, so that no dependency can
//! ever turn them on; everywhere else [`Planted::has`] is `false` to the compiler and costs nothing.

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(bucket_planted), expect(unreachable_pub, reason = "public where planted"))]
#[non_exhaustive]
pub enum Bug {
    /// A freed slot is granted to the longest waiter, who is not woken.
    FreedWithoutWaking,
    /// A caller whose time is over leaves without looking whether it was granted something.
    NoLastLook,
    /// A returned connection is granted to the longest waiter, who is not woken.
    ReturnedWithoutWaking,
}

/// Which bug is planted in one pool.
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
