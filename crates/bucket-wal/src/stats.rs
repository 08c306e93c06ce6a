//! [`WalStats`]: what a log has done since it was opened.

use std::time::Duration;

use crate::lsn::Lsn;
use crate::sync_method::SyncMethod;

/// Counters of an open log. Taken under one lock, so they fit together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WalStats {
    /// Records made durable.
    pub records: u64,
    /// Groups written, with one write each.
    pub groups: u64,
    /// Syncs that made groups durable; as many as groups under [`SyncPolicy::Always`](crate::SyncPolicy).
    pub syncs: u64,
    /// Bytes of payload made durable.
    pub payload_bytes: u64,
    /// Records refused for want of space.
    pub refused: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Bytes of all segments, as far as they are written.
    pub log_bytes: u64,
    /// Bytes of the spare segments, which [`WalStats::log_bytes`] leaves out.
    pub spare_bytes: u64,
    /// Segments that were begun in a spare file.
    pub reused: u64,
    /// By which method groups become durable. Before the first record was written since opening, the one
    /// that will be tried.
    pub sync_method: SyncMethod,
    /// Checkpoints taken.
    pub checkpoints: u64,
    /// How old the newest checkpoint is, by the clock of the machine; `None` when there is none.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "checkpoint_age_seconds", serialize_with = "crate::config::seconds")
    )]
    pub checkpoint_age: Option<Duration>,
    /// Times that automatic checkpoints, copying forward or trimming failed; each is tried again.
    pub checkpoint_failures: u64,
    /// Damaged places that opening stepped over.
    pub damage_found: u64,
    /// Records that are known to be lost in them.
    pub damaged_records: u64,
    /// Checkpoints that opening could not read.
    pub unreadable_checkpoints: u64,
    /// Times that reading the open log came upon damage.
    pub damage_read: u64,
    /// Operations that are not settled; 0 in a log without a lifecycle.
    pub pending: u64,
    /// Bytes of content of the operations whose settlement is not durable.
    pub pending_bytes: u64,
    /// Operations copied forward, each time counted.
    pub survivors: u64,
    /// Segments that the archive has taken.
    pub archived: u64,
    /// Times that the archive did not take a segment; each is tried again.
    pub archive_failures: u64,
    /// Everything up to here was handed to the operating system, save what was refused.
    pub written_lsn: Lsn,
    /// Everything up to here is durable.
    pub durable_lsn: Lsn,
}

impl WalStats {
    /// Durable records in the average group; 0 before the first.
    pub fn records_per_group(&self) -> f64 {
        if self.groups == 0 { 0.0 } else { self.records as f64 / self.groups as f64 }
    }

    /// Syncs for each durable record; 0 before the first.
    pub fn syncs_per_record(&self) -> f64 {
        if self.records == 0 { 0.0 } else { self.syncs as f64 / self.records as f64 }
    }
}
