//! Accepting puts and deletes.

use std::io::Read;

use bucket_remote::{Body, Digest, Key};
use bucket_wal::WalError;
use sha2::Digest as _;
use sha2::Sha256;

use crate::bucket::inner::{State, cost_of};
use crate::bucket::job::{Known, Op, PendingChange};
use crate::bucket::record::{Change, OpRecord, Payload};
use crate::bucket::room::Room;
use crate::bucket::{Bucket, Receipt, StoreError};

impl Bucket {
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
        let record = OpRecord { key: key.clone(), op_id, change }.encode();

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
        inner.logged(&mut state, record.len());
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
