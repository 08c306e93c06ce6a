//! [`Status`]: what a bucket is doing, and the file `status.json` that says so without a lock.

use std::time::Duration;

use bucket_core::{ByteCount, OpKind};
use bucket_wal::Damage;
use serde::Serialize;

use crate::bucket::inner::Inner;
use crate::bucket::job::Parked;

/// What a bucket is doing. A snapshot; the parts fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Operations that are acknowledged and not yet at the remote.
    pub pending_ops: u64,
    /// Their bytes, with what each counts beside its content.
    pub pending_bytes: ByteCount,
    /// The bound on these bytes.
    pub limit_bytes: ByteCount,
    /// How long the oldest of them has waited, since it was accepted or the bucket was opened.
    pub oldest_pending: Option<Duration>,
    /// Why draining is held back as a whole, if it is.
    pub parked: Option<Parked>,
    /// Keys whose oldest operation cannot reach the remote.
    pub refused: Vec<Refused>,
    /// What is damaged in the log; draining is held until it is accepted.
    pub degraded: Option<String>,
    /// A local write or sync failed; the bucket takes nothing more until it is opened again.
    pub faulted: bool,
    /// The breaker that guards writes: `closed`, `half-open` or `open`.
    pub write_breaker: &'static str,
    /// The breaker that guards reads.
    pub read_breaker: &'static str,
    /// Operations acknowledged since the bucket was opened.
    pub acknowledged: u64,
    /// Operations settled since the bucket was opened.
    pub settled: u64,
    /// Bytes of the log on disk.
    pub log_bytes: ByteCount,
    /// What the last failed attempt said.
    pub last_error: Option<String>,
}

/// A key whose oldest operation cannot reach the remote. It is kept and tried again now and then.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// The key.
    pub key: String,
    /// The kind of the remote's error; `content_gone` when what is on the local disk is not what was
    /// accepted any more.
    pub kind: &'static str,
}

/// The form of [`Status`] that is written to `status.json`.
#[derive(Serialize)]
struct StatusFile<'a> {
    v: u32,
    open: bool,
    pid: u32,
    pending_ops: u64,
    pending_bytes: u64,
    limit_bytes: u64,
    oldest_pending_seconds: Option<f64>,
    parked: Option<String>,
    refused: Vec<(&'a str, &'a str)>,
    degraded: Option<&'a str>,
    faulted: bool,
    write_breaker: &'a str,
    read_breaker: &'a str,
    acknowledged: u64,
    settled: u64,
    log_bytes: u64,
    last_error: Option<&'a str>,
}

pub(crate) fn snapshot(inner: &Inner) -> Status {
    let breaker = |op| match inner.remote.breaker_state(op) {
        bucket_breaker::State::Closed => "closed",
        bucket_breaker::State::HalfOpen => "half-open",
        _ => "open",
    };
    let log_bytes = ByteCount::new(inner.wal.stats().log_bytes);
    let now = inner.clock.now();
    let state = inner.state.lock();
    let (pending_ops, pending_bytes) = state.engine.pending();
    Status {
        pending_ops,
        pending_bytes: ByteCount::new(pending_bytes),
        limit_bytes: inner.config.max_pending_bytes,
        oldest_pending: state.engine.oldest_accepted().map(|accepted| now.since(accepted)),
        parked: state.engine.parked(now),
        refused: state
            .engine
            .refused()
            .map(|(key, why)| Refused { key: key.to_string(), kind: why.name() })
            .collect(),
        degraded: state.degraded.clone(),
        faulted: state.faulted,
        write_breaker: breaker(OpKind::Write),
        read_breaker: breaker(OpKind::Read),
        acknowledged: state.acknowledged,
        settled: state.settled,
        log_bytes,
        last_error: state.last_error.clone(),
    }
}

/// Replaces `status.json` if what it says has changed. Not synced: it describes a process, and a crash
/// may take it.
pub(crate) fn publish(inner: &Inner, open: bool, last: &mut Option<Status>) {
    let status = snapshot(inner);
    if open && last.as_ref() == Some(&status) {
        return;
    }
    let file = StatusFile {
        v: 1,
        open,
        pid: std::process::id(),
        pending_ops: status.pending_ops,
        pending_bytes: status.pending_bytes.get(),
        limit_bytes: status.limit_bytes.get(),
        oldest_pending_seconds: status.oldest_pending.map(|age| age.as_secs_f64()),
        parked: status.parked.map(|parked| parked.to_string()),
        refused: status.refused.iter().map(|refused| (&*refused.key, refused.kind)).collect(),
        degraded: status.degraded.as_deref(),
        faulted: status.faulted,
        write_breaker: status.write_breaker,
        read_breaker: status.read_breaker,
        acknowledged: status.acknowledged,
        settled: status.settled,
        log_bytes: status.log_bytes.get(),
        last_error: status.last_error.as_deref(),
    };
    let write = || {
        let (path, temporary) = (inner.dir.join("status.json"), inner.dir.join("status.json.tmp"));
        let _ = inner.vfs.remove_file(&temporary);
        let text = serde_json::to_vec(&file)?;
        let created = inner.vfs.open(&temporary, bucket_vfs::OpenMode::CreateNew)?;
        created.write_all_at(&text, 0)?;
        inner.vfs.rename(&temporary, &path)
    };
    // A status that cannot be written, on a full disk say, must not disturb the bucket.
    let _: std::io::Result<()> = write();
    *last = Some(status);
}

/// One line about one damaged place, without the directory, so that a moved bucket reads the same.
pub(crate) fn damage_line(damage: &Damage) -> String {
    let name = damage.path.file_name().unwrap_or_default().to_string_lossy();
    format!("{name} at byte {}: {}; from record {}", damage.offset, damage.kind, damage.first_lsn)
}
