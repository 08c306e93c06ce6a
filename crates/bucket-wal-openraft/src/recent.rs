//! [`Recent`]: the newest entries in memory, so that what was appended can be read before it is
//! durable, and followers that keep up cost no reads.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bucket_wal::Lsn;

/// Entries that are durable are kept up to about so many encoded bytes.
const KEPT_BYTES: usize = 4 << 20;

/// The records of the newest entries.
#[derive(Debug)]
pub(crate) struct Recent {
    // Invariant: by index; the newest entry of the log is among them unless nothing was appended since
    // the log was opened or the entries behind were truncated.
    entries: VecDeque<Held>,
    bytes: usize,
}

/// The record of an entry.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    index: u64,
    pub(crate) lsn: Lsn,
    pub(crate) record: Arc<[u8]>,
}

impl Recent {
    pub(crate) const fn new() -> Self {
        Self { entries: VecDeque::new(), bytes: 0 }
    }

    /// Takes the record of an entry. Old ones are let go of as far as they are durable and can be read
    /// from the log.
    pub(crate) fn push(&mut self, index: u64, lsn: Lsn, record: Vec<u8>, durable: Lsn) {
        self.bytes += record.len();
        self.entries.push_back(Held { index, lsn, record: record.into() });
        while self.bytes > KEPT_BYTES
            && let Some(oldest) = self.entries.front()
            && oldest.lsn <= durable
        {
            self.bytes -= oldest.record.len();
            self.entries.pop_front();
        }
    }

    /// Forgets the entries from `index` on.
    pub(crate) fn truncate(&mut self, index: u64) {
        let keep = self.position(index);
        self.bytes -= self.entries.drain(keep..).map(|held| held.record.len()).sum::<usize>();
    }

    /// Forgets the entries before `index`.
    pub(crate) fn purge(&mut self, index: u64) {
        let until = self.position(index);
        self.bytes -= self.entries.drain(..until).map(|held| held.record.len()).sum::<usize>();
    }

    /// The lowest index from which on all are here, and those in `range`.
    pub(crate) fn range(&self, range: &Range<u64>) -> (u64, Vec<Held>) {
        let (from, to) = (self.position(range.start), self.position(range.end));
        let first = self.entries.front().map_or(u64::MAX, |oldest| oldest.index);
        (first, self.entries.range(from..to.max(from)).cloned().collect())
    }

    fn position(&self, index: u64) -> usize {
        self.entries.partition_point(|held| held.index < index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(recent: &Recent, range: Range<u64>) -> Vec<u64> {
        recent.range(&range).1.into_iter().map(|held| held.index).collect()
    }

    #[test]
    fn what_is_not_durable_is_never_let_go_of() {
        let mut recent = Recent::new();
        for n in 0..6 {
            recent.push(n, Lsn::new(n + 1), vec![0; KEPT_BYTES / 2], Lsn::new(2));
        }
        assert_eq!((recent.range(&(0..10)).0, held(&recent, 0..10)), (2, vec![2, 3, 4, 5]));
        recent.push(6, Lsn::new(7), vec![0], Lsn::new(7));
        assert_eq!(held(&recent, 0..10), [5, 6]);
    }

    #[test]
    fn ends_are_cut_off_and_counted() {
        let mut recent = Recent::new();
        for n in 0..10 {
            recent.push(n, Lsn::new(n + 1), vec![0; 10], Lsn::ZERO);
        }
        recent.truncate(7);
        recent.purge(3);
        assert_eq!(recent.bytes, 40);
        assert_eq!(held(&recent, 0..6), [3, 4, 5]);
        recent.truncate(0);
        assert_eq!((recent.bytes, recent.range(&(0..6)).0), (0, u64::MAX));
    }
}
