//! [`Worker`]: a thread that does, in order, what would block an executor.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::error::LogStoreError;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does what it is given, in order. It ends when the handle is dropped and all is done.
pub(crate) struct Worker {
    jobs: Sender<Job>,
}

impl Worker {
    pub(crate) fn start(name: &str) -> Result<Self, LogStoreError> {
        let (jobs, next) = channel::<Job>();
        let run = move || next.into_iter().for_each(|job| job());
        match thread::Builder::new().name(name.to_owned()).spawn(run) {
            Ok(_) => Ok(Self { jobs }),
            Err(error) => Err(LogStoreError::Thread { source: Arc::new(error) }),
        }
    }

    /// Does the job after those before it. A job that panics ends the thread, and later ones are
    /// dropped: whoever waits for them hears that from what they held.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let _ = self.jobs.send(Box::new(job));
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Worker")
    }
}
