//! Reading one file of the old log, a line at a time, with a running checksum.

use std::io;

use bucket_vfs::VfsFile;
use sha2::{Digest, Sha256};

use super::line::MAX_LINE_LEN;

/// The lines of a file. Holds one line and one chunk; a line that is too long is read over.
pub(crate) struct Lines<'a> {
    file: &'a dyn VfsFile,
    /// As it was at the start, so that a file that grows meanwhile ends.
    file_len: u64,
    chunk: Vec<u8>,
    /// What of the chunk was taken.
    taken: usize,
    offset: u64,
    line: Vec<u8>,
    hasher: Sha256,
}

/// Where a line stands; its content is [`Lines::line`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    /// Without its end.
    pub(crate) len: u64,
    pub(crate) has_end: bool,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(file: &'a dyn VfsFile) -> io::Result<Self> {
        Ok(Self {
            file,
            file_len: file.len()?,
            chunk: Vec::new(),
            taken: 0,
            offset: 0,
            line: Vec::new(),
            hasher: Sha256::new(),
        })
    }

    /// Reads the next line, if there is one.
    pub(crate) fn read(&mut self) -> io::Result<Option<Place>> {
        let start = self.offset;
        self.line.clear();
        loop {
            if self.taken == self.chunk.len() {
                let want = (self.file_len - self.offset).min(CHUNK);
                if want == 0 {
                    let len = self.offset - start;
                    return Ok((len > 0).then_some(Place { offset: start, len, has_end: false }));
                }
                self.chunk.resize(want as usize, 0);
                self.file.read_exact_at(&mut self.chunk, self.offset)?;
                self.taken = 0;
            }
            let rest = &self.chunk[self.taken..];
            let end = rest.iter().position(|&byte| byte == b'\n');
            let piece = &rest[..end.map_or(rest.len(), |end| end + 1)];
            // One byte more than is taken tells that the line is too long.
            let room = (MAX_LINE_LEN + 2).saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            self.hasher.update(piece);
            self.taken += piece.len();
            self.offset += piece.len() as u64;
            if end.is_some() {
                let len = self.offset - start - 1;
                return Ok(Some(Place { offset: start, len, has_end: true }));
            }
        }
    }

    /// The line that was read last, without its end; cut off when it is too long.
    pub(crate) fn line(&self) -> &[u8] {
        self.line.strip_suffix(b"\n").unwrap_or(&self.line)
    }

    /// The checksum of all that was read, in hexadecimal digits.
    pub(crate) fn checksum(&self) -> String {
        let sum = self.hasher.clone().finalize();
        sum.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// How far the file was read.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }
}

const CHUNK: u64 = 256 << 10;
