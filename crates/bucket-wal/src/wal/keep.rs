//! Keeping no more than is needed: checkpoints, and what they let go of.

use super::Wal;
use crate::checkpoint::{Checkpoint, CheckpointState};
use crate::error::WalError;
use crate::lsn::Lsn;

impl Wal {
    /// Records durably that replay may start at `replay_from`, with `state` for the application, and
    /// removes the segments that no kept checkpoint needs.
    ///
    /// The state is bytes, at most 1 MiB, or a [`CheckpointState::Reference`] to what the application has
    /// stored elsewhere. As many checkpoints are kept as
    /// [`WalOptions::keep_checkpoints`](crate::WalOptions::keep_checkpoints) says, and the log keeps what
    /// the oldest needs; also what is pending, and what is not replicated once [`Wal::set_replicated`] was
    /// used. What comes before `replay_from` is made durable first, if it is not; a number beyond the
    /// newest record stands for the one after it. With an archive, segments are removed later, by the
    /// housekeeping.
    ///
    /// # Errors
    ///
    /// [`WalError::RecordTooLarge`] when `state` is too long; [`WalError::Io`], [`WalError::Closed`], and
    /// [`WalError::NoSpace`] when the disk is full and the state longer than 28 KiB or so, which fits into a
    /// file in reserve.
    /// The previous checkpoints still hold then.
    pub fn checkpoint(
        &self,
        replay_from: Lsn,
        state: impl Into<CheckpointState>,
    ) -> Result<(), WalError> {
        self.shared.checkpoint(replay_from.get(), state.into())
    }

    /// The checkpoints that are kept and can be read, the newest first.
    ///
    /// # Errors
    ///
    /// [`WalError::Io`], [`WalError::Poisoned`] and [`WalError::Closed`].
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, WalError> {
        self.shared.list_checkpoints()
    }

    /// Gives up the records before `lsn`, durably: replay starts there or later, and segments that hold
    /// nothing else are removed.
    ///
    /// For whoever knows that nobody needs them any more. It takes checkpoints, as [`Wal::checkpoint`] does,
    /// until none that is kept goes back behind `lsn`; they have the state of the newest one, so whoever has
    /// a state that stands for what came before takes the checkpoint instead. What is pending stays, and
    /// so does what is not replicated once [`Wal::set_replicated`] was used, and what shares a segment with
    /// `lsn`; an archive gets the segments first, from the housekeeping. Where all was done before, nothing
    /// is written. A number beyond the newest record stands for the one after it.
    ///
    /// # Durability
    ///
    /// Once this returns, every opening replays from `lsn` or later, or from what is pending. A crash before
    /// leaves the newest checkpoint as it was, or as it is to be.
    ///
    /// # Errors
    ///
    /// [`WalError::Io`], [`WalError::NoSpace`], [`WalError::Poisoned`] and [`WalError::Closed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use bucket_wal::Wal;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let dir = dir.path().join("log");
    /// let (wal, _) = Wal::open(&dir)?;
    /// wal.append(b"sent")?;
    /// let lsn = wal.append(b"to be sent")?;
    /// wal.truncate_before(lsn)?;
    /// drop(wal);
    ///
    /// let (_wal, recovery) = Wal::open(&dir)?;
    /// assert_eq!(recovery.replay_from(), lsn);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn truncate_before(&self, lsn: Lsn) -> Result<(), WalError> {
        self.shared.truncate_before(lsn.get())
    }

    /// Takes the automatic checkpoint that is due, copies forward what keeps a log with a lifecycle too
    /// long, and archives and removes what is not needed. With nothing due it does nothing. The log does
    /// this by itself, unless [`WalOptions::housekeeping_by_hand`](crate::WalOptions::housekeeping_by_hand)
    /// was asked for.
    ///
    /// # Errors
    ///
    /// [`WalError::Io`], [`WalError::NoSpace`] and [`WalError::Corrupt`]: it is counted, and tried again
    /// when it is next due. [`WalError::Poisoned`] and [`WalError::Closed`].
    pub fn housekeep(&self) -> Result<(), WalError> {
        self.shared.housekeep()
    }
}
