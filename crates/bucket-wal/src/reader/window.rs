//! [`Window`]: a part of a file in memory, moved forward as it is read.

use std::io;

use bucket_vfs::VfsFile;

use crate::reader::Map;
use crate::sync::Arc;

/// A part of a file in memory.
///
/// It reads ahead, never beyond the limit that it is given, for what lies behind that may still be
/// written; and it takes no more memory than it reads ahead, or than the longest frame.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<dyn VfsFile>,
    ahead: usize,
    start: u64,
    // Invariant: `len` bytes at the front of `buf` are those of the file at `start`.
    buf: Vec<u8>,
    len: usize,
    /// All of the file, which makes the rest superfluous.
    map: Option<Arc<Map>>,
}

impl Window {
    pub(crate) const fn new(file: Arc<dyn VfsFile>, ahead: usize) -> Self {
        Self { file, ahead, start: 0, buf: Vec::new(), len: 0, map: None }
    }

    /// With memory that was used before.
    pub(crate) const fn with_memory(file: Arc<dyn VfsFile>, ahead: usize, buf: Vec<u8>) -> Self {
        Self { file, ahead, start: 0, buf, len: 0, map: None }
    }

    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.buf
    }

    /// The same memory for another file.
    pub(crate) fn reuse(&mut self, file: Arc<dyn VfsFile>) {
        self.file = file;
        self.len = 0;
        self.map = None;
    }

    /// Takes the bytes from memory, if there is a map.
    pub(crate) fn use_map(&mut self, map: Option<Arc<Map>>) {
        self.map = map;
    }

    /// Has the `n` bytes at `offset` in memory; false when they reach beyond `limit`.
    pub(crate) fn fill(&mut self, offset: u64, n: usize, limit: u64) -> io::Result<bool> {
        if let Some(map) = &self.map {
            let end = offset.checked_add(n as u64).filter(|end| *end <= limit);
            return match end {
                Some(end) if end > map.len() as u64 => Err(io::ErrorKind::UnexpectedEof.into()),
                end => Ok(end.is_some()),
            };
        }
        if offset >= self.start && offset + n as u64 <= self.start + self.len as u64 {
            return Ok(true);
        }
        if offset.checked_add(n as u64).is_none_or(|end| end > limit) {
            return Ok(false);
        }
        // What is there already is moved and not read again.
        let start = Self::start_for(offset);
        let kept = match start.checked_sub(self.start) {
            Some(skip) if skip < self.len as u64 => {
                self.buf.copy_within(skip as usize..self.len, 0);
                self.len - skip as usize
            }
            _ => 0,
        };
        (self.start, self.len) = (start, kept);
        let need = (offset - start) as usize + n;
        let left = usize::try_from(limit - start).unwrap_or(usize::MAX);
        let want = need.next_multiple_of(PAGE as usize).max(self.ahead).min(left);
        if self.buf.len() < want {
            self.buf.resize(want, 0);
        } else if self.buf.len() > self.ahead.max(want) {
            self.buf.truncate(self.ahead.max(want));
            self.buf.shrink_to_fit();
        }
        let at = start + kept as u64;
        if self.file.read_exact_at(&mut self.buf[kept..want], at).is_ok() {
            self.len = want;
            return Ok(true);
        }
        // Something ahead cannot be read; what is needed perhaps can.
        self.file.read_exact_at(&mut self.buf[kept..need], at)?;
        self.len = need;
        Ok(true)
    }

    /// Where the memory begins for what lies at `offset`.
    pub(crate) const fn start_for(offset: u64) -> u64 {
        offset - offset % PAGE
    }

    /// Has everything read again.
    pub(crate) const fn forget(&mut self) {
        self.len = 0;
    }

    /// Bytes that [`Window::fill`] has brought in.
    pub(crate) fn bytes(&self, offset: u64, n: usize) -> &[u8] {
        if let Some(map) = &self.map {
            return &map[offset as usize..][..n];
        }
        let from = (offset - self.start) as usize;
        &self.buf[from..from + n]
    }
}

/// Reads begin at multiples of this, in the file and in memory alike: a copy between places that are
/// aligned differently takes twice as long.
const PAGE: u64 = 4 << 10;
