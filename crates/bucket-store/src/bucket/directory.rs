//! The directory of a bucket: what says that it is one, and the room that is kept in it.

use std::io;
use std::path::Path;

use bucket_vfs::{OpenMode, Vfs, create_dir_durable, write_atomic};

use crate::bucket::error::StoreError;

const DESCRIPTION: &str = "BUCKET";
const DESCRIPTION_TEXT: &str = "bucket directory, format 2\n";
const OLD_TEXT: &str = "bucket directory, format 1\n";
/// Room that is given up when the disk is full, so that settlements, which free space, can be written.
pub(crate) const RESERVE: &str = "reserve";
const RESERVE_LEN: usize = 256 << 10;

/// Creates the directory, or checks that it is ours.
pub(crate) fn prepare_directory(vfs: &dyn Vfs, dir: &Path) -> Result<(), StoreError> {
    let io = |error| StoreError::io("open", dir, error);
    if create_dir_durable(vfs, dir, |_, _, error| io(error))? {
        return Ok(());
    }
    let directory = |why: &str| StoreError::Directory { path: dir.to_owned(), why: why.to_owned() };
    match read_text(vfs, &dir.join(DESCRIPTION))? {
        Some(text) if text == DESCRIPTION_TEXT => Ok(()),
        Some(text) if text == OLD_TEXT => {
            Err(StoreError::OldFormat { path: dir.to_owned(), format: 1 })
        }
        Some(_) => Err(directory("its file BUCKET names another format; use a newer version")),
        None => {
            // The settings and an interrupted first opening may be there, and nothing else.
            let ours = ["wal", "blobs", "bucket.toml", "status.json", "BUCKET.tmp"];
            let entries = vfs.read_dir(dir).map_err(io)?;
            if entries.iter().all(|entry| ours.iter().any(|name| entry.name == *name)) {
                Ok(())
            } else {
                Err(directory("it has no file BUCKET and is not empty"))
            }
        }
    }
}

/// Says what the directory is, if it does not say so yet.
pub(crate) fn describe(vfs: &dyn Vfs, dir: &Path) -> Result<(), StoreError> {
    let description = dir.join(DESCRIPTION);
    if read_text(vfs, &description)?.is_none() {
        write_atomic(vfs, &description, DESCRIPTION_TEXT.as_bytes())
            .map_err(|error| StoreError::io("write", &description, error))?;
    }
    Ok(())
}

/// Makes sure that there is a reserve, if there is room for one.
pub(crate) fn keep_reserve(vfs: &dyn Vfs, path: &Path) {
    if let Ok(file) = vfs.open(path, OpenMode::CreateNew)
        && file.write_all_at(&vec![0; RESERVE_LEN], 0).is_err()
    {
        // No room now; the next opening tries again.
        let _ = vfs.remove_file(path);
    }
}

pub(crate) fn read_text(vfs: &dyn Vfs, path: &Path) -> Result<Option<String>, StoreError> {
    let io = |error| StoreError::io("read", path, error);
    let file = match vfs.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    // Small files of ours; a hostile length is cut.
    let len = file.len().map_err(io)?.min(1 << 20);
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).map_err(io)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
