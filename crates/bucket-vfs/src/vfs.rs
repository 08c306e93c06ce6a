//! The traits: [`Vfs`], a tree of files, and [`VfsFile`], one open file.
//!
//! Both are used as trait objects: the dispatch costs a nanosecond beside a system call, and the
//! types above stay free of a parameter.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bucket_core::{Class, Classified};

/// A tree of files and directories with explicit durability.
///
/// Nothing is durable until it was synced: the bytes of a file by [`VfsFile::sync_data`], its name by
/// [`Vfs::sync_dir`] on the directory that holds it.
pub trait Vfs: fmt::Debug + Send + Sync + 'static {
    /// Opens a file. A symbolic link as the last component is refused.
    ///
    /// # Errors
    ///
    /// As the operating system reports them; `AlreadyExists` for [`OpenMode::CreateNew`] on a name
    /// that is taken.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>>;

    /// Opens a file that must exist for reading and writing, so that a write is durable when it returns:
    /// its bytes, and a length of the file that reaches to their end. Other writes to the file, its other
    /// bytes and its name are as durable as they were. A symbolic link as the last component is refused.
    ///
    /// Where [`DurableWrites::Direct`] is refused, [`DurableWrites::Cached`] may not be. A file system
    /// that offers neither needs no method of its own for this.
    ///
    /// # Errors
    ///
    /// `Unsupported` where the system, or the file system that holds `path`, does not offer it; else as
    /// the operating system reports them.
    fn open_durable(&self, path: &Path, writes: DurableWrites) -> io::Result<Arc<dyn VfsFile>> {
        let _ = (path, writes);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Creates one directory, accessible to its owner alone.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` when the name is taken, else as the operating system reports them.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The entries of a directory, in no particular order.
    ///
    /// # Errors
    ///
    /// As the operating system reports them.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Renames a file, replacing what has the new name, atomically for readers. Durable only after
    /// [`Vfs::sync_dir`].
    ///
    /// # Errors
    ///
    /// As the operating system reports them.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable only after [`Vfs::sync_dir`].
    ///
    /// # Errors
    ///
    /// As the operating system reports them.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    ///
    /// As the operating system reports them. After a failure nothing may be assumed about the names.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the exclusive lock that the file `path` stands for, creating it if need be, and writes
    /// `holder` into it for others to read, if there is space for that. Does not wait.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] with what the holder wrote, or [`LockError::Io`].
    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn VfsLock>, LockError>;

    /// Bytes that an unprivileged user can still write to the file system that holds `path`.
    ///
    /// # Errors
    ///
    /// As the operating system reports them; `Unsupported` where it cannot tell.
    fn available_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// One open file. All I/O is positioned, so an open file may be shared between threads.
#[expect(clippy::len_without_is_empty, reason = "the length of a file is a question to the system")]
pub trait VfsFile: fmt::Debug + Send + Sync + 'static {
    /// Reads at `offset` into `buf` and returns how much was read; 0 means the end of the file.
    ///
    /// # Errors
    ///
    /// As the operating system reports them.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `buf` at `offset`. Durable when it returns if the file was opened by
    /// [`Vfs::open_durable`].
    ///
    /// # Errors
    ///
    /// As the operating system reports them; some of the bytes may have been written, and where writes
    /// are durable nothing may be assumed about any of them, as after a failed [`VfsFile::sync_data`].
    /// `InvalidInput` when offset, length or address are not multiples of [`VfsFile::alignment`].
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the bytes and the length of the file durable, but not its name.
    ///
    /// # Errors
    ///
    /// As the operating system reports them. Do not try again: the failed pages may have been marked
    /// clean, and a second sync would succeed without them.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts or extends the file to `len` bytes; what is new reads as zero.
    ///
    /// # Errors
    ///
    /// As the operating system reports them.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space for `len` bytes from `offset` on, the end of the file, and makes the file longer by
    /// them; they read as zero. Cheaper than writing zeros, and a later sync of what is written there dearer.
    ///
    /// # Errors
    ///
    /// `Unsupported` where there is no such thing, which is what this does unless it is overridden;
    /// `StorageFull` and others as the operating system reports them.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let _ = (offset, len);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The length of the file in bytes.
    ///
    /// # Errors
    ///
    /// As the operating system reports them.
    fn len(&self) -> io::Result<u64>;

    /// What the offset, the length and the address in memory of everything that is read or written must
    /// be a multiple of: a power of two, and 1 unless the file was opened by [`Vfs::open_durable`] as
    /// [`DurableWrites::Direct`].
    fn alignment(&self) -> usize {
        1
    }

    /// All of the file in memory, for reading, or `None` where that is not to be had. Only for a file that
    /// nobody writes to or cuts any more: see [`Map`](crate::Map) for what happens else.
    ///
    /// # Errors
    ///
    /// As the operating system reports them.
    #[cfg(feature = "mmap")]
    #[cfg_attr(bucket_docsrs, doc(cfg(feature = "mmap")))]
    fn map(&self) -> io::Result<Option<crate::Map>> {
        Ok(None)
    }

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` when the file ends first, else as [`VfsFile::read_at`].
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = &mut buf[n..];
                    offset += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A held lock; dropping it releases it.
pub trait VfsLock: fmt::Debug + Send + Sync {}

/// How [`Vfs::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenMode {
    /// Creates a file that must not exist, for reading and writing, accessible to its owner alone.
    CreateNew,
    /// Opens a file that must exist, for reading.
    Read,
    /// Opens a file that must exist, for reading and writing.
    Write,
}

/// Which way the bytes take that [`Vfs::open_durable`] promises to be durable once written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DurableWrites {
    /// Through the page cache: `O_DSYNC`.
    Cached,
    /// Past the page cache: `O_DIRECT` and `O_DSYNC`. Reads and writes keep to
    /// [`VfsFile::alignment`].
    Direct,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirEntry {
    /// The name within the directory.
    pub name: OsString,
    /// What it is; a symbolic link is not followed.
    pub kind: EntryKind,
    /// The length in bytes; 0 for what is not a file.
    pub len: u64,
}

impl DirEntry {
    /// An entry, for implementors of [`Vfs`].
    pub fn new(name: impl Into<OsString>, kind: EntryKind, len: u64) -> Self {
        Self { name: name.into(), kind, len }
    }
}

/// What a [`DirEntry`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// Anything else: a symbolic link, a device, a socket.
    Other,
}

/// Why a lock was not given.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody holds it.
    Held {
        /// What the holder wrote into the lock file; empty when it cannot be read.
        holder: String,
    },
    /// The lock file could not be opened, locked or written.
    Io(io::Error),
}

impl Classified for LockError {
    fn class(&self) -> Class {
        match self {
            Self::Held { .. } => Class::Unavailable { after: None },
            Self::Io(error) => error.class(),
        }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { holder } => write!(f, "the lock is held by {holder:?}"),
            Self::Io(_) => f.write_str("the lock file cannot be used"),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Held { .. } => None,
            Self::Io(error) => Some(error),
        }
    }
}
