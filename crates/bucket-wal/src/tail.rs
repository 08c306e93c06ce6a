//! [`Tail`]: the records of a log as they come, for as long as it is open.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::commit::{More, Shared};
use crate::error::WalError;
use crate::lsn::Lsn;
use crate::reader::{Cursor, Found, Record, RecordRef};
use crate::sync::Arc;

/// Which records a [`Tail`] shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadLevel {
    /// Those that are durable: nothing takes them back. The default.
    #[default]
    Durable,
    /// Those that were handed to the operating system. The end of the process takes none of them, but a
    /// power loss or a failed sync may take every one that is not durable, and other records get their
    /// numbers then. Do with them only what can be undone.
    Written,
}

/// Yields the records of a log in order, from one number on, as they become durable or are written, and
/// waits for the next.
///
/// As an iterator it blocks. [`Tail::try_next`] and [`Tail::next_timeout`] do not block, or not for ever;
/// [`Tail::changed`] is a future for asynchronous code. It ends when the log is closed or its last clone
/// is dropped, after everything that had become durable; when the log is poisoned, with that error once.
///
/// Nobody waits for a tail: a slow one reads from disk what others have appended since. It does not hold
/// trimming up. Records that are trimmed before it comes to them are left out, and so are numbers that
/// were refused: where that matters, look for a jump in [`Record::lsn`]. A record that cannot be read
/// yields an error, and the tail goes on behind it.
///
/// # Examples
///
/// ```
/// use bucket_wal::{Lsn, ReadLevel, Wal};
///
/// # let dir = tempfile::tempdir()?;
/// let (wal, _) = Wal::open(dir.path().join("log"))?;
/// let tail = wal.tail(Lsn::new(1), ReadLevel::Durable);
/// let follower = std::thread::spawn(move || tail.map(|record| record.unwrap().payload).collect());
/// wal.append(b"first")?;
/// wal.append(b"second")?;
/// drop(wal);
/// let seen: Vec<Vec<u8>> = follower.join().unwrap();
/// assert_eq!(seen, [&b"first"[..], b"second"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a tail does nothing until it is read"]
pub struct Tail {
    cursor: Cursor,
    level: ReadLevel,
    /// Its number among the tails of the log.
    id: u64,
    /// Records up to here may be shown.
    shown: u64,
    is_ended: bool,
    /// A waker may be registered.
    is_registered: bool,
}

impl Tail {
    pub(crate) fn new(shared: Arc<Shared>, from: Lsn, level: ReadLevel) -> Self {
        let id = shared.begin_tail();
        let cursor = Cursor::new(shared, from.get());
        Self { cursor, level, id, shown: 0, is_ended: false, is_registered: false }
    }

    /// The next record if it is there already; `None` when it is not, or when the tail has ended.
    pub fn try_next(&mut self) -> Option<Result<Record, WalError>> {
        self.find(|tail| tail.shared().more(tail.level, tail.seen(), None))
            .map(|found| self.record(found))
    }

    /// The next record, waiting for it no longer than `timeout`; `None` when none came, or when the tail
    /// has ended.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<Record, WalError>> {
        let deadline = Some(self.shared().in_time(timeout));
        self.find(|tail| tail.shared().wait_more(tail.level, tail.seen(), deadline))
            .map(|found| self.record(found))
    }

    /// As [`Iterator::next`], which waits, without copying the record.
    pub fn next_ref(&mut self) -> Option<Result<RecordRef<'_>, WalError>> {
        let found = self.find(|tail| tail.shared().wait_more(tail.level, tail.seen(), None))?;
        Some(found.map(|found| self.cursor.get(&found)))
    }

    /// True once there will be nothing more.
    pub const fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// The number below which everything was yielded or left out. A tail that is made from here goes on
    /// where this one is.
    pub const fn position(&self) -> Lsn {
        Lsn::new(self.cursor.next_lsn())
    }

    /// Resolves once [`Tail::try_next`] has something to yield, or the tail has ended.
    ///
    /// Reading a record is disk I/O, which a future must not do when polled. So this future reads
    /// nothing: it is woken by whoever commits. Call `try_next` after it until that yields `None`, on a
    /// thread that may block (`spawn_blocking`, say), or in place where a read from the page cache is
    /// short enough.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; the next one resolves at once if there is something by then.
    pub fn changed(&mut self) -> Changed<'_> {
        Changed(self)
    }

    /// As [`Tail::changed`], for those who write futures of their own: registers the waker of `cx` unless
    /// there is something to read or the tail has ended.
    pub fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_ended || self.cursor.next_lsn() <= self.shown {
            return Poll::Ready(());
        }
        match self.shared().more(self.level, self.seen(), Some((self.id, cx.waker()))) {
            More::Nothing => {
                self.is_registered = true;
                Poll::Pending
            }
            More::UpTo(shown) => {
                self.shown = shown;
                Poll::Ready(())
            }
            // For `try_next` to say.
            More::Closed | More::Poisoned(_) => Poll::Ready(()),
        }
    }

    /// The next record that may be shown; asks `more` when all that is known was yielded.
    fn find(&mut self, more: impl Fn(&Self) -> More) -> Option<Result<Found, WalError>> {
        loop {
            if self.is_ended {
                return None;
            }
            if let Some(found) = self.cursor.find(self.shown) {
                return Some(found);
            }
            // Whatever has a number up to there and is not in the log was trimmed or refused.
            self.cursor.pass(self.shown);
            if self.cursor.next_lsn() == u64::MAX {
                self.is_ended = true;
                return None;
            }
            match more(self) {
                More::UpTo(shown) => self.shown = shown,
                More::Nothing => return None,
                More::Closed => self.is_ended = true,
                More::Poisoned(error) => {
                    self.is_ended = true;
                    return Some(Err(error));
                }
            }
        }
    }

    fn record(&self, found: Result<Found, WalError>) -> Result<Record, WalError> {
        found.map(|found| self.cursor.get(&found).to_record())
    }

    fn shared(&self) -> &Shared {
        self.cursor.shared()
    }

    const fn seen(&self) -> u64 {
        self.cursor.next_lsn().saturating_sub(1)
    }
}

impl Iterator for Tail {
    type Item = Result<Record, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_ref()?.map(|record| record.to_record()))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if self.is_registered {
            self.shared().end_tail(self.id);
        }
    }
}

/// What [`Tail::changed`] returns.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Changed<'a>(&'a mut Tail);

impl Future for Changed<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_changed(cx)
    }
}
