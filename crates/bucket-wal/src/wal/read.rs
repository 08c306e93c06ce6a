//! Reading: one record, those that are there, and those that are yet to come.

use super::Wal;
use crate::error::WalError;
use crate::lsn::Lsn;
use crate::reader::{Reader, Record, read_one};
use crate::replay::Replay;
use crate::sync::Arc;
use crate::tail::{ReadLevel, Tail};

impl Wal {
    /// Reads one durable record. An operation that is pending is found under its own number, also after
    /// it was copied forward.
    ///
    /// # Errors
    ///
    /// [`WalError::NotFound`] when it was trimmed, refused or is not durable yet;
    /// [`WalError::Corrupt`] when it does not validate any more; [`WalError::Io`].
    pub fn read(&self, lsn: Lsn) -> Result<Record, WalError> {
        loop {
            let copy = self.shared.moved_to(lsn.get());
            match self.read_at(copy.map_or(lsn, Lsn::new)) {
                // Copied, and the place that it was copied from trimmed away, under our eyes.
                Err(_) if self.shared.moved_to(lsn.get()) != copy => {}
                record if copy.is_some() => return record.map(Record::into_original),
                record => return record,
            }
        }
    }

    /// Reads the record that has this number in the log.
    fn read_at(&self, lsn: Lsn) -> Result<Record, WalError> {
        if lsn.get() > self.shared.durable() {
            return Err(WalError::NotFound { lsn });
        }
        read_one(&self.shared, lsn.get())
    }

    /// Iterates over the durable records from `from` on.
    pub fn reader(&self, from: Lsn) -> Reader {
        Reader::new(Arc::clone(&self.shared), from)
    }

    /// Goes through the durable records from `from` on with several threads. Nothing happens before
    /// [`Replay::ordered`] or [`Replay::partitioned`] is called.
    pub fn replay<'a>(&self, from: Lsn) -> Replay<'a> {
        Replay::new(Arc::clone(&self.shared), from)
    }

    /// Follows the log from the record `from` on, which may be yet to come.
    pub fn tail(&self, from: Lsn, level: ReadLevel) -> Tail {
        Tail::new(Arc::clone(&self.shared), from, level)
    }
}
