//! [`Codec`]: how entries, votes and log ids become bytes, and [`Json`], the default.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// An error of a codec.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How entries, votes and log ids become bytes.
///
/// A log has to be opened with the codec that it was written with. Checksums are the log's business;
/// a codec needs none.
///
/// # Examples
///
/// ```
/// use bucket_wal_openraft::{BoxError, Codec};
/// use serde::{Serialize, de::DeserializeOwned};
///
/// #[derive(Debug)]
/// enum PrettyJson {} // Or a binary format.
///
/// impl Codec for PrettyJson {
///     fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
///         Ok(serde_json::to_writer_pretty(out, value)?)
///     }
///
///     fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError> {
///         Ok(serde_json::from_slice(bytes)?)
///     }
/// }
/// ```
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// Appends the encoded value to `out`.
    ///
    /// # Errors
    ///
    /// When the value has no encoding. The entry is then refused.
    fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), BoxError>;

    /// Decodes what [`Codec::encode`] has made.
    ///
    /// # Errors
    ///
    /// When the bytes are no such value.
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError>;
}

/// JSON: readable with any tool, and long for entries that carry bytes.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a name without values")]
pub enum Json {}

impl Codec for Json {
    fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
        Ok(serde_json::to_writer(out, value)?)
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}
