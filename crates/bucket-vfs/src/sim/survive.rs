//! What a crash leaves: a legal subset of everything that was pending.
//!
//! Legal is what a journaling file system over a disk with a volatile cache may show. Sectors reach the
//! disk in any order, each whole; but a sector carries the page cache's content, so that a write to it
//! never survives without the earlier writes to the same sector. The length of a file is one of those
//! that it had, and does not have to fit the data: what lies between reads as zero. A change to names
//! is atomic and survives only with the earlier changes to the same names.

use std::collections::BTreeMap;

use super::image::Write;
use super::random::Random;
use super::tree::{File, Inode, Tree};
use crate::sim::Survivors;

/// How one crash decides. Several styles, because a coin for every sector almost never shows a whole
/// write next to one that is wholly lost.
#[derive(Clone, Copy, Debug)]
enum Style {
    /// What was issued first survives, up to some point; the write at that point may be torn.
    Prefix,
    /// A coin for every change: dropped, kept or torn.
    Scattered,
    /// All content and no names or lengths, or the other way round.
    Split { content: bool },
}

/// What becomes of one write.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Drop,
    Keep,
    Tear,
}

impl Tree {
    /// Decides about everything that is pending, after which nothing is, and the live view is the
    /// durable one.
    pub(super) fn crash(&mut self, survivors: Survivors) {
        let mut random = Random::new(match survivors {
            Survivors::Random(seed) => seed,
            Survivors::All | Survivors::None => 0,
        });
        self.settle_names(survivors, &mut random);
        for id in 0..self.inodes.len() {
            if self.file(id).is_ok_and(|file| !file.pending.is_empty())
                && let Ok(file) = self.file_mut(id)
            {
                file.settle(survivors, &mut random);
            }
        }
        self.forget_caches();
    }

    fn settle_names(&mut self, survivors: Survivors, random: &mut Random) {
        let changes = std::mem::take(&mut self.pending_names);
        let style = Style::draw(random);
        let cut = random.below(changes.len() as u64 + 1) as usize;
        let mut kept = Vec::with_capacity(changes.len());
        for (n, change) in changes.iter().enumerate() {
            let wanted = match (survivors, style) {
                (Survivors::All, _) => true,
                (Survivors::None, _) => false,
                (Survivors::Random(_), Style::Prefix) => n < cut,
                (Survivors::Random(_), Style::Scattered) => random.coin(),
                (Survivors::Random(_), Style::Split { content }) => !content,
            };
            let earlier = changes.iter().zip(&kept);
            let possible = earlier.filter(|(other, _)| other.meets(change)).all(|(_, kept)| *kept);
            kept.push(wanted && possible);
            if wanted && possible {
                self.apply_names(change, true);
            }
        }
    }

    /// After a reboot the page cache is empty.
    fn forget_caches(&mut self) {
        for inode in &mut self.inodes {
            match std::sync::Arc::make_mut(inode) {
                Inode::Directory { live, durable } => live.clone_from(durable),
                Inode::File(file) => file.live = file.durable.clone(),
            }
        }
    }
}

impl File {
    fn settle(&mut self, survivors: Survivors, random: &mut Random) {
        let writes = match survivors {
            Survivors::All => return self.sync(),
            Survivors::None => return self.pending.clear(),
            Survivors::Random(_) => std::mem::take(&mut self.pending),
        };
        let style = Style::draw(random);
        let cut = random.below(writes.len() as u64 + 1) as usize;
        let fates: Vec<_> = (0..writes.len()).map(|n| style.fate(n, cut, random)).collect();
        // How many of the pending lengths count: a decision of its own, unless all went in order.
        let lengths = match style {
            Style::Prefix => cut,
            Style::Scattered => random.below(writes.len() as u64 + 1) as usize,
            Style::Split { content: true } => 0,
            Style::Split { content: false } => writes.len(),
        };
        self.keep_content(&writes, &fates, random);
        let len = lengths.checked_sub(1).map_or(self.durable.len(), |last| writes[last].len_after);
        self.durable.set_len(len);
    }

    fn keep_content(&mut self, writes: &[Write], fates: &[Fate], random: &mut Random) {
        let end = self.live.len().max(self.durable.len());
        // For each sector the last write that reaches it; the earlier ones come with it.
        let mut last: BTreeMap<u64, usize> = BTreeMap::new();
        for (n, (write, fate)) in writes.iter().zip(fates).enumerate() {
            for sector in write.change.sectors(end) {
                if match fate {
                    Fate::Drop => false,
                    Fate::Keep => true,
                    Fate::Tear => random.coin(),
                } {
                    last.insert(sector, n);
                }
            }
        }
        for (n, write) in writes.iter().enumerate() {
            self.durable.apply(&write.change, |sector| last.get(&sector) >= Some(&n));
        }
    }
}

impl Style {
    fn draw(random: &mut Random) -> Self {
        match random.below(8) {
            0..3 => Self::Prefix,
            3..6 => Self::Scattered,
            n => Self::Split { content: n == 6 },
        }
    }

    fn fate(self, n: usize, cut: usize, random: &mut Random) -> Fate {
        match self {
            Self::Prefix if n < cut => Fate::Keep,
            Self::Prefix if n == cut && random.coin() => Fate::Tear,
            Self::Prefix => Fate::Drop,
            Self::Scattered => match random.below(3) {
                0 => Fate::Drop,
                1 => Fate::Keep,
                _ => Fate::Tear,
            },
            Self::Split { content } => {
                if content {
                    Fate::Keep
                } else {
                    Fate::Drop
                }
            }
        }
    }
}
