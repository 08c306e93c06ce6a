//! `bucket wal import-legacy`: every operation of a log of DurableWAL, into a new log.

use std::process::ExitCode;

use bucket_wal::Wal;
use bucket_wal::legacy::{Finding, LegacyError, Survey};
use serde_json::json;

use crate::args::WalImportArgs;
use crate::exit::Failure;
use crate::output::Output;
use crate::session::bar;

pub(crate) fn run(args: &WalImportArgs, out: &Output) -> Result<ExitCode, Failure> {
    // Before a long survey that would come to nothing.
    if let Some(to) = &args.to {
        Survey::check_target(&Wal::options(), to).map_err(failure)?;
    }
    let mut broken = None;
    let progress = bar(out, 0, "reading");
    let mut say = |finding: &Finding| {
        progress.suspend(|| {
            if let Err(failure) = report(finding, out) {
                broken.get_or_insert(failure);
            }
        });
    };
    let found = Wal::options().survey_legacy(&args.dir, &mut say, &mut |done, total| {
        progress.set_length(total);
        progress.set_position(done);
    });
    progress.finish_and_clear();
    let found = found.map_err(failure)?;
    if let Some(failure) = broken {
        return Err(failure);
    }

    let mut imported = 0;
    if let (Some(to), false) = (&args.to, args.dry_run) {
        let progress = bar(out, found.operations(), "importing");
        let result = found.import(Wal::options(), to, &mut |done| progress.set_position(done));
        progress.finish_and_clear();
        imported = result.map_err(failure)?;
    }
    summarize(args, &found, imported, out)?;
    Ok(if found.losses > 0 { ExitCode::from(11) } else { ExitCode::SUCCESS })
}

fn report(finding: &Finding, out: &Output) -> Result<(), Failure> {
    let value = json!({
        "type": "finding",
        "kind": finding.kind.name(),
        "path": finding.path.to_string_lossy(),
        "line": finding.line,
        "loss": finding.kind.is_loss(),
        "message": finding.kind.to_string(),
    });
    out.result(&value, &finding.to_string())
}

fn summarize(
    args: &WalImportArgs,
    found: &Survey,
    imported: u64,
    out: &Output,
) -> Result<(), Failure> {
    let (operations, segments) = (found.operations(), found.segments.len());
    let saved = operations.saturating_sub(found.original_would_recover);
    let value = json!({
        "type": "import",
        "dry_run": args.dry_run,
        "segments": segments,
        "checkpoints": found.checkpoints,
        "operations": operations,
        "imported": imported,
        "original_would_recover": found.original_would_recover,
        "findings": found.findings,
        "losses": found.losses,
        "to": args.to.as_ref().map(|to| to.to_string_lossy()),
    });
    let did = if args.dry_run {
        format!("{operations} operations in {segments} segments would be imported")
    } else {
        format!("imported {imported} operations of {segments} segments")
    };
    let mut text =
        format!("{did}; the original's own recovery would have left out {saved} of them");
    if found.losses > 0 {
        text.push_str(&format!("\nincomplete: {} places above could not be read", found.losses));
    }
    out.result(&value, &text)
}

fn failure(error: LegacyError) -> Failure {
    match error {
        LegacyError::Log(error) => Failure::Log(error),
        LegacyError::NotALog { .. } => {
            Failure::file(error.to_string())(std::io::ErrorKind::NotFound.into())
        }
        error => Failure::Usage(error.to_string()),
    }
}
