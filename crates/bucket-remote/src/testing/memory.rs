//! [`MemoryRemote`]: a remote in memory that does all a remote can do, and remembers in which order.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
#[expect(
    clippy::disallowed_types,
    reason = "this crate has no parking_lot, and no loom model"
)]
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use bucket_core::{Clock, Ctx, OpId, SystemClock};
use bytes::Bytes;

use crate::{
    Body, Caps, Digest, GetOptions, Key, ListRequest, Meta, Object, Page, Precondition, PutOptions,
    Remote, RemoteError, RemoteErrorKind, Version,
};

/// A remote in memory: preconditions, identity, and no request that takes effect late.
///
/// No version is ever used twice, not even after a delete. Every mutation that took effect is in
/// [`MemoryRemote::history`], in order. Clones share the objects.
#[derive(Clone)]
pub struct MemoryRemote {
    clock: Arc<dyn Clock>,
    #[expect(clippy::disallowed_types, reason = "see the imports")]
    state: Arc<RwLock<State>>,
}

/// A mutation that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mutation {
    /// The object.
    pub key: Key,
    /// What was done to it.
    pub kind: MutationKind,
    /// The operation that did it.
    pub op_id: Option<OpId>,
}

/// What a [`Mutation`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MutationKind {
    /// The object was removed.
    Delete,
    /// The object was stored.
    Put {
        /// The digest that the writer gave.
        digest: Option<Digest>,
        /// The length of the content in bytes.
        len: u64,
    },
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Stored>,
    /// The number of writes so far; the version of the last one.
    writes: u64,
    history: Vec<Mutation>,
}

struct Stored {
    content: Bytes,
    version: Version,
    op_id: Option<OpId>,
    digest: Option<Digest>,
    modified: SystemTime,
}

impl MemoryRemote {
    /// An empty remote on the clock of the operating system.
    pub fn new() -> Self {
        Self { clock: Arc::new(SystemClock::new()), state: Arc::default() }
    }

    /// Judges deadlines by `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// True when there are no objects.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every mutation that took effect, the oldest first. Removing what is not there is none.
    pub fn history(&self) -> Vec<Mutation> {
        self.read().history.clone()
    }

    /// Refuses a call that was cancelled, or whose deadline has passed.
    fn admit(&self, ctx: &Ctx) -> Result<(), RemoteError> {
        if ctx.cancel.is_cancelled() {
            return Err(RemoteError::refused(RemoteErrorKind::Cancelled));
        }
        if ctx.is_expired(self.clock.now()) {
            return Err(RemoteError::refused(RemoteErrorKind::Timeout));
        }
        Ok(())
    }

    // No operation leaves the state half changed, so a poisoned lock still guards a valid state.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryRemote {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRemote").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Remote for MemoryRemote {
    fn caps(&self) -> Caps {
        Caps::none().conditional().identity().late_window(Duration::ZERO)
    }

    fn check_key(&self, _key: &Key) -> Result<(), RemoteError> {
        Ok(())
    }

    fn put(
        &self,
        ctx: &Ctx,
        key: &Key,
        body: &Body,
        options: &PutOptions,
    ) -> Result<Version, RemoteError> {
        self.admit(ctx)?;
        // Reading the body runs the caller's code, so it happens outside the lock.
        let content = body
            .to_bytes()
            .map_err(|error| RemoteError::refused(RemoteErrorKind::Invalid).with_source(error))?;
        let modified = self.clock.wall();
        self.admit(ctx)?;
        let mut state = self.write();
        state.require(key, &options.precondition)?;
        state.writes += 1;
        let version = Version::new(format!("m{}", state.writes));
        let kind = MutationKind::Put { digest: options.digest, len: content.len() as u64 };
        state.history.push(Mutation { key: key.clone(), kind, op_id: ctx.op_id });
        let stored = Stored {
            content,
            version: version.clone(),
            op_id: ctx.op_id,
            digest: options.digest,
            modified,
        };
        state.objects.insert(key.clone(), stored);
        Ok(version)
    }

    fn get(&self, ctx: &Ctx, key: &Key, options: &GetOptions) -> Result<Object, RemoteError> {
        self.admit(ctx)?;
        let state = self.read();
        let stored = state.find(key)?;
        let whole = Body::from(stored.content.clone());
        let body = match &options.range {
            Some(range) => whole.slice(range.clone()),
            None => whole,
        };
        Ok(Object::new(stored.meta(key), body))
    }

    fn head(&self, ctx: &Ctx, key: &Key) -> Result<Meta, RemoteError> {
        self.admit(ctx)?;
        self.read().find(key).map(|stored| stored.meta(key))
    }

    fn delete(&self, ctx: &Ctx, key: &Key, precondition: &Precondition) -> Result<(), RemoteError> {
        self.admit(ctx)?;
        let mut state = self.write();
        state.require(key, precondition)?;
        if state.objects.remove(key).is_some() {
            let kind = MutationKind::Delete;
            state.history.push(Mutation { key: key.clone(), kind, op_id: ctx.op_id });
        }
        Ok(())
    }

    fn list(&self, ctx: &Ctx, request: &ListRequest) -> Result<Page, RemoteError> {
        self.admit(ctx)?;
        let state = self.read();
        let prefix = request.prefix.as_str();
        // Starting at the later of prefix and `after`, the matches are contiguous.
        let start = match &request.after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        let mut matches = state
            .objects
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix));
        let entries = matches
            .by_ref()
            .take(request.limit.max(1))
            .map(|(key, stored)| stored.meta(key))
            .collect();
        Ok(Page::new(entries, matches.next().is_some()))
    }
}

impl State {
    fn find(&self, key: &Key) -> Result<&Stored, RemoteError> {
        self.objects.get(key).ok_or_else(|| RemoteError::refused(RemoteErrorKind::NotFound))
    }

    fn require(&self, key: &Key, precondition: &Precondition) -> Result<(), RemoteError> {
        let holds = match (precondition, self.objects.get(key)) {
            (Precondition::None, _) | (Precondition::IfAbsent, None) => true,
            (Precondition::IfMatch(version), Some(stored)) => stored.version == *version,
            _ => false,
        };
        if holds { Ok(()) } else { Err(RemoteError::refused(RemoteErrorKind::ConditionFalse)) }
    }
}

impl Stored {
    fn meta(&self, key: &Key) -> Meta {
        let mut meta = Meta::new(key.clone(), self.version.clone(), self.content.len() as u64);
        meta.op_id = self.op_id;
        meta.digest = self.digest;
        meta.modified = Some(self.modified);
        meta
    }
}

#[cfg(test)]
mod tests {
    use bucket_core::OpKind;

    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    #[test]
    fn history_tells_what_took_effect_and_in_which_order() {
        let remote = MemoryRemote::new();
        let ctx = Ctx::new(OpKind::Write).with_op_id(OpId::new(7));
        let if_absent = PutOptions::new().precondition(Precondition::IfAbsent);
        remote.put(&ctx, &key("a"), &"1".into(), &PutOptions::new()).unwrap();
        remote.put(&ctx, &key("a"), &"22".into(), &if_absent).unwrap_err();
        remote.delete(&ctx, &key("missing"), &Precondition::None).unwrap();
        remote.delete(&ctx, &key("a"), &Precondition::None).unwrap();
        let history = remote.history();
        let kinds: Vec<_> = history.iter().map(|mutation| mutation.kind).collect();
        assert_eq!(kinds, [MutationKind::Put { digest: None, len: 1 }, MutationKind::Delete]);
        assert!(history.iter().all(|mutation| mutation.op_id == Some(OpId::new(7))));
        assert!(remote.is_empty());
    }

    #[test]
    fn a_listing_that_continues_after_its_prefix_is_empty() {
        let remote = MemoryRemote::new();
        let ctx = Ctx::new(OpKind::Write);
        for text in ["a1", "a2", "b"] {
            remote.put(&ctx, &key(text), &"".into(), &PutOptions::new()).unwrap();
        }
        let page = remote.list(&ctx, &ListRequest::new("a").after(Some(key("b")))).unwrap();
        assert!(page.entries.is_empty() && !page.more);
        let page = remote.list(&ctx, &ListRequest::new("a").limit(1)).unwrap();
        assert!(page.entries.len() == 1 && page.more);
    }
}
