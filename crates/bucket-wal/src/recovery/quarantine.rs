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

#[cfg(all(test, not(bucket_loom)))]
mod tests {
    use bucket_vfs::sim::{SimDisk, Survivors};

    use super::*;
    use crate::tests::refusing_vfs::{Op, Refusing};

    const LOG: &str = "/log";
    const FROM: &str = "/log/seg-0000000000000001.wal";

    fn write(disk: &SimDisk, path: impl AsRef<Path>, content: &[u8]) {
        let file =
            disk.mount().open(path.as_ref(), OpenMode::CreateNew).expect("the disk is healthy");
        file.write_all_at(content, 0).expect("the disk is healthy");
        file.sync_data().expect("the disk is healthy");
    }

    fn read(disk: &SimDisk, path: &Path) -> Vec<u8> {
        let file = disk.mount().open(path, OpenMode::Read).expect("the disk is healthy");
        let mut content = vec![0; file.len().expect("the disk is healthy") as usize];
        file.read_exact_at(&mut content, 0).expect("the disk is healthy");
        content
    }

    fn names(disk: &SimDisk, dir: &str) -> Vec<String> {
        let entries = disk.mount().read_dir(Path::new(dir)).expect("the disk is healthy");
        entries
            .into_iter()
            .map(|entry| entry.name.into_string().expect("names are ASCII"))
            .collect()
    }

    /// A log of one durable file.
    fn log(content: &[u8]) -> SimDisk {
        let (disk, dir) = (SimDisk::new(), Path::new(LOG));
        disk.mount().create_dir(dir).expect("the disk is healthy");
        write(&disk, FROM, content);
        disk.mount().sync_dir(dir).expect("the disk is healthy");
        disk.mount().sync_dir(Path::new("/")).expect("the disk is healthy");
        disk
    }

    fn keep(vfs: &dyn Vfs) -> Result<PathBuf, WalError> {
        keep_copy(vfs, Path::new(LOG), Path::new(FROM))
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n % 251) as u8 + 1).collect()
    }

    fn kept_as(content: &[u8]) -> PathBuf {
        let name = format!("seg-0000000000000001.wal.{:08x}", crc32fast::hash(content));
        Path::new(LOG).join(DIR).join(name)
    }

    #[test]
    fn what_is_kept_has_all_of_the_content_and_outlives_a_crash() {
        for len in [0, 100, PIECE, PIECE + 100, 2 * PIECE + 1] {
            let content = content(len);
            let disk = log(&content);
            assert_eq!(keep(&*disk.mount()).unwrap(), kept_as(&content), "{len} bytes");
            disk.crash(Survivors::None);
            assert!(read(&disk, &kept_as(&content)) == content, "{len} bytes");
            assert!(read(&disk, Path::new(FROM)) == content, "{len} bytes");

            let disk = log(&content);
            let moved = move_away(&*disk.mount(), Path::new(LOG), Path::new(FROM)).unwrap();
            sync(&*disk.mount(), Path::new(LOG)).unwrap();
            disk.crash(Survivors::None);
            assert!(moved == kept_as(&content) && read(&disk, &moved) == content, "{len} bytes");
            assert_eq!(names(&disk, LOG), [DIR]);
        }
    }

    #[test]
    fn a_copy_is_made_once_and_one_of_other_content_beside_it() {
        let disk = log(b"once");
        let vfs = Refusing::on(disk.mount());
        let makes = || {
            let kept = keep(&*vfs).unwrap();
            let made = vfs.done().into_iter();
            (kept, made.filter(|(op, _)| *op == Op::Open(OpenMode::CreateNew)).count())
        };
        assert_eq!(makes(), (kept_as(b"once"), 1));
        assert_eq!(makes(), (kept_as(b"once"), 0));
        disk.mount()
            .open(Path::new(FROM), OpenMode::Write)
            .unwrap()
            .write_all_at(b"twic", 0)
            .unwrap();
        assert_eq!(makes(), (kept_as(b"twic"), 1));
        assert_eq!(read(&disk, &kept_as(b"once")), b"once");
        assert_eq!(read(&disk, &kept_as(b"twic")), b"twic");
    }

    #[test]
    fn what_a_directory_refuses_is_told_and_tried_again_the_next_time() {
        let kept = kept_as(b"content");
        let cases = [
            ("create", Op::CreateDir, Path::new(LOG).join(DIR)),
            ("open", Op::Open(OpenMode::Read), kept.clone()),
            ("copy", Op::Remove, kept.with_extension("tmp")),
            ("sync", Op::SyncDir, Path::new(LOG).join(DIR)),
        ];
        for (doing, op, path) in cases {
            let disk = log(b"content");
            let vfs = Refusing::on(disk.mount());
            vfs.refuse(op, path, 0);
            match keep(&*vfs) {
                Err(WalError::Io { op, source, .. }) => {
                    assert_eq!((op, source.kind()), (doing, io::ErrorKind::PermissionDenied));
                }
                other => panic!("{doing}: {other:?}"),
            }
            assert_eq!(keep(&*vfs).unwrap(), kept, "{doing}");
            assert_eq!(read(&disk, &kept), b"content", "{doing}");
        }
    }

    #[test]
    fn a_backup_has_every_file_of_the_log_but_those_without_content() {
        let disk = log(b"segment");
        for name in ["ckpt-0000000000000001.man", "LOCK", "note-of-a-person"] {
            write(&disk, Path::new(LOG).join(name), name.as_bytes());
        }
        write(&disk, Path::new(LOG).join(segment::spare_name(7)), b"old frames");
        write(&disk, "/log/reserve-0000000000000000", &[0; 32]);
        disk.mount().create_dir(Path::new("/log/directory")).unwrap();
        copy_log(&*disk.mount(), Path::new(LOG), Path::new("/backup")).unwrap();
        disk.crash(Survivors::None);
        let expected =
            ["LOCK", "ckpt-0000000000000001.man", "note-of-a-person", "seg-0000000000000001.wal"];
        assert_eq!(names(&disk, "/backup"), expected);
        assert_eq!(read(&disk, Path::new("/backup/seg-0000000000000001.wal")), b"segment");
        assert_eq!(read(&disk, Path::new("/backup/LOCK")), b"LOCK");
    }

    #[test]
    fn the_name_of_a_backup_is_durable_wherever_it_is() {
        for (to, parent) in [("backup", "."), ("/deep/backup", "/deep"), ("deep/backup", "deep")] {
            let disk = log(b"segment");
            disk.mount().create_dir(Path::new("/deep")).unwrap();
            let vfs = Refusing::on(disk.mount());
            copy_log(&*vfs, Path::new(LOG), Path::new(to)).unwrap();
            let synced = vfs.done().into_iter().filter(|(op, _)| *op == Op::SyncDir);
            let synced: Vec<_> = synced.map(|(_, path)| path).collect();
            assert_eq!(synced, [Path::new(to), Path::new(parent)]);
        }
    }
}
