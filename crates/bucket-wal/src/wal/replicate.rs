//! What whoever keeps copies of a log needs: who wrote it, how far the copies are, whether they are the
//! same, and taking back what was never agreed on.

use std::ops::RangeInclusive;

use super::Wal;
use crate::error::WalError;
use crate::lsn::Lsn;
use crate::range_hash::{RangeHash, range_hash};

impl Wal {
    /// Who writes: a number that grows with [`Wal::truncate_after`] and [`Wal::begin_epoch`], 0 in a new
    /// log. Two logs that share records up to some number and were then written by different writers
    /// differ in it.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch()
    }

    /// Begins a higher epoch, durably, with a segment of its own.
    ///
    /// # Errors
    ///
    /// [`WalError::StaleEpoch`] when the log is in this or a later one, and [`WalError::NoSpace`]: nothing
    /// was changed. [`WalError::Poisoned`] and [`WalError::Closed`].
    pub fn begin_epoch(&self, epoch: u64) -> Result<(), WalError> {
        self.shared.begin_epoch(epoch)
    }

    /// Says that everything up to `lsn` is safe elsewhere. A lower number than before changes nothing.
    ///
    /// From the first call on, [`Lsn::ZERO`] included, the log keeps what is not replicated, whatever the
    /// checkpoints say; it remembers the number with the next checkpoint, and a record up to there that is
    /// missing at a later opening is damage.
    ///
    /// # Errors
    ///
    /// [`WalError::NotFound`] when no record has that number yet; [`WalError::Poisoned`] and
    /// [`WalError::Closed`].
    pub fn set_replicated(&self, lsn: Lsn) -> Result<(), WalError> {
        self.shared.set_replicated(lsn.get())
    }

    /// The newest record that is known to be elsewhere; `None` when nobody ever said so.
    pub fn replicated_lsn(&self) -> Option<Lsn> {
        self.shared.replicated().map(Lsn::new)
    }

    /// The hash of the records of a range, for replicas to compare what they hold. Numbers that were
    /// refused are no records. An empty range has [`RangeHash::EMPTY`].
    ///
    /// # Errors
    ///
    /// [`WalError::NotFound`] when the end of the range is not durable yet, or its start was trimmed;
    /// [`WalError::Corrupt`] and [`WalError::Io`] when a record in it cannot be read.
    pub fn range_hash(&self, range: RangeInclusive<Lsn>) -> Result<RangeHash, WalError> {
        self.range_hash_after(RangeHash::EMPTY, range)
    }

    /// As [`Wal::range_hash`], going on from the hash of the records before.
    ///
    /// # Errors
    ///
    /// As [`Wal::range_hash`].
    pub fn range_hash_after(
        &self,
        hash: RangeHash,
        range: RangeInclusive<Lsn>,
    ) -> Result<RangeHash, WalError> {
        range_hash(&self.shared, hash, range)
    }

    /// Takes back all records after `lsn`, durably. Their numbers are given again, in a higher
    /// [`Wal::epoch`].
    ///
    /// For whoever replicates, and finds that the newest records were never agreed on. Waits until what
    /// was accepted is durable; the caller sees to it that nothing is appended or read meanwhile that
    /// should not be. Readers that are under way may still yield what was taken back. After `lsn` as the
    /// newest record nothing happens.
    ///
    /// # Errors
    ///
    /// [`WalError::Checkpointed`] when a checkpoint replays from a record behind it, or was taken behind it
    /// in a log with a lifecycle; or
    /// [`WalError::NotFound`] when the records after it were trimmed: nothing was changed.
    /// [`WalError::NoSpace`], [`WalError::Corrupt`], [`WalError::Io`]: the same. [`WalError::Poisoned`]:
    /// they may be back after reopening.
    pub fn truncate_after(&self, lsn: Lsn) -> Result<(), WalError> {
        self.shared.truncate_after(lsn.get())
    }

    /// Finishes the newest segment, so that all its records are in a file that does not change any more.
    /// Without records in it nothing happens. The next record begins another.
    ///
    /// # Errors
    ///
    /// [`WalError::Poisoned`] and [`WalError::Closed`].
    pub fn seal(&self) -> Result<(), WalError> {
        self.shared.seal()
    }
}
