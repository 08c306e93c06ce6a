//! The contracts: [`Remote`] for blocking implementations, [`AsyncRemote`] for async ones.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::time::Duration;

use bucket_core::Ctx;

use crate::{Body, Digest, Key, Meta, Object, RemoteError, Version};

/// A remote object store, called from threads.
///
/// Every operation keeps `ctx.deadline` itself, ends soon after `ctx.cancel`, does not retry, and
/// says in [`RemoteError::applied`] when it cannot tell whether it took effect. The suite in
/// `testing::conformance` checks this.
pub trait Remote: fmt::Debug + Send + Sync + 'static {
    /// What this remote can do. Does not change.
    fn caps(&self) -> Caps;

    /// Whether the remote could hold an object of this name, as far as can be told without asking
    /// it.
    ///
    /// # Errors
    ///
    /// [`RemoteErrorKind::Invalid`](crate::RemoteErrorKind::Invalid) for a name it cannot hold.
    fn check_key(&self, key: &Key) -> Result<(), RemoteError>;

    /// Stores `body` under `key`, whole or not at all, with `ctx.op_id` and the digest beside it
    /// where the remote can.
    ///
    /// # Errors
    ///
    /// [`RemoteErrorKind::ConditionFalse`](crate::RemoteErrorKind::ConditionFalse) when the
    /// precondition does not hold; else any kind.
    fn put(
        &self,
        ctx: &Ctx,
        key: &Key,
        body: &Body,
        options: &PutOptions,
    ) -> Result<Version, RemoteError>;

    /// The object, or the part of it that `options` asks for.
    ///
    /// # Errors
    ///
    /// [`RemoteErrorKind::NotFound`](crate::RemoteErrorKind::NotFound) when there is none; else any
    /// kind.
    fn get(&self, ctx: &Ctx, key: &Key, options: &GetOptions) -> Result<Object, RemoteError>;

    /// The description of the object.
    ///
    /// # Errors
    ///
    /// As [`Remote::get`].
    fn head(&self, ctx: &Ctx, key: &Key) -> Result<Meta, RemoteError>;

    /// Removes the object. Removing what is not there succeeds.
    ///
    /// # Errors
    ///
    /// [`RemoteErrorKind::ConditionFalse`](crate::RemoteErrorKind::ConditionFalse) when the
    /// precondition does not hold; else any kind.
    fn delete(&self, ctx: &Ctx, key: &Key, precondition: &Precondition) -> Result<(), RemoteError>;

    /// One page of objects, sorted by key.
    ///
    /// # Errors
    ///
    /// Any kind.
    fn list(&self, ctx: &Ctx, request: &ListRequest) -> Result<Page, RemoteError>;
}

/// A boxed future, so that [`AsyncRemote`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A remote object store, called from tasks: the same contract as [`Remote`], as futures.
///
/// Dropping a future cancels the operation; whether it took effect is then unknown.
pub trait AsyncRemote: fmt::Debug + Send + Sync + 'static {
    /// As [`Remote::caps`].
    fn caps(&self) -> Caps;

    /// As [`Remote::check_key`].
    ///
    /// # Errors
    ///
    /// As [`Remote::check_key`].
    fn check_key(&self, key: &Key) -> Result<(), RemoteError>;

    /// As [`Remote::put`].
    fn put<'a>(
        &'a self,
        ctx: &'a Ctx,
        key: &'a Key,
        body: &'a Body,
        options: &'a PutOptions,
    ) -> BoxFuture<'a, Result<Version, RemoteError>>;

    /// As [`Remote::get`].
    fn get<'a>(
        &'a self,
        ctx: &'a Ctx,
        key: &'a Key,
        options: &'a GetOptions,
    ) -> BoxFuture<'a, Result<Object, RemoteError>>;

    /// As [`Remote::head`].
    fn head<'a>(&'a self, ctx: &'a Ctx, key: &'a Key) -> BoxFuture<'a, Result<Meta, RemoteError>>;

    /// As [`Remote::delete`].
    fn delete<'a>(
        &'a self,
        ctx: &'a Ctx,
        key: &'a Key,
        precondition: &'a Precondition,
    ) -> BoxFuture<'a, Result<(), RemoteError>>;

    /// As [`Remote::list`].
    fn list<'a>(
        &'a self,
        ctx: &'a Ctx,
        request: &'a ListRequest,
    ) -> BoxFuture<'a, Result<Page, RemoteError>>;
}

/// What a remote can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// `put` honours preconditions.
    pub conditional_put: bool,
    /// `delete` honours preconditions.
    pub conditional_delete: bool,
    /// `head` returns the identity and digest that `put` was given.
    pub keeps_identity: bool,
    /// How long after an attempt ended without an answer, or its process died, the request may still
    /// take effect. `None` when nobody can tell.
    pub late_window: Option<Duration>,
}

impl Caps {
    /// A remote that can nothing beyond the operations themselves.
    pub const fn none() -> Self {
        Self {
            conditional_put: false,
            conditional_delete: false,
            keeps_identity: false,
            late_window: None,
        }
    }

    /// With preconditions on `put` and `delete`.
    #[must_use]
    pub const fn conditional(mut self) -> Self {
        self.conditional_put = true;
        self.conditional_delete = true;
        self
    }

    /// With the identity of the writer kept beside the object.
    #[must_use]
    pub const fn identity(mut self) -> Self {
        self.keeps_identity = true;
        self
    }

    /// With a bound on how late a request may still take effect.
    #[must_use]
    pub const fn late_window(mut self, window: Duration) -> Self {
        self.late_window = Some(window);
        self
    }
}

/// What must hold for a `put` or `delete` to take effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precondition {
    /// There is no such object.
    IfAbsent,
    /// The object has this version.
    IfMatch(Version),
    /// Nothing.
    #[default]
    None,
}

/// How to store an object.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PutOptions {
    /// What must hold.
    pub precondition: Precondition,
    /// The digest of the body, to be kept beside the object.
    pub digest: Option<Digest>,
}

impl PutOptions {
    /// Unconditional, without a digest.
    pub const fn new() -> Self {
        Self { precondition: Precondition::None, digest: None }
    }

    /// With a precondition.
    #[must_use]
    pub fn precondition(mut self, precondition: Precondition) -> Self {
        self.precondition = precondition;
        self
    }

    /// With the digest of the body.
    #[must_use]
    pub const fn digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }
}

/// How to read an object.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GetOptions {
    /// The bytes to read; cut to the length of the object.
    pub range: Option<Range<u64>>,
}

impl GetOptions {
    /// The whole object.
    pub const fn new() -> Self {
        Self { range: None }
    }

    /// Only these bytes.
    #[must_use]
    pub const fn range(mut self, range: Range<u64>) -> Self {
        self.range = Some(range);
        self
    }
}

/// Which objects to list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListRequest {
    /// Only keys that start with this text.
    pub prefix: String,
    /// Only keys after this one.
    pub after: Option<Key>,
    /// At most this many; at least 1.
    pub limit: usize,
}

impl ListRequest {
    /// The first 1 000 objects whose key starts with `prefix`.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), after: None, limit: 1_000 }
    }

    /// Only keys after `key`.
    #[must_use]
    pub fn after(mut self, key: Option<Key>) -> Self {
        self.after = key;
        self
    }

    /// At most `limit` objects; 0 counts as 1.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.max(1);
        self
    }
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Page {
    /// The objects, sorted by key.
    pub entries: Vec<Meta>,
    /// Whether there are more after the last entry.
    pub more: bool,
}

impl Page {
    /// A page.
    pub const fn new(entries: Vec<Meta>, more: bool) -> Self {
        Self { entries, more }
    }
}
