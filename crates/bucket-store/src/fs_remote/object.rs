//! An object as a file: staged, labelled, renamed into place, described, removed.
//!
//! The labels are extended attributes, set before the rename and therefore as atomic as the content.
//! A file without them was written by somebody else, or lies on a file system that has none.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;

use bucket_core::OpId;
use bucket_remote::{
    Body, Digest, Key, Meta, Precondition, RemoteError, RemoteErrorKind as Kind, Version,
};
use rand::TryRng;
use rand::rngs::SysRng;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::tree::{
    End, MAX_RACES, Step, Tree, Watch, ambiguous, kind_of, link_in_the_way, not_a_file, refused,
    split, step,
};

/// The directory of staged files, beneath the root.
pub(super) const STAGING: &str = ".bucket-staging";

/// An object that is being written, under a name that nobody lists.
///
/// The lock on the file tells other processes that its writer lives. Dropping it removes it, and the
/// staging directory when that was the last one.
pub(super) struct Staged<'a> {
    tree: &'a Tree,
    dir: File,
    name: String,
    file: File,
}

impl<'a> Staged<'a> {
    /// Creates an empty staged file.
    pub(super) fn create(tree: &'a Tree) -> Result<Self, RemoteError> {
        for _ in 0..MAX_RACES {
            match rustix::fs::mkdirat(tree.root(), STAGING, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Err(tree.too_many_races()),
                Err(errno) => return Err(refused(errno)),
            }
            let dir = match step(tree.root(), STAGING)? {
                Step::Dir(dir) => dir,
                // Another writer removed it, being the last one for a moment.
                Step::Missing => continue,
                Step::Link | Step::Other => {
                    let why = "the staging directory is not a directory";
                    return Err(RemoteError::refused(Kind::Invalid).with_source(why));
                }
            };
            let name = format!("{}-{:016x}", std::process::id(), random()? as u64);
            let flags =
                OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file: File = match rustix::fs::openat(&dir, &*name, flags, Mode::RUSR | Mode::WUSR)
            {
                Ok(file) => file.into(),
                Err(Errno::NOENT | Errno::EXIST) => continue,
                Err(errno) => return Err(refused(errno)),
            };
            let staged = Self { tree, dir, name, file };
            match rustix::fs::flock(&staged.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                // Somebody who cleans up was quicker, and removes the file.
                Err(Errno::WOULDBLOCK) => continue,
                Err(errno) => return Err(refused(errno)),
            }
            if staged.file.metadata().map_err(refused)?.nlink() > 0 {
                return Ok(staged);
            }
        }
        Err(tree.too_many_races())
    }

    /// Copies the body, and compares it with the digest that was promised.
    pub(super) fn write(
        &mut self,
        body: &Body,
        digest: Option<Digest>,
        watch: &Watch<'_>,
    ) -> Result<(), RemoteError> {
        let mut hasher = digest.map(|_| Sha256::new());
        let mut reader = body.reader();
        // At most a chunk, which fits usize.
        let mut chunk = vec![0; body.len().clamp(1, CHUNK_BYTES) as usize];
        let mut written = 0;
        loop {
            watch.check()?;
            let n = match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let short = error.kind() == io::ErrorKind::UnexpectedEof;
                    let kind = if short { Kind::Corrupt } else { Kind::Transient };
                    return Err(RemoteError::refused(kind).with_source(error));
                }
            };
            if let Some(hasher) = &mut hasher {
                hasher.update(&chunk[..n]);
            }
            self.file.write_all(&chunk[..n]).map_err(refused)?;
            written += n as u64;
        }
        if written != body.len() || self.file.metadata().map_err(refused)?.len() != written {
            let why = "the file has another length than the body";
            return Err(RemoteError::refused(Kind::Corrupt).with_source(why));
        }
        let actual = hasher.map(|hasher| Digest::new(hasher.finalize().into()));
        if actual != digest {
            let why = "the body does not have the digest that came with it";
            return Err(RemoteError::refused(Kind::Corrupt).with_source(why));
        }
        Ok(())
    }

    /// Writes version and identity beside the content, where the file system can, and makes both
    /// durable.
    pub(super) fn seal(
        &self,
        op_id: Option<OpId>,
        digest: Option<Digest>,
    ) -> Result<(), RemoteError> {
        let len = self.file.metadata().map_err(refused)?.len();
        let labels = [
            (VERSION, Some(format!("{:032x}", random()?))),
            (LEN, Some(len.to_string())),
            (OP_ID, op_id.map(|op_id| op_id.to_string())),
            (SHA256, digest.map(|digest| digest.to_string())),
        ];
        for (name, value) in labels {
            let Some(value) = value else { continue };
            match set_label(&self.file, name, &value) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) => break,
                Err(errno) => return Err(refused(errno)),
            }
        }
        self.file.sync_all().map_err(refused)
    }

    /// Gives the staged file its name, if the precondition holds, and returns its directory.
    pub(super) fn publish(
        &self,
        key: &Key,
        precondition: &Precondition,
        watch: &Watch<'_>,
    ) -> Result<File, RemoteError> {
        let _lock = self.tree.lock(watch)?;
        require(self.tree, key, precondition)?;
        let published = self.rename(key, watch);
        if published.is_err() {
            // Directories that were made for this object alone.
            self.tree.prune(key);
        }
        published
    }

    fn rename(&self, key: &Key, watch: &Watch<'_>) -> Result<File, RemoteError> {
        let (_, leaf) = split(key);
        for _ in 0..MAX_RACES {
            let Some(dir) = self.tree.make_parent(key)? else {
                continue;
            };
            match kind_of(&dir, leaf)? {
                None | Some(FileType::RegularFile) => {}
                Some(FileType::Directory) => {
                    // An empty one is what a writer that died has left, and no object.
                    if rustix::fs::unlinkat(&dir, leaf, AtFlags::REMOVEDIR).is_err() {
                        let why = "there are objects below the key";
                        return Err(RemoteError::refused(Kind::Invalid).with_source(why));
                    }
                }
                Some(FileType::Symlink) => return Err(link_in_the_way()),
                Some(_) => return Err(not_a_file()),
            }
            watch.check()?;
            match rustix::fs::renameat(&self.dir, &*self.name, &dir, leaf) {
                Ok(()) => return Ok(dir),
                // A stranger, who holds no lock, removed the directory.
                Err(Errno::NOENT) => {}
                Err(Errno::IO) => return Err(ambiguous(Errno::IO)),
                Err(errno) => return Err(refused(errno)),
            }
        }
        Err(self.tree.too_many_races())
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // Both fail when there is nothing to do: the file was renamed, others are still staged.
        let _ = rustix::fs::unlinkat(&self.dir, &*self.name, AtFlags::empty());
        let _ = rustix::fs::unlinkat(self.tree.root(), STAGING, AtFlags::REMOVEDIR);
    }
}

/// Refuses unless the precondition holds. Only under the lock does it go on to hold.
pub(super) fn require(
    tree: &Tree,
    key: &Key,
    precondition: &Precondition,
) -> Result<(), RemoteError> {
    let holds = match precondition {
        Precondition::None => true,
        Precondition::IfAbsent => tree.find(key)?.is_none(),
        Precondition::IfMatch(version) => match tree.find(key)? {
            Some(file) => describe(&file, key)?.version == *version,
            None => false,
        },
        _ => return Err(RemoteError::refused(Kind::Unsupported)),
    };
    if holds { Ok(()) } else { Err(RemoteError::refused(Kind::ConditionFalse)) }
}

/// Removes the name, if the precondition holds, and returns the directory whose entries changed.
pub(super) fn unlink(
    tree: &Tree,
    key: &Key,
    precondition: &Precondition,
    watch: &Watch<'_>,
) -> Result<File, RemoteError> {
    let _lock = tree.lock(watch)?;
    require(tree, key, precondition)?;
    let (parents, leaf) = split(key);
    let way = tree.walk(&parents)?;
    let kind = match way.end {
        End::Arrived => kind_of(&way.dir, leaf)?,
        End::Blocked | End::Missing => None,
    };
    match kind {
        Some(FileType::RegularFile) => {}
        // Not there. The directory is synced all the same: an earlier delete may have failed to.
        None | Some(FileType::Directory) => {
            let error = tree.not_found();
            return if error.kind == Kind::NotFound { Ok(way.dir) } else { Err(error) };
        }
        Some(FileType::Symlink) => return Err(link_in_the_way()),
        Some(_) => return Err(not_a_file()),
    }
    match rustix::fs::unlinkat(&way.dir, leaf, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(tree.prune(key).unwrap_or(way.dir)),
        Err(Errno::IO) => Err(ambiguous(Errno::IO)),
        Err(errno) => Err(refused(errno)),
    }
}

/// Removes what dead processes left in the staging directory: the files whose lock can be taken.
pub(super) fn remove_leftovers(tree: &Tree) -> Result<(), RemoteError> {
    let Step::Dir(dir) = step(tree.root(), STAGING)? else {
        return Ok(());
    };
    for entry in Dir::read_from(&dir).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(&dir, entry.file_name(), flags, Mode::empty()) else {
            continue;
        };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Under the lock: a writer that comes second finds its file unlinked and takes another.
            // Directories, "." among them, are not removed by this call.
            let _ = rustix::fs::unlinkat(&dir, entry.file_name(), AtFlags::empty());
        }
    }
    let _ = rustix::fs::unlinkat(tree.root(), STAGING, AtFlags::REMOVEDIR);
    Ok(())
}

/// What the open file says of itself.
pub(super) fn describe(file: &File, key: &Key) -> Result<Meta, RemoteError> {
    let metadata = file.metadata().map_err(refused)?;
    let len = metadata.len();
    // The labels of a file that somebody edited in place describe what it was. An edit that keeps
    // the length goes unnoticed.
    let ours = label(file, LEN)?.is_some_and(|label| label.parse() == Ok(len));
    let version = if ours { label(file, VERSION)? } else { None };
    let Some(version) = version else {
        let nanos =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        let version = Version::new(format!("f-{nanos}-{len}-{}", metadata.ino()));
        let mut meta = Meta::new(key.clone(), version, len);
        meta.modified = metadata.modified().ok();
        return Ok(meta);
    };
    let mut meta = Meta::new(key.clone(), Version::new(version), len);
    meta.op_id = label(file, OP_ID)?.and_then(|label| label.parse().ok());
    meta.digest = label(file, SHA256)?.and_then(|label| label.parse().ok());
    meta.modified = metadata.modified().ok();
    Ok(meta)
}

/// Whether the file system has labels, asked without changing anything.
pub(super) fn has_labels(file: &File) -> Result<bool, RemoteError> {
    match read_label(file, VERSION, &mut []) {
        Err(Errno::OPNOTSUPP) => Ok(false),
        Ok(_) | Err(ABSENT | Errno::RANGE) => Ok(true),
        Err(errno) => Err(refused(errno)),
    }
}

/// The text of a label; `None` when the file does not have it.
fn label(file: &File, name: &str) -> Result<Option<String>, RemoteError> {
    let mut text = [0; 128];
    match read_label(file, name, &mut text) {
        Ok(len) => Ok(std::str::from_utf8(&text[..len]).ok().map(str::to_owned)),
        // None of ours is too long for the buffer.
        Err(ABSENT | Errno::OPNOTSUPP | Errno::RANGE) => Ok(None),
        Err(errno) => Err(refused(errno)),
    }
}

#[cfg(any(target_os = "android", target_os = "linux", target_vendor = "apple"))]
fn read_label(file: &File, name: &str, text: &mut [u8]) -> Result<usize, Errno> {
    rustix::fs::fgetxattr(file, name, text)
}

#[cfg(any(target_os = "android", target_os = "linux", target_vendor = "apple"))]
fn set_label(file: &File, name: &str, value: &str) -> Result<(), Errno> {
    rustix::fs::fsetxattr(file, name, value.as_bytes(), rustix::fs::XattrFlags::empty())
}

#[cfg(not(any(target_os = "android", target_os = "linux", target_vendor = "apple")))]
fn read_label(_file: &File, _name: &str, _text: &mut [u8]) -> Result<usize, Errno> {
    Err(Errno::OPNOTSUPP)
}

#[cfg(not(any(target_os = "android", target_os = "linux", target_vendor = "apple")))]
fn set_label(_file: &File, _name: &str, _value: &str) -> Result<(), Errno> {
    Err(Errno::OPNOTSUPP)
}

/// 128 bits from the operating system: versions must differ across processes and restarts, which no
/// injected generator can promise.
fn random() -> Result<u128, RemoteError> {
    let mut bytes = [0; 16];
    let filled = SysRng.try_fill_bytes(&mut bytes);
    filled.map_err(|error| RemoteError::refused(Kind::Unavailable).with_source(error))?;
    Ok(u128::from_le_bytes(bytes))
}

/// What a system says of a label that a file does not have.
#[cfg(any(target_os = "android", target_os = "linux"))]
const ABSENT: Errno = Errno::NODATA;
#[cfg(target_vendor = "apple")]
const ABSENT: Errno = Errno::NOATTR;
#[cfg(not(any(target_os = "android", target_os = "linux", target_vendor = "apple")))]
const ABSENT: Errno = Errno::OPNOTSUPP;

const LEN: &str = "user.bucket.len";
const OP_ID: &str = "user.bucket.op_id";
const SHA256: &str = "user.bucket.sha256";
const VERSION: &str = "user.bucket.version";

const CHUNK_BYTES: u64 = 1 << 20;
