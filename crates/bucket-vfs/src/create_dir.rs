//! [`create_dir_durable`]: makes a directory that a power loss does not take away.

use std::io;
use std::path::Path;

use crate::vfs::Vfs;

/// Creates the directory `dir` and makes its name durable. False when the name was taken, by a directory
/// or anything else; then nothing is done.
///
/// Once this returns true, the directory survives a power loss; before, a crash leaves it or not. Its parent
/// has to exist.
///
/// # Errors
///
/// What `error` makes of the step that failed (`"create"` or `"sync"`), of the directory that it was about
/// (`dir`, or the parent for the sync), and of what the file system reported. After a failed sync the
/// directory may be there.
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
    match vfs.create_dir(dir) {
        Ok(()) => {
            let parent = match dir.parent() {
                Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
                Some(parent) => parent,
                None => dir,
            };
            vfs.sync_dir(parent).map_err(|source| error("sync", parent, source))?;
            Ok(true)
        }
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(error("create", dir, source)),
    }
}
