//! Replay: engine and catalog brought up to date from the log.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use bucket_core::Clock;
use bucket_remote::Key;
use bucket_wal::{Lsn, Wal, WalError};

use crate::bucket::catalog::Catalog;
use crate::bucket::engine::{Engine, Known, Op, PendingChange};
use crate::bucket::error::StoreError;
use crate::bucket::inner::cost_of;
use crate::bucket::record::{Change, Payload, StoreRecord};

/// Brings engine and catalog up to date from the log; returns the blobs that are needed.
pub(crate) fn replay(
    dir: &Path,
    wal: &Wal,
    from: Lsn,
    clock: &dyn Clock,
    engine: &mut Engine,
    catalog: &mut Catalog,
) -> Result<HashSet<String>, StoreError> {
    // In order of their numbers, so that lanes are too.
    let mut pending = BTreeMap::new();
    let mut keys: HashMap<Lsn, Key> = HashMap::new();
    for record in wal.reader(from) {
        let record = match record {
            Ok(record) => record,
            // Damage is in the report; what is left is still of use.
            Err(WalError::Corrupt { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        match StoreRecord::decode(&record.payload) {
            Some(StoreRecord::Accepted { key, op_id, change }) => {
                let (change, content, len) = match change {
                    Change::Delete => (PendingChange::Delete, None, 0),
                    Change::Put { digest, len, payload } => {
                        let blob = match payload {
                            Payload::Blob(name) => Some(name.to_owned()),
                            Payload::Inline(_) => None,
                        };
                        let change = PendingChange::Put { digest, len, blob };
                        (change, Some((digest, len)), len)
                    }
                };
                catalog.accept(&key, record.lsn, content);
                let (accepted, cost) = (clock.now(), cost_of(len));
                let op = Op { lsn: record.lsn, op_id, change, accepted, cost };
                keys.insert(record.lsn, key.clone());
                pending.insert(record.lsn, (key, op));
            }
            Some(StoreRecord::Settled { lsn, version }) => {
                pending.remove(&lsn);
                if let Some(key) = keys.remove(&lsn) {
                    catalog.settle(&key, lsn, version);
                }
            }
            None => {
                return Err(StoreError::Directory {
                    path: dir.to_owned(),
                    why: format!("record {} was written by a newer version", record.lsn),
                });
            }
        }
    }
    let mut blobs = HashSet::new();
    for (key, op) in pending.into_values() {
        if let PendingChange::Put { blob: Some(name), .. } = &op.change {
            blobs.insert(name.clone());
        }
        let remote = catalog.get(key.as_str()).and_then(|entry| entry.remote.clone());
        engine.recover(key, op, remote.map_or(Known::Unknown, Known::Version));
    }
    Ok(blobs)
}
