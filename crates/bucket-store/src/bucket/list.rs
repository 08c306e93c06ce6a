//! Listing: what the remote has, with what is on its way laid over it.

use bucket_core::{Ctx, OpKind};
use bucket_remote::{Digest, Key, ListRequest, Version};

use crate::bucket::error::StoreError;
use crate::bucket::inner::Inner;
use crate::bucket::job::PendingChange;

/// Whom a listing asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListMode {
    /// The remote, and if that fails what this directory knows. The default.
    #[default]
    Auto,
    /// Only what this directory knows.
    Local,
    /// The remote; fails if that fails.
    Strict,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The objects, sorted by key.
    pub entries: Vec<Entry>,
    /// Continue after this key; `None` when there is no more.
    pub next: Option<Key>,
    /// The remote was not asked or did not answer: objects that others wrote are missing.
    pub partial: bool,
}

/// An object in a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The name.
    pub key: Key,
    /// The length in bytes.
    pub len: u64,
    /// The remote's version; `None` while the newest content is on its way.
    pub version: Option<Version>,
    /// The digest of the content, where it is known.
    pub digest: Option<Digest>,
    /// Where the newest content is.
    pub state: EntryState,
}

/// Where the newest content of an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryState {
    /// Acknowledged, and on its way to the remote.
    Pending,
    /// Acknowledged, and cannot reach the remote.
    Refused,
    /// At the remote.
    Remote,
}

pub(crate) fn list(
    inner: &Inner,
    prefix: &str,
    after: Option<&Key>,
    limit: usize,
    mode: ListMode,
) -> Result<Listing, StoreError> {
    let limit = limit.max(1);
    // The overlay first: what is settled between the two looks is then in the remote's page.
    let state = inner.state.lock();
    let overlay: Vec<_> = state
        .engine
        .pending_keys(prefix)
        .filter(|(key, ..)| after.is_none_or(|after| *key > after))
        .map(|(key, op, refused)| (key.clone(), op.change.clone(), refused))
        .collect();
    let known: Vec<Entry> = match mode {
        ListMode::Strict => Vec::new(),
        _ => state
            .catalog
            .range(prefix)
            .filter(|(key, _)| after.is_none_or(|after| *key > after))
            .filter_map(|(key, entry)| {
                let (digest, len) = entry.content?;
                Some(Entry {
                    key: key.clone(),
                    len,
                    version: entry.remote.clone(),
                    digest: Some(digest),
                    state: EntryState::Remote,
                })
            })
            .take(limit + overlay.len() + 1)
            .collect(),
    };
    drop(state);

    let asked = match mode {
        ListMode::Local => None,
        _ => {
            let deadline = inner.clock.now().after(inner.config.op_timeout);
            let ctx =
                Ctx::new(OpKind::List).with_deadline(deadline).with_cancel(inner.cancel.clone());
            let request = ListRequest::new(prefix).after(after.cloned()).limit(limit);
            match inner.remote.list(&ctx, &request) {
                Ok(page) => Some(page),
                Err(error) if mode == ListMode::Strict => return Err(error.into()),
                Err(_) => None,
            }
        }
    };
    let partial = asked.is_none();
    let mut upper = None;
    let mut entries: std::collections::BTreeMap<Key, Entry> = match asked {
        Some(page) => {
            if page.more {
                upper = page.entries.last().map(|meta| meta.key.clone());
            }
            let entry = |meta: bucket_remote::Meta| Entry {
                key: meta.key,
                len: meta.len,
                version: Some(meta.version),
                digest: meta.digest,
                state: EntryState::Remote,
            };
            page.entries.into_iter().map(|meta| (meta.key.clone(), entry(meta))).collect()
        }
        None => known.into_iter().map(|entry| (entry.key.clone(), entry)).collect(),
    };
    for (key, change, refused) in overlay {
        if upper.as_ref().is_some_and(|upper| key > *upper) {
            break;
        }
        match change {
            PendingChange::Delete => {
                entries.remove(&key);
            }
            PendingChange::Put { digest, len, .. } => {
                let state =
                    if refused.is_some() { EntryState::Refused } else { EntryState::Pending };
                let (version, digest) = (None, Some(digest));
                entries.insert(key.clone(), Entry { key, len, version, digest, state });
            }
        }
    }
    let mut entries: Vec<_> = entries.into_values().collect();
    let mut next = upper;
    if entries.len() > limit {
        entries.truncate(limit);
        next = entries.last().map(|entry| entry.key.clone());
    }
    Ok(Listing { entries, next, partial })
}
