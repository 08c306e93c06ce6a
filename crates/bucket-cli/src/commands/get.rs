//! `bucket get` and `bucket cat`: an object into a file, or to stdout.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use bucket_remote::Body;
use serde_json::json;

use crate::args::{CatArgs, GetArgs};
use crate::exit::Failure;
use crate::output::{Output, stdout_failure};
use crate::profiles::{key, split_address};
use crate::session::Session;

pub(crate) fn run(args: &GetArgs, out: &Output) -> Result<ExitCode, Failure> {
    let (profile, text) = split_address(&args.address)?;
    let key = key(text)?;
    let name = key.segments().next_back().unwrap_or_default();
    let mut path = args.destination.clone().unwrap_or_else(|| PathBuf::from(name));
    if path.is_dir() {
        path.push(name);
    }
    let session = Session::open(profile)?;
    let body = session.bucket.get(&key)?;
    // Whole or not at all: who reads the file meanwhile sees the old one.
    let mut temporary = path.clone().into_os_string();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let written = File::create_new(&temporary)
        .and_then(|mut file| copy(&body, &mut file))
        .and_then(|()| fs::rename(&temporary, &path));
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(Failure::file(format!("cannot write {}", path.display()))(error));
    }
    session.close(out)?;
    let value = json!({
        "type": "get",
        "key": key.as_str(),
        "path": path.to_string_lossy(),
        "size": body.len(),
    });
    out.result(&value, &format!("{key} -> {} ({} B)", path.display(), body.len()))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn cat(args: &CatArgs, out: &Output) -> Result<ExitCode, Failure> {
    let (profile, text) = split_address(&args.address)?;
    let key = key(text)?;
    let session = Session::open(profile)?;
    let body = session.bucket.get(&key)?;
    let mut stdout = io::stdout().lock();
    copy(&body, &mut stdout).and_then(|()| stdout.flush()).map_err(stdout_failure)?;
    session.close(out)?;
    Ok(ExitCode::SUCCESS)
}

fn copy(body: &Body, to: &mut impl Write) -> io::Result<()> {
    io::copy(&mut body.reader(), to).map(drop)
}
