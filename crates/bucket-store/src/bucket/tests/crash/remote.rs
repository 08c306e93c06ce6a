//! A remote that remembers when each mutation took effect, so that its state at any operation of the
//! disk can be had again.

use bucket_core::{Ctx, OpId};
use bucket_remote::testing::MemoryRemote;
use bucket_remote::{
    Body, Caps, Digest, GetOptions, Key, ListRequest, Meta, Object, Page, Precondition, PutOptions,
    Remote, RemoteError, RemoteErrorKind, Version,
};
use bucket_vfs::sim::SimDisk;

use crate::sync::{Arc, Mutex};

/// A remote in memory beside a disk that may crash; the remote does not.
#[derive(Clone, Debug)]
pub(in crate::bucket::tests) struct TimedRemote {
    inner: MemoryRemote,
    disk: SimDisk,
    history: Arc<Mutex<Vec<Mutation>>>,
    /// Puts of this key are refused.
    refused: Arc<Mutex<Option<Key>>>,
}

#[derive(Clone, Debug)]
struct Mutation {
    /// After this many operations of the disk.
    at: u64,
    key: Key,
    op_id: Option<OpId>,
    /// `None` removes.
    put: Option<(Body, Option<Digest>)>,
}

impl TimedRemote {
    pub(super) fn new(inner: MemoryRemote, disk: SimDisk) -> Self {
        Self { inner, disk, history: Arc::default(), refused: Arc::default() }
    }

    /// Refuses puts of `key` from now on, for good.
    pub(in crate::bucket::tests) fn refuse(&self, key: Key) {
        *self.refused.lock() = Some(key);
    }

    /// What the remote held while operation `at` was under way, beside another disk. It refuses nothing.
    pub(super) fn at_operation(&self, at: u64, inner: MemoryRemote, disk: SimDisk) -> Self {
        let copy = Self::new(inner, disk);
        for mutation in self.history.lock().iter().filter(|mutation| mutation.at < at) {
            let mut ctx = Ctx::new(bucket_core::OpKind::Write);
            ctx.op_id = mutation.op_id;
            let result = match &mutation.put {
                Some((body, digest)) => {
                    let mut options = PutOptions::new();
                    options.digest = *digest;
                    copy.inner.put(&ctx, &mutation.key, body, &options).map(drop)
                }
                None => copy.inner.delete(&ctx, &mutation.key, &Precondition::None),
            };
            result.expect("it took effect before");
        }
        copy
    }

    fn note(&self, ctx: &Ctx, key: &Key, put: Option<(Body, Option<Digest>)>) {
        let (at, key, op_id) = (self.disk.operations(), key.clone(), ctx.op_id);
        self.history.lock().push(Mutation { at, key, op_id, put });
    }
}

impl Remote for TimedRemote {
    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn check_key(&self, key: &Key) -> Result<(), RemoteError> {
        self.inner.check_key(key)
    }

    fn put(
        &self,
        ctx: &Ctx,
        key: &Key,
        body: &Body,
        options: &PutOptions,
    ) -> Result<Version, RemoteError> {
        if self.refused.lock().as_ref() == Some(key) {
            return Err(RemoteError::refused(RemoteErrorKind::Invalid));
        }
        let version = self.inner.put(ctx, key, body, options)?;
        // The body may be a file that will be gone.
        let content = Body::from(body.to_bytes().expect("it was just read"));
        self.note(ctx, key, Some((content, options.digest)));
        Ok(version)
    }

    fn get(&self, ctx: &Ctx, key: &Key, options: &GetOptions) -> Result<Object, RemoteError> {
        self.inner.get(ctx, key, options)
    }

    fn head(&self, ctx: &Ctx, key: &Key) -> Result<Meta, RemoteError> {
        self.inner.head(ctx, key)
    }

    fn delete(&self, ctx: &Ctx, key: &Key, precondition: &Precondition) -> Result<(), RemoteError> {
        self.inner.delete(ctx, key, precondition)?;
        self.note(ctx, key, None);
        Ok(())
    }

    fn list(&self, ctx: &Ctx, request: &ListRequest) -> Result<Page, RemoteError> {
        self.inner.list(ctx, request)
    }
}
