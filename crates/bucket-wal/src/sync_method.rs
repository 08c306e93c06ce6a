//! [`SyncMethod`]: by which system calls a group becomes durable.

use std::fmt;

/// How the bytes of a group are made durable. Choose by measuring: [`WalOptions::tune`].
///
/// The method decides about speed alone. Every method writes the same bytes to the same places and gives
/// the same promise, so a log that was written by one opens under any other. It is used under
/// [`SyncPolicy::Always`]; under the other policies, where many writes share a sync, a write that is a
/// sync as well would only cost, and the log syncs with `fdatasync` whatever the method.
///
/// Where the system or the file system does not offer a method, the log falls back to the one above it in
/// this list, as often as needed: `O_DSYNC` is Linux alone, and some file systems refuse `O_DIRECT`.
/// [`WalStats::sync_method`] says what is in use.
///
/// [`SyncPolicy::Always`]: crate::SyncPolicy::Always
/// [`WalOptions::tune`]: crate::WalOptions::tune
/// [`WalStats::sync_method`]: crate::WalStats::sync_method
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum SyncMethod {
    /// A write into the page cache, then `fdatasync`. The default: works everywhere, and two system
    /// calls cost little beside the disk.
    #[default]
    Fdatasync,
    /// A write that is durable when it returns: `O_DSYNC`, one system call.
    ODsync,
    /// The same past the page cache: `O_DIRECT` and `O_DSYNC`. Writes whole blocks of 4 096 bytes from
    /// memory of the log's own, the last one again once more has come. Pays for large records, and on
    /// disks that can write durably in a single request.
    ODirectODsync,
}

impl SyncMethod {
    /// All methods, in the order of falling back, from the last to the first.
    pub(crate) const ALL: [Self; 3] = [Self::Fdatasync, Self::ODsync, Self::ODirectODsync];

    /// A short name, the same in files, reports and settings: `fdatasync`, `o_dsync`,
    /// `o_direct_o_dsync`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fdatasync => "fdatasync",
            Self::ODsync => "o_dsync",
            Self::ODirectODsync => "o_direct_o_dsync",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

impl fmt::Display for SyncMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
