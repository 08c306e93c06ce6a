//! `bucket stat`: one object, described.

use std::process::ExitCode;

use bucket_store::EntryState;
use serde_json::json;

use crate::args::StatArgs;
use crate::exit::Failure;
use crate::output::Output;
use crate::profiles::{key, split_address};
use crate::session::Session;

pub(crate) fn run(args: &StatArgs, out: &Output) -> Result<ExitCode, Failure> {
    let (profile, text) = split_address(&args.address)?;
    let key = key(text)?;
    let session = Session::open(profile)?;
    let entry = session.bucket.head(&key)?;
    session.close(out)?;
    let state = match entry.state {
        EntryState::Pending => "pending",
        EntryState::Refused => "refused",
        _ => "remote",
    };
    let version = entry.version.map(|version| version.as_str().to_owned());
    let sha256 = entry.digest.map(|digest| digest.to_string());
    let text = format!(
        "key      {key}\nsize     {}\nstate    {state}\nversion  {}\nsha256   {}",
        entry.len,
        version.as_deref().unwrap_or("-"),
        sha256.as_deref().unwrap_or("-"),
    );
    let value = json!({
        "type": "stat",
        "key": key.as_str(),
        "size": entry.len,
        "state": state,
        "version": version,
        "sha256": sha256,
    });
    out.result(&value, &text)?;
    Ok(ExitCode::SUCCESS)
}
