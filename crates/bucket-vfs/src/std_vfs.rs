//! [`StdVfs`]: the file system of the machine.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

#[cfg(any(target_os = "android", target_os = "linux"))]
use crate::vfs::DurableWrites;
use crate::vfs::{DirEntry, EntryKind, LockError, OpenMode, Vfs, VfsFile, VfsLock};

/// The file system of the machine, through std.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct StdVfs;

impl StdVfs {
    /// The file system of the machine.
    pub const fn new() -> Self {
        Self
    }
}

impl Vfs for StdVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let mut options = private_options(0);
        match mode {
            OpenMode::Read => options.read(true),
            OpenMode::Write => options.read(true).write(true),
            OpenMode::CreateNew => options.read(true).write(true).create_new(true),
        };
        Ok(Arc::new(StdFile { file: options.open(path)?, alignment: 1 }))
    }

    // Elsewhere the flag is unknown, or promises less: on Apple systems it leaves the bytes in the
    // cache of the drive.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    fn open_durable(&self, path: &Path, writes: DurableWrites) -> io::Result<Arc<dyn VfsFile>> {
        use rustix::fs::OFlags;
        let (flags, alignment) = match writes {
            DurableWrites::Cached => (OFlags::DSYNC, 1),
            DurableWrites::Direct => (OFlags::DSYNC | OFlags::DIRECT, DIRECT_ALIGNMENT),
        };
        let mut options = private_options(flags.bits().cast_signed());
        let file = match options.read(true).write(true).open(path) {
            Ok(file) => file,
            // What a file system says that knows no way past the page cache.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, error));
            }
            Err(error) => return Err(error),
        };
        if writes == DurableWrites::Direct && !takes_blocks(&file) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Arc::new(StdFile { file, alignment }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed between the listing and the look: not an entry any more.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let (kind, len) = if metadata.is_file() {
                (EntryKind::File, metadata.len())
            } else if metadata.is_dir() {
                (EntryKind::Directory, 0)
            } else {
                (EntryKind::Other, 0)
            };
            entries.push(DirEntry::new(entry.file_name(), kind, len));
        }
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        #[cfg(unix)]
        File::open(path)?.sync_all()?;
        #[cfg(not(unix))]
        let _ = path;
        Ok(())
    }

    fn lock(&self, path: &Path, holder: &str) -> Result<Box<dyn VfsLock>, LockError> {
        let mut file = private_options(0)
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Best effort: the name of the holder helps a person and decides nothing.
                let _ = file.take(256).read_to_string(&mut holder);
                return Err(LockError::Held { holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        // The text is for people; the lock is the descriptor, so no sync is needed, and a full disk costs
        // the text alone. What is overwritten needs no space.
        if file
            .write_all(holder.as_bytes())
            .and_then(|()| file.set_len(holder.len() as u64))
            .is_err()
        {
            // Rather nobody's name than another's.
            let _ = file.set_len(0);
        }
        Ok(Box::new(StdLock(file)))
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        #[cfg(unix)]
        {
            let stat = rustix::fs::statvfs(path)?;
            Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
        }
        #[cfg(not(unix))]
        {
            let _ = path;
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

/// Options that create private files and do not follow a link in the last component.
#[cfg_attr(not(unix), expect(unused_variables, reason = "the flags are Unix's"))]
fn private_options(flags: i32) -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits();
        options.mode(0o600).custom_flags(no_follow.cast_signed() | flags);
    }
    options
}

/// True when direct writes that keep to [`DIRECT_ALIGNMENT`] suit the file. Before Linux 6.1 nobody can
/// tell; there every disk takes them.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn takes_blocks(file: &File) -> bool {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let Ok(found) = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) else { return true };
    if found.stx_mask & StatxFlags::DIOALIGN.bits() == 0 {
        return true;
    }
    // Zero says that direct I/O is not supported.
    let fits = |needs: u32| needs > 0 && DIRECT_ALIGNMENT.is_multiple_of(needs as usize);
    fits(found.stx_dio_mem_align) && fits(found.stx_dio_offset_align)
}

/// The block of most file systems, and a multiple of the sector of every disk that they can be on.
#[cfg(any(target_os = "android", target_os = "linux"))]
const DIRECT_ALIGNMENT: usize = 4_096;

#[derive(Debug)]
struct StdFile {
    file: File,
    alignment: usize,
}

impl VfsFile for StdFile {
    #[cfg(feature = "mmap")]
    fn map(&self) -> io::Result<Option<crate::Map>> {
        crate::Map::new(&self.file).map(Some)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(&self.file, buf, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(&self.file, buf, offset);
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::write_all_at(&self.file, buf, offset);
        #[cfg(windows)]
        {
            let (mut buf, mut offset) = (buf, offset);
            while !buf.is_empty() {
                match std::os::windows::fs::FileExt::seek_write(&self.file, buf, offset)? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    n => {
                        buf = &buf[n..];
                        offset += n as u64;
                    }
                }
            }
            Ok(())
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = rustix::fs::FallocateFlags::empty();
        Ok(rustix::fs::fallocate(&self.file, flags, offset, len)?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn alignment(&self) -> usize {
        self.alignment
    }
}

/// The lock is the open descriptor; closing it releases it.
#[derive(Debug)]
struct StdLock(#[expect(dead_code, reason = "held for its drop")] File);

impl VfsLock for StdLock {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_in_the_same_process_and_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let held = StdVfs.lock(&path, "pid 42").unwrap();
        match StdVfs.lock(&path, "pid 43") {
            Err(LockError::Held { holder }) => assert_eq!(holder, "pid 42"),
            other => panic!("{other:?}"),
        }
        drop(held);
        StdVfs.lock(&path, "pid 43").unwrap();
    }

    #[test]
    fn reading_past_the_end_is_an_error_and_not_a_hang() {
        let dir = tempfile::tempdir().unwrap();
        let file = StdVfs.open(&dir.path().join("f"), OpenMode::CreateNew).unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        let error = file.read_exact_at(&mut [0; 4], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    /// On the disk that the tests are built on: the temporary directory may be in memory.
    #[cfg(target_os = "linux")]
    #[test]
    fn durable_writes_are_read_through_the_page_cache_and_keep_what_is_around_them() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("f");
        let file = StdVfs.open(&path, OpenMode::CreateNew).unwrap();
        file.write_all_at(&[1; 3 * 4_096], 0).unwrap();
        let through = StdVfs.open_durable(&path, DurableWrites::Cached).unwrap();
        assert_eq!((through.alignment(), file.alignment()), (1, 1));
        through.write_all_at(b"two", 4_095).unwrap();
        let mut found = [0; 5];
        file.read_exact_at(&mut found, 4_094).unwrap();
        assert_eq!(&found, b"\x01two\x01");

        let direct = match StdVfs.open_durable(&path, DurableWrites::Direct) {
            Ok(direct) => direct,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                println!("skipped: {} takes no direct writes", dir.path().display());
                assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "a skip fails there");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let memory = vec![3; 4 * 4_096];
        let start = memory.as_ptr().addr().wrapping_neg() % direct.alignment();
        direct.write_all_at(&memory[start..start + 4_096], 4_096).unwrap();
        file.read_exact_at(&mut found, 4_094).unwrap();
        assert_eq!(found, [1, b't', 3, 3, 3]);
        // The disk would take sectors, but never single bytes.
        direct.write_all_at(&memory[start..start + 4_095], 0).unwrap_err();
        direct.write_all_at(&memory[start..start + 4_096], 1).unwrap_err();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn allocated_space_is_there_and_reads_as_zero() {
        let dir = tempfile::tempdir().unwrap();
        let file = StdVfs.open(&dir.path().join("f"), OpenMode::CreateNew).unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        match file.allocate(3, 8_189) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
            Err(error) => panic!("{error}"),
        }
        assert_eq!(file.len().unwrap(), 8_192);
        let mut bytes = [1; 8_192];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.starts_with(b"abc") && bytes[3..].iter().all(|&byte| byte == 0));
    }

    #[cfg(unix)]
    #[test]
    fn files_are_private_and_links_are_not_followed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("f"), dir.path().join("l"));
        StdVfs.open(&file, OpenMode::CreateNew).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::os::unix::fs::symlink(&file, &link).unwrap();
        StdVfs.open(&link, OpenMode::Write).unwrap_err();
        #[cfg(target_os = "linux")]
        StdVfs.open_durable(&link, DurableWrites::Cached).unwrap_err();
    }
}
