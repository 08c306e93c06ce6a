//! Reading: what was acknowledged here comes from here until the remote has it.

use std::ops::Range;

use bucket_core::{Ctx, OpKind};
use bucket_remote::{Body, Digest, GetOptions, Key};
use bucket_wal::WalError;

use crate::bucket::job::PendingChange;
use crate::bucket::list::{self, Entry, EntryState, ListMode, Listing};
use crate::bucket::{Bucket, StoreError, drain};

impl Bucket {
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

enum Local {
    Content(Body),
    Deleted,
    Nothing,
}
