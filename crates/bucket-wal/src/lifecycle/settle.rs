//! What a user does with pending operations: [`Wal::complete`], [`Wal::abort`], and looking at them.

use super::{PendingRecords, SUBJECT_LEN};
use crate::commit::{Records, Shared, Ticket};
use crate::error::WalError;
use crate::frame::{Entry, RecordKind, le_u64};
use crate::lsn::Lsn;
use crate::reader::Record;
use crate::sync::Arc;
use crate::wal::Wal;

impl Wal {
    /// Says that a pending operation is done, so that no recovery yields it any more.
    ///
    /// It counts at once for this process, and after a restart once the [`Ticket`] says that it is
    /// durable. A settlement whose ticket was dropped is written soon, as by [`Wal::submit`]; one that a
    /// crash has taken leaves the operation pending, so what an operation does must bear being done
    /// again. On a full disk it may use the reserve.
    ///
    /// # Errors
    ///
    /// [`WalError::NotPending`] when the operation was never accepted, is settled or being settled, or
    /// when the log was opened without [`WalOptions::lifecycle`](crate::WalOptions::lifecycle). Else as
    /// [`Wal::submit`]. When the ticket says [`WalError::NoSpace`], the operation is pending again.
    ///
    /// # Examples
    ///
    /// ```
    /// use bucket_wal::Wal;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let dir = dir.path().join("log");
    /// let (wal, _) = Wal::options().lifecycle(true).open(&dir)?;
    /// let (first, second) = (wal.append(b"upload a")?, wal.append(b"upload b")?);
    /// wal.complete(first)?.wait()?;
    /// drop(wal); // Or kill -9.
    ///
    /// let (wal, recovery) = Wal::options().lifecycle(true).open(&dir)?;
    /// assert_eq!(recovery.pending(), [second]);
    /// for operation in wal.pending_records() {
    ///     let operation = operation?;
    ///     println!("again: {}", String::from_utf8_lossy(&operation.payload));
    ///     wal.complete(operation.lsn)?.wait()?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn complete(&self, op: Lsn) -> Result<Ticket, WalError> {
        self.complete_with(op, &[])
    }

    /// As [`Wal::complete`], with something about the outcome, such as the version that a remote gave.
    /// It stays in the log with the settlement until that is trimmed; [`Record::note`] reads it.
    ///
    /// # Errors
    ///
    /// As [`Wal::complete`]; [`WalError::RecordTooLarge`] for a note that no record takes.
    pub fn complete_with(&self, op: Lsn, note: &[u8]) -> Result<Ticket, WalError> {
        self.settle(op, RecordKind::Complete, note)
    }

    /// Says that a pending operation was given up, and why. The reason stays in the log, for whoever
    /// reads it, until it is trimmed. Everything else is as for [`Wal::complete`].
    ///
    /// # Errors
    ///
    /// As [`Wal::complete`]; [`WalError::RecordTooLarge`] for a reason that no record takes.
    pub fn abort(&self, op: Lsn, why: &str) -> Result<Ticket, WalError> {
        self.settle(op, RecordKind::Abort, why.as_bytes())
    }

    fn settle(&self, op: Lsn, kind: RecordKind, more: &[u8]) -> Result<Ticket, WalError> {
        let payload = about(op.get(), more);
        let (payloads, entries) = ([payload.as_slice()], [Entry::new(kind, &payload)]);
        Records::check(&payloads)?;
        let records = Records::new(&payloads, &entries, true).about(op.get());
        self.shared.submit(records)
    }

    /// The operations that are neither settled nor being settled, in the order of their numbers; none
    /// in a log without a lifecycle.
    pub fn pending(&self) -> Vec<Lsn> {
        self.shared.pending().into_iter().map(Lsn::new).collect()
    }

    /// The records of the operations that are pending and durable, each under its own number and in the
    /// order of the numbers, wherever they are by now. What is settled meanwhile is left out.
    pub fn pending_records(&self) -> PendingRecords {
        PendingRecords::new(Arc::clone(&self.shared))
    }
}

impl Record {
    /// Which operation a settlement or a copy forward is about; `None` for an operation itself.
    pub fn subject(&self) -> Option<Lsn> {
        (self.kind != RecordKind::Op).then(|| Lsn::new(le_u64(&self.payload)))
    }

    /// What was said when an operation was settled: with [`Wal::complete_with`], or the reason of
    /// [`Wal::abort`]. `None` for what is no settlement.
    pub fn note(&self) -> Option<&[u8]> {
        let is_settlement = matches!(self.kind, RecordKind::Complete | RecordKind::Abort);
        is_settlement.then(|| self.payload.get(SUBJECT_LEN..).unwrap_or_default())
    }

    /// What a copy forward is a copy of.
    pub(crate) fn into_original(self) -> Self {
        match self.subject() {
            Some(lsn) if self.kind == RecordKind::Survivor => {
                let payload = self.payload.get(SUBJECT_LEN..).unwrap_or_default().to_vec();
                Self { lsn, kind: RecordKind::Op, payload }
            }
            _ => self,
        }
    }
}

impl Shared {
    pub(crate) fn pending(&self) -> Vec<u64> {
        self.state.lock().lifecycle.as_ref().map_or_else(Vec::new, super::Lifecycle::pending)
    }

    /// Where the newest copy of an operation is, when it was copied forward.
    pub(crate) fn moved_to(&self, op: u64) -> Option<u64> {
        self.state.lock().lifecycle.as_ref()?.moved_to(op)
    }
}

/// The payload of a record about an operation.
pub(crate) fn about(op: u64, more: &[u8]) -> Vec<u8> {
    [&op.to_le_bytes(), more].concat()
}
