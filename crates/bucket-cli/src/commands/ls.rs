//! `bucket ls`: what is at the remote, with what is on its way laid over it.

use std::process::ExitCode;

use bucket_store::{EntryState, ListMode};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::json;

use crate::args::LsArgs;
use crate::exit::Failure;
use crate::output::Output;
use crate::profiles::split_address;
use crate::session::Session;

/// Objects asked for at a time.
const PAGE: usize = 1_000;

pub(crate) fn run(args: &LsArgs, out: &Output) -> Result<ExitCode, Failure> {
    let mode = match args.mode.as_str() {
        "auto" => ListMode::Auto,
        "local" => ListMode::Local,
        "strict" => ListMode::Strict,
        other => {
            let text = format!("--mode {other:?}: write auto, local or strict");
            return Err(Failure::Usage(text));
        }
    };
    let (profile, prefix) = split_address(&args.address)?;
    let session = Session::open(profile)?;
    let (mut after, mut partial) = (None, false);
    loop {
        let page = session.bucket.list(prefix, after.as_ref(), PAGE, mode)?;
        partial |= page.partial && mode == ListMode::Auto;
        let mut table = Table::new();
        table.load_style(NOTHING);
        for entry in &page.entries {
            let (mark, state) = match entry.state {
                EntryState::Pending => ("+", "pending"),
                EntryState::Refused => ("!", "refused"),
                _ => (" ", "remote"),
            };
            let value = json!({
                "type": "object",
                "key": entry.key.as_str(),
                "size": entry.len,
                "state": state,
                "version": entry.version.as_ref().map(|version| version.as_str().to_owned()),
                "sha256": entry.digest.map(|digest| digest.to_string()),
            });
            if out.is_json() {
                out.result(&value, "")?;
            } else if args.long {
                let version = entry.version.as_ref().map_or("-", |version| version.as_str());
                table.add_row([mark, &entry.len.to_string(), entry.key.as_str(), version]);
            } else {
                let mark = if entry.state == EntryState::Remote { "" } else { mark };
                out.result(&value, &format!("{}{mark}", entry.key))?;
            }
        }
        if args.long && !out.is_json() && !page.entries.is_empty() {
            if let Some(column) = table.column_mut(1) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            out.result(&json!({}), &table.to_string())?;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    session.close(out)?;
    if partial {
        out.note(
            "the remote does not answer: this is what is known here; objects that others wrote are \
             missing",
        );
        return Ok(ExitCode::from(11));
    }
    Ok(ExitCode::SUCCESS)
}
