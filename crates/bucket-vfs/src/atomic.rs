//! [`write_atomic`]: replaces a small file so that a crash leaves the old or the new content.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use crate::vfs::{OpenMode, Vfs};

/// Replaces the file `path` by one that contains `bytes`, durably.
///
/// Writes `path` with the suffix `.tmp`, syncs it, renames it over `path` and syncs the directory.
/// Once this returns, the new content survives a power loss; before, a crash leaves the old content
/// or the new one, and perhaps the `.tmp` file, which the next call replaces.
///
/// # Errors
///
/// As the file system reports them; the old content is still there, and no `.tmp` file, unless the last
/// step, the sync of the directory, is what failed.
pub fn write_atomic(vfs: &dyn Vfs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().map(OsString::from).ok_or(io::ErrorKind::InvalidInput)?;
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    match vfs.remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = vfs.open(&temporary, OpenMode::CreateNew)?;
    let written = file.write_all_at(bytes, 0).and_then(|()| file.sync_data());
    if let Err(error) = written.and_then(|()| vfs.rename(&temporary, path)) {
        // On a full disk its space is needed. Best effort: the next call removes it as well.
        let _ = vfs.remove_file(&temporary);
        return Err(error);
    }
    vfs.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StdVfs;

    #[test]
    fn the_content_is_replaced_and_a_left_over_temporary_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        std::fs::write(dir.path().join("state.tmp"), "half of an earlier att").unwrap();
        write_atomic(&StdVfs, &path, b"one").unwrap();
        write_atomic(&StdVfs, &path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
