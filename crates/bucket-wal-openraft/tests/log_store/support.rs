//! What the tests share: types, entries, and a runtime.

use std::future::Future;
use std::io::Cursor;
use std::sync::Arc;

use bucket_core::ByteCount;
use bucket_vfs::Vfs;
use bucket_wal::{Wal, WalOptions};
use bucket_wal_openraft::LogStore;
use openraft::storage::RaftLogStorage;
use openraft::{CommittedLeaderId, Entry, EntryPayload, LogId, RaftLogReader, Vote};

openraft::declare_raft_types!(
    /// A cluster that agrees on lines of text.
    pub(crate) Types: D = String, R = ()
);

pub(crate) type Store = LogStore<Types>;

pub(crate) fn log_id(term: u64, index: u64) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(term, 0), index)
}

pub(crate) fn entry(term: u64, index: u64, line: &str) -> Entry<Types> {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(line.to_owned()) }
}

/// Runs a future to its end on this thread, with nothing in the background but the store's threads.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The smallest segments, so that they are finished and trimmed.
pub(crate) fn options(vfs: Arc<dyn Vfs>) -> WalOptions {
    Wal::options().segment_size(ByteCount::kib(64)).unwrap().vfs(vfs)
}

/// All that a store says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) vote: Option<Vote<u64>>,
    pub(crate) committed: Option<LogId<u64>>,
    pub(crate) purged: Option<LogId<u64>>,
    pub(crate) last: Option<LogId<u64>>,
    /// Log ids and the text of the entries.
    pub(crate) entries: Vec<(LogId<u64>, String)>,
}

pub(crate) async fn view(store: &mut Store) -> View {
    let state = store.get_log_state().await.unwrap();
    let entries = store.try_get_log_entries(..).await.unwrap();
    View {
        vote: store.read_vote().await.unwrap(),
        committed: store.read_committed().await.unwrap(),
        purged: state.last_purged_log_id,
        last: state.last_log_id,
        entries: entries.into_iter().map(text).collect(),
    }
}

fn text(entry: Entry<Types>) -> (LogId<u64>, String) {
    match entry.payload {
        EntryPayload::Normal(line) => (entry.log_id, line),
        other => panic!("{other:?}"),
    }
}
