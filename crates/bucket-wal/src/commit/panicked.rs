//! What a panic leaves behind: a poisoned log, and nobody who waits for ever.
//!
//! The files, the source of checkpoints and the archive are the application's code. When it panics in the
//! middle of what the log does, nobody knows what is on disk; so it is taken for a failed sync, and the
//! panic goes on its way.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::ticket::Done;
use super::{Shared, State};
use crate::sync::Arc;
use crate::writer::CommitError;

impl Shared {
    /// The work of a leader, with the state unlocked. `done` belongs to the batch that it has taken.
    pub(super) fn unless_it_panics<T>(
        &self,
        done: Option<&Arc<Done>>,
        work: impl FnOnce() -> T,
    ) -> T {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let error = error_of(&*panic);
            self.tell_of_poison(&error);
            let mut state = self.state.lock();
            state.written.extend(done.cloned());
            self.poison(&mut state, &error);
            drop(state);
            resume_unwind(panic)
        })
    }

    /// The same for work with the state locked, while nobody leads.
    pub(super) fn unless_it_panics_alone<T>(
        &self,
        state: &mut State,
        work: impl FnOnce(&mut State) -> T,
    ) -> T {
        catch_unwind(AssertUnwindSafe(|| work(&mut *state))).unwrap_or_else(|panic| {
            self.poison(state, &error_of(&*panic));
            resume_unwind(panic)
        })
    }

    /// The same for work beside a leader, whose turn is not disturbed: what it makes durable counts.
    pub(crate) fn unless_it_panics_beside<T>(&self, work: impl FnOnce() -> T) -> T {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let error = error_of(&*panic);
            let mut state = self.state.lock();
            let is_first = state.check().is_ok();
            if is_first && state.leading {
                state.doomed = Some(error.source());
            } else if is_first {
                self.poison(&mut state, &error);
            }
            drop(state);
            if is_first {
                self.tell_of_poison(&error);
            }
            resume_unwind(panic)
        })
    }
}

/// What the log is poisoned with, in the words of the panic.
fn error_of(panic: &(dyn Any + Send)) -> CommitError {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    CommitError::Poisoned(Arc::new(io::Error::other(format!("a panic: {text}"))))
}
