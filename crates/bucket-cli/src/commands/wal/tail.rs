//! `bucket wal tail`: the newest records, and those that come.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use bucket_core::Cancel;
use bucket_wal::{Lsn, Record, RecordKind, Wal, WalError};
use serde_json::json;

use super::export::base64;
use super::log_dir;
use crate::args::WalTailArgs;
use crate::exit::Failure;
use crate::output::Output;

/// So many records are shown when nobody says where to begin.
const LAST: usize = 10;

/// How often a log that rests is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// So much of a record's content is shown in a line.
const PREVIEW: usize = 60;

pub(crate) fn run(args: &WalTailArgs, out: &Output) -> Result<ExitCode, Failure> {
    let dir = log_dir(&args.dir)?;
    let mut follower = Wal::options().follow(dir, Lsn::new(args.from.unwrap_or(1)));
    let mut newest = VecDeque::new();
    let mut is_seeking = args.from.is_none();
    let mut damaged = 0_u64;
    loop {
        match follower.try_next() {
            Ok(Some(record)) if is_seeking => {
                newest.push_back(record);
                if newest.len() > LAST {
                    newest.pop_front();
                }
            }
            Ok(Some(record)) => show(&record, out)?,
            Ok(None) => {
                is_seeking = false;
                newest.drain(..).try_for_each(|record| show(&record, out))?;
                if !args.follow {
                    break;
                }
                Cancel::never().sleep(PAUSE);
            }
            Err(error @ WalError::Corrupt { .. }) => {
                damaged += 1;
                out.note(&format!("left out: {error}"));
            }
            Err(error) => return Err(Failure::Log(error)),
        }
    }
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::from(7) })
}

fn show(record: &Record, out: &Output) -> Result<(), Failure> {
    let (lsn, len) = (record.lsn.get(), record.payload.len());
    let kind = match record.kind {
        RecordKind::Op => "op",
        RecordKind::Complete => "complete",
        RecordKind::Abort => "abort",
        RecordKind::Survivor => "survivor",
        _ => "unknown",
    };
    let value = if out.is_json() {
        let base64 = base64(&record.payload);
        json!({ "type": "record", "lsn": lsn, "kind": kind, "len": len, "base64": base64 })
    } else {
        json!(null)
    };
    let shown = &record.payload[..len.min(PREVIEW)];
    let more = if len > PREVIEW { "…" } else { "" };
    out.result(&value, &format!("{lsn} {kind} {len} B {}{more}", shown.escape_ascii()))
}
