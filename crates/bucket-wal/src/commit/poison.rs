//! Poisoning: after a failed sync nobody knows what is on disk, so the log is of no more use, and whoever
//! waits hears so, with the newest record that is safe.

use std::io;

use super::state::Batch;
use super::{Shared, State};
use crate::error::WalError;
use crate::lsn::Lsn;
use crate::planted::Bug;
use crate::sync::Arc;
use crate::writer::CommitError;

/// Why the log is of no more use, and up to where it was durable by then.
#[derive(Clone)]
pub(super) struct Poison {
    durable: u64,
    source: Arc<io::Error>,
}

impl Shared {
    /// The log is of no more use: everybody hears so, also those whose records would be next.
    pub(super) fn poison(&self, state: &mut State, error: &CommitError) {
        let poison = Poison { durable: state.durable, source: error.source() };
        let error = poison.error();
        state.poison = Some(poison);
        state.leading = false;
        self.tell(state);
        let orphan = Batch::new(state.next_lsn);
        let orphan = std::mem::replace(&mut state.open, orphan);
        let written = std::mem::take(&mut state.written);
        self.turn.notify_all();
        self.keeper.notify_all();
        state.release_if_idle();
        let orphan = Some(orphan.done).filter(|_| !self.planted.has(Bug::NoPoisonWake));
        for done in written.into_iter().chain(orphan) {
            done.finish(Err(error.clone()));
        }
    }
}

impl State {
    pub(crate) fn check(&self) -> Result<(), WalError> {
        match &self.poison {
            Some(poison) => Err(poison.error()),
            None if self.closed => Err(WalError::Closed),
            None => Ok(()),
        }
    }
}

impl Poison {
    pub(super) fn error(&self) -> WalError {
        WalError::Poisoned { durable_lsn: Lsn::new(self.durable), source: Arc::clone(&self.source) }
    }
}
