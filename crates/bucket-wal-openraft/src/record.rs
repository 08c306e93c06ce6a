//! The records of a log store: one byte that says what it is, and what it says.

use bucket_wal::Lsn;
use openraft::{LogId, RaftTypeConfig, Vote};

use crate::codec::Codec;
use crate::error::LogStoreError;

const COMMITTED: u8 = b'C';
const ENTRY: u8 = b'E';
const PURGE: u8 = b'P';
const TRUNCATE: u8 = b'T';
const VOTE: u8 = b'V';

/// What a record of an entry has before the entry.
const ENTRY_HEAD: usize = 1 + 8;

/// A record, decoded.
#[derive(Debug)]
pub(crate) enum Record<C: RaftTypeConfig> {
    Committed(Option<LogId<C::NodeId>>),
    Entry {
        /// The lowest index that could be appended when it was. If that is another one when the log is
        /// replayed, then something before it is not there, and it was never acknowledged.
        follows: u64,
        entry: C::Entry,
    },
    Purge(LogId<C::NodeId>),
    Truncate(u64),
    Vote(Vote<C::NodeId>),
}

/// Encodes an entry; the place for what it follows is filled by [`set_follows`].
pub(crate) fn entry<C: RaftTypeConfig, K: Codec>(
    entry: &C::Entry,
) -> Result<Vec<u8>, LogStoreError> {
    let mut out = vec![0; ENTRY_HEAD];
    out[0] = ENTRY;
    K::encode(entry, &mut out).map_err(|error| LogStoreError::codec("encode an entry", error))?;
    Ok(out)
}

/// Says what the encoded entry follows.
pub(crate) fn set_follows(record: &mut [u8], next_index: u64) {
    record[1..ENTRY_HEAD].copy_from_slice(&next_index.to_le_bytes());
}

pub(crate) fn committed<C: RaftTypeConfig, K: Codec>(
    committed: &Option<LogId<C::NodeId>>,
) -> Result<Vec<u8>, LogStoreError> {
    encode::<K>(COMMITTED, committed, "encode the committed log id")
}

pub(crate) fn purge<C: RaftTypeConfig, K: Codec>(
    log_id: &LogId<C::NodeId>,
) -> Result<Vec<u8>, LogStoreError> {
    encode::<K>(PURGE, log_id, "encode the purged log id")
}

pub(crate) fn truncate(index: u64) -> Vec<u8> {
    let mut out = vec![TRUNCATE];
    out.extend_from_slice(&index.to_le_bytes());
    out
}

pub(crate) fn vote<C: RaftTypeConfig, K: Codec>(
    vote: &Vote<C::NodeId>,
) -> Result<Vec<u8>, LogStoreError> {
    encode::<K>(VOTE, vote, "encode a vote")
}

fn encode<K: Codec>(
    kind: u8,
    value: &impl serde::Serialize,
    what: &'static str,
) -> Result<Vec<u8>, LogStoreError> {
    let mut out = vec![kind];
    K::encode(value, &mut out).map_err(|error| LogStoreError::codec(what, error))?;
    Ok(out)
}

impl<C: RaftTypeConfig> Record<C> {
    pub(crate) fn decode<K: Codec>(record: &[u8], lsn: Lsn) -> Result<Self, LogStoreError> {
        let foreign = || LogStoreError::Foreign { lsn };
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).map_err(|_| foreign());
        let codec = |what| move |error| LogStoreError::codec(what, error);
        let (&kind, body) = record.split_first().ok_or_else(foreign)?;
        Ok(match kind {
            COMMITTED => {
                Self::Committed(K::decode(body).map_err(codec("decode the committed log id"))?)
            }
            ENTRY => {
                let (follows, body) = body.split_at_checked(8).ok_or_else(foreign)?;
                let entry = K::decode(body).map_err(codec("decode an entry"))?;
                Self::Entry { follows: number(follows)?, entry }
            }
            PURGE => Self::Purge(K::decode(body).map_err(codec("decode the purged log id"))?),
            TRUNCATE => Self::Truncate(number(body)?),
            VOTE => Self::Vote(K::decode(body).map_err(codec("decode a vote"))?),
            _ => return Err(foreign()),
        })
    }
}
