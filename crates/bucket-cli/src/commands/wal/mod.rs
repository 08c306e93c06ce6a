//! `bucket wal`: looking into a log, repairing it, and bringing an old one over. Nothing here but `repair
//! --apply` opens the log that it reads, so that it works on a damaged log and beside its owner.

mod export;
mod import;
mod inspect;
mod repair;
mod tail;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::{WalArgs, WalCommand};
use crate::exit::Failure;
use crate::output::Output;

pub(crate) fn run(args: &WalArgs, out: &Output) -> Result<ExitCode, Failure> {
    match &args.command {
        WalCommand::Export(args) => export::run(args, out),
        WalCommand::ImportLegacy(args) => import::run(args, out),
        WalCommand::Inspect(args) => inspect::inspect(args, out),
        WalCommand::Repair(args) => repair::run(args, out),
        WalCommand::Tail(args) => tail::run(args, out),
        WalCommand::Verify(args) => inspect::verify(args, out),
    }
}

/// The directory of the log: the one that is named, or `wal` inside it when that is a bucket.
fn log_dir(named: &Path) -> Result<PathBuf, Failure> {
    let inner = named.join("wal");
    for dir in [named, &inner] {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if dir == inner && error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => {
                return Err(Failure::file(format!("cannot list {}", dir.display()))(error));
            }
        };
        let is_log = entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name == "LOCK" || name.starts_with("seg-") || name.starts_with("ckpt-")
        });
        // A bucket may have a lock of its own.
        if is_log && (dir == inner || !inner.is_dir()) {
            return Ok(dir.to_owned());
        }
    }
    let what = format!("{} is neither a log nor a bucket with one", named.display());
    Err(Failure::file(what)(io::ErrorKind::NotFound.into()))
}
