//! [`Spares`]: files of segments that nobody needs any more, kept to be written again.
//!
//! Their blocks are allocated and written, so that a sync changes no metadata and no zeros go ahead of the
//! records. Old frames in them do not validate, for every segment has a salt of its own. A file becomes a
//! spare once the name it had is gone for good and nobody has it open.

use std::path::{Path, PathBuf};

use bucket_vfs::{OpenMode, Vfs, VfsFile};

use crate::medium::ZEROS_PIECE;
use crate::segment::{self, HEADER_LEN, MAX_ID};
use crate::sync::{AtomicU64, Mutex, Ordering};

/// The spare files of a log.
#[derive(Debug)]
pub(crate) struct Spares {
    /// So many are kept.
    keep: usize,
    /// Files of more bytes are from a time with other options, and not kept.
    longest: u64,
    held: Mutex<Vec<Spare>>,
    /// Bytes of those that are held.
    bytes: AtomicU64,
    reused: AtomicU64,
}

/// A file to be written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spare {
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    /// It was a segment: there may be frames in it. Otherwise zeros.
    pub(crate) is_used: bool,
}

impl Spares {
    pub(crate) fn new(keep: usize, segment_bytes: u64) -> Self {
        Self {
            keep,
            longest: segment_bytes.saturating_add(SLACK),
            held: Mutex::new(Vec::new()),
            bytes: AtomicU64::new(0),
            reused: AtomicU64::new(0),
        }
    }

    /// Whether a file of this length would be kept.
    pub(crate) fn wants(&self, len: u64) -> bool {
        self.has_place_for(len, &self.held.lock())
    }

    fn has_place_for(&self, len: u64, held: &[Spare]) -> bool {
        held.len() < self.keep && (HEADER_LEN..=self.longest).contains(&len)
    }

    /// Keeps a file whose name as a segment is gone for good. False when there are enough.
    pub(crate) fn keep(&self, spare: Spare) -> bool {
        let mut held = self.held.lock();
        if !self.has_place_for(spare.len, &held) {
            return false;
        }
        held.push(spare);
        self.count(&held);
        true
    }

    /// One to write to. The longest is of most use.
    pub(crate) fn take(&self) -> Option<Spare> {
        let mut held = self.held.lock();
        let at = (0..held.len()).max_by_key(|&at| held[at].len)?;
        let spare = held.swap_remove(at);
        self.count(&held);
        Some(spare)
    }

    /// A segment was begun in one of them.
    pub(crate) fn was_used(&self) {
        // Relaxed: a number for people.
        self.reused.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives the space of all of them back; false when there was none.
    pub(crate) fn release(&self, vfs: &dyn Vfs) -> bool {
        let spares = {
            let mut held = self.held.lock();
            let spares = std::mem::take(&mut *held);
            self.count(&held);
            spares
        };
        let mut any = false;
        for spare in spares {
            // What cannot be removed is found again at the next opening.
            any |= vfs.remove_file(&spare.path).is_ok();
        }
        any
    }

    /// Fills the number up with files of zeros, durable, each as long as a segment. Best effort: without
    /// them the log is slower at first, and that must not keep it from opening.
    pub(crate) fn fill(&self, vfs: &dyn Vfs, dir: &Path, len: u64) {
        // No segment has numbers like these. Some may be there from before.
        for id in (MAX_ID..).take(2 * self.keep) {
            if !self.wants(len) {
                break;
            }
            let path = dir.join(segment::spare_name(id));
            let Ok(file) = vfs.open(&path, OpenMode::CreateNew) else { continue };
            if fill(&*file, len).is_err() {
                let _ = vfs.remove_file(&path);
                break;
            }
            self.keep(Spare { path, len, is_used: false });
        }
        // What a crash takes away again was none of the log's. A name that is given to a segment is
        // synced then.
    }

    /// How many bytes they have.
    pub(crate) fn bytes(&self) -> u64 {
        // Relaxed: an estimate, nothing is read on its account.
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many segments were begun in one.
    pub(crate) fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }

    fn count(&self, held: &[Spare]) {
        self.bytes.store(held.iter().map(|spare| spare.len).sum(), Ordering::Relaxed);
    }
}

fn fill(file: &dyn VfsFile, len: u64) -> std::io::Result<()> {
    let zeros = vec![0; ZEROS_PIECE];
    let mut at = 0;
    while at < len {
        let n = (len - at).min(ZEROS_PIECE as u64);
        file.write_all_at(&zeros[..n as usize], at)?;
        at += n;
    }
    file.sync_data()
}

/// A segment may be longer than it should be by a record and what is written ahead.
const SLACK: u64 = 32 << 20;

#[cfg(all(test, not(bucket_loom)))]
mod tests {
    use super::*;

    fn spare(name: &str, len: u64) -> Spare {
        Spare { path: PathBuf::from(name), len, is_used: true }
    }

    #[test]
    fn no_more_are_kept_than_wanted_and_the_longest_is_taken() {
        let spares = Spares::new(2, 1 << 20);
        assert!(spares.keep(spare("a", 8_192)) && spares.keep(spare("b", 9_000)));
        assert!(!spares.wants(8_192) && !spares.keep(spare("c", 8_192)));
        assert_eq!(spares.bytes(), 17_192);
        assert_eq!(spares.take(), Some(spare("b", 9_000)));
        assert_eq!(spares.take(), Some(spare("a", 8_192)));
        assert_eq!((spares.take(), spares.bytes()), (None, 0));
    }

    #[test]
    fn what_is_no_segment_by_its_length_is_not_kept() {
        let spares = Spares::new(2, 1 << 20);
        assert!(!spares.keep(spare("short", HEADER_LEN - 1)));
        assert!(!spares.keep(spare("long", (1 << 20) + SLACK + 1)));
        assert!(!Spares::new(0, 1 << 20).keep(spare("any", 8_192)));
    }
}
