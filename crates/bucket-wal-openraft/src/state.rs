//! [`State`]: what the log says, kept by whoever appends and rebuilt by replaying.
//!
//! Truncating and purging are records like all others. So the order in the log is the order in which
//! things happened, a prefix of the log is a state that the store was in, and no crash can bring back
//! an entry and lose a vote, or the other way round. What was truncated stays in the files until they
//! are trimmed.

use bucket_wal::{Lsn, Recovery, Wal};
use openraft::{LogId, RaftLogId, RaftTypeConfig, Vote};
use serde::{Deserialize, Serialize};

use crate::codec::Codec;
use crate::error::LogStoreError;
use crate::index::Index;
use crate::recent::Recent;
use crate::record::Record;

/// The first byte of a checkpoint's state.
const VERSION: u8 = 1;

/// What the log says.
#[derive(Debug)]
pub(crate) struct State<C: RaftTypeConfig> {
    pub(crate) index: Index<C::NodeId>,
    pub(crate) recent: Recent,
    pub(crate) vote: Option<Vote<C::NodeId>>,
    pub(crate) committed: Option<LogId<C::NodeId>>,
}

/// What a checkpoint keeps of the records before it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(bound = "")]
pub(crate) struct Saved<C: RaftTypeConfig> {
    vote: Option<Vote<C::NodeId>>,
    committed: Option<LogId<C::NodeId>>,
    purged: Option<LogId<C::NodeId>>,
}

impl<C: RaftTypeConfig> State<C> {
    /// The state that the newest checkpoint and the records from there on make.
    pub(crate) fn replay<K: Codec>(wal: &Wal, recovery: &Recovery) -> Result<Self, LogStoreError> {
        let saved = match recovery.checkpoint() {
            Some(checkpoint) => {
                Saved::<C>::decode::<K>(checkpoint.state.bytes(), checkpoint.durable_lsn)?
            }
            None => Saved { vote: None, committed: None, purged: None },
        };
        let mut state = Self {
            index: Index::new(saved.purged),
            recent: Recent::new(),
            vote: saved.vote,
            committed: saved.committed,
        };
        let mut reader = wal.reader(recovery.replay_from());
        while let Some(record) = reader.next_ref() {
            let record = record?;
            state.apply(Record::decode::<K>(record.payload, record.lsn)?, record.lsn);
        }
        // What was committed was in the log then; if its entry was refused, what is there is committed.
        let last = state.index.last();
        if state.committed > last {
            state.committed = last;
        }
        Ok(state)
    }

    /// What was saved before the newest checkpoint may come again here, as older records do; in the end
    /// the newest of each kind counts.
    fn apply(&mut self, record: Record<C>, lsn: Lsn) {
        match record {
            Record::Committed(committed) => self.committed = committed,
            Record::Entry { follows, entry } => {
                let log_id = entry.get_log_id();
                if follows == self.index.next_index() && log_id.index >= follows {
                    self.index.append(log_id, lsn);
                }
            }
            Record::Purge(log_id) => self.index.purge(log_id),
            Record::Truncate(index) => self.index.truncate(index),
            Record::Vote(vote) => self.vote = Some(vote),
        }
    }

    pub(crate) fn truncate(&mut self, index: u64) {
        self.index.truncate(index);
        self.recent.truncate(index);
    }

    pub(crate) fn purge(&mut self, log_id: LogId<C::NodeId>) {
        let index = log_id.index;
        self.index.purge(log_id);
        self.recent.purge(index.saturating_add(1));
        // What conflicted with it is gone as well.
        self.recent.truncate(self.index.next_index());
    }

    /// What a checkpoint has to say that replays from the oldest entry.
    pub(crate) fn saved(&self) -> Saved<C> {
        let (vote, committed) = (self.vote.clone(), self.committed.clone());
        Saved { vote, committed, purged: self.index.purged().cloned() }
    }
}

impl<C: RaftTypeConfig> Saved<C> {
    pub(crate) fn encode<K: Codec>(&self) -> Result<Vec<u8>, LogStoreError> {
        let mut out = vec![VERSION];
        let encoded = K::encode(self, &mut out);
        encoded.map_err(|error| LogStoreError::codec("encode the state", error))?;
        Ok(out)
    }

    fn decode<K: Codec>(state: &[u8], lsn: Lsn) -> Result<Self, LogStoreError> {
        match state.split_first() {
            Some((&VERSION, body)) => {
                K::decode(body).map_err(|error| LogStoreError::codec("decode the state", error))
            }
            _ => Err(LogStoreError::Foreign { lsn }),
        }
    }
}
