//! `bucket rm`: durable deletes.

use std::process::ExitCode;

use serde_json::json;

use crate::args::RmArgs;
use crate::exit::Failure;
use crate::output::Output;
use crate::profiles::{key, split_address};
use crate::session::Session;

pub(crate) fn run(args: &RmArgs, out: &Output) -> Result<ExitCode, Failure> {
    let mut keys = Vec::new();
    for address in &args.addresses {
        let (profile, text) = split_address(address)?;
        keys.push((profile, key(text)?));
    }
    let Some((profile, _)) = keys.first() else {
        return Err(Failure::Usage("name what to remove".into()));
    };
    if keys.iter().any(|(other, _)| other != profile) {
        return Err(Failure::Usage("all addresses must have the same profile".into()));
    }
    let session = Session::open(profile)?;
    for (_, key) in &keys {
        let receipt = session.bucket.delete(key)?;
        let value = json!({
            "type": "rm",
            "key": key.as_str(),
            "state": "acknowledged",
            "lsn": receipt.lsn.get(),
            "op_id": receipt.op_id.to_string(),
        });
        out.result(&value, &format!("removed {key} ({})", receipt.lsn))?;
    }
    let drained = if args.wait { session.drain(None, out) } else { Ok(()) };
    session.summary(out, &json!({ "removed": keys.len() }))?;
    drained?;
    Ok(ExitCode::SUCCESS)
}
