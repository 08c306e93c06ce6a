//! Replay: engine and catalog brought up to date from the log.
//!
//! Twice: what was acknowledged and settled since the checkpoint goes to the catalog, in the order of the
//! log; then what the log says is pending goes to the engine, wherever in the log it is by now.

use std::collections::HashSet;
use std::path::Path;

use bucket_core::Clock;
use bucket_remote::Digest;
use bucket_wal::{Lsn, Record, RecordKind, Wal, WalError};

use crate::bucket::catalog::Catalog;
use crate::bucket::engine::Engine;
use crate::bucket::error::StoreError;
use crate::bucket::inner::cost_of;
use crate::bucket::job::{Known, Op, PendingChange};
use crate::bucket::record::{Change, OpRecord, Payload, Settlement};

/// Brings the catalog of a checkpoint up to date: `from` is where that has replay start.
pub(crate) fn replay_catalog(
    dir: &Path,
    wal: &Wal,
    from: Lsn,
    catalog: &mut Catalog,
) -> Result<(), StoreError> {
    for record in wal.reader(from) {
        let Some(record) = readable(record)? else { continue };
        match record.kind {
            RecordKind::Op => {
                let op = decode(dir, &record)?;
                catalog.accept(&op.key, record.lsn, content_of(&op.change));
            }
            RecordKind::Complete => {
                let note = record.note().and_then(Settlement::decode);
                let (Some(op), Some(note)) = (record.subject(), note) else {
                    return Err(newer(dir, record.lsn));
                };
                catalog.settle(&note.key, op, note.version);
            }
            // Nothing reached the remote, and a copy says nothing new.
            RecordKind::Abort | RecordKind::Survivor => {}
            _ => return Err(newer(dir, record.lsn)),
        }
    }
    Ok(())
}

/// Gives the engine what is pending; returns the blobs that are needed.
pub(crate) fn recover_pending(
    dir: &Path,
    wal: &Wal,
    clock: &dyn Clock,
    engine: &mut Engine,
    catalog: &mut Catalog,
) -> Result<HashSet<String>, StoreError> {
    let mut blobs = HashSet::new();
    // In order of their numbers, so that lanes are too.
    for record in wal.pending_records() {
        let Some(record) = readable(record)? else { continue };
        let OpRecord { key, op_id, change } = decode(dir, &record)?;
        // Known already, unless the catalog was lost.
        catalog.accept(&key, record.lsn, content_of(&change));
        let (change, len) = match change {
            Change::Delete => (PendingChange::Delete, 0),
            Change::Put { digest, len, payload } => {
                let blob = match payload {
                    Payload::Blob(name) => Some(name.to_owned()),
                    Payload::Inline(_) => None,
                };
                blobs.extend(blob.clone());
                (PendingChange::Put { digest, len, blob }, len)
            }
        };
        let (accepted, cost) = (clock.now(), cost_of(len));
        let op = Op { lsn: record.lsn, op_id, change, accepted, cost };
        let remote = catalog.get(key.as_str()).and_then(|entry| entry.remote.clone());
        engine.recover(key, op, remote.map_or(Known::Unknown, Known::Version));
    }
    Ok(blobs)
}

/// The record; `None` when it is damaged: that is in the report, and what is left is still of use.
fn readable(record: Result<Record, WalError>) -> Result<Option<Record>, StoreError> {
    match record {
        Ok(record) => Ok(Some(record)),
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn decode<'a>(dir: &Path, record: &'a Record) -> Result<OpRecord<'a>, StoreError> {
    OpRecord::decode(&record.payload).ok_or_else(|| newer(dir, record.lsn))
}

fn newer(dir: &Path, lsn: Lsn) -> StoreError {
    let why = format!("record {lsn} was written by a newer version");
    StoreError::Directory { path: dir.to_owned(), why }
}

const fn content_of(change: &Change<'_>) -> Option<(Digest, u64)> {
    match change {
        Change::Delete => None,
        Change::Put { digest, len, .. } => Some((*digest, *len)),
    }
}
