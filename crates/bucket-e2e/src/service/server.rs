//! [`Server`]: what the servers of this harness have in common.

use std::time::Duration;

use crate::missing::Missing;
use crate::service::Service;

/// A server that this harness knows how to start.
pub trait Server: Sized {
    /// Whether what it needs is installed.
    ///
    /// # Errors
    ///
    /// When it is not; says what to install.
    fn availability() -> Result<(), Missing>;

    /// Starts it on free loopback ports, with no data, and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it does not come up; shows its log.
    fn start() -> Self;

    /// Its processes, in the order in which they have to be started.
    fn processes(&mut self) -> Vec<&mut Service>;

    /// Starts it, or says aloud that the test is skipped.
    ///
    /// # Panics
    ///
    /// When it does not come up, and where `CI` is set when it is missing.
    fn start_or_skip() -> Option<Self> {
        match Self::availability() {
            Ok(()) => Some(Self::start()),
            Err(missing) => {
                missing.skip();
                None
            }
        }
    }

    /// Ends it as a crash would: [`Service::kill`].
    fn kill(&mut self) {
        self.processes().into_iter().rev().for_each(Service::kill);
    }

    /// Starts it again on the same ports and data: [`Service::restart`].
    ///
    /// # Panics
    ///
    /// When it does not come up; shows its log.
    fn restart(&mut self) {
        self.kill();
        self.processes().into_iter().for_each(Service::restart);
    }

    /// Ends it in good order: [`Service::terminate`] with 10 s for each process.
    fn terminate(&mut self) {
        for process in self.processes().into_iter().rev() {
            process.terminate(Duration::from_secs(10));
        }
    }
}
