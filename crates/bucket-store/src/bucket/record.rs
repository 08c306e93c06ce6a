//! What the store writes to the log, as bytes: operations, and what their settlements say.

use bucket_core::OpId;
use bucket_remote::{Digest, Key, Version};

const PUT_INLINE: u8 = 1;
const PUT_BLOB: u8 = 2;
const DELETE: u8 = 3;
const SETTLED: u8 = 4;
/// The number of the only bucket that this version keeps in a directory.
const BUCKET: u8 = 0;

/// An operation that was accepted; its identity is the record's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpRecord<'a> {
    pub(crate) key: Key,
    pub(crate) op_id: OpId,
    pub(crate) change: Change<'a>,
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

/// What is noted with the settlement of an operation that reached the remote. The key is in it, because
/// the record of the operation may be gone when replay comes upon the settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settlement {
    pub(crate) key: Key,
    /// What the remote has now; `None` for nothing, and for what is not known.
    pub(crate) version: Option<Version>,
}

impl<'a> OpRecord<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![
            match &self.change {
                Change::Put { payload: Payload::Inline(_), .. } => PUT_INLINE,
                Change::Put { payload: Payload::Blob(_), .. } => PUT_BLOB,
                Change::Delete => DELETE,
            },
            BUCKET,
        ];
        out.extend_from_slice(&self.op_id.get().to_le_bytes());
        push_key(&mut out, &self.key);
        if let Change::Put { digest, len, payload } = &self.change {
            out.extend_from_slice(digest.as_bytes());
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(match payload {
                Payload::Inline(bytes) => bytes,
                Payload::Blob(name) => name.as_bytes(),
            });
        }
        out
    }

    /// Decodes a record that the log vouches for; `None` when a newer version wrote it.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (&[kind, BUCKET], mut rest) = bytes.split_first_chunk()? else { return None };
        let op_id = OpId::new(u128::from_le_bytes(take(&mut rest)?));
        let key = pull_key(&mut rest)?;
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
        Some(Self { key, op_id, change })
    }
}

impl Settlement {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![SETTLED, BUCKET];
        push_key(&mut out, &self.key);
        let version = self.version.as_ref().map_or("", Version::as_str);
        // As in the catalog: a remote whose versions are longer than 64 KiB loses the chain.
        let version = if version.len() > usize::from(u16::MAX) { "" } else { version };
        out.extend_from_slice(version.as_bytes());
        out
    }

    /// Decodes a note that the log vouches for; `None` when a newer version wrote it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[SETTLED, BUCKET], mut rest) = bytes.split_first_chunk()? else { return None };
        let key = pull_key(&mut rest)?;
        let version = std::str::from_utf8(rest).ok()?;
        Some(Self { key, version: (!version.is_empty()).then(|| Version::new(version)) })
    }
}

fn push_key(out: &mut Vec<u8>, key: &Key) {
    // A key has at most 1 024 bytes.
    out.extend_from_slice(&(key.as_str().len() as u16).to_le_bytes());
    out.extend_from_slice(key.as_str().as_bytes());
}

fn pull_key(rest: &mut &[u8]) -> Option<Key> {
    let len = usize::from(u16::from_le_bytes(take(rest)?));
    let (key, later) = rest.split_at_checked(len)?;
    *rest = later;
    Key::from_bytes(key).ok()
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

    fn records() -> Vec<OpRecord<'static>> {
        let (key, op_id) = (Key::new("a/é").unwrap(), OpId::new(u128::MAX - 5));
        let (digest, len) = (Digest::new([7; 32]), 5);
        let op = |change| OpRecord { key: key.clone(), op_id, change };
        vec![
            op(Change::Put { digest, len, payload: Payload::Inline(b"12345") }),
            op(Change::Put { digest, len: 1 << 40, payload: Payload::Blob("name") }),
            op(Change::Delete),
        ]
    }

    fn settlement(version: Option<&str>) -> Settlement {
        Settlement { key: Key::new("a/é").unwrap(), version: version.map(Version::new) }
    }

    #[test]
    fn every_kind_decodes_to_what_was_encoded() {
        for record in records() {
            assert_eq!(OpRecord::decode(&record.encode()).as_ref(), Some(&record));
        }
        for settlement in [settlement(None), settlement(Some("v1"))] {
            assert_eq!(Settlement::decode(&settlement.encode()).as_ref(), Some(&settlement));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = OpRecord::decode(&bytes);
            let _ = Settlement::decode(&bytes);
        }
    }

    #[test]
    fn what_is_of_another_bucket_or_kind_is_not_guessed_at() {
        let mut bytes = records()[0].encode();
        bytes[1] = 1;
        assert_eq!(OpRecord::decode(&bytes), None);
        bytes[..2].copy_from_slice(&[99, 0]);
        assert_eq!(OpRecord::decode(&bytes), None);
        let mut bytes = settlement(Some("v1")).encode();
        assert_eq!(OpRecord::decode(&bytes), None);
        bytes[1] = 1;
        assert_eq!(Settlement::decode(&bytes), None);
        assert_eq!(Settlement::decode(&records()[0].encode()), None);
    }

    #[test]
    fn a_version_that_no_catalog_takes_is_left_out() {
        let long = "v".repeat(70_000);
        let found = Settlement::decode(&settlement(Some(&long)).encode());
        assert_eq!(found, Some(settlement(None)));
    }
}
