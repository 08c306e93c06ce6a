//! [`Bucket`]: puts that succeed while the remote is down, and are never lost once acknowledged.

mod blobs;
mod catalog;
mod config;
mod drain;
mod engine;
mod error;
mod inner;
mod list;
mod record;
mod status;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use bucket_core::{ByteCount, Ctx, OpId, OpKind};
use bucket_remote::{Body, Digest, GetOptions, Key, Remote};
use bucket_wal::{Lsn, WalError};
use sha2::Digest as _;
use sha2::Sha256;

use self::config::RemoteSource;
pub use self::config::{BucketBuilder, WhenFull};
pub use self::engine::Parked;
use self::engine::{Known, Op, PendingChange};
pub use self::error::{ConfigError, StoreError};
use self::inner::{Inner, State, cost_of};
pub use self::list::{Entry, EntryState, ListMode, Listing};
use self::record::{Change, Payload, StoreRecord};
pub use self::status::{Refused, Status};
use crate::resilient::ResilientRemote;
use crate::sync::{Arc, MutexGuard};

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

    /// Stores `content` under `key`.
    ///
    /// # Durability
    ///
    /// Once this returns, content and operation are on stable storage and survive the end of the
    /// process and a power loss; the remote receives them later.
    ///
    /// # Errors
    ///
    /// Not accepted: [`StoreError::Full`], [`StoreError::NoSpace`], [`StoreError::TooLarge`],
    /// [`StoreError::InvalidKey`], [`StoreError::Closed`]. May appear after reopening:
    /// [`StoreError::Log`] with `Poisoned`. [`StoreError::durability`] tells.
    pub fn put(&self, key: &Key, content: impl Into<Body>) -> Result<Receipt, StoreError> {
        let body = content.into();
        self.put_reader(key, &mut body.reader(), Some(body.len()))
    }

    /// Stores what `reader` yields under `key`, without holding more than the inline bound in memory.
    /// `len` is the expected length: room for it is reserved before anything is written.
    ///
    /// # Durability
    ///
    /// As [`Bucket::put`].
    ///
    /// # Errors
    ///
    /// As [`Bucket::put`], and [`StoreError::Read`].
    pub fn put_reader(
        &self,
        key: &Key,
        reader: &mut dyn Read,
        len: Option<u64>,
    ) -> Result<Receipt, StoreError> {
        let inner = &*self.inner;
        let invalid = |source| StoreError::InvalidKey { key: key.clone(), source };
        inner.remote.check_key(key).map_err(invalid)?;
        let inline_max = inner.config.inline_max.get();
        let mut room = Room::reserve(inner, cost_of(len.unwrap_or(0)))?;
        let read = |source| StoreError::Read { source };

        let mut start = Vec::new();
        reader.take(inline_max + 1).read_to_end(&mut start).map_err(read)?;
        if start.len() as u64 <= inline_max {
            let (digest, len) = (Digest::new(Sha256::digest(&start).into()), start.len() as u64);
            room.resize(cost_of(len))?;
            let payload = Payload::Inline(&start);
            return self.accept(key, Change::Put { digest, len, payload }, room);
        }

        let io = |error| StoreError::io("write a blob in", &inner.dir, error);
        let mut blob = inner.blobs.create().map_err(io)?;
        let mut written = start.len() as u64;
        room.resize(cost_of(written.max(len.unwrap_or(0))))?;
        blob.write(&start).map_err(io)?;
        start.resize(256 << 10, 0);
        loop {
            match reader.read(&mut start) {
                Ok(0) => break,
                Ok(n) => {
                    written += n as u64;
                    if written > len.unwrap_or(0) {
                        room.resize(cost_of(written))?;
                    }
                    blob.write(&start[..n]).map_err(io)?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read(error)),
            }
        }
        let (name, len, digest) = blob.finish().map_err(io)?;
        room.resize(cost_of(len))?;
        let payload = Payload::Blob(&name);
        let result = self.accept(key, Change::Put { digest, len, payload }, room);
        if let Err(error) = &result
            && error.durability() == bucket_core::Durability::NotAccepted
        {
            inner.blobs.remove(&name);
        }
        result
    }

    /// Removes the object called `key`; removing what is not there succeeds.
    ///
    /// # Durability
    ///
    /// Once this returns, the delete survives as a put would, and no read returns the object.
    ///
    /// # Errors
    ///
    /// As [`Bucket::put`].
    pub fn delete(&self, key: &Key) -> Result<Receipt, StoreError> {
        let room = Room::reserve(&self.inner, cost_of(0))?;
        self.accept(key, Change::Delete, room)
    }

    /// Gives the operation its number, waits until it is durable, and makes it visible.
    fn accept(&self, key: &Key, change: Change<'_>, room: Room<'_>) -> Result<Receipt, StoreError> {
        let inner = &*self.inner;
        let op_id = inner.op_id();
        let (pending, digest, len) = match &change {
            Change::Put { digest, len, payload } => {
                let blob = match payload {
                    Payload::Blob(name) => Some((*name).to_owned()),
                    Payload::Inline(_) => None,
                };
                (PendingChange::Put { digest: *digest, len: *len, blob }, Some(*digest), *len)
            }
            Change::Delete => (PendingChange::Delete, None, 0),
        };
        let record = StoreRecord::Accepted { key: key.clone(), op_id, change }.encode();

        // Number and place in the lane are taken under one lock, so that both have one order.
        let mut state = inner.state.lock();
        if state.stopping {
            return Err(StoreError::Closed);
        }
        let ticket = match inner.wal.submit(&record) {
            Ok(ticket) => ticket,
            Err(error) => return Err(log_error(&mut state, error)),
        };
        let lsn = ticket.lsn();
        state.next_lsn = lsn.next();
        let (accepted, cost) = (inner.clock.now(), room.cost);
        let op = Op { lsn, op_id, change: pending, accepted, cost };
        let remote = state.catalog.get(key.as_str()).and_then(|entry| entry.remote.clone());
        state.engine.register(key.clone(), op, remote.map_or(Known::Unknown, Known::Version));
        room.hand_over(&mut state);
        drop(state);

        let durable = ticket.wait();
        let mut state = inner.state.lock();
        match durable {
            Ok(_) => {
                state.engine.acknowledge(key, lsn);
                state.catalog.accept(key, lsn, digest.map(|digest| (digest, len)));
                state.acknowledged += 1;
                drop(state);
                inner.work.notify_one();
                Ok(Receipt { lsn, op_id, digest, len })
            }
            Err(error) => {
                state.engine.forget(key, lsn);
                let error = log_error(&mut state, error);
                drop(state);
                inner.changed.notify_all();
                Err(error)
            }
        }
    }

    /// Reads an object.
    ///
    /// What was acknowledged here is served from here until the remote has it.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; [`StoreError::Remote`] when the content is at the remote and the
    /// remote does not answer.
    pub fn get(&self, key: &Key) -> Result<Body, StoreError> {
        match self.local(key)? {
            Local::Content(body) => Ok(body),
            Local::Deleted => Err(StoreError::NotFound { key: key.clone() }),
            Local::Nothing => self.get_remote(key, &GetOptions::new()),
        }
    }

    /// Reads the part of an object that lies in `range`, cut to its length.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`].
    pub fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Body, StoreError> {
        match self.local(key)? {
            Local::Content(body) => Ok(body.slice(range)),
            Local::Deleted => Err(StoreError::NotFound { key: key.clone() }),
            Local::Nothing => self.get_remote(key, &GetOptions::new().range(range)),
        }
    }

    /// Describes an object without reading it.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`].
    pub fn head(&self, key: &Key) -> Result<Entry, StoreError> {
        let missing = || StoreError::NotFound { key: key.clone() };
        let state = self.inner.state.lock();
        match state.engine.newest(key.as_str()).map(|op| op.change.clone()) {
            Some(PendingChange::Put { digest, len, .. }) => {
                let (version, digest) = (None, Some(digest));
                let state = EntryState::Pending;
                return Ok(Entry { key: key.clone(), len, version, digest, state });
            }
            Some(PendingChange::Delete) => return Err(missing()),
            None => drop(state),
        }
        let ctx = self.read_ctx();
        let meta = self
            .inner
            .remote
            .head(&ctx, key)
            .map_err(|error| if error.is_not_found() { missing() } else { error.into() })?;
        let (version, state) = (Some(meta.version), EntryState::Remote);
        Ok(Entry { key: key.clone(), len: meta.len, version, digest: meta.digest, state })
    }

    /// The digest and length of the content that this directory last acknowledged for `key`, without
    /// asking the remote; `None` when it knows of none, or of a delete.
    pub fn acknowledged(&self, key: &Key) -> Option<(Digest, u64)> {
        self.inner.state.lock().catalog.get(key.as_str())?.content
    }

    /// Lists up to `limit` objects whose key starts with `prefix` and comes after `after`, sorted.
    ///
    /// # Errors
    ///
    /// [`StoreError::Remote`] with [`ListMode::Strict`] when the remote does not answer.
    pub fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
        mode: ListMode,
    ) -> Result<Listing, StoreError> {
        list::list(&self.inner, prefix, after, limit, mode)
    }

    /// Waits until the remote has everything that was acknowledged before this call; without a
    /// time-out for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`StoreError::FlushTimeout`]; [`StoreError::Degraded`] when draining is held;
    /// [`StoreError::Refused`] when all that is left is refused by the remote; [`StoreError::Closed`].
    /// What was acknowledged is safe in each case.
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
            if idle && let Some((_, kind)) = state.engine.refused().next() {
                let count = state.engine.refused().count();
                if count as u64 == pending {
                    return Err(StoreError::Refused { count, kind });
                }
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

    /// What this directory itself has for `key`.
    fn local(&self, key: &Key) -> Result<Local, StoreError> {
        let inner = &*self.inner;
        loop {
            let state = inner.state.lock();
            let Some(op) = state.engine.newest(key.as_str()) else { return Ok(Local::Nothing) };
            match &op.change {
                PendingChange::Delete => return Ok(Local::Deleted),
                PendingChange::Put { len, blob: Some(name), .. } => {
                    // Opened under the lock: it is removed only after it has left the engine.
                    let body = inner.blobs.body(name, *len);
                    let io = |error| StoreError::io("read a blob in", &inner.dir, error);
                    return body.map(Local::Content).map_err(io);
                }
                PendingChange::Put { blob: None, .. } => {
                    let lsn = op.lsn;
                    drop(state);
                    match inner.wal.read(lsn) {
                        Ok(record) => {
                            let body = drain::inline_body(&record.payload).unwrap_or_default();
                            return Ok(Local::Content(body));
                        }
                        // Settled and trimmed since the look: look again.
                        Err(WalError::NotFound { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }

    fn get_remote(&self, key: &Key, options: &GetOptions) -> Result<Body, StoreError> {
        match self.inner.remote.get(&self.read_ctx(), key, options) {
            Ok(object) => Ok(object.body),
            Err(error) if error.is_not_found() => Err(StoreError::NotFound { key: key.clone() }),
            Err(error) => Err(error.into()),
        }
    }

    fn read_ctx(&self) -> Ctx {
        let deadline = self.inner.clock.now().after(self.inner.config.op_timeout);
        Ctx::new(OpKind::Read).with_deadline(deadline).with_cancel(self.inner.cancel.clone())
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

enum Local {
    Content(Body),
    Deleted,
    Nothing,
}

fn log_error(state: &mut State, error: WalError) -> StoreError {
    match error {
        WalError::NoSpace { path } => StoreError::NoSpace { path },
        WalError::Closed => StoreError::Closed,
        error => {
            state.faulted |= matches!(error, WalError::Poisoned { .. });
            error.into()
        }
    }
}

/// Room under the bounds, taken before the first byte is written and given back if nothing comes of it.
struct Room<'a> {
    inner: &'a Inner,
    cost: u64,
    held: bool,
}

impl<'a> Room<'a> {
    fn reserve(inner: &'a Inner, cost: u64) -> Result<Self, StoreError> {
        let limit = inner.config.max_pending_bytes;
        if cost > limit.get() {
            return Err(StoreError::TooLarge { len: ByteCount::new(cost), limit });
        }
        let start = inner.clock.now();
        let mut state = inner.state.lock();
        loop {
            if state.stopping {
                return Err(StoreError::Closed);
            }
            let (ops, bytes) = used(&state);
            if bytes + cost <= limit.get() && ops < inner.config.max_pending_ops {
                state.reserved.0 += 1;
                state.reserved.1 += cost;
                return Ok(Self { inner, cost, held: true });
            }
            let waited = inner.clock.now().since(start);
            let left = match inner.config.when_full {
                WhenFull::Fail => Duration::ZERO,
                WhenFull::Block { timeout } => timeout.saturating_sub(waited),
            };
            if left.is_zero() {
                let (pending, bytes) = (ops, ByteCount::new(bytes));
                return Err(StoreError::Full { pending, bytes, limit, waited });
            }
            inner.changed.wait_for(&mut state, left.min(Duration::from_secs(1)));
        }
    }

    /// Changes what is held. Growing does not wait: two growing puts could wait for each other.
    fn resize(&mut self, cost: u64) -> Result<(), StoreError> {
        let limit = self.inner.config.max_pending_bytes;
        let mut state = self.inner.state.lock();
        let (pending, bytes) = used(&state);
        if cost > self.cost && bytes - self.cost + cost > limit.get() {
            if cost > limit.get() {
                return Err(StoreError::TooLarge { len: ByteCount::new(cost), limit });
            }
            let (bytes, waited) = (ByteCount::new(bytes), Duration::ZERO);
            return Err(StoreError::Full { pending, bytes, limit, waited });
        }
        state.reserved.1 = state.reserved.1 - self.cost + cost;
        let shrunk = cost < self.cost;
        self.cost = cost;
        drop(state);
        if shrunk {
            self.inner.changed.notify_all();
        }
        Ok(())
    }

    /// The engine counts the operation from now on.
    fn hand_over(mut self, state: &mut MutexGuard<'_, State>) {
        state.reserved.0 -= 1;
        state.reserved.1 -= self.cost;
        self.held = false;
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.held {
            let mut state = self.inner.state.lock();
            state.reserved.0 -= 1;
            state.reserved.1 -= self.cost;
            drop(state);
            self.inner.changed.notify_all();
        }
    }
}

fn used(state: &State) -> (u64, u64) {
    let (ops, bytes) = state.engine.pending();
    (ops + state.reserved.0, bytes + state.reserved.1)
}
