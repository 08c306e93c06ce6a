//! `bucket doctor`: is the log whole, and what to do if it is not.

use std::process::ExitCode;

use serde_json::json;

use crate::args::DoctorArgs;
use crate::exit::Failure;
use crate::output::Output;
use crate::session::Session;

pub(crate) fn run(args: &DoctorArgs, out: &Output) -> Result<ExitCode, Failure> {
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
