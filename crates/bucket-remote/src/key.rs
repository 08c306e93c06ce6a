//! [`Key`]: the name of an object, valid by construction.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of an object: 1 to 1 024 bytes of UTF-8, segments separated by `/`.
///
/// Refused are: a leading, trailing or doubled `/`, the segments `.` and `..`, and control
/// characters, because some remote or other cannot hold them and a refusal at the door is better
/// than one a day later. Compares byte by byte, the order in which listings are sorted. Clones share
/// the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The longest key, in bytes of UTF-8.
    pub const MAX_LEN: usize = 1_024;

    /// Checks `text` and makes a key of it.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] names the rule that was broken.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidKey> {
        let text = text.as_ref();
        if text.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(InvalidKey::TooLong { len: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidKey::ControlCharacter);
        }
        for segment in text.split('/') {
            match segment {
                "" => return Err(InvalidKey::EmptySegment),
                "." | ".." => return Err(InvalidKey::DotSegment),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// As [`Key::new`], from bytes that may not be UTF-8.
    ///
    /// # Errors
    ///
    /// [`InvalidKey::NotUtf8`], or as [`Key::new`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidKey> {
        std::str::from_utf8(bytes).map_err(|_| InvalidKey::NotUtf8).and_then(Self::new)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts between the slashes.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text is no [`Key`]. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// A control character, such as a line break or NUL.
    #[error("a key contains no control characters")]
    ControlCharacter,
    /// A segment that is `.` or `..`.
    #[error("a key has no segment \".\" or \"..\"")]
    DotSegment,
    /// No text at all.
    #[error("a key is not empty")]
    Empty,
    /// A slash at the start, at the end, or two in a row.
    #[error("a key neither starts nor ends with \"/\" and has no \"//\"")]
    EmptySegment,
    /// Bytes that are not UTF-8.
    #[error("a key is UTF-8")]
    NotUtf8,
    /// More than [`Key::MAX_LEN`] bytes.
    #[error("a key has at most {} bytes, this one has {len}", Key::MAX_LEN)]
    TooLong {
        /// The length of the text in bytes.
        len: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_remote_cannot_hold_is_refused() {
        let long = "x".repeat(1_025);
        for (text, why) in [
            ("", InvalidKey::Empty),
            ("/a", InvalidKey::EmptySegment),
            ("a/", InvalidKey::EmptySegment),
            ("a//b", InvalidKey::EmptySegment),
            ("..", InvalidKey::DotSegment),
            ("a/../b", InvalidKey::DotSegment),
            ("a/./b", InvalidKey::DotSegment),
            ("a\nb", InvalidKey::ControlCharacter),
            ("a\0b", InvalidKey::ControlCharacter),
            (&long, InvalidKey::TooLong { len: 1_025 }),
        ] {
            assert_eq!(Key::new(text), Err(why), "{text:?}");
        }
        assert_eq!(Key::from_bytes(b"\xff"), Err(InvalidKey::NotUtf8));
    }

    #[test]
    fn what_every_remote_can_hold_is_a_key() {
        let longest = "é".repeat(512);
        for text in ["a", "a/b", "...", "a/..b", ".hidden", "sp ace", "日本/語", &longest] {
            assert_eq!(Key::new(text).unwrap().as_str(), text);
        }
    }
}
