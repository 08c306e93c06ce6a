//! `bucket wal repair`: a damaged log made whole, after a backup.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bucket_wal::{RecoveryPolicy, Verdict, VerifyOnOpen, Wal};
use serde_json::json;

use super::inspect::report_damage;
use super::log_dir;
use crate::args::WalRepairArgs;
use crate::exit::Failure;
use crate::output::Output;

pub(crate) fn run(args: &WalRepairArgs, out: &Output) -> Result<ExitCode, Failure> {
    let dir = log_dir(&args.dir)?;
    if is_of_a_bucket(&dir) {
        return Err(Failure::Usage(format!(
            "{} is the log of a bucket, which steps over damage by itself; see `bucket doctor`",
            dir.display()
        )));
    }
    let found = Wal::options().inspect(&dir).map_err(Failure::Log)?;
    if found.verdict() != Verdict::Damaged {
        let value = json!({ "type": "repair", "applied": false, "damage": 0 });
        out.result(&value, &format!("{}: nothing to repair", dir.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.apply {
        report_damage(&found.damage, out)?;
        let value = json!({ "type": "repair", "applied": false, "damage": found.damage.len() });
        let text = format!(
            "{}: {} damaged places; nothing was changed; repair with --apply",
            dir.display(),
            found.damage.len()
        );
        out.result(&value, &text)?;
        return Ok(ExitCode::from(7));
    }
    let backup = args.backup.clone().unwrap_or_else(|| beside(&dir));
    let policy = match args.point_in_time {
        true => RecoveryPolicy::PointInTime,
        false => RecoveryPolicy::Salvage,
    };
    let options = Wal::options().recovery(policy).verify_on_open(VerifyOnOpen::Full);
    let (wal, recovery) = options.backup_before_repair(&backup).open(&dir).map_err(Failure::Log)?;
    let report = recovery.report();
    wal.close().map_err(Failure::Log)?;
    report_damage(&report.damage, out)?;
    let kept: Vec<_> = report.quarantined.iter().map(|path| path.to_string_lossy()).collect();
    let value = json!({
        "type": "repair",
        "applied": true,
        "damage": report.damage.len(),
        "copied_records": report.copied_records,
        "backup": backup.to_string_lossy(),
        "quarantined": kept,
    });
    let text = format!(
        "{}: repaired; {} records carried over the damage; all files as they were: {}",
        dir.display(),
        report.copied_records,
        backup.display()
    );
    out.result(&value, &text)?;
    Ok(ExitCode::SUCCESS)
}

fn is_of_a_bucket(dir: &Path) -> bool {
    dir.ends_with("wal") && dir.parent().is_some_and(|parent| parent.join("BUCKET").exists())
}

/// A new name beside the log.
fn beside(dir: &Path) -> PathBuf {
    let named = |n: u32| {
        let mut name = dir.as_os_str().to_owned();
        name.push(format!(".backup-{n}"));
        PathBuf::from(name)
    };
    // As many as a person would ever make; the last is refused if it exists.
    (1..1_000).map(named).find(|path| !path.exists()).unwrap_or_else(|| named(1_000))
}
