//! [`Writes`]: the log of the writes that reached a disk, in the format of the kernel's dm-log-writes, which
//! QEMU's `blklogwrites` keeps as well; and a disk as it was after any number of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Every write, in order.
#[derive(Debug)]
pub(super) struct Writes {
    file: File,
    sector: u64,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// Where on the disk, in bytes.
    at: u64,
    len: u64,
    /// Where its data is in the log.
    data: u64,
    flags: u64,
}

impl Writes {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut head = [0; 28];
        file.read_exact_at(&mut head, 0)?;
        let long = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap_or_default());
        let sector = u64::from(u32::from_le_bytes([head[24], head[25], head[26], head[27]]));
        if long(0) != MAGIC || long(8) != 1 || sector < 512 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no log of writes"));
        }
        let mut writes = Self { file, sector, entries: Vec::new() };
        let mut place = sector;
        for _ in 0..long(16) {
            let entry = writes.entry(place)?;
            place += sector;
            if entry.flags & DISCARD == 0 {
                place += entry.len;
            }
            writes.entries.push(entry);
        }
        Ok(writes)
    }

    fn entry(&self, place: u64) -> io::Result<Entry> {
        let mut head = [0; 24];
        self.file.read_exact_at(&mut head, place)?;
        let long = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap_or_default());
        let (at, len, flags) = (long(0) * self.sector, long(8) * self.sector, long(16));
        Ok(Entry { at, len, data: place + self.sector, flags })
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// After how many writes the disk was told to make all of them durable, and did.
    pub(super) fn flush_points(&self) -> Vec<usize> {
        let flushes = self.entries.iter().enumerate().filter(|(_, entry)| entry.flags & FLUSH != 0);
        flushes.map(|(n, _)| n + 1).collect()
    }

    /// Does write number `n`, from 0, to `disk`.
    pub(super) fn apply(&self, n: usize, disk: &File) -> io::Result<()> {
        let entry = self.entries[n];
        // What was discarded reads as anything; here as before.
        if entry.flags & DISCARD != 0 || entry.len == 0 {
            return Ok(());
        }
        let mut data = vec![0; usize::try_from(entry.len).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut data, entry.data)?;
        disk.write_all_at(&data, entry.at)
    }
}

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_replayed_up_to_each_flush() {
        let mut log = vec![0; 512];
        log[..8].copy_from_slice(&MAGIC.to_le_bytes());
        log[8] = 1;
        log[16] = 4;
        log[24..28].copy_from_slice(&512_u32.to_le_bytes());
        let mut entry = |sector: u64, n: u64, flags: u64, fill: Option<u8>| {
            let mut head = vec![0; 512];
            for (at, number) in [(0, sector), (8, n), (16, flags)] {
                head[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
            log.extend(head);
            log.extend(fill.map(|fill| vec![fill; 512 * n as usize]).unwrap_or_default());
        };
        entry(1, 1, 0, Some(7));
        entry(0, 0, FLUSH, None);
        entry(0, 2, DISCARD, None);
        entry(0, 1, 0, Some(9));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("log"), log).unwrap();
        let writes = Writes::open(&dir.path().join("log")).unwrap();
        assert_eq!((writes.len(), writes.flush_points()), (4, vec![2]));
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(1024).unwrap();
        for n in 0..4 {
            writes.apply(n, &disk).unwrap();
        }
        let mut found = [0; 1024];
        disk.read_exact_at(&mut found, 0).unwrap();
        assert_eq!((found[0], found[512]), (9, 7));
    }
}
