//! Appending: records go in, and the caller hears what is written and what is durable.

use super::Wal;
use crate::commit::{Records, Ticket};
use crate::error::WalError;
use crate::frame::Entry;
use crate::lsn::Lsn;

impl Wal {
    /// Appends a record.
    ///
    /// # Durability
    ///
    /// Under [`SyncPolicy::Always`](crate::SyncPolicy), the default, the record survives the end of the
    /// process and a power loss once this returns, and so do all records with smaller numbers. Under
    /// the other policies it is accepted and becomes durable later, as the policy says;
    /// [`Wal::wait_durable`] waits for that.
    ///
    /// # Errors
    ///
    /// [`WalError::RecordTooLarge`] above 16 MiB and [`WalError::NoSpace`]: not accepted, the log goes
    /// on. [`WalError::Poisoned`]: not acknowledged, may appear after reopening; the log is of no more
    /// use. [`WalError::Closed`].
    pub fn append(&self, payload: &[u8]) -> Result<Lsn, WalError> {
        Records::check(&[payload])?;
        let (payloads, entries) = ([payload], [Entry::of(payload)]);
        self.shared.append(Records::new(&payloads, &entries, false)).map(Lsn::new)
    }

    /// Appends records that survive all together or not at all, and returns the number of the last. They
    /// have consecutive numbers. An empty batch changes nothing and returns the newest number.
    ///
    /// # Durability
    ///
    /// As [`Wal::append`].
    ///
    /// # Errors
    ///
    /// As [`Wal::append`]; [`WalError::RecordTooLarge`] when they have more than 16 MiB together, each
    /// but one counted with 9 bytes more than it has.
    pub fn append_batch<'a>(
        &self,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Lsn, WalError> {
        let payloads: Vec<_> = records.into_iter().collect();
        if payloads.is_empty() {
            return Ok(Lsn::new(self.shared.newest()?));
        }
        Records::check(&payloads)?;
        let entries: Vec<_> = payloads.iter().map(|payload| Entry::of(payload)).collect();
        self.shared.append(Records::new(&payloads, &entries, false)).map(Lsn::new)
    }

    /// Appends a record without waiting for the disk.
    ///
    /// The record gets its place at once; the [`Ticket`] says when it is durable, by `wait` or
    /// `.await`. Without a waiter it is written within about a millisecond, and synced then or later,
    /// as the policy says. Dropping the ticket changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Wal::append`], as far as they are known before the write.
    pub fn submit(&self, payload: &[u8]) -> Result<Ticket, WalError> {
        self.submit_as(payload, false)
    }

    /// As [`Wal::submit`], for a record that leads to space being freed, such as a settlement: on a
    /// full disk it may use the reserve.
    ///
    /// # Errors
    ///
    /// As [`Wal::submit`].
    pub fn submit_reserved(&self, payload: &[u8]) -> Result<Ticket, WalError> {
        self.submit_as(payload, true)
    }

    fn submit_as(&self, payload: &[u8], reserved: bool) -> Result<Ticket, WalError> {
        Records::check(&[payload])?;
        let (payloads, entries) = ([payload], [Entry::of(payload)]);
        self.shared.submit(Records::new(&payloads, &entries, reserved))
    }

    /// Waits until the record with this number is durable, and all before it. A number that was refused
    /// counts as durable once all before it are.
    ///
    /// # Errors
    ///
    /// [`WalError::NotFound`] when no record has that number yet; [`WalError::Poisoned`] and
    /// [`WalError::Closed`].
    pub fn wait_durable(&self, lsn: Lsn) -> Result<(), WalError> {
        self.shared.wait_durable(lsn.get())
    }

    /// Makes everything durable that was accepted by now, and returns the newest number of it.
    ///
    /// # Errors
    ///
    /// [`WalError::Poisoned`] and [`WalError::Closed`].
    pub fn sync(&self) -> Result<Lsn, WalError> {
        self.shared.sync().map(Lsn::new)
    }

    /// The newest record up to which all were handed to the operating system: they survive the end of
    /// the process, and perhaps not a power loss.
    pub fn written_lsn(&self) -> Lsn {
        Lsn::new(self.shared.written())
    }

    /// The newest record up to which all are durable.
    pub fn durable_lsn(&self) -> Lsn {
        Lsn::new(self.shared.durable())
    }
}
