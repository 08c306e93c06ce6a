//! [`Map`]: a file in memory. The one module with unsafe code: the system cannot promise that nobody
//! changes or cuts a mapped file, so whoever maps one has to know that it is finished.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::Mmap;

/// A file in memory, for reading: its bytes as they were when it was mapped, without a copy.
///
/// Map only files that nobody writes to or cuts any more. Removing and renaming are harmless, for the map
/// keeps the file. If the file is cut all the same, by another program say, touching what is gone ends the
/// process with SIGBUS (an access violation on Windows); a disk that cannot read does the same, where a
/// read would have returned an error. If it is overwritten, the bytes change under whoever reads them.
pub struct Map(Mmap);

impl Map {
    /// Maps all of a file that is finished, see [`Map`].
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: The map is read-only and its bytes are handed out as a shared slice for as long as it
        // lives. That they do not change meanwhile no code here can make sure; it is the rule that the
        // documentation of `Map` and of `VfsFile::map` lays on the caller, for files that are private to
        // their owner (mode 0600, beneath a locked directory) and finished.
        #[expect(unsafe_code, reason = "there is no safe way to map a file")]
        let map = unsafe { Mmap::map(file) }?;
        Ok(Self(map))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::{OpenMode, StdVfs, Vfs};

    #[test]
    fn a_map_has_the_bytes_of_the_file_also_after_it_was_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (vfs, path) = (StdVfs::new(), dir.path().join("file"));
        let file = vfs.open(&path, OpenMode::CreateNew).unwrap();
        file.write_all_at(b"finished", 0).unwrap();
        let map = vfs.open(&path, OpenMode::Read).unwrap().map().unwrap().unwrap();
        drop(file);
        #[cfg(unix)]
        vfs.remove_file(&path).unwrap();
        assert_eq!(&map[..], b"finished");
    }
}
