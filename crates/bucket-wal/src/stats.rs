//! [`WalStats`]: what a log has done since it was opened.

use crate::lsn::Lsn;

/// Counters of an open log. Taken under one lock, so they fit together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WalStats {
    /// Records made durable.
    pub records: u64,
    /// Groups written: one write and one sync each.
    pub groups: u64,
    /// Bytes of payload made durable.
    pub payload_bytes: u64,
    /// Records refused for want of space.
    pub refused: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Bytes of all segments, as far as they are written.
    pub log_bytes: u64,
    /// Everything up to here is durable.
    pub durable_lsn: Lsn,
}

impl WalStats {
    /// Records in the average group; 0 before the first.
    pub fn records_per_group(&self) -> f64 {
        if self.groups == 0 { 0.0 } else { self.records as f64 / self.groups as f64 }
    }
}
