//! [`ArchiveSink`]: where segments go that the log does not need any more, and [`ArchiveDir`]: a
//! directory that takes them.
//!
//! A segment is removed only after its sink has taken it. What comes back from a sink is believed, so a
//! sink answers for it that the copy is complete, read back and durable.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bucket_vfs::{OpenMode, StdVfs, Vfs, VfsFile, create_dir_durable};

use crate::lsn::Lsn;
use crate::planted::{Bug, Planted};
use crate::reader::Source;
use crate::scan::{Known, scan_with};
use crate::segment::{self, HEADER_LEN, Header, ROOM};
use crate::sync::Arc;

/// Takes the segments that a log does not need any more, before they are removed.
///
/// Called by the log's housekeeping, one segment at a time, the oldest first, and without any lock that
/// appending needs. A panic in it poisons the log.
pub trait ArchiveSink: fmt::Debug + Send + Sync + 'static {
    /// Takes a copy of the segment. Once this returns, the log removes the segment: the copy has to be
    /// durable by then, and to be what was read; [`SealedSegment::verify`] helps with that. After a crash
    /// the same segment may come again.
    ///
    /// # Errors
    ///
    /// Whatever keeps the segment where it is. It is counted, and tried again when the log next trims.
    fn archive(&self, segment: &SealedSegment) -> io::Result<()>;
}

/// A segment that is complete and will not change.
#[derive(Clone, Debug)]
pub struct SealedSegment {
    header: Header,
    file: Arc<dyn VfsFile>,
    path: PathBuf,
    next_lsn: u64,
    len: u64,
}

impl SealedSegment {
    pub(crate) fn new(source: &Source, file: Arc<dyn VfsFile>, len: u64, next_lsn: u64) -> Self {
        Self { header: source.header.clone(), file, path: source.path.clone(), next_lsn, len }
    }

    /// The identity of its log.
    pub const fn log_id(&self) -> u128 {
        self.header.log_id
    }

    /// Its number.
    pub const fn id(&self) -> u64 {
        self.header.segment_id
    }

    /// The name of its file, which is the same for every log.
    pub fn file_name(&self) -> String {
        segment::file_name(self.id())
    }

    /// Its first record.
    pub const fn first_lsn(&self) -> Lsn {
        Lsn::new(self.header.first_lsn)
    }

    /// The record after its last.
    pub const fn next_lsn(&self) -> Lsn {
        Lsn::new(self.next_lsn)
    }

    /// How many of its bytes count. A copy that is to be read like a log needs 32 KiB of zeros behind
    /// them.
    #[expect(clippy::len_without_is_empty, reason = "a segment has a header at least")]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Reads at `offset`, and nothing beyond [`SealedSegment::len`]; returns how much.
    ///
    /// # Errors
    ///
    /// As the file system reports them.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let n = buf.len().min(left);
        self.file.read_at(&mut buf[..n], offset)
    }

    /// Checks that `copy` holds the same bytes, and that every record in it validates.
    ///
    /// # Errors
    ///
    /// `InvalidData` when it does not; else as the file system reports them.
    pub fn verify(&self, copy: &dyn VfsFile) -> io::Result<()> {
        let (mut ours, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut at = 0;
        while at < self.len {
            let n = (self.len - at).min(CHUNK as u64) as usize;
            self.file.read_exact_at(&mut ours[..n], at)?;
            copy.read_exact_at(&mut theirs[..n], at)?;
            if ours[..n] != theirs[..n] {
                let text = format!("{} differs near byte {at}", self.file_name());
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            at += n as u64;
        }
        let known =
            Known { path: &self.path, data_len: Some(self.len.max(HEADER_LEN)), durable_lsn: 0 };
        let found = scan_with(copy, &self.header, known, &mut |_| {}).map_err(io::Error::other)?;
        match found.damage.first() {
            None => Ok(()),
            Some(damage) => {
                let text = format!("{} is damaged: {damage}", self.file_name());
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }
}

/// An archive in a directory, with one file for each segment, under the name that it had.
///
/// The directory can be [inspected](crate::WalOptions::inspect) like a log, and opened as one when it
/// begins with the log's first segment. A copy is written under another name, synced, read back and
/// checked record by record, renamed, and its directory synced.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use bucket_wal::{ArchiveDir, Wal};
///
/// # let dir = tempfile::tempdir()?;
/// let archive = Arc::new(ArchiveDir::new(dir.path().join("archive")));
/// let (wal, _) = Wal::options().archive(archive).open(dir.path().join("log"))?;
/// # drop(wal);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ArchiveDir {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    planted: Planted,
}

impl ArchiveDir {
    /// An archive in `dir`, which is created when it is needed; its parent must exist.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { vfs: Arc::new(StdVfs::new()), dir: dir.into(), planted: Planted::default() }
    }

    /// The files to work on; the default is the machine's file system.
    #[must_use]
    pub fn vfs(mut self, vfs: Arc<dyn Vfs>) -> Self {
        self.vfs = vfs;
        self
    }

    /// Plants a bug, for the checks that have to catch it.
    #[cfg(bucket_planted)]
    #[doc(hidden)]
    #[must_use]
    pub fn planted(mut self, bug: Bug) -> Self {
        self.planted = Planted::new(bug);
        self
    }

    /// Writes the copy and makes sure that it is on disk as it should be.
    fn copy(&self, segment: &SealedSegment, path: &Path) -> io::Result<()> {
        match self.vfs.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.vfs.open(path, OpenMode::CreateNew)?;
        let (mut buf, mut at) = (vec![0; CHUNK], 0);
        while at < segment.len() {
            let n = segment.read_at(&mut buf, at)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_all_at(&buf[..n], at)?;
            at += n as u64;
        }
        // Behind durable records are zeros: a file without them looks as if its end was cut off. What the
        // segment itself has there may be void.
        file.set_len(segment.len() + ROOM)?;
        if self.planted.has(Bug::ArchiveUnverified) {
            return Ok(());
        }
        file.sync_data()?;
        segment.verify(&*file)
    }
}

impl ArchiveSink for ArchiveDir {
    fn archive(&self, segment: &SealedSegment) -> io::Result<()> {
        create_dir_durable(&*self.vfs, &self.dir, |_, _, error| error)?;
        let path = self.dir.join(segment.file_name());
        match self.vfs.open(&path, OpenMode::Read) {
            // It has its name, so it is complete: of this segment, or of another log's.
            Ok(copy) => {
                segment.verify(&*copy)?;
                // The name may have come back with a crash and not be durable.
                return self.vfs.sync_dir(&self.dir);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let temporary = path.with_extension("tmp");
        let copied = self.copy(segment, &temporary).and_then(|()| {
            self.vfs.rename(&temporary, &path)?;
            self.vfs.sync_dir(&self.dir)
        });
        if copied.is_err() {
            // Best effort: the next attempt removes it as well.
            let _ = self.vfs.remove_file(&temporary);
        }
        copied
    }
}

const CHUNK: usize = 1 << 20;
