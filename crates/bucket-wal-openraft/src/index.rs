//! [`Index`]: which entries there are, and under which numbers the log has them.

use std::collections::VecDeque;
use std::ops::Range;

use bucket_wal::Lsn;
use openraft::{CommittedLeaderId, LogId, NodeId};

/// Which entries there are, and under which numbers the log has them.
///
/// Entries of one leader whose records follow each other take one place together, so that it is small
/// unless votes or the like come between all of them.
#[derive(Debug)]
pub(crate) struct Index<NID: NodeId> {
    purged: Option<LogId<NID>>,
    // Invariant: by index, which is also by number; none is empty; all lie behind `purged`.
    stretches: VecDeque<Stretch<NID>>,
}

#[derive(Debug)]
struct Stretch<NID: NodeId> {
    leader_id: CommittedLeaderId<NID>,
    index: u64,
    lsn: u64,
    len: u64,
}

impl<NID: NodeId> Index<NID> {
    /// Without entries, behind what was purged.
    pub(crate) const fn new(purged: Option<LogId<NID>>) -> Self {
        Self { purged, stretches: VecDeque::new() }
    }

    pub(crate) const fn purged(&self) -> Option<&LogId<NID>> {
        self.purged.as_ref()
    }

    /// The newest entry, or the newest that was purged.
    pub(crate) fn last(&self) -> Option<LogId<NID>> {
        self.stretches.back().map(Stretch::last).or_else(|| self.purged.clone())
    }

    /// The lowest index that can be appended.
    pub(crate) fn next_index(&self) -> u64 {
        self.last().map_or(0, |last| last.index.saturating_add(1))
    }

    /// The number of the oldest entry.
    pub(crate) fn first_lsn(&self) -> Option<Lsn> {
        self.stretches.front().map(|stretch| Lsn::new(stretch.lsn))
    }

    /// Notes an entry behind all others.
    pub(crate) fn append(&mut self, log_id: &LogId<NID>, lsn: Lsn) {
        debug_assert!(log_id.index >= self.next_index(), "entries are appended in order");
        if let Some(last) = self.stretches.back_mut()
            && last.leader_id == log_id.leader_id
            && last.index + last.len == log_id.index
            && last.lsn + last.len == lsn.get()
        {
            last.len += 1;
            return;
        }
        let (leader_id, index) = (log_id.leader_id.clone(), log_id.index);
        self.stretches.push_back(Stretch { leader_id, index, lsn: lsn.get(), len: 1 });
    }

    /// Forgets the entries from `index` on.
    pub(crate) fn truncate(&mut self, index: u64) {
        while let Some(last) = self.stretches.back_mut() {
            if last.index < index {
                last.len = last.len.min(index - last.index);
                return;
            }
            self.stretches.pop_back();
        }
    }

    /// Forgets the entries up to `log_id`, and all when those behind it are older: they then follow
    /// another entry with that index, and will never be agreed on.
    pub(crate) fn purge(&mut self, log_id: LogId<NID>) {
        if self.purged.as_ref() >= Some(&log_id) {
            return;
        }
        while let Some(first) = self.stretches.front_mut() {
            let skip = (log_id.index + 1).saturating_sub(first.index);
            if skip < first.len {
                first.index += skip;
                first.lsn += skip;
                first.len -= skip;
                if first.leader_id < log_id.leader_id {
                    self.stretches.clear();
                }
                break;
            }
            self.stretches.pop_front();
        }
        self.purged = Some(log_id);
    }

    /// The indexes and numbers of the entries in `range`.
    pub(crate) fn lsns(&self, range: Range<u64>) -> impl Iterator<Item = (u64, Lsn)> + '_ {
        let from = self.stretches.partition_point(|stretch| stretch.end() <= range.start);
        let stretches = self.stretches.range(from..);
        let within = stretches.take_while(move |stretch| stretch.index < range.end);
        within.flat_map(move |stretch| {
            let indexes = stretch.index.max(range.start)..stretch.end().min(range.end);
            indexes.map(|index| (index, Lsn::new(stretch.lsn + (index - stretch.index))))
        })
    }
}

impl<NID: NodeId> Stretch<NID> {
    const fn end(&self) -> u64 {
        self.index + self.len
    }

    fn last(&self) -> LogId<NID> {
        LogId::new(self.leader_id.clone(), self.end() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn log_id(term: u64, index: u64) -> LogId<u64> {
        LogId::new(CommittedLeaderId::new(term, 0), index)
    }

    /// Entries 0 to 9 under the numbers from 10 on, of term 1 up to 4 and of term 2 behind; one
    /// number between 6 and 7 belongs to something else.
    fn ten() -> Index<u64> {
        let mut index = Index::new(None);
        for n in 0..10 {
            let term = if n < 5 { 1 } else { 2 };
            index.append(&log_id(term, n), Lsn::new(if n < 7 { 10 + n } else { 11 + n }));
        }
        index
    }

    fn all(index: &Index<u64>) -> Vec<(u64, u64)> {
        index.lsns(0..u64::MAX).map(|(index, lsn)| (index, lsn.get())).collect()
    }

    #[test]
    fn entries_of_one_leader_with_consecutive_numbers_share_a_stretch() {
        let index = ten();
        assert_eq!(index.stretches.len(), 3);
        assert_eq!(all(&index)[6..8], [(6, 16), (7, 18)]);
        assert_eq!(index.lsns(4..7).count(), 3);
        assert_eq!(index.lsns(10..20).count(), 0);
        assert_eq!((index.last(), index.next_index()), (Some(log_id(2, 9)), 10));
    }

    #[test]
    fn truncating_leaves_the_entry_before_as_the_last() {
        for from in 0..12 {
            let mut index = ten();
            index.truncate(from);
            assert_eq!(all(&index).len() as u64, from.min(10));
            assert_eq!(index.next_index(), from.min(10));
            index.append(&log_id(3, index.next_index()), Lsn::new(90));
            assert_eq!(index.last().map(|last| last.leader_id.term), Some(3));
        }
    }

    #[test]
    fn purging_leaves_what_lies_behind() {
        for upto in 0..12 {
            let mut index = ten();
            let purged = log_id(if upto < 5 { 1 } else { 2 }, upto);
            index.purge(purged);
            let expected: Vec<_> = all(&ten()).into_iter().filter(|(n, _)| *n > upto).collect();
            assert_eq!(all(&index), expected);
            assert_eq!(index.purged(), Some(&purged));
            assert_eq!(index.next_index(), 10.max(upto + 1));
            assert_eq!(index.first_lsn().map(Lsn::get), expected.first().map(|(_, lsn)| *lsn));
            // An older one changes nothing.
            index.purge(log_id(1, 0));
            assert_eq!(index.purged(), Some(&purged));
        }
    }

    #[test]
    fn purging_up_to_an_entry_of_a_later_leader_drops_what_conflicts_with_it() {
        let mut index = ten();
        index.purge(log_id(3, 4));
        assert_eq!(all(&index), []);
        assert_eq!(index.last(), Some(log_id(3, 4)));
    }

    #[test]
    fn any_order_of_operations_does_what_a_map_does() {
        let mut seed = 1_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let (mut index, mut model) = (Index::new(None), BTreeMap::new());
        let (mut lsn, mut term) = (0, 1);
        for _ in 0..5_000 {
            lsn += 1;
            match random(12) {
                0 => {
                    let first = index.purged().map_or(0, |purged| purged.index + 1);
                    let from = first + random(index.next_index() - first + 1);
                    index.truncate(from);
                    model.retain(|n, _| *n < from);
                    term += 1;
                }
                1 if index.last().is_some() => {
                    let (first, last) = (all(&index).first().map(|(n, _)| *n), index.last());
                    let upto = first.map_or(0, |n| n + random(8)).min(last.map_or(0, |l| l.index));
                    // Its leader does not matter as long as it is that of the entry.
                    let found = index.stretches.iter().find(|s| s.index <= upto && upto < s.end());
                    if let Some(log_id) = found.map(|s| LogId::new(s.leader_id, upto)) {
                        index.purge(log_id);
                        model.retain(|n, _| *n > upto);
                    }
                }
                _ => {
                    let log_id = log_id(term, index.next_index());
                    index.append(&log_id, Lsn::new(lsn));
                    model.insert(log_id.index, lsn);
                }
            }
            assert_eq!(all(&index), model.clone().into_iter().collect::<Vec<_>>());
        }
    }
}
