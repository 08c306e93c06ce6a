//! What is in a log, as a text: the files, what recovery says, and every record.
//!
//! Nothing that may change without changing the format is in it, such as messages and times.

use std::fmt::Write;
use std::path::Path;

use bucket_wal::{
    Checkpoint, CheckpointState, Damage, Lsn, RecordKind, RecoveryPolicy, Verdict, VerifyOnOpen,
    Wal, WalError,
};

pub(crate) fn describe(log: &Path, lifecycle: bool) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(format!("lifecycle: {}", if lifecycle { "yes" } else { "no" }));

    let looked_at = Wal::options().inspect(log).expect("the files can be read");
    let verdict = match looked_at.verdict() {
        Verdict::Whole => "whole",
        Verdict::Torn => "torn",
        _ => "damaged",
    };
    line(format!("verdict: {verdict}"));
    for segment in &looked_at.segments {
        let (id, end, records) = (segment.id, segment.end, segment.records);
        let (frames, at) = (segment.frames, segment.end_offset);
        line(format!("segment {id}: {records} records, {frames} frames, {end} at {at}"));
        let header = segment.header.expect("no header is damaged");
        let (first, prev, epoch) = (header.first_lsn, header.prev_segment_id, header.epoch);
        line(format!("  from {first} in epoch {epoch} behind {prev} ({})", header.prev_data_len));
    }
    looked_at.damage.iter().for_each(|damage| line(format!("damage: {}", fault(damage))));

    let (_dir, copy) = crate::copy(log);
    let options = Wal::options().lifecycle(lifecycle).housekeeping_by_hand(true);
    let options = options.verify_on_open(VerifyOnOpen::Full);
    let (wal, recovery) = match options.clone().open(&copy) {
        Ok(opened) => {
            line("strict: opens".to_owned());
            opened
        }
        Err(error) => {
            line(format!("strict: {}", refusal(&error)));
            let salvage = options.recovery(RecoveryPolicy::Salvage);
            salvage.open(&copy).expect("salvage opens whatever there is")
        }
    };
    let report = recovery.report();
    let first = report.first_lsn.map_or(0, Lsn::get);
    line(format!("tail: {:?}", report.tail).to_lowercase());
    line(format!("segments: {}, from {first} to {}", report.segments, report.last_lsn));
    line(format!("copied: {}", report.copied_records));
    report.damage.iter().for_each(|damage| line(format!("salvaged: {}", fault(damage))));
    line(format!("epoch: {}", wal.epoch()));
    line(format!("replicated: {}", wal.replicated_lsn().map_or(0, Lsn::get)));
    for checkpoint in wal.checkpoints().expect("they can be read") {
        line(taken(&checkpoint));
    }
    line(format!("replay from: {}", recovery.replay_from()));
    let mut hash = bucket_wal::RangeHash::EMPTY;
    let mut reader = wal.reader(Lsn::new(1));
    while let Some(record) = reader.next_ref() {
        let record = record.expect("recovery has left nothing that cannot be read");
        hash = hash.then(&record);
        let kind = match record.kind {
            RecordKind::Op => "operation",
            RecordKind::Complete => "completion",
            RecordKind::Abort => "abort",
            RecordKind::Survivor => "copy",
            _ => "new",
        };
        line(format!("record {}: {kind} {}", record.lsn, content(record.payload)));
    }
    line(format!("hash: {hash}"));
    for record in wal.pending_records() {
        let record = record.expect("what is pending can be read");
        line(format!("pending {}: {}", record.lsn, content(&record.payload)));
    }
    out
}

fn taken(checkpoint: &Checkpoint) -> String {
    let state = match &checkpoint.state {
        CheckpointState::None => "no state".to_owned(),
        CheckpointState::Inline(bytes) => format!("state {}", content(bytes)),
        CheckpointState::Reference { uri, len, sha256 } => {
            format!("{len} bytes at {uri}, sum {}", content(sha256))
        }
        _ => "a new state".to_owned(),
    };
    let (generation, durable) = (checkpoint.generation, checkpoint.durable_lsn);
    assert!(checkpoint.taken > std::time::SystemTime::UNIX_EPOCH, "the time is there");
    format!("checkpoint {generation}: from {}, {durable} durable, {state}", checkpoint.replay_from)
}

fn fault(damage: &Damage) -> String {
    let (file, kind) = (name(&damage.path), damage.kind);
    format!("{kind:?} at {file} byte {}, from {}", damage.offset, damage.first_lsn)
}

fn refusal(error: &WalError) -> String {
    match error {
        WalError::Corrupt { path, offset, kind, first_lsn } => {
            format!("corrupt, {kind:?} at {} byte {offset}, from {first_lsn}", name(path))
        }
        WalError::DamagedTail { path, offset, first_lsn } => {
            format!("damaged tail at {} byte {offset}, from {first_lsn}", name(path))
        }
        WalError::MissingSegment { segment_id, .. } => format!("segment {segment_id} is missing"),
        other => panic!("{other:?}"),
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A text, or what is repeated how often.
fn content(bytes: &[u8]) -> String {
    match bytes {
        [first, rest @ ..] if rest.len() >= 31 && rest.iter().all(|byte| byte == first) => {
            format!("{} times {first:#04x}", bytes.len())
        }
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}
