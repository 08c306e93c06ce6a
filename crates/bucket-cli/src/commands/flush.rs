//! `bucket flush`: the barrier.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::args::FlushArgs;
use crate::exit::Failure;
use crate::output::Output;
use crate::session::Session;

pub(crate) fn run(args: &FlushArgs, out: &Output) -> Result<ExitCode, Failure> {
    let session = Session::open(&args.profile)?;
    let drained = session.drain(args.timeout.map(Duration::from_secs), out);
    let pending = session.close(out)?;
    drained?;
    let value = json!({ "type": "flush", "pending": pending });
    out.result(&value, "the remote has everything that was acknowledged")?;
    Ok(ExitCode::SUCCESS)
}
