//! [`PendingRecords`]: the records of what is pending, wherever they are.

use std::fmt;

use crate::commit::Shared;
use crate::error::WalError;
use crate::lsn::Lsn;
use crate::reader::{Cursor, Record};
use crate::sync::Arc;

/// Iterates over the operations that were pending and durable when it was made, in the order of their
/// numbers. What was settled since is left out.
pub struct PendingRecords {
    shared: Arc<Shared>,
    ops: std::vec::IntoIter<u64>,
    finder: Finder,
}

/// Reads records that are mostly near one another: those under their own numbers, and copies.
pub(crate) struct Finder {
    shared: Arc<Shared>,
    own: Cursor,
    copies: Cursor,
}

/// Over so many records it is cheaper to read on than to look the next one up.
const NEAR: u64 = 64;

impl PendingRecords {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let durable = shared.durable();
        let mut ops = shared.pending();
        ops.retain(|op| *op <= durable);
        Self { ops: ops.into_iter(), finder: Finder::new(Arc::clone(&shared)), shared }
    }

    /// The record of an operation; `None` when it was settled meanwhile.
    fn find(&mut self, op: u64) -> Option<Result<Record, WalError>> {
        let mut at = self.shared.place_of(op)?;
        loop {
            match self.finder.find(op, at) {
                Ok(record) => return Some(Ok(record)),
                Err(error) => {
                    // Copied forward and trimmed away under our eyes.
                    let now = self.shared.place_of(op)?;
                    if now == at {
                        return Some(Err(error));
                    }
                    at = now;
                }
            }
        }
    }
}

impl Finder {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let cursor = || Cursor::new(Arc::clone(&shared), 0);
        let (own, copies) = (cursor(), cursor());
        Self { shared, own, copies }
    }

    /// The operation `op`, which the record `at` holds.
    pub(crate) fn find(&mut self, op: u64, at: u64) -> Result<Record, WalError> {
        let cursor = if op == at { &mut self.own } else { &mut self.copies };
        let next = cursor.next_lsn();
        if !(next..=next.saturating_add(NEAR)).contains(&at) {
            *cursor = Cursor::new(Arc::clone(&self.shared), at);
        }
        cursor.pass(at.saturating_sub(1));
        match cursor.find(at) {
            Some(Ok(found)) if found.lsn == at => {
                Ok(cursor.get(&found).to_record().into_original())
            }
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => Err(WalError::NotFound { lsn: Lsn::new(op) }),
        }
    }
}

impl Iterator for PendingRecords {
    type Item = Result<Record, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(op) = self.ops.next() {
            if let Some(record) = self.find(op) {
                return Some(record);
            }
        }
        None
    }
}

impl fmt::Debug for PendingRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingRecords").field("left", &self.ops.len()).finish_non_exhaustive()
    }
}

impl Shared {
    /// The record that holds an operation, if that is pending.
    fn place_of(&self, op: u64) -> Option<u64> {
        let state = self.state.lock();
        let lifecycle = state.lifecycle.as_ref()?;
        lifecycle.is_pending(op).then(|| lifecycle.moved_to(op).unwrap_or(op))
    }
}
