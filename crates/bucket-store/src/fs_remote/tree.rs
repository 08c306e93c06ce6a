//! [`Tree`]: the directories beneath the root, reached one component at a time and never through a
//! symbolic link.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use bucket_core::{Clock, Ctx};
use bucket_remote::{Key, RemoteError, RemoteErrorKind as Kind};
use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// The directory that holds the objects.
#[derive(Debug)]
pub(super) struct Tree {
    root: File,
}

/// What keeps an operation from going on: its deadline and its cancellation.
pub(super) struct Watch<'a> {
    pub(super) ctx: &'a Ctx,
    pub(super) clock: &'a dyn Clock,
}

impl Watch<'_> {
    /// Refuses to go on once the caller has stopped waiting.
    pub(super) fn check(&self) -> Result<(), RemoteError> {
        if self.ctx.cancel.is_cancelled() {
            return Err(RemoteError::refused(Kind::Cancelled));
        }
        if self.ctx.is_expired(self.clock.now()) {
            return Err(RemoteError::refused(Kind::Timeout));
        }
        Ok(())
    }
}

/// One component of a path.
pub(super) enum Step {
    /// A directory, opened.
    Dir(File),
    /// A symbolic link: never followed.
    Link,
    /// Nothing.
    Missing,
    /// A file, or something stranger.
    Other,
}

/// The way to the directory of a key, as far as it goes.
pub(super) struct Way {
    /// The deepest directory there is.
    pub(super) dir: File,
    /// Why the way ends there.
    pub(super) end: End,
}

/// Why a [`Way`] ends.
pub(super) enum End {
    /// Every component is a directory.
    Arrived,
    /// The next component is a file.
    Blocked,
    /// The next component is missing.
    Missing,
}

/// Held around a look at an object and the change that relies on it, across processes.
#[must_use = "the lock is released when this is dropped"]
pub(super) struct TreeLock {
    /// The lock belongs to the open description and ends with it.
    _root: File,
}

impl Tree {
    /// Opens `root`; creates that one directory when it is missing.
    pub(super) fn open(root: &Path) -> Result<Self, RemoteError> {
        match DirBuilder::new().mode(0o700).create(root) {
            Ok(()) => {
                let parent = match root.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent,
                    _ => Path::new("."),
                };
                File::open(parent).and_then(|dir| dir.sync_all()).map_err(refused)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RemoteError::refused(Kind::Unavailable).with_source(error));
            }
            Err(error) => return Err(refused(error)),
        }
        // The path to the root is the operator's and may contain links.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, root, flags, Mode::empty()) {
            Ok(root) => Ok(Self { root: root.into() }),
            Err(Errno::NOENT) => {
                Err(RemoteError::refused(Kind::Unavailable).with_source(Errno::NOENT))
            }
            Err(errno) => Err(refused(errno)),
        }
    }

    pub(super) const fn root(&self) -> &File {
        &self.root
    }

    /// The error for an object that was not found: somebody may have removed the root itself.
    pub(super) fn not_found(&self) -> RemoteError {
        match self.root.metadata() {
            Ok(metadata) if metadata.nlink() == 0 => {
                RemoteError::refused(Kind::Unavailable).with_source("the root was removed")
            }
            Ok(_) => RemoteError::refused(Kind::NotFound),
            Err(error) => refused(error),
        }
    }

    /// The error for a name that keeps disappearing while it is made.
    pub(super) fn too_many_races(&self) -> RemoteError {
        let error = self.not_found();
        if error.kind == Kind::NotFound { RemoteError::refused(Kind::Conflict) } else { error }
    }

    /// Takes the lock that every change of a name takes, in every process. It is held for a few
    /// system calls, so waiting is polling, which can keep a deadline.
    pub(super) fn lock(&self, watch: &Watch<'_>) -> Result<TreeLock, RemoteError> {
        // A description of its own: a lock through a shared one would not exclude other threads.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(&self.root, ".", flags, Mode::empty()).map_err(refused)?;
        let mut pause = Duration::from_micros(50);
        loop {
            watch.check()?;
            match rustix::fs::flock(&root, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(TreeLock { _root: root.into() }),
                Err(Errno::WOULDBLOCK) => {
                    let left = watch.ctx.remaining(watch.clock.now());
                    watch.ctx.cancel.sleep(left.map_or(pause, |left| pause.min(left)));
                    pause = (pause * 2).min(Duration::from_millis(5));
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(refused(errno)),
            }
        }
    }

    /// The object called `key`, opened to be read; `None` when there is none.
    pub(super) fn find(&self, key: &Key) -> Result<Option<File>, RemoteError> {
        let (parents, leaf) = split(key);
        let way = self.walk(&parents)?;
        match way.end {
            End::Arrived => open_object(&way.dir, leaf),
            End::Blocked | End::Missing => Ok(None),
        }
    }

    /// Goes down from the root as far as there are directories.
    pub(super) fn walk(&self, segments: &[&str]) -> Result<Way, RemoteError> {
        let mut dir = self.root.try_clone().map_err(refused)?;
        for segment in segments {
            match step(&dir, segment)? {
                Step::Dir(next) => dir = next,
                Step::Link => return Err(link_in_the_way()),
                Step::Missing => {
                    return Ok(Way { dir, end: End::Missing });
                }
                Step::Other => {
                    return Ok(Way { dir, end: End::Blocked });
                }
            }
        }
        Ok(Way { dir, end: End::Arrived })
    }

    /// The directory of `key`, made durably where it is missing. Call it under the lock: then nobody
    /// relies on a directory of ours whose own entry is not on stable storage. `None` when a
    /// stranger, who holds no lock, removes what is being made.
    pub(super) fn make_parent(&self, key: &Key) -> Result<Option<File>, RemoteError> {
        let (parents, _) = split(key);
        let mut dir = self.root.try_clone().map_err(refused)?;
        for segment in parents {
            let mut next = step(&dir, segment)?;
            if matches!(next, Step::Missing) {
                match rustix::fs::mkdirat(&dir, segment, Mode::RWXU) {
                    Ok(()) => dir.sync_all().map_err(refused)?,
                    Err(Errno::EXIST) => {}
                    Err(Errno::NOENT) => return Ok(None),
                    Err(errno) => return Err(refused(errno)),
                }
                next = step(&dir, segment)?;
            }
            dir = match next {
                Step::Dir(next) => next,
                Step::Link => return Err(link_in_the_way()),
                Step::Missing => return Ok(None),
                Step::Other => {
                    let why = "what the key names as a directory is an object";
                    return Err(RemoteError::refused(Kind::Invalid).with_source(why));
                }
            };
        }
        Ok(Some(dir))
    }

    /// Removes the directories above `key` that are empty, best effort, and returns the deepest one
    /// that lost an entry. Call it under the lock.
    pub(super) fn prune(&self, key: &Key) -> Option<File> {
        let (parents, _) = split(key);
        let mut changed = None;
        for depth in (0..parents.len()).rev() {
            let way = self.walk(&parents[..depth]).ok()?;
            match way.end {
                End::Arrived => {}
                // A put that failed early has not made this one.
                End::Blocked | End::Missing => continue,
            }
            match rustix::fs::unlinkat(&way.dir, parents[depth], AtFlags::REMOVEDIR) {
                Ok(()) => changed = Some(way.dir),
                Err(Errno::NOENT) => {}
                Err(_) => break,
            }
        }
        changed
    }
}

/// The segments of the directory, and the name in it.
pub(super) fn split(key: &Key) -> (Vec<&str>, &str) {
    let (parents, leaf) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
    (parents.split('/').filter(|segment| !segment.is_empty()).collect(), leaf)
}

/// Looks at one component, and opens it when it is a directory.
pub(super) fn step(dir: &File, segment: &str) -> Result<Step, RemoteError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, segment, flags, Mode::empty()) {
        Ok(next) => Ok(Step::Dir(next.into())),
        Err(Errno::NOENT) => Ok(Step::Missing),
        // Systems differ in the error for a link.
        Err(Errno::NOTDIR | Errno::LOOP | Errno::MLINK) => Ok(match kind_of(dir, segment)? {
            None => Step::Missing,
            Some(FileType::Symlink) => Step::Link,
            Some(_) => Step::Other,
        }),
        Err(errno) => Err(refused(errno)),
    }
}

/// What the name stands for, links not followed; `None` when there is no such name.
pub(super) fn kind_of(dir: &File, name: &str) -> Result<Option<FileType>, RemoteError> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(refused(errno)),
    }
}

/// Opens a regular file to be read; `None` when there is none, or a directory.
pub(super) fn open_object(dir: &File, leaf: &str) -> Result<Option<File>, RemoteError> {
    // NONBLOCK, because opening a pipe would wait for a writer.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file: File = match rustix::fs::openat(dir, leaf, flags, Mode::empty()) {
        Ok(file) => file.into(),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::MLINK) => return Err(link_in_the_way()),
        Err(Errno::NXIO) => return Err(not_a_file()),
        Err(errno) => return Err(refused(errno)),
    };
    let kind = file.metadata().map_err(refused)?.file_type();
    if kind.is_file() {
        Ok(Some(file))
    } else if kind.is_dir() {
        Ok(None)
    } else {
        Err(not_a_file())
    }
}

pub(super) fn link_in_the_way() -> RemoteError {
    RemoteError::refused(Kind::Invalid).with_source("a symbolic link is in the way")
}

pub(super) fn not_a_file() -> RemoteError {
    RemoteError::refused(Kind::Invalid).with_source("what the key names is not a regular file")
}

/// A failure that left nothing behind.
pub(super) fn refused(error: impl Into<io::Error>) -> RemoteError {
    let error = error.into();
    RemoteError::refused(kind_of_error(&error)).with_source(error)
}

/// A failure after the name began to change.
pub(super) fn ambiguous(error: impl Into<io::Error>) -> RemoteError {
    let error = error.into();
    RemoteError::ambiguous(kind_of_error(&error)).with_source(error)
}

fn kind_of_error(error: &io::Error) -> Kind {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => Kind::Quota,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Kind::Auth,
        Some(Errno::NAMETOOLONG | Errno::LOOP | Errno::NOTDIR | Errno::ISDIR) => Kind::Invalid,
        Some(Errno::FBIG) => Kind::TooLarge,
        Some(Errno::NOSYS | Errno::OPNOTSUPP) => Kind::Unsupported,
        _ => Kind::Transient,
    }
}

/// How often a name is made again that a stranger removed in between.
pub(super) const MAX_RACES: u32 = 16;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use bucket_core::SystemClock;
    use bucket_remote::{PutOptions, Remote};

    use super::super::tests::{WRITE, delete, key, kind, names, put, remote};
    use super::*;

    #[test]
    fn no_symbolic_link_leads_out_of_the_root() {
        let (dir, remote) = remote();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "secret").unwrap();
        symlink(&outside, dir.path().join("root/link")).unwrap();
        symlink(outside.join("secret"), dir.path().join("root/file")).unwrap();
        for name in ["link", "link/secret", "link/new/deep", "file"] {
            assert_eq!(kind(put(&remote, name)), Some(Kind::Invalid), "put {name}");
            assert_eq!(kind(delete(&remote, name)), Some(Kind::Invalid), "delete {name}");
            assert_eq!(kind(remote.head(&WRITE, &key(name))), Some(Kind::Invalid), "head {name}");
        }
        assert!(names(&remote).is_empty());
        assert_eq!(std::fs::read_to_string(outside.join("secret")).unwrap(), "secret");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_that_is_held_elsewhere_is_waited_for_no_longer_than_the_deadline() {
        let (_dir, remote) = remote();
        let _held = remote.tree.lock(&Watch { ctx: &WRITE, clock: &SystemClock::new() }).unwrap();
        let ctx = WRITE.with_deadline(SystemClock::new().now().after(Duration::from_millis(20)));
        let result = remote.put(&ctx, &key("a"), &"".into(), &PutOptions::new());
        assert_eq!(kind(result), Some(Kind::Timeout));
    }
}
