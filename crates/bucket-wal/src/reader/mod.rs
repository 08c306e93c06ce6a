//! Reading a log: [`Reader`], the durable records in order, and what reading is made of.
//!
//! [`Window`] holds a part of a file, [`Walk`] goes through one segment, [`Cursor`] through a log.

mod cursor;
mod map;
mod outside;
mod place;
mod source;
mod walk;
mod window;

use crate::commit::Shared;
use crate::error::WalError;
use crate::frame::RecordKind;
use crate::lsn::Lsn;
use crate::sync::Arc;

pub(crate) use self::cursor::{Cursor, mark, read_one};
pub(crate) use self::map::Map;
pub use self::outside::Follower;
pub(crate) use self::place::{Place, load};
pub(crate) use self::source::Source;
pub(crate) use self::walk::{Found, Step, Walk};
pub(crate) use self::window::Window;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The number that `append` returned.
    pub lsn: Lsn,
    /// What it is.
    pub kind: RecordKind,
    /// The bytes that were appended.
    pub payload: Vec<u8>,
}

/// One record, borrowed from whatever read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordRef<'a> {
    /// The number that `append` returned.
    pub lsn: Lsn,
    /// What it is.
    pub kind: RecordKind,
    /// The bytes that were appended.
    pub payload: &'a [u8],
}

impl RecordRef<'_> {
    /// The record with bytes of its own.
    pub fn to_record(&self) -> Record {
        Record { lsn: self.lsn, kind: self.kind, payload: self.payload.to_vec() }
    }
}

/// Iterates over the durable records of a log, from one number to the newest that was durable when
/// the reader was made. Appending goes on meanwhile.
///
/// A record that cannot be read yields an error, and the iteration continues behind it; an error names
/// the first of the records that are lost at its place. Records that are trimmed away while reading are
/// left out, except that a segment that the reader has begun is read to its end.
///
/// It reads 256 KiB at a time and holds no more, unless a record is longer.
#[derive(Debug)]
pub struct Reader {
    cursor: Cursor,
    until: u64,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, from: Lsn) -> Self {
        let until = shared.durable();
        Self { cursor: Cursor::new(shared, from.get()), until }
    }

    /// As [`Iterator::next`], without copying the record.
    pub fn next_ref(&mut self) -> Option<Result<RecordRef<'_>, WalError>> {
        let found = self.cursor.find(self.until)?;
        Some(found.map(|found| self.cursor.get(&found)))
    }
}

impl Iterator for Reader {
    type Item = Result<Record, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_ref()?.map(|record| record.to_record()))
    }
}
