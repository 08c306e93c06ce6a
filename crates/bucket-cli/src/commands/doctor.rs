//! `bucket doctor`: is the log whole, and what to do if it is not; how the log is to write to this disk.

use std::process::ExitCode;

use bucket_wal::Wal;
use serde_json::json;

use crate::args::DoctorArgs;
use crate::exit::Failure;
use crate::output::Output;
use crate::session::{Session, dir_of};

pub(crate) fn run(args: &DoctorArgs, out: &Output) -> Result<ExitCode, Failure> {
    if args.tune {
        return tune(args, out);
    }
    let session = Session::open(&args.profile)?;
    let damage = session.bucket.status().degraded;
    if args.accept {
        session.bucket.accept_damage()?;
    }
    let accepted = args.accept && damage.is_some();
    session.close(out)?;
    let value = json!({ "type": "doctor", "damage": damage, "accepted": accepted });
    let text = match &damage {
        None => "the log is whole".to_owned(),
        Some(damage) if accepted => format!(
            "{damage}\naccepted: copies of the log are in quarantine/, and draining goes on with what \
             can be read"
        ),
        Some(damage) => format!(
            "{damage}\nwhat can be read is safe, and draining is held: a lost record may have been the \
             newest of its key; accept with `bucket doctor {} --accept`",
            args.profile
        ),
    };
    out.result(&value, &text)?;
    Ok(if damage.is_some() && !accepted { ExitCode::from(7) } else { ExitCode::SUCCESS })
}

/// Beside the bucket, not in it: the log must not be open while the disk is measured.
fn tune(args: &DoctorArgs, out: &Output) -> Result<ExitCode, Failure> {
    let dir = dir_of(&args.profile)?.join("wal");
    let tuning = Wal::options().tune(&dir).map_err(Failure::Log)?;
    let figures: Vec<_> = tuning
        .figures
        .iter()
        .map(|figure| {
            json!({
                "sync_method": figure.sync_method.name(),
                "record_bytes": figure.record_size.get(),
                "micros": figure.time.map(|time| time.as_secs_f64() * 1e6),
            })
        })
        .collect();
    let value = json!({
        "type": "tuning",
        "sync_method": tuning.sync_method.name(),
        "figures": figures,
    });
    out.result(&value, &tuning.to_string())?;
    Ok(ExitCode::SUCCESS)
}
