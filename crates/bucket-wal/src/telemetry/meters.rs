//! The figures of one log, as handles that are looked up once: what is counted costs an addition.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::recovery::RecoveryReport;

/// The figures of one log, each with the log's directory as label `log`.
pub(super) struct Meters {
    records: Counter,
    payload_bytes: Counter,
    groups: Counter,
    syncs: Counter,
    group_records: Histogram,
    commit_seconds: Histogram,
    pub(super) refused: Counter,
    rotations: Counter,
    segments: Gauge,
    log_bytes: Gauge,
    pub(super) poisoned: Gauge,
    checkpoints: Counter,
    checkpoint_seconds: Histogram,
    checkpoint_timestamp: Gauge,
    pub(super) housekeeping_failures: Counter,
    pub(super) archived: Counter,
    pub(super) archive_failures: Counter,
    trimmed: Counter,
    recovery_seconds: Histogram,
    recovery_copied: Counter,
    damage_found: Counter,
    damaged_records: Counter,
    pub(super) damage_read: Counter,
}

impl Meters {
    pub(super) fn new(log: &str) -> Self {
        let counter = |name| counter!(name, "log" => log.to_owned());
        let gauge = |name| gauge!(name, "log" => log.to_owned());
        let histogram = |name| histogram!(name, "log" => log.to_owned());
        Self {
            records: counter("bucket_wal_records_total"),
            payload_bytes: counter("bucket_wal_payload_bytes_total"),
            groups: counter("bucket_wal_groups_total"),
            syncs: counter("bucket_wal_syncs_total"),
            group_records: histogram("bucket_wal_group_records"),
            commit_seconds: histogram("bucket_wal_commit_seconds"),
            refused: counter("bucket_wal_refused_total"),
            rotations: counter("bucket_wal_rotations_total"),
            segments: gauge("bucket_wal_segments"),
            log_bytes: gauge("bucket_wal_log_bytes"),
            poisoned: gauge("bucket_wal_poisoned"),
            checkpoints: counter("bucket_wal_checkpoints_total"),
            checkpoint_seconds: histogram("bucket_wal_checkpoint_seconds"),
            checkpoint_timestamp: gauge("bucket_wal_checkpoint_timestamp_seconds"),
            housekeeping_failures: counter("bucket_wal_housekeeping_failures_total"),
            archived: counter("bucket_wal_archived_total"),
            archive_failures: counter("bucket_wal_archive_failures_total"),
            trimmed: counter("bucket_wal_trimmed_total"),
            recovery_seconds: histogram("bucket_wal_recovery_seconds"),
            recovery_copied: counter("bucket_wal_recovery_copied_records_total"),
            damage_found: counter("bucket_wal_damage_found_total"),
            damaged_records: counter("bucket_wal_damaged_records_total"),
            damage_read: counter("bucket_wal_damage_read_total"),
        }
    }

    pub(super) fn opened(&self, report: &RecoveryReport, log_bytes: u64, took: Duration) {
        self.recovery_seconds.record(took);
        self.recovery_copied.increment(report.copied_records);
        self.damage_found.increment((report.damage.len() + report.unreadable_checkpoints) as u64);
        self.damaged_records.increment(report.damaged_records());
        self.segments.set(report.segments as f64);
        self.log_bytes.set(log_bytes as f64);
        self.poisoned.set(0.0);
    }

    pub(super) fn turn(&self, written: Option<(u64, u64)>, synced: bool, took: Duration) {
        if let Some((records, bytes)) = written {
            self.groups.increment(1);
            self.records.increment(records);
            self.payload_bytes.increment(bytes);
            self.group_records.record(records as f64);
        }
        if synced {
            self.syncs.increment(1);
            self.commit_seconds.record(took);
        }
    }

    pub(super) fn rotated(&self, segments: usize, log_bytes: u64) {
        self.rotations.increment(1);
        self.segments.set(segments as f64);
        self.log_bytes.set(log_bytes as f64);
    }

    pub(super) fn trimmed(&self, segments: usize, log_bytes: u64) {
        self.trimmed.increment(1);
        self.segments.set(segments as f64);
        self.log_bytes.set(log_bytes as f64);
    }

    pub(super) fn checkpoint(&self, taken_unix_ms: u64, took: Duration) {
        self.checkpoints.increment(1);
        self.checkpoint_seconds.record(took);
        self.checkpoint_timestamp.set(taken_unix_ms as f64 / 1_000.0);
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}
