//! The directory `quarantine/`: damaged files are kept there before anything makes them void.

use std::io;
use std::path::{Path, PathBuf};

use bucket_vfs::{EntryKind, OpenMode, Vfs, create_dir_durable};

use crate::error::WalError;
use crate::reserve;
use crate::segment;

/// The name of the directory, within that of the log.
pub(crate) const DIR: &str = "quarantine";
const PIECE: usize = 1 << 20;

/// Copies a file, durable once this returns. A copy of the same content is made once.
pub(super) fn keep_copy(vfs: &dyn Vfs, dir: &Path, from: &Path) -> Result<PathBuf, WalError> {
    let to = name(vfs, dir, from)?;
    if exists(vfs, &to)? {
        return Ok(to);
    }
    let io = |error| WalError::io("copy", from, error);
    let temporary = to.with_extension("tmp");
    match vfs.remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    copy(vfs, from, &temporary).map_err(io)?;
    vfs.rename(&temporary, &to).map_err(io)?;
    sync(vfs, dir)?;
    Ok(to)
}

/// Copies all files of the log but spare ones and the reserve into a directory that does not exist, durable once this returns.
pub(super) fn copy_log(vfs: &dyn Vfs, dir: &Path, to: &Path) -> Result<(), WalError> {
    vfs.create_dir(to).map_err(|error| WalError::io("create", to, error))?;
    let entries = vfs.read_dir(dir).map_err(|error| WalError::io("list", dir, error))?;
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        if entry
            .name
            .to_str()
            .is_some_and(|name| segment::is_spare_name(name) || reserve::is_name(name))
        {
            continue;
        }
        let from = dir.join(&entry.name);
        let copied = copy(vfs, &from, &to.join(&entry.name));
        copied.map_err(|error| WalError::io("copy", &from, error))?;
    }
    let parent = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    for path in [to, parent] {
        vfs.sync_dir(path).map_err(|error| WalError::io("sync", path, error))?;
    }
    Ok(())
}

/// Copies the content of a file into a new one and syncs it.
fn copy(vfs: &dyn Vfs, from: &Path, to: &Path) -> io::Result<()> {
    let source = vfs.open(from, OpenMode::Read)?;
    let copy = vfs.open(to, OpenMode::CreateNew)?;
    let (mut at, len) = (0, source.len()?);
    let mut buf = vec![0; PIECE];
    while at < len {
        let n = (len - at).min(PIECE as u64) as usize;
        source.read_exact_at(&mut buf[..n], at)?;
        copy.write_all_at(&buf[..n], at)?;
        at += n as u64;
    }
    copy.sync_data()
}

/// Moves a file there. Both directories have to be synced for it to be durable.
pub(super) fn move_away(vfs: &dyn Vfs, dir: &Path, from: &Path) -> Result<PathBuf, WalError> {
    let to = name(vfs, dir, from)?;
    vfs.rename(from, &to).map_err(|error| WalError::io("move", from, error))?;
    Ok(to)
}

/// Makes durable what was moved.
pub(super) fn sync(vfs: &dyn Vfs, dir: &Path) -> Result<(), WalError> {
    for path in [&dir.join(DIR), dir] {
        vfs.sync_dir(path).map_err(|error| WalError::io("sync", path, error))?;
    }
    Ok(())
}

/// The name of a file with this content, so that a file that is damaged twice is kept twice. Makes the
/// directory.
fn name(vfs: &dyn Vfs, dir: &Path, from: &Path) -> Result<PathBuf, WalError> {
    let quarantine = dir.join(DIR);
    // A file that was moved into a directory that a crash takes away is gone.
    create_dir_durable(vfs, &quarantine, WalError::io)?;
    let io = |error| WalError::io("read", from, error);
    let file = vfs.open(from, OpenMode::Read).map_err(io)?;
    let (mut at, len) = (0, file.len().map_err(io)?);
    let (mut buf, mut hasher) = (vec![0; PIECE], crc32fast::Hasher::new());
    while at < len {
        let n = (len - at).min(PIECE as u64) as usize;
        file.read_exact_at(&mut buf[..n], at).map_err(io)?;
        hasher.update(&buf[..n]);
        at += n as u64;
    }
    let mut name = from.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:08x}", hasher.finalize()));
    Ok(quarantine.join(name))
}

fn exists(vfs: &dyn Vfs, path: &Path) -> Result<bool, WalError> {
    match vfs.open(path, OpenMode::Read) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(WalError::io("open", path, error)),
    }
}
