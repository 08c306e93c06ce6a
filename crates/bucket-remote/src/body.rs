//! [`Body`]: content that can be read as often as needed, so that a retry can send it again.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// The content of an object: bytes in memory, or a range of something that reads at an offset.
///
/// Clones share the content.
#[derive(Clone)]
pub struct Body(Repr);

#[derive(Clone)]
enum Repr {
    Bytes(Bytes),
    Range { source: Arc<dyn ReadAt>, offset: u64, len: u64 },
}

/// Something that reads at an offset and does not change: a file, mostly.
pub trait ReadAt: fmt::Debug + Send + Sync + 'static {
    /// Reads at `offset` into `buf` and returns how much was read; 0 means the end.
    ///
    /// # Errors
    ///
    /// As the source reports them.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for std::fs::File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(self, buf, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(self, buf, offset);
    }
}

impl Body {
    /// The `len` bytes of `source` from `offset`.
    pub fn from_range(source: Arc<dyn ReadAt>, offset: u64, len: u64) -> Self {
        Self(Repr::Range { source, offset, len })
    }

    /// The number of bytes.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Repr::Bytes(bytes) => bytes.len() as u64,
            Repr::Range { len, .. } => *len,
        }
    }

    /// True when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader from the start. Every call starts anew.
    pub const fn reader(&self) -> BodyReader<'_> {
        BodyReader { body: self, position: 0 }
    }

    /// The part of the content that lies in `range`, cut to the length of the content.
    #[must_use]
    pub fn slice(&self, range: Range<u64>) -> Self {
        let end = range.end.min(self.len());
        let start = range.start.min(end);
        match &self.0 {
            // The length of bytes in memory fits usize, and so do the bounds, which are no larger.
            Repr::Bytes(bytes) => Self(Repr::Bytes(bytes.slice(start as usize..end as usize))),
            Repr::Range { source, offset, .. } => Self(Repr::Range {
                source: Arc::clone(source),
                offset: offset + start,
                len: end - start,
            }),
        }
    }

    /// The whole content in memory; shares it when it is there already.
    ///
    /// # Errors
    ///
    /// As the source reports them; `UnexpectedEof` when it has become shorter, `OutOfMemory` when
    /// the length does not fit the address space.
    pub fn to_bytes(&self) -> io::Result<Bytes> {
        if let Repr::Bytes(bytes) = &self.0 {
            return Ok(bytes.clone());
        }
        let len = usize::try_from(self.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut content = Vec::new();
        content.try_reserve_exact(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.reader().read_to_end(&mut content)?;
        Ok(content.into())
    }
}

impl Default for Body {
    fn default() -> Self {
        Self(Repr::Bytes(Bytes::new()))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Repr::Bytes(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

/// Shows the length and never the content.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Repr::Bytes(_) => "bytes",
            Repr::Range { .. } => "range",
        };
        write!(f, "Body({kind}, {} B)", self.len())
    }
}

/// Reads a [`Body`] from its start.
#[derive(Debug)]
pub struct BodyReader<'a> {
    body: &'a Body,
    position: u64,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.body.len() - self.position;
        let want = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let buf = &mut buf[..want];
        let n = match &self.body.0 {
            Repr::Bytes(bytes) => {
                // The position is below the length, which fits usize.
                let start = self.position as usize;
                buf.copy_from_slice(&bytes[start..start + want]);
                want
            }
            Repr::Range { source, offset, .. } => source.read_at(buf, offset + self.position)?,
        };
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Alphabet;

    impl ReadAt for Alphabet {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            // Short reads of at most three bytes, out of 26.
            let n = buf.len().min(3).min(26_usize.saturating_sub(offset as usize));
            for (i, byte) in buf[..n].iter_mut().enumerate() {
                *byte = b'a' + (offset as usize + i) as u8;
            }
            Ok(n)
        }
    }

    #[test]
    fn a_body_reads_the_same_twice() {
        let body = Body::from_range(Arc::new(Alphabet), 2, 5);
        assert_eq!(&body.to_bytes().unwrap()[..], b"cdefg");
        assert_eq!(&body.to_bytes().unwrap()[..], b"cdefg");
    }

    #[test]
    fn a_slice_is_cut_to_what_is_there() {
        for body in [Body::from("abcdefg"), Body::from_range(Arc::new(Alphabet), 0, 7)] {
            assert_eq!(&body.slice(5..100).to_bytes().unwrap()[..], b"fg");
            assert!(body.slice(100..200).is_empty());
        }
    }

    #[test]
    fn a_source_that_became_shorter_is_an_error() {
        let body = Body::from_range(Arc::new(Alphabet), 20, 10);
        assert_eq!(body.to_bytes().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
