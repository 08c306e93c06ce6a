//! What a remote knows of an object: [`Version`], [`Digest`], [`Meta`], and the [`Object`] itself.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use bucket_core::OpId;

use crate::{Body, Key};

/// What a remote calls one state of an object: an ETag, a generation, a CID. Opaque; a new write has
/// a new version.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(Arc<str>);

impl Version {
    /// The version that the remote calls `text`.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The remote's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A SHA-256 digest of the content of an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.as_bytes();
        if text.len() != 64 || !text.iter().all(u8::is_ascii_hexdigit) {
            return Err(ParseDigestError);
        }
        let nibble = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        Ok(Self(bytes))
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest is 64 hexadecimal digits")]
#[non_exhaustive]
pub struct ParseDigestError;

/// What a remote knows of an object without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The name.
    pub key: Key,
    /// The version.
    pub version: Version,
    /// The length of the content in bytes.
    pub len: u64,
    /// The operation that wrote this version, where the remote keeps it.
    pub op_id: Option<OpId>,
    /// The digest of the content, where the remote keeps it.
    pub digest: Option<Digest>,
    /// When this version was written, by the remote's clock, where it tells.
    pub modified: Option<SystemTime>,
}

impl Meta {
    /// The description of an object of which only the essentials are known.
    pub const fn new(key: Key, version: Version, len: u64) -> Self {
        Self { key, version, len, op_id: None, digest: None, modified: None }
    }

    /// True when this version was written by `op_id`, and, as far as digests are known, with the
    /// content `digest`: a cloned directory may repeat an identity, but not with other content.
    pub fn is_write_of(&self, op_id: OpId, digest: Option<Digest>) -> bool {
        self.op_id == Some(op_id)
            && match (self.digest, digest) {
                (Some(stored), Some(ours)) => stored == ours,
                _ => true,
            }
    }
}

/// An object: its description and its content, or the part that was asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Object {
    /// The description of the whole object.
    pub meta: Meta,
    /// The content, or the requested range of it.
    pub body: Body,
}

impl Object {
    /// An object.
    pub const fn new(meta: Meta, body: Body) -> Self {
        Self { meta, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_parses_back_and_nothing_else_does() {
        let digest = Digest::new(std::array::from_fn(|n| n as u8 * 7));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("00".parse::<Digest>(), Err(ParseDigestError));
        assert_eq!("g0".repeat(32).parse::<Digest>(), Err(ParseDigestError));
    }

    #[test]
    fn an_own_write_has_our_identity_and_our_content() {
        let mut meta = Meta::new(Key::new("k").unwrap(), Version::new("1"), 0);
        let (id, ours, other) = (OpId::new(1), Digest::new([1; 32]), Digest::new([2; 32]));
        assert!(!meta.is_write_of(id, Some(ours)), "an object without identity is nobody's");
        meta.op_id = Some(id);
        assert!(meta.is_write_of(id, Some(ours)), "a remote need not keep digests");
        meta.digest = Some(other);
        assert!(!meta.is_write_of(id, Some(ours)));
    }
}
