//! `bucket status`: from the owner of the bucket if there is one, else by opening it.

use std::fs;
use std::process::ExitCode;

use bucket_core::ByteCount;
use bucket_store::StoreError;
use bucket_wal::WalError;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::{Value, json};

use crate::args::StatusArgs;
use crate::exit::Failure;
use crate::output::Output;
use crate::session::{Session, dir_of};

pub(crate) fn run(args: &StatusArgs, out: &Output) -> Result<ExitCode, Failure> {
    let dir = dir_of(&args.profile)?;
    // Opening writes the file as well, so that both ways read one form.
    let owned = match Session::open(&args.profile) {
        Ok(session) => {
            session.bucket.close()?;
            false
        }
        Err(Failure::Store(StoreError::Log(WalError::Locked { .. }))) => true,
        Err(failure) => return Err(failure),
    };
    let path = dir.join("status.json");
    let text = fs::read_to_string(&path)
        .map_err(|error| Failure::file(format!("cannot read {}", path.display()))(error))?;
    let mut value: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    let number = |value: &Value, field: &str| value[field].as_u64().unwrap_or(0);
    let (pending, bytes) = (number(&value, "pending_ops"), number(&value, "pending_bytes"));
    let refused = value["refused"].as_array().map_or(0, Vec::len);
    let degraded = !value["degraded"].is_null() || value["faulted"] == true;
    let state = if degraded {
        "degraded"
    } else if refused > 0 {
        "attention"
    } else if pending > 0 {
        "draining"
    } else {
        "ok"
    };

    if let Value::Object(fields) = &mut value {
        fields.insert("type".into(), json!("status"));
        fields.insert("state".into(), json!(state));
        fields.insert("owned".into(), json!(owned));
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name, &value]);
    };
    row("state", state.into());
    let owner = value["pid"].to_string();
    row("owner", if owned { format!("process {owner}") } else { "nobody drains now".into() });
    row("pending", format!("{pending} operations, {}", ByteCount::new(bytes)));
    row("bound", ByteCount::new(number(&value, "limit_bytes")).to_string());
    if let Some(age) = value["oldest_pending_seconds"].as_f64() {
        row("oldest", format!("{age:.0} s"));
    }
    for field in ["parked", "degraded", "last_error"] {
        if let Some(text) = value[field].as_str() {
            row(field, text.into());
        }
    }
    for entry in value["refused"].as_array().into_iter().flatten() {
        row("refused", format!("{} ({})", entry[0], entry[1]));
    }
    row("breakers", format!("write {}, read {}", value["write_breaker"], value["read_breaker"]));
    row("log", ByteCount::new(number(&value, "log_bytes")).to_string());
    out.result(&value, &table.to_string())?;
    Ok(match (args.check, state) {
        (true, "degraded") => ExitCode::from(7),
        (true, "attention") => ExitCode::from(8),
        (true, "draining") => ExitCode::from(5),
        _ => ExitCode::SUCCESS,
    })
}
