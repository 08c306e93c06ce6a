//! [`Image`]: the content of a file as sparse pages that copies share, and [`Write`], a change to it.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Bytes that a disk writes whole or not at all.
pub(super) const SECTOR: u64 = 512;
const PAGE: u64 = 4_096;

type Page = [u8; PAGE as usize];

/// The content of a file. What was never written reads as zero.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    len: u64,
    // Invariant: no page is all zero, and bytes at or beyond `len` are zero, so that equal content
    // has one representation.
    pages: BTreeMap<u64, Arc<Page>>,
}

/// One change to a file that no sync has covered yet.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) change: Change,
    /// The length of the file once this was applied.
    pub(super) len_after: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Bytes {
        offset: u64,
        data: Arc<[u8]>,
    },
    /// Everything from here on reads as zero: the file was cut.
    ZeroFrom(u64),
    /// The length alone.
    Length,
}

impl Image {
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Reads at `offset`; returns how much there was.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let n = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        for (start, in_page, page, len) in spans(offset, n as u64) {
            let out = &mut buf[start as usize..(start + len) as usize];
            match self.pages.get(&page) {
                Some(bytes) => out.copy_from_slice(&bytes[in_page..in_page + len as usize]),
                None => out.fill(0),
            }
        }
        n
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(&mut bytes, 0);
        bytes
    }

    /// Writes, extending the file if need be.
    pub(super) fn write(&mut self, data: &[u8], offset: u64) {
        for (start, in_page, page, len) in spans(offset, data.len() as u64) {
            let bytes = &data[start as usize..(start + len) as usize];
            let all_zero = bytes.iter().all(|&byte| byte == 0);
            if all_zero && !self.pages.contains_key(&page) {
                continue;
            }
            let entry = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE as usize]));
            Arc::make_mut(entry)[in_page..in_page + len as usize].copy_from_slice(bytes);
            if all_zero {
                self.drop_if_zero(page);
            }
        }
        self.len = self.len.max(offset + data.len() as u64);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.zero_from(len);
        self.len = len;
    }

    /// Zeroes everything from `offset` to the end without changing the length.
    fn zero_from(&mut self, offset: u64) {
        let (page, in_page) = (offset / PAGE, (offset % PAGE) as usize);
        let gone = self.pages.split_off(&page);
        if let Some(mut first) = gone.get(&page).cloned().filter(|_| in_page > 0) {
            Arc::make_mut(&mut first)[in_page..].fill(0);
            self.pages.insert(page, first);
            self.drop_if_zero(page);
        }
    }

    /// Applies the part of `change` that lies in the sectors that `keep` accepts. Leaves the length.
    pub(super) fn apply(&mut self, change: &Change, mut keep: impl FnMut(u64) -> bool) {
        let len = self.len;
        match change {
            Change::Length => {}
            Change::Bytes { offset, data } => {
                for (start, end) in sectors(*offset, *offset + data.len() as u64) {
                    if keep(start / SECTOR) {
                        let from = (start - offset) as usize;
                        self.write(&data[from..from + (end - start) as usize], start);
                    }
                }
            }
            Change::ZeroFrom(offset) => {
                for (start, end) in sectors(*offset, self.content_end().max(*offset)) {
                    if keep(start / SECTOR) {
                        self.write(&[0; SECTOR as usize][..(end - start) as usize], start);
                    }
                }
            }
        }
        // The length is a decision of its own; until it is taken, content may lie beyond it.
        self.len = len;
    }

    /// Applies all of `change`. Leaves the length.
    pub(super) fn apply_whole(&mut self, change: &Change) {
        let len = self.len;
        match change {
            Change::Length => {}
            Change::Bytes { offset, data } => self.write(data, *offset),
            Change::ZeroFrom(offset) => self.zero_from(*offset),
        }
        self.len = len;
    }

    /// Where the last page that holds anything ends.
    fn content_end(&self) -> u64 {
        self.pages.keys().next_back().map_or(0, |page| (page + 1) * PAGE)
    }

    pub(super) fn flip_bit(&mut self, bit: u64) {
        let (offset, mask) = (bit / 8, 1_u8 << (bit % 8));
        let mut byte = [0];
        if self.read(&mut byte, offset) == 1 {
            self.write(&[byte[0] ^ mask], offset);
        }
    }

    fn drop_if_zero(&mut self, page: u64) {
        if self.pages.get(&page).is_some_and(|bytes| bytes.iter().all(|&byte| byte == 0)) {
            self.pages.remove(&page);
        }
    }
}

impl Hash for Image {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len.hash(state);
        self.pages.hash(state);
    }
}

impl Change {
    /// The sectors that it touches, in a file that held `end` bytes.
    pub(super) fn sectors(&self, end: u64) -> impl Iterator<Item = u64> {
        let (from, to) = match self {
            Self::Bytes { offset, data } => (*offset, offset + data.len() as u64),
            Self::ZeroFrom(offset) => (*offset, end.max(*offset)),
            Self::Length => (0, 0),
        };
        sectors(from, to).map(|(start, _)| start / SECTOR)
    }
}

/// Cuts the bytes from `from` to `to` at the sector boundaries.
fn sectors(from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut start = from;
    std::iter::from_fn(move || {
        let end = to.min((start / SECTOR + 1) * SECTOR);
        let sector = (start < to).then_some((start, end));
        start = end;
        sector
    })
}

/// Cuts `n` bytes at `offset` at the page boundaries: (start in the buffer, start in the page, page,
/// length).
fn spans(offset: u64, n: u64) -> impl Iterator<Item = (u64, usize, u64, u64)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let at = offset + start;
        let len = (PAGE - at % PAGE).min(n - start);
        let span = (start < n).then_some((start, (at % PAGE) as usize, at / PAGE, len));
        start += len;
        span
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_gaps_are_zero() {
        let mut image = Image::default();
        image.write(b"end", 10_000);
        image.write(&[7; 5_000], 3_000);
        let bytes = image.to_vec();
        assert_eq!(bytes.len(), 10_003);
        assert!(bytes[..3_000].iter().chain(&bytes[8_000..10_000]).all(|&byte| byte == 0));
        assert!(bytes[3_000..8_000].iter().all(|&byte| byte == 7));
        assert_eq!(&bytes[10_000..], b"end");
    }

    #[test]
    fn a_file_that_was_cut_and_extended_reads_zero_there() {
        let mut image = Image::default();
        image.write(&[1; 9_000], 0);
        image.set_len(100);
        image.set_len(9_000);
        let bytes = image.to_vec();
        assert!(bytes[..100].iter().all(|&byte| byte == 1));
        assert!(bytes[100..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_change_can_be_applied_by_sector() {
        let mut image = Image::default();
        image.set_len(2_048);
        let change = Change::Bytes { offset: 100, data: vec![9; 1_500].into() };
        assert_eq!(change.sectors(0).collect::<Vec<_>>(), [0, 1, 2, 3]);
        image.apply(&change, |sector| sector == 1 || sector == 3);
        let bytes = image.to_vec();
        let nines: Vec<_> = (0..2_048).filter(|&at| bytes[at] == 9).collect();
        assert_eq!(nines, (512..1_024).chain(1_536..1_600).collect::<Vec<_>>());
    }

    #[test]
    fn equal_content_has_one_representation() {
        let hash = |image: &Image| {
            let mut hasher = std::collections::hash_map::DefaultHasher::new();
            image.hash(&mut hasher);
            hasher.finish()
        };
        let (mut one, mut two) = (Image::default(), Image::default());
        one.write(&[1; 4_096], 0);
        one.write(&[0; 4_096], 0);
        two.set_len(4_096);
        assert_eq!(hash(&one), hash(&two));
        two.flip_bit(5);
        assert_ne!(hash(&one), hash(&two));
    }
}
