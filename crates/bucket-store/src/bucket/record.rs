//! The store's records in the log, as bytes: accepted operations and settlements.

use bucket_core::OpId;
use bucket_remote::{Digest, Key, Version};
use bucket_wal::Lsn;

const PUT_INLINE: u8 = 1;
const PUT_BLOB: u8 = 2;
const DELETE: u8 = 3;
const SETTLED: u8 = 4;
/// The number of the only bucket that this version keeps in a directory.
const BUCKET: u8 = 0;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreRecord<'a> {
    /// A put or a delete was accepted; its identity is the record's number.
    Accepted { key: Key, op_id: OpId, change: Change<'a> },
    /// The remote has the operation with this number, or a newer one of the same key.
    Settled { lsn: Lsn, version: Option<Version> },
}

/// What an accepted operation does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    Put { digest: Digest, len: u64, payload: Payload<'a> },
    Delete,
}

/// Where the content of a put is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    /// In the record.
    Inline(&'a [u8]),
    /// In a file of this name.
    Blob(&'a str),
}

impl StoreRecord<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Accepted { key, op_id, change } => {
                out.push(match change {
                    Change::Put { payload: Payload::Inline(_), .. } => PUT_INLINE,
                    Change::Put { payload: Payload::Blob(_), .. } => PUT_BLOB,
                    Change::Delete => DELETE,
                });
                out.push(BUCKET);
                out.extend_from_slice(&op_id.get().to_le_bytes());
                push_text(&mut out, key.as_str());
                if let Change::Put { digest, len, payload } = change {
                    out.extend_from_slice(digest.as_bytes());
                    out.extend_from_slice(&len.to_le_bytes());
                    out.extend_from_slice(match payload {
                        Payload::Inline(bytes) => bytes,
                        Payload::Blob(name) => name.as_bytes(),
                    });
                }
            }
            Self::Settled { lsn, version } => {
                out.extend_from_slice(&[SETTLED, BUCKET]);
                out.extend_from_slice(&lsn.get().to_le_bytes());
                out.extend_from_slice(version.as_ref().map_or("", Version::as_str).as_bytes());
            }
        }
        out
    }
}

impl<'a> StoreRecord<'a> {
    /// Decodes a record that the log vouches for; `None` when a newer version wrote it.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (&[kind, bucket], mut rest) = bytes.split_first_chunk()?;
        if bucket != BUCKET {
            return None;
        }
        if kind == SETTLED {
            let (lsn, version) = rest.split_first_chunk()?;
            let version = std::str::from_utf8(version).ok()?;
            return Some(Self::Settled {
                lsn: Lsn::new(u64::from_le_bytes(*lsn)),
                version: (!version.is_empty()).then(|| Version::new(version)),
            });
        }
        let op_id = OpId::new(u128::from_le_bytes(take(&mut rest)?));
        let key_len = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let (key, mut rest) = rest.split_at_checked(key_len)?;
        let key = Key::from_bytes(key).ok()?;
        let change = match kind {
            PUT_INLINE | PUT_BLOB => {
                let digest = Digest::new(take(&mut rest)?);
                let len = u64::from_le_bytes(take(&mut rest)?);
                let payload = if kind == PUT_INLINE {
                    Payload::Inline(rest)
                } else {
                    Payload::Blob(std::str::from_utf8(rest).ok()?)
                };
                Change::Put { digest, len, payload }
            }
            DELETE => Change::Delete,
            _ => return None,
        };
        Some(Self::Accepted { key, op_id, change })
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    // A key has at most 1 024 bytes.
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, later) = rest.split_first_chunk()?;
    *rest = later;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> Vec<StoreRecord<'static>> {
        let (key, op_id) = (Key::new("a/é").unwrap(), OpId::new(u128::MAX - 5));
        let (digest, len) = (Digest::new([7; 32]), 5);
        let accepted = |change| StoreRecord::Accepted { key: key.clone(), op_id, change };
        vec![
            accepted(Change::Put { digest, len, payload: Payload::Inline(b"12345") }),
            accepted(Change::Put { digest, len: 1 << 40, payload: Payload::Blob("name") }),
            accepted(Change::Delete),
            StoreRecord::Settled { lsn: Lsn::new(9), version: None },
            StoreRecord::Settled { lsn: Lsn::new(9), version: Some(Version::new("v1")) },
        ]
    }

    #[test]
    fn every_kind_decodes_to_what_was_encoded() {
        for record in records() {
            assert_eq!(StoreRecord::decode(&record.encode()).as_ref(), Some(&record));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = StoreRecord::decode(&bytes);
        }
    }

    #[test]
    fn a_record_of_another_bucket_or_kind_is_not_guessed_at() {
        let mut bytes = records()[0].encode();
        bytes[1] = 1;
        assert_eq!(StoreRecord::decode(&bytes), None);
        bytes[..2].copy_from_slice(&[99, 0]);
        assert_eq!(StoreRecord::decode(&bytes), None);
    }
}
