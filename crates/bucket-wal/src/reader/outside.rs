//! [`Follower`]: the records of a log that somebody else has open, as they are written.

use std::io;
use std::path::{Path, PathBuf};

use bucket_vfs::{OpenMode, Vfs, VfsFile};

use super::{Record, Source, Step, Walk, Window};
use crate::error::WalError;
use crate::format::Features;
use crate::lsn::Lsn;
use crate::options::WalOptions;
use crate::segment::{self, HEADER_LEN, Header, HeaderError};
use crate::sync::Arc;

/// Reads a log that another process may have open, from one number on, and goes on when there is more.
/// Made by [`WalOptions::follow`].
///
/// It takes no lock, changes nothing and is told nothing: it looks at the files again whenever it is
/// asked. So it shows what was *written*, as [`ReadLevel::Written`](crate::ReadLevel) does, and never
/// knows what is durable. Records that the owner trims before it comes to them are left out.
#[derive(Debug)]
pub struct Follower {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    known: Features,
    next: u64,
    current: Option<Current>,
}

/// The segment that is being read.
#[derive(Debug)]
struct Current {
    /// Ends behind the last frame that was seen whole.
    walk: Walk,
    file: Arc<dyn VfsFile>,
    /// A later segment says where the frames end.
    is_finished: bool,
}

/// So much is read at a time.
const AHEAD: usize = 64 << 10;

impl WalOptions {
    /// Follows the log in `dir` from the record `from` on without opening it, beside its owner or without
    /// one, through the files of these options.
    ///
    /// # Examples
    ///
    /// ```
    /// use bucket_wal::{Lsn, Wal};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let dir = dir.path().join("log");
    /// let (wal, _) = Wal::open(&dir)?;
    /// let mut follower = Wal::options().follow(&dir, Lsn::new(1));
    /// assert!(follower.try_next()?.is_none());
    /// wal.append(b"hello")?;
    /// assert_eq!(follower.try_next()?.unwrap().payload, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn follow(&self, dir: impl AsRef<Path>, from: Lsn) -> Follower {
        let (vfs, dir) = (Arc::clone(&self.vfs), dir.as_ref().to_owned());
        Follower { vfs, dir, known: self.known, next: from.get(), current: None }
    }
}

impl Follower {
    /// The next record, or `None` when there is none so far.
    ///
    /// # Errors
    ///
    /// [`WalError::Corrupt`] for a place that cannot be read; the next call goes on behind it.
    /// [`WalError::Io`] and [`WalError::UnsupportedFormat`]; the next call tries again.
    pub fn try_next(&mut self) -> Result<Option<Record>, WalError> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(start) = self.start()? else { return Ok(None) };
                self.current = Some(self.enter(start)?);
                continue;
            };
            let walk = &mut current.walk;
            match walk.step(self.next, u64::MAX) {
                Step::Record(found) => {
                    self.next = found.lsn.saturating_add(1);
                    return Ok(Some(walk.record(&found).to_record()));
                }
                Step::Damaged(error) | Step::Failed(error) => {
                    let id = walk.source().header.segment_id;
                    if self.ids()?.contains(&id) {
                        return Err(error);
                    }
                    // Trimmed, and its file may be that of another segment by now.
                    self.current = None;
                    continue;
                }
                Step::Beyond | Step::End => {}
            }
            let source = Arc::clone(walk.source());
            if current.is_finished {
                let Some(next) = self.successor(&source.header)? else { return Ok(None) };
                self.current = Some(self.enter(next)?);
                continue;
            }
            // All that was known of was read. What comes next may have been written by now.
            let grown =
                current.grown().map_err(|error| WalError::io("read", &source.path, error))?;
            if grown {
                continue;
            }
            let next = self.successor(&source.header)?;
            let Some(current) = &mut self.current else { continue };
            if let Some(next) = next {
                // Without the direct successor nobody knows where this one ended.
                let at = current.walk.at();
                let is_direct = next.prev_segment_id == source.header.segment_id;
                current.finish(if is_direct { next.prev_data_len.max(at) } else { at });
                continue;
            }
            if source.header.is_reused {
                // Behind the end is what was there before, and looking through it takes long. Should it be
                // damage, the next segment tells.
                return Ok(None);
            }
            let damaged = current.is_damaged();
            if !damaged.map_err(|error| WalError::io("read", &source.path, error))? {
                return Ok(None);
            }
        }
    }

    /// The segment that holds the next record, or the first one.
    fn start(&self) -> Result<Option<Header>, WalError> {
        let mut first = None;
        for id in self.ids()?.into_iter().rev() {
            let Some(header) = self.header(id)? else { continue };
            let is_it = header.first_lsn <= self.next;
            first = Some(header);
            if is_it {
                break;
            }
        }
        Ok(first)
    }

    /// The segment after this one, or else the first that is left after it.
    fn successor(&self, of: &Header) -> Result<Option<Header>, WalError> {
        let mut first = None;
        for id in self.ids()?.into_iter().filter(|id| *id > of.segment_id) {
            let header = self.header(id)?.filter(|header| header.log_id == of.log_id);
            if header.as_ref().is_some_and(|header| header.prev_segment_id == of.segment_id) {
                return Ok(header);
            }
            first = first.or(header);
        }
        Ok(first)
    }

    fn enter(&self, header: Header) -> Result<Current, WalError> {
        let path = self.dir.join(segment::file_name(header.segment_id));
        let file = self.vfs.open(&path, OpenMode::Read);
        let file = file.map_err(|error| WalError::io("open", &path, error))?;
        let (window, first) = (Window::new(Arc::clone(&file), AHEAD), header.first_lsn);
        let source = Arc::new(Source::new(header, path, Some(&file)));
        let walk = Walk::new(source, window, HEADER_LEN, HEADER_LEN, first);
        Ok(Current { walk, file, is_finished: false })
    }

    fn ids(&self) -> Result<Vec<u64>, WalError> {
        let entries = self.vfs.read_dir(&self.dir);
        let entries = entries.map_err(|error| WalError::io("list", &self.dir, error))?;
        let names = entries.iter().filter_map(|entry| entry.name.to_str());
        let mut ids: Vec<_> =
            names.filter_map(|name| segment::number_in(name, "seg-", ".wal")).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The header of a segment; `None` when it is gone or damaged.
    fn header(&self, id: u64) -> Result<Option<Header>, WalError> {
        let path = self.dir.join(segment::file_name(id));
        let mut bytes = vec![0; HEADER_LEN as usize];
        let read = self.vfs.open(&path, OpenMode::Read);
        match read.and_then(|file| file.read_exact_at(&mut bytes, 0)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(WalError::io("read", &path, error)),
        }
        match Header::decode(&bytes, self.known) {
            Ok(header) => Ok(Some(header).filter(|header| header.segment_id == id)),
            Err(HeaderError::Damaged) => Ok(None),
            Err(HeaderError::Unsupported { major, flags }) => {
                Err(WalError::UnsupportedFormat { path, major, flags })
            }
        }
    }
}

impl Current {
    /// Looks whether a whole frame follows, and has the walk go through it.
    fn grown(&mut self) -> io::Result<bool> {
        let len = self.file.len()?;
        let mut end = self.walk.whole_frame(len)?;
        if end.is_none() {
            // What is in memory may be from before it was written.
            self.walk.forget();
            end = self.walk.whole_frame(len)?;
        }
        end.into_iter().for_each(|end| self.walk.grow(end));
        Ok(end.is_some())
    }

    /// Whether what follows is not a frame, but another one comes after it; has the walk go through that.
    fn is_damaged(&mut self) -> io::Result<bool> {
        let end = self.walk.frame_behind(self.file.len()?)?;
        end.into_iter().for_each(|end| self.walk.grow(end));
        Ok(end.is_some())
    }

    /// Nothing will be written any more, and the frames end there.
    fn finish(&mut self, end: u64) {
        self.walk.forget();
        self.walk.grow(end);
        self.is_finished = true;
    }
}
