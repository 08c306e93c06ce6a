//! What a log tells of itself while it runs: events with the feature `tracing`, figures with the feature
//! `metrics`, nothing without. Names and moments are listed in `docs/metrics.md`.
//!
//! Nothing here is called for a single record, and nothing is told of what a record holds.

#![cfg_attr(
    not(all(feature = "metrics", feature = "tracing")),
    allow(unused_variables, clippy::unused_self, reason = "each feature reads its share")
)]

#[cfg(feature = "metrics")]
mod meters;

use std::path::Path;
use std::time::Duration;

use crate::error::WalError;
use crate::manifest::Manifest;
use crate::recovery::RecoveryReport;

/// The voice of one log.
#[derive(Debug)]
pub(crate) struct Telemetry {
    #[cfg(feature = "tracing")]
    log: String,
    #[cfg(feature = "metrics")]
    meters: meters::Meters,
}

impl Telemetry {
    /// For the log in `dir`. Figures go to the recorder that is installed now.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            #[cfg(feature = "tracing")]
            log: dir.display().to_string(),
            #[cfg(feature = "metrics")]
            meters: meters::Meters::new(&dir.display().to_string()),
        }
    }

    /// The log is open: what recovery has found, and how long it took.
    pub(crate) fn opened(&self, report: &RecoveryReport, log_bytes: u64, took: Duration) {
        #[cfg(feature = "tracing")]
        {
            for damage in &report.damage {
                tracing::warn!(
                    log = self.log,
                    path = %damage.path.display(),
                    offset = damage.offset,
                    first_lsn = damage.first_lsn.get(),
                    records = damage.records,
                    kind = %damage.kind,
                    "damage found"
                );
            }
            tracing::info!(
                log = self.log,
                ?took,
                segments = report.segments,
                first_lsn = report.first_lsn.map_or(0, crate::Lsn::get),
                last_lsn = report.last_lsn.get(),
                tail = ?report.tail,
                copied_records = report.copied_records,
                unreadable_checkpoints = report.unreadable_checkpoints,
                damage = report.damage.len(),
                quarantined = report.quarantined.len(),
                "opened"
            );
        }
        #[cfg(feature = "metrics")]
        self.meters.opened(report, log_bytes, took);
    }

    /// A turn of a leader is over: how much it has written, and whether that is durable.
    pub(crate) fn turn(&self, written: Option<(u64, u64)>, synced: bool, took: Duration) {
        #[cfg(feature = "metrics")]
        self.meters.turn(written, synced, took);
    }

    /// Records were refused for want of space.
    pub(crate) fn refused(&self, records: u64) {
        #[cfg(feature = "metrics")]
        self.meters.refused.increment(records);
    }

    /// A segment follows another. There are so many now, and so many bytes in those before it.
    pub(crate) fn rotated(&self, segment_id: u64, first_lsn: u64, segments: usize, log_bytes: u64) {
        #[cfg(feature = "tracing")]
        tracing::debug!(log = self.log, segment_id, first_lsn, "rotated");
        #[cfg(feature = "metrics")]
        self.meters.rotated(segments, log_bytes);
    }

    /// The log takes nothing more.
    pub(crate) fn poisoned(&self, durable: u64, source: &std::io::Error) {
        #[cfg(feature = "tracing")]
        tracing::error!(log = self.log, durable_lsn = durable, error = %source, "poisoned");
        #[cfg(feature = "metrics")]
        self.meters.poisoned.set(1.0);
    }

    /// A checkpoint is durable.
    pub(crate) fn checkpoint(&self, manifest: &Manifest, took: Duration) {
        #[cfg(feature = "tracing")]
        tracing::debug!(
            log = self.log,
            ?took,
            generation = manifest.generation,
            replay_from = manifest.replay_from,
            durable_lsn = manifest.durable_lsn,
            "checkpoint taken"
        );
        #[cfg(feature = "metrics")]
        self.meters.checkpoint(manifest.taken, took);
    }

    /// The archive has taken a segment, or has not.
    pub(crate) fn archived(&self, segment_id: u64, result: &std::io::Result<()>) {
        #[cfg(feature = "tracing")]
        match result {
            Ok(()) => tracing::debug!(log = self.log, segment_id, "archived"),
            Err(error) => {
                tracing::warn!(log = self.log, segment_id, %error, "not archived, to be tried again");
            }
        }
        #[cfg(feature = "metrics")]
        match result {
            Ok(()) => self.meters.archived.increment(1),
            Err(_) => self.meters.archive_failures.increment(1),
        }
    }

    /// A segment is gone; so many segments and bytes are left.
    pub(crate) fn trimmed(&self, segment_id: u64, segments: usize, log_bytes: u64) {
        #[cfg(feature = "tracing")]
        tracing::debug!(log = self.log, segment_id, log_bytes, "trimmed");
        #[cfg(feature = "metrics")]
        self.meters.trimmed(segments, log_bytes);
    }

    /// Housekeeping failed and is tried again.
    pub(crate) fn housekeeping_failed(&self, error: &WalError) {
        #[cfg(feature = "tracing")]
        tracing::warn!(log = self.log, %error, "housekeeping failed, to be tried again");
        #[cfg(feature = "metrics")]
        self.meters.housekeeping_failures.increment(1);
    }

    /// Somebody came upon damage while reading an open log.
    pub(crate) fn damage_read(&self, error: &WalError) {
        #[cfg(feature = "tracing")]
        tracing::warn!(log = self.log, %error, "damage read");
        #[cfg(feature = "metrics")]
        self.meters.damage_read.increment(1);
    }
}
