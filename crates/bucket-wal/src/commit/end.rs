//! The end of a log: closed, with the promise that its end is clean, or dropped, as a crash would end it.

use super::lead::Lead;
use super::state::Batch;
use super::{Shared, State};
use crate::error::WalError;

impl Shared {
    /// Ends the log as a crash would, but tells those who wait.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.closed = true;
        self.tell(&mut state);
        self.committer.notify_all();
        self.keeper.notify_all();
        self.turn.notify_all();
        state.release_if_idle();
        // Whoever is at work on the files notices soon, and whoever opens the log next finds it free.
        while state.keep.at_work > 0 {
            self.turn.wait(&mut state);
        }
        state.release_if_idle();
    }

    pub(crate) fn close(&self) -> Result<(), WalError> {
        self.state.lock().keep.closing = true;
        let mut last_taken = false;
        let mut state = self.state.lock();
        loop {
            state.check()?;
            if !state.leading && state.is_all_durable() && state.open.group.entries.is_empty() {
                if state.keep.at_work > 0 {
                    self.turn.wait(&mut state);
                    continue;
                }
                if last_taken {
                    break;
                }
                drop(state);
                self.take_last();
                last_taken = true;
                state = self.state.lock();
                continue;
            }
            let refused = state.stats.refused;
            state = self.lead_or_wait(state, Lead::Sync);
            state.check()?;
            if state.stats.refused > refused {
                return Err(WalError::NoSpace { path: self.dir.clone() });
            }
        }
        state.closed = true;
        self.tell(&mut state);
        self.committer.notify_all();
        self.keeper.notify_all();
        self.turn.notify_all();
        let promised = self.writer.lock().promise(state.next_lsn, state.gap);
        state.lock = None;
        promised.map_err(|error| WalError::io("sync", &self.dir, error))
    }
}

impl State {
    /// Tells those who wait for a closed log, and gives up its lock, unless somebody still works on it.
    pub(crate) fn release_if_idle(&mut self) {
        if !self.closed || self.leading {
            return;
        }
        let open = std::mem::replace(&mut self.open, Batch::new(self.next_lsn));
        for done in std::mem::take(&mut self.written).into_iter().chain([open.done]) {
            done.finish(Err(WalError::Closed));
        }
        if self.keep.at_work == 0 {
            self.lock = None;
        }
    }
}
