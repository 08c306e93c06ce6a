//! `bucket put`: files, directories or stdin into a bucket.
//!
//! What was acknowledged before with the same content is reported as unchanged, by its digest and without
//! asking the remote, so that an interrupted run is simply started again.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bucket_remote::{Digest, InvalidKey, Key};
use bucket_store::{Receipt, StoreError};
use serde_json::json;
use sha2::Digest as _;
use sha2::Sha256;

use crate::args::PutArgs;
use crate::commands::walk::{Source, Walk};
use crate::exit::Failure;
use crate::output::Output;
use crate::profiles::{key, split_address};
use crate::session::{Session, bar};

/// Enough to share syncs; more would only queue.
const THREADS: usize = 8;

enum Stored {
    Acknowledged(Receipt),
    Unchanged(Digest),
}

pub(crate) fn run(args: &PutArgs, out: &Output) -> Result<ExitCode, Failure> {
    let Some((address, sources)) = args.paths.split_last() else {
        return Err(Failure::Usage("name what to store, and where".into()));
    };
    let address = address.to_str().ok_or_else(|| Failure::Key {
        text: address.to_string_lossy().into_owned(),
        source: InvalidKey::NotUtf8,
    })?;
    let (profile, target) = split_address(address)?;
    let session = Session::open(profile)?;
    if args.recursive {
        return recursive(args, sources, target, session, out);
    }
    let several = sources.len() > 1;
    for source in sources {
        let key = key_for(source, target, several)?;
        let stored = if source == Path::new("-") {
            Stored::Acknowledged(session.bucket.put_reader(&key, &mut io::stdin().lock(), None)?)
        } else {
            store(&session, &Source { path: source.clone(), key: key.clone() }, args.always)?
        };
        report(out, &key, &stored, true)?;
    }
    finish(args, session, out, &json!({ "files": sources.len() }))?;
    Ok(ExitCode::SUCCESS)
}

/// The key for one source: the target itself, or the target as a directory with the file's name.
fn key_for(source: &Path, target: &str, several: bool) -> Result<Key, Failure> {
    if !target.is_empty() && !target.ends_with('/') && !several {
        return key(target);
    }
    let name = source.file_name().filter(|_| source != Path::new("-"));
    let name = name
        .ok_or_else(|| Failure::Usage("this source needs a whole key".into()))?
        .to_str()
        .ok_or_else(|| Failure::Key {
            text: source.to_string_lossy().into_owned(),
            source: InvalidKey::NotUtf8,
        })?;
    let separator = if target.is_empty() || target.ends_with('/') { "" } else { "/" };
    key(&format!("{target}{separator}{name}"))
}

fn recursive(
    args: &PutArgs,
    sources: &[PathBuf],
    target: &str,
    session: Session,
    out: &Output,
) -> Result<ExitCode, Failure> {
    let mut walk = Walk::default();
    for source in sources {
        if !source.is_dir() {
            let what = format!("{} is not a directory", source.display());
            return Err(Failure::Usage(what));
        }
        let found = Walk::new(source, target);
        walk.files.extend(found.files);
        walk.skipped.extend(found.skipped);
        walk.failed.extend(found.failed);
    }
    for (path, why) in &walk.skipped {
        let value = json!({ "type": "skipped", "path": path.to_string_lossy(), "why": why });
        out.result(&value, &format!("skipped {}: {why}", path.display()))?;
    }

    let progress = bar(out, walk.files.len() as u64, "storing");
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (acknowledged, unchanged) = (AtomicU64::new(0), AtomicU64::new(0));
    let worker = || -> Result<Vec<(PathBuf, String)>, Failure> {
        let mut failed = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let Some(source) = walk.files.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            match store(&session, source, args.always) {
                Ok(stored) => {
                    let counter = match stored {
                        Stored::Acknowledged(_) => &acknowledged,
                        Stored::Unchanged(_) => &unchanged,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                    report(out, &source.key, &stored, false)?;
                }
                // One file that cannot be read must not stop the others.
                Err(Failure::File { source: error, .. }) => {
                    failed.push((source.path.clone(), error.to_string()));
                }
                Err(Failure::Store(error @ StoreError::InvalidKey { .. })) => {
                    failed.push((source.path.clone(), error.to_string()));
                }
                Err(failure) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(failure);
                }
            }
            progress.inc(1);
        }
        Ok(failed)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    progress.finish_and_clear();
    let mut failed = walk.failed;
    let mut fatal = None;
    for result in results {
        match result {
            Ok(Ok(more)) => failed.extend(more),
            Ok(Err(failure)) => fatal = Some(failure),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    for (path, why) in &failed {
        let value = json!({ "type": "failed", "path": path.to_string_lossy(), "why": why });
        out.result(&value, &format!("failed {}: {why}", path.display()))?;
    }
    let (acknowledged, unchanged) = (acknowledged.into_inner(), unchanged.into_inner());
    let counts = json!({
        "acknowledged": acknowledged,
        "unchanged": unchanged,
        "skipped": walk.skipped.len(),
        "failed": failed.len(),
    });
    if !out.is_json() {
        let (skipped, failed) = (walk.skipped.len(), failed.len());
        let text = format!(
            "acknowledged {acknowledged}, unchanged {unchanged}, skipped {skipped}, failed {failed}"
        );
        out.result(&counts, &text)?;
    }
    if let Some(failure) = fatal {
        session.summary(out, &counts)?;
        return Err(failure);
    }
    finish(args, session, out, &counts)?;
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(11) })
}

fn finish(
    args: &PutArgs,
    session: Session,
    out: &Output,
    counts: &serde_json::Value,
) -> Result<(), Failure> {
    let drained = if args.wait { session.drain(None, out) } else { Ok(()) };
    session.summary(out, counts)?;
    drained
}

/// Stores one file, unless its content is what was acknowledged last.
fn store(session: &Session, source: &Source, always: bool) -> Result<Stored, Failure> {
    let what = || format!("cannot read {}", source.path.display());
    let open = || File::open(&source.path).map_err(|error| Failure::file(what())(error));
    if !always && let Some((digest, _)) = session.bucket.acknowledged(&source.key) {
        let found = hash(&mut open()?).map_err(|error| Failure::file(what())(error))?;
        if found == digest {
            return Ok(Stored::Unchanged(digest));
        }
    }
    let mut file = open()?;
    let len = file.metadata().map_err(|error| Failure::file(what())(error))?.len();
    match session.bucket.put_reader(&source.key, &mut file, Some(len)) {
        Ok(receipt) => Ok(Stored::Acknowledged(receipt)),
        Err(StoreError::Read { source }) => Err(Failure::file(what())(source)),
        Err(error) => Err(error.into()),
    }
}

fn hash(reader: &mut impl Read) -> io::Result<Digest> {
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(Digest::new(hasher.finalize().into())),
            Ok(n) => hasher.update(&chunk[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn report(out: &Output, key: &Key, stored: &Stored, say: bool) -> Result<(), Failure> {
    if !say && !out.is_json() {
        return Ok(());
    }
    let (value, text) = match stored {
        Stored::Acknowledged(receipt) => {
            let digest = receipt.digest.map(|digest| digest.to_string());
            let value = json!({
                "type": "put",
                "key": key.as_str(),
                "state": "acknowledged",
                "lsn": receipt.lsn.get(),
                "op_id": receipt.op_id.to_string(),
                "sha256": digest,
                "size": receipt.len,
            });
            (value, format!("acknowledged {key} ({} B, {})", receipt.len, receipt.lsn))
        }
        Stored::Unchanged(digest) => {
            let sha256 = digest.to_string();
            let value = json!({ "type": "put", "key": key.as_str(), "state": "unchanged", "sha256": sha256 });
            (value, format!("unchanged {key}"))
        }
    };
    out.result(&value, &text)
}
