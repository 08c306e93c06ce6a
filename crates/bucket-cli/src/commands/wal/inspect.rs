//! `bucket wal inspect` and `bucket wal verify`: all there is to see, and the judgement alone.

use std::borrow::Cow;
use std::path::PathBuf;
use std::process::ExitCode;

use bucket_core::ByteCount;
use bucket_wal::{Damage, Inspection, Lsn, Verdict, Wal};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::{Value, json};

use super::log_dir;
use crate::args::WalDirArgs;
use crate::exit::Failure;
use crate::output::Output;

pub(crate) fn inspect(args: &WalDirArgs, out: &Output) -> Result<ExitCode, Failure> {
    let found = look(args)?;
    if out.is_json() {
        for segment in &found.segments {
            out.result(&segment_json(segment), "")?;
        }
        for checkpoint in &found.checkpoints {
            let value = json!({
                "type": "checkpoint",
                "generation": checkpoint.generation,
                "path": checkpoint.path.to_string_lossy(),
                "readable": checkpoint.is_readable,
                "durable_lsn": checkpoint.durable_lsn.get(),
                "replay_from": checkpoint.replay_from.get(),
                "state_bytes": checkpoint.state_bytes,
            });
            out.result(&value, "")?;
        }
        report_damage(&found.damage, out)?;
        out.result(&summary("inspection", &found), "")?;
    } else {
        out.result(&Value::Null, &tables(&found))?;
        report_damage(&found.damage, out)?;
        out.result(&Value::Null, &judgement(&found))?;
    }
    Ok(code(&found))
}

pub(crate) fn verify(args: &WalDirArgs, out: &Output) -> Result<ExitCode, Failure> {
    let found = look(args)?;
    report_damage(&found.damage, out)?;
    for checkpoint in found.checkpoints.iter().filter(|checkpoint| !checkpoint.is_readable) {
        let path = checkpoint.path.to_string_lossy();
        let value = json!({ "type": "damage", "kind": "checkpoint", "path": path });
        out.result(&value, &format!("{path}: the checkpoint does not validate"))?;
    }
    out.result(&summary("verdict", &found), &judgement(&found))?;
    Ok(code(&found))
}

fn look(args: &WalDirArgs) -> Result<Inspection, Failure> {
    Wal::options().inspect(log_dir(&args.dir)?).map_err(Failure::Log)
}

fn code(found: &Inspection) -> ExitCode {
    match found.verdict() {
        Verdict::Damaged => ExitCode::from(7),
        _ => ExitCode::SUCCESS,
    }
}

/// One line or JSON object for each damaged place.
pub(super) fn report_damage(damage: &[Damage], out: &Output) -> Result<(), Failure> {
    damage.iter().try_for_each(|damage| out.result(&damage_json(damage), &damage.to_string()))
}

pub(super) fn damage_json(damage: &Damage) -> Value {
    json!({
        "type": "damage",
        "kind": format!("{:?}", damage.kind).to_lowercase(),
        "path": damage.path.to_string_lossy(),
        "offset": damage.offset,
        "first_lsn": damage.first_lsn.get(),
        "records": damage.records,
        "message": damage.to_string(),
    })
}

fn segment_json(segment: &bucket_wal::SegmentFile) -> Value {
    let header = segment.header.map(|header| {
        json!({
            "log_id": format!("{:032x}", header.log_id),
            "first_lsn": header.first_lsn.get(),
            "prev_segment_id": header.prev_segment_id,
            "prev_data_len": header.prev_data_len,
            "durable_len": header.durable_len,
        })
    });
    json!({
        "type": "segment",
        "id": segment.id,
        "path": segment.path.to_string_lossy(),
        "file_bytes": segment.file_bytes,
        "header": header,
        "first_lsn": segment.first_lsn.map(Lsn::get),
        "last_lsn": segment.last_lsn.map(Lsn::get),
        "frames": segment.frames,
        "records": segment.records,
        "damaged_records": segment.damaged_records,
        "payload_bytes": segment.payload_bytes,
        "end": segment.end.to_string(),
        "end_offset": segment.end_offset,
    })
}

fn summary(kind: &str, found: &Inspection) -> Value {
    let verdict = match found.verdict() {
        Verdict::Whole => "whole",
        Verdict::Torn => "torn",
        _ => "damaged",
    };
    json!({
        "type": kind,
        "verdict": verdict,
        "dir": found.dir.to_string_lossy(),
        "format": found.format.major,
        "features": found.format.features,
        "log_id": found.log_id.map(|id| format!("{id:032x}")),
        "owner": found.owner,
        "segments": found.segments.len(),
        "checkpoints": found.checkpoints.len(),
        "first_lsn": found.first_lsn().map(Lsn::get),
        "last_lsn": found.last_lsn().map(Lsn::get),
        "records": found.records(),
        "payload_bytes": found.payload_bytes(),
        "file_bytes": found.file_bytes(),
        "damage": found.damage.len(),
        "spare_files": paths(&found.spare_files),
        "other_files": paths(&found.other_files),
        "unreadable_bytes": found.unreadable_bytes,
        "moving": found.is_moving,
    })
}

fn paths(paths: &[PathBuf]) -> Vec<Cow<'_, str>> {
    paths.iter().map(|path| path.to_string_lossy()).collect()
}

fn tables(found: &Inspection) -> String {
    let text = |lsn: Option<Lsn>| lsn.map_or_else(|| "-".to_owned(), |lsn| lsn.to_string());
    let mut segments = Table::new();
    segments.load_style(NOTHING);
    segments
        .set_header(["segment", "records", "first", "last", "frames", "content", "file", "end"]);
    for segment in &found.segments {
        segments.add_row([
            segment.id.to_string(),
            match segment.damaged_records {
                0 => segment.records.to_string(),
                damaged => format!("{} ({damaged} damaged)", segment.records),
            },
            text(segment.first_lsn),
            text(segment.last_lsn),
            segment.frames.to_string(),
            ByteCount::new(segment.payload_bytes).to_string(),
            ByteCount::new(segment.file_bytes).to_string(),
            format!("{} at {}", segment.end, segment.end_offset),
        ]);
    }
    let mut text = segments.to_string();
    if !found.checkpoints.is_empty() {
        let mut checkpoints = Table::new();
        checkpoints.load_style(NOTHING);
        checkpoints.set_header(["checkpoint", "replay from", "durable", "state"]);
        for checkpoint in &found.checkpoints {
            if checkpoint.is_readable {
                checkpoints.add_row([
                    checkpoint.generation.to_string(),
                    checkpoint.replay_from.to_string(),
                    checkpoint.durable_lsn.to_string(),
                    ByteCount::new(checkpoint.state_bytes).to_string(),
                ]);
            } else {
                checkpoints.add_row([&checkpoint.generation.to_string(), "not readable", "", ""]);
            }
        }
        text = format!("{text}\n\n{checkpoints}");
    }
    text
}

fn judgement(found: &Inspection) -> String {
    let mut text = format!("{}: {}", found.dir.display(), found.verdict());
    let records = found.records();
    text.push_str(&format!("; {records} records, {}", ByteCount::new(found.payload_bytes())));
    text.push_str(&format!("; {}", found.format));
    if found.unreadable_bytes > 0 {
        let bytes = ByteCount::new(found.unreadable_bytes);
        text.push_str(&format!("; the disk does not give back {bytes}: copy what is left off it"));
    }
    if let Some(owner) = &found.owner {
        text.push_str(&format!("; last owner: {owner}"));
    }
    if found.is_moving {
        text.push_str("; it changed while it was read: look again");
    }
    text
}
