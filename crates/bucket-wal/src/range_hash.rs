//! [`RangeHash`]: what a range of records is, in 32 bytes, for replicas to compare.

use std::fmt;
use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use crate::commit::Shared;
use crate::error::WalError;
use crate::lsn::Lsn;
use crate::reader::{Cursor, RecordRef};
use crate::sync::Arc;

/// What a run of records is: two logs with the same hash hold the same records, wherever their segments
/// and frames are cut.
///
/// Each record hashes what came before it: SHA-256 over the hash so far, the number (8 bytes), the kind
/// (1), the length (4) and the content, numbers little-endian. So hashing a range and going on from its
/// hash gives what hashing it all at once does.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RangeHash([u8; 32]);

impl RangeHash {
    /// The hash of no records.
    pub const EMPTY: Self = Self([0; 32]);

    /// A hash that was stored or received.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be stored or sent.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash with one more record.
    #[must_use]
    pub fn then(self, record: &RecordRef<'_>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(record.lsn.get().to_le_bytes());
        hasher.update([record.kind as u8]);
        hasher.update((record.payload.len() as u32).to_le_bytes());
        hasher.update(record.payload);
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for RangeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RangeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RangeHash({self})")
    }
}

/// Hashes the durable records of a range, onto `onto`.
pub(crate) fn range_hash(
    shared: &Arc<Shared>,
    onto: RangeHash,
    range: RangeInclusive<Lsn>,
) -> Result<RangeHash, WalError> {
    let (first, last) = (range.start().get(), range.end().get());
    if range.is_empty() {
        return Ok(onto);
    }
    if last > shared.durable() {
        return Err(WalError::NotFound { lsn: *range.end() });
    }
    let mut cursor = Cursor::new(Arc::clone(shared), first);
    let mut hash = onto;
    while let Some(found) = cursor.find(last) {
        hash = hash.then(&cursor.get(&found?));
    }
    // What was trimmed meanwhile is not in it, and so it is no answer.
    if shared.index().lock().starts_after(first) {
        return Err(WalError::NotFound { lsn: *range.start() });
    }
    Ok(hash)
}
