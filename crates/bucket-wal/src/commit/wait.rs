//! Waiting until what was accepted is durable: whoever comes while nobody leads takes the lead, and
//! everybody else sleeps.

use super::lead::Lead;
use super::ticket::Done;
use super::{Shared, State};
use crate::error::WalError;
use crate::lsn::Lsn;
use crate::sync::{Arc, MutexGuard};

impl Shared {
    /// Waits for the end of a batch, leading its commit if nobody does.
    pub(super) fn wait(&self, done: &Arc<Done>) -> Result<(), WalError> {
        self.wait_from(self.state.lock(), done)
    }

    /// The same for a caller who holds the state already.
    pub(super) fn wait_from<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        done: &Arc<Done>,
    ) -> Result<(), WalError> {
        loop {
            if let Some(outcome) = done.outcome() {
                return outcome;
            }
            if state.leading || state.closed {
                done.wait(&mut state);
            } else {
                // Without an outcome the batch is the open one, or one that no sync has covered.
                state = self.gather(state);
                state = self.lead(state, Lead::Sync);
            }
        }
    }

    /// Waits until everything up to `lsn`, which was accepted, is durable.
    pub(crate) fn wait_durable(&self, lsn: u64) -> Result<(), WalError> {
        let mut state = self.state.lock();
        loop {
            if state.durable >= lsn {
                return Ok(());
            }
            state.check()?;
            if lsn >= state.next_lsn {
                return Err(WalError::NotFound { lsn: Lsn::new(lsn) });
            }
            if state.is_all_durable() && state.open.group.entries.is_empty() && !state.leading {
                // The number was refused, and everything before it is durable.
                return Ok(());
            }
            state = self.lead_or_wait(state, Lead::Sync);
        }
    }

    /// Makes everything durable that was accepted by now; returns the newest of it.
    pub(crate) fn sync(&self) -> Result<u64, WalError> {
        let newest = self.newest()?;
        self.wait_durable(newest)?;
        Ok(newest)
    }
}
