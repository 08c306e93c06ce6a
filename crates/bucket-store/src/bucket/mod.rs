//! [`Bucket`]: puts that succeed while the remote is down, and are never lost once acknowledged.

mod blobs;
mod catalog;
mod config;
mod damage;
mod directory;
mod drain;
mod engine;
mod error;
mod inner;
mod job;
mod keeper;
mod lane;
mod list;
mod put;
mod read;
mod record;
mod replay;
mod room;
mod status;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bucket_core::OpId;
use bucket_remote::{Digest, Remote};
use bucket_wal::{Lsn, WalError};

use self::config::RemoteSource;
pub use self::config::{BucketBuilder, WhenFull};
pub use self::error::{ConfigError, StoreError};
use self::inner::{Inner, State};
pub use self::job::Parked;
use self::job::Refusal;
pub use self::list::{Entry, EntryState, ListMode, Listing};
pub use self::status::{Refused, Status};
use crate::resilient::ResilientRemote;
use crate::sync::Arc;

/// A durable write-back bucket over a remote.
///
/// A put or delete is acknowledged once it is on local stable storage, and drained to the remote by
/// threads of the bucket, in order for each key, for as long as it takes. Reads see what was
/// acknowledged, also after a restart. Until it is drained, one disk is the only copy.
///
/// Dropping a bucket is like a crash and loses nothing; [`Bucket::close`] also says what is left.
pub struct Bucket {
    inner: Arc<Inner>,
}

/// The acknowledgement of a put or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The number of the operation in the log; grows with every operation.
    pub lsn: Lsn,
    /// The identity of the operation, which the remote keeps beside the object where it can.
    pub op_id: OpId,
    /// The digest of the content; `None` for a delete.
    pub digest: Option<Digest>,
    /// The length of the content.
    pub len: u64,
}

/// How a bucket was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Operations that are acknowledged and not yet at the remote. The next opening goes on with them.
    pub pending_ops: u64,
}

impl Bucket {
    /// A bucket over `remote`, with the default guards around it.
    pub fn builder(remote: Arc<dyn Remote>) -> BucketBuilder {
        BucketBuilder::new(RemoteSource::Plain(remote))
    }

    /// A bucket over a remote with guards of your own.
    pub fn over(remote: ResilientRemote) -> BucketBuilder {
        BucketBuilder::new(RemoteSource::Resilient(remote))
    }

    /// Opens the bucket in `dir` with the default settings.
    ///
    /// # Errors
    ///
    /// As [`BucketBuilder::open`].
    pub fn open(dir: impl AsRef<Path>, remote: Arc<dyn Remote>) -> Result<Self, StoreError> {
        Self::builder(remote).open(dir)
    }

    fn open_with(dir: &Path, config: BucketBuilder) -> Result<Self, StoreError> {
        let inner = Arc::new(Inner::open(dir, config)?);
        let bucket = Self { inner: Arc::clone(&inner) };
        for n in 0..inner.config.workers {
            bucket.spawn(&format!("bucket-drain-{n}"), drain::work)?;
        }
        bucket.spawn("bucket-keeper", |inner| inner.keep())?;
        Ok(bucket)
    }

    fn spawn(&self, name: &str, run: fn(&Arc<Inner>)) -> Result<(), StoreError> {
        /// Counts the thread out, also when it panics.
        struct Running(Arc<Inner>);
        impl Drop for Running {
            fn drop(&mut self) {
                self.0.state.lock().threads -= 1;
                self.0.changed.notify_all();
            }
        }
        self.inner.state.lock().threads += 1;
        let running = Running(Arc::clone(&self.inner));
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&running.0))
            .map(drop)
            .map_err(|error| StoreError::io("start a thread for", &self.inner.dir, error))
    }

    /// Waits until the remote has everything that was acknowledged before this call; without a
    /// time-out for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`StoreError::FlushTimeout`]; [`StoreError::Degraded`] when draining is held;
    /// [`StoreError::Refused`] when all that is left is refused by the remote; [`StoreError::Closed`].
    /// What was acknowledged is safe in each of these cases. [`StoreError::ContentGone`] when nothing else
    /// is left than what the remote refuses and what the local disk has lost.
    pub fn flush(&self, timeout: Option<Duration>) -> Result<(), StoreError> {
        let inner = &*self.inner;
        let start = inner.clock.now();
        let mut state = inner.state.lock();
        let barrier = state.next_lsn;
        let mut idle = true;
        loop {
            // Also with nothing left to send: what was lost may have been on its way.
            if let Some(damage) = &state.degraded {
                return Err(StoreError::Degraded { damage: damage.clone() });
            }
            if state.engine.frontier().is_none_or(|frontier| frontier >= barrier) {
                return Ok(());
            }
            if state.stopping || state.faulted {
                return Err(StoreError::Closed);
            }
            let now = inner.clock.now();
            let pending = state.engine.pending().0;
            // Looking at every key is for when nothing moves.
            if idle && let Some(error) = refused(&state, pending) {
                return Err(error);
            }
            let left = match timeout {
                Some(timeout) => timeout.saturating_sub(now.since(start)),
                None => Duration::from_secs(1),
            };
            if left.is_zero() {
                return Err(StoreError::FlushTimeout { pending, parked: state.engine.parked(now) });
            }
            let step = left.min(Duration::from_secs(1));
            idle = inner.changed.wait_for(&mut state, step).timed_out();
        }
    }

    /// What the bucket is doing.
    pub fn status(&self) -> Status {
        status::snapshot(&self.inner)
    }

    /// Says that the damage in [`Status::degraded`] has been seen: copies the log to `quarantine` in
    /// the directory and lets draining go on with what can be read.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] and [`StoreError::NoSpace`]; draining stays held then.
    pub fn accept_damage(&self) -> Result<(), StoreError> {
        self.inner.accept_damage()
    }

    /// Stops taking operations, ends the threads, takes a checkpoint and gives up the directory. Does
    /// not drain: [`Bucket::flush`] does.
    ///
    /// # Errors
    ///
    /// [`StoreError::Log`] when the log could not be closed in good order. Everything acknowledged is
    /// safe.
    pub fn close(self) -> Result<CloseReport, StoreError> {
        let inner = &*self.inner;
        self.stop();
        let mut state = inner.state.lock();
        // A thread may be inside a remote that ignores its cancellation; it is left behind.
        let patience = inner.clock.now().after(Duration::from_secs(5));
        while state.threads > 0 && inner.clock.now() < patience {
            inner.changed.wait_for(&mut state, Duration::from_millis(200));
        }
        let pending_ops = state.engine.pending().0;
        let changed = state.acknowledged + state.settled > 0;
        drop(state);
        if changed {
            // Without room for a checkpoint the next opening replays a little more.
            match inner.checkpoint() {
                Err(StoreError::NoSpace { .. } | StoreError::Log(WalError::NoSpace { .. })) => {}
                result => result?,
            }
        }
        status::publish(inner, false, &mut None);
        inner.wal.clone().close()?;
        Ok(CloseReport { pending_ops })
    }

    fn stop(&self) {
        self.inner.state.lock().stopping = true;
        self.inner.cancel.cancel();
        self.inner.work.notify_all();
        self.inner.tick.notify_all();
        self.inner.changed.notify_all();
    }
}

/// What a flush says when none of what is left can reach the remote.
fn refused(state: &State, pending: u64) -> Option<StoreError> {
    let (mut count, mut kind, mut gone) = (0, None, Vec::new());
    for (key, why) in state.engine.refused() {
        count += 1;
        match why {
            Refusal::ContentGone => gone.push(key),
            Refusal::Remote(refused) => kind = kind.or(Some(refused)),
        }
    }
    if count as u64 != pending {
        return None;
    }
    match gone.first() {
        Some(&key) => Some(StoreError::ContentGone { count: gone.len(), key: key.clone() }),
        None => Some(StoreError::Refused { count, kind: kind? }),
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}
