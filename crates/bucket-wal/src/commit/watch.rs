//! Telling those who follow a log that there is more. While nobody waits it costs two comparisons under
//! a lock that is held anyway.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use bucket_core::{Clock, Tick};

use super::{Shared, State};
use crate::error::WalError;
use crate::planted::Bug;
use crate::tail::ReadLevel;

/// Who waits for more.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    sleeping: u64,
    /// By the number of the tail, so that each has at most one however often it is polled.
    wakers: BTreeMap<u64, Waker>,
    tails: u64,
}

/// What a tail learns.
#[derive(Debug)]
pub(crate) enum More {
    /// Records up to this number may be shown.
    UpTo(u64),
    /// The log was closed or dropped, and there will be no more.
    Closed,
    /// The log is poisoned, and there will be no more.
    Poisoned(WalError),
    /// Nothing so far.
    Nothing,
}

impl Shared {
    /// A number for one more tail.
    pub(crate) fn begin_tail(&self) -> u64 {
        let watchers = &mut self.state.lock().watchers;
        watchers.tails += 1;
        watchers.tails
    }

    /// A tail is gone.
    pub(crate) fn end_tail(&self, tail: u64) {
        self.state.lock().watchers.wakers.remove(&tail);
    }

    /// The moment that is so far away.
    pub(crate) fn in_time(&self, timeout: Duration) -> Tick {
        self.clock.now().after(timeout)
    }

    /// What there is beyond `seen`, without waiting. With a waker, that one is woken once there is more.
    pub(crate) fn more(
        &self,
        level: ReadLevel,
        seen: u64,
        register: Option<(u64, &Waker)>,
    ) -> More {
        let mut state = self.state.lock();
        let more = self.look(&state, level, seen);
        if let (More::Nothing, Some((tail, waker))) = (&more, register) {
            state.watchers.wakers.insert(tail, waker.clone());
        }
        more
    }

    /// Waits until there is something beyond `seen`, or until the deadline.
    pub(crate) fn wait_more(&self, level: ReadLevel, seen: u64, deadline: Option<Tick>) -> More {
        let mut state = self.state.lock();
        loop {
            let more = self.look(&state, level, seen);
            if !matches!(more, More::Nothing) {
                return more;
            }
            let left = deadline.map(|deadline| deadline.since(self.clock.now()));
            if left.is_some_and(|left| left.is_zero()) {
                return More::Nothing;
            }
            state.watchers.sleeping += 1;
            match left {
                None => self.grown.wait(&mut state),
                Some(left) => {
                    self.grown.wait_for(&mut state, left);
                }
            }
            state.watchers.sleeping -= 1;
        }
    }

    fn look(&self, state: &State, level: ReadLevel, seen: u64) -> More {
        let shown = match level {
            // What a poisoned log has only written may be gone.
            ReadLevel::Written if state.poison.is_none() => state.written_lsn,
            ReadLevel::Durable if self.planted.has(Bug::TailAhead) => state.written_lsn,
            ReadLevel::Durable | ReadLevel::Written => state.durable,
        };
        match &state.poison {
            _ if shown > seen => More::UpTo(shown),
            Some(poison) => More::Poisoned(poison.error()),
            // Whoever leads when the log is dropped may still make something durable.
            None if state.closed && !state.leading => More::Closed,
            None => More::Nothing,
        }
    }

    /// Something was written, became durable or came to its end: wakes who waits for it.
    pub(super) fn tell(&self, state: &mut State) {
        if state.watchers.sleeping > 0 && !self.planted.has(Bug::NoTailWake) {
            self.grown.notify_all();
        }
        while let Some((_, waker)) = state.watchers.wakers.pop_first() {
            waker.wake();
        }
    }
}

#[cfg(all(test, not(bucket_loom)))]
mod tests {
    use std::path::Path;
    use std::thread;

    use bucket_vfs::sim::SimDisk;

    use super::*;
    use crate::{Lsn, Wal};

    #[test]
    fn a_time_out_lets_who_waits_see_what_comes_before_it_ends() {
        let (wal, _) = Wal::options().vfs(SimDisk::new().mount()).open(Path::new("/log")).unwrap();
        let mut tail = wal.tail(Lsn::new(1), ReadLevel::Durable);
        let waits =
            thread::spawn(move || tail.next_timeout(Duration::from_secs(600)).map(Result::unwrap));
        while wal.shared.state.lock().watchers.sleeping == 0 && !waits.is_finished() {
            thread::yield_now();
        }
        wal.append(b"comes late").unwrap();
        assert_eq!(waits.join().unwrap().unwrap().payload, b"comes late");
        assert_eq!(wal.shared.state.lock().watchers.sleeping, 0);
    }
}
