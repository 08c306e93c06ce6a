//! [`create_dir_durable`]: makes a directory that a power loss does not take away.

use std::io;
use std::path::Path;

use crate::vfs::Vfs;

/// Makes sure that there is a directory `dir` and that its name is durable. True when it was created; false
/// when the name was taken, by a directory or anything else.
///
/// Once this returns, the directory survives a power loss; before, a crash leaves it or not. That holds for
/// one that was there as well: whoever created it may have died before its name was synced, and without the
/// name all that is in it is gone. Its parent has to exist.
///
/// # Errors
///
/// What `error` makes of the step that failed (`"create"` or `"sync"`), of the directory that it was about
/// (`dir`, or the parent for the sync), and of what the file system reported. After a failed sync the
/// directory may be there. That the parent of a directory that was there may not be opened is no error: then
/// somebody else made the directory, and made it durable or not.
///
/// # Examples
///
/// ```
/// use bucket_vfs::{StdVfs, create_dir_durable};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("state");
/// assert!(create_dir_durable(&StdVfs::new(), &dir, |_, _, error| error)?);
/// assert!(!create_dir_durable(&StdVfs::new(), &dir, |_, _, error| error)?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn create_dir_durable<E>(
    vfs: &dyn Vfs,
    dir: &Path,
    error: impl Fn(&'static str, &Path, io::Error) -> E,
) -> Result<bool, E> {
    let is_new = match vfs.create_dir(dir) {
        Ok(()) => true,
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => false,
        Err(source) => return Err(error("create", dir, source)),
    };
    let parent = match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => dir,
    };
    match vfs.sync_dir(parent) {
        Err(source) if is_new || source.kind() != io::ErrorKind::PermissionDenied => {
            Err(error("sync", parent, source))
        }
        _ => Ok(is_new),
    }
}
