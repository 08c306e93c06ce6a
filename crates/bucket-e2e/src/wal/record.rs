//! [`Id`]: which record this is, and the bytes that follow from it, so that every byte can be checked.

/// Which record of which run this is; everything else about it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    /// The process that wrote it.
    pub(super) run: u32,
    pub(super) thread: u32,
    /// Counts the records of a thread.
    pub(super) seq: u64,
    /// Its place in its batch.
    pub(super) nth: u32,
    /// How many records the batch has.
    pub(super) of: u32,
    /// The length of the content in bytes.
    pub(super) len: u32,
}

impl Id {
    /// The content: the numbers, and bytes that no other record has.
    pub(super) fn content(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len as usize);
        bytes.extend_from_slice(&MAGIC);
        for number in [self.run, self.thread, self.nth, self.of, self.len] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.seq.to_le_bytes());
        let mut rng = Rng::new(&[
            u64::from(self.run),
            u64::from(self.thread),
            self.seq,
            u64::from(self.nth) << 32 | u64::from(self.of),
            u64::from(self.len),
        ]);
        let len = (self.len as usize).max(MIN_LEN);
        while bytes.len() < len {
            let word = rng.next().to_le_bytes();
            let n = word.len().min(len - bytes.len());
            bytes.extend_from_slice(&word[..n]);
        }
        bytes
    }

    /// The record that has exactly this content.
    pub(super) fn of_content(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let seq = bytes.get(24..32)?.try_into().ok().map(u64::from_le_bytes)?;
        let (run, thread, nth, of) = (word(4)?, word(8)?, word(12)?, word(16)?);
        let id = Self { run, thread, seq, nth, of, len: word(20)? };
        // The length is checked first, because it decides how much is made up to compare with.
        (id.len as usize == bytes.len() && id.content() == bytes).then_some(id)
    }
}

/// What a checkpoint at `replay_from` stores for the application.
pub(super) fn state(replay_from: u64) -> Vec<u8> {
    let mut rng = Rng::new(&[replay_from]);
    let len = rng.below(2_000) as usize;
    let mut bytes = replay_from.to_le_bytes().to_vec();
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
    }
    bytes
}

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: &[u64]) -> Self {
        let mut rng = Self(0x5eed);
        for part in seed {
            rng.0 ^= part;
            rng.0 = rng.next();
        }
        rng
    }

    pub(super) fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is above 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// No content is shorter.
pub(super) const MIN_LEN: usize = 40;

const MAGIC: [u8; 4] = *b"WALP";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_known_by_its_content_and_no_other_content_passes() {
        let id = Id { run: 3, thread: 1, seq: 9, nth: 0, of: 1, len: 100 };
        let bytes = id.content();
        assert_eq!(Id::of_content(&bytes), Some(id));
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(Id::of_content(&other), None, "byte {at}");
        }
        assert_eq!(Id::of_content(&bytes[..99]), None);
        assert_eq!(Id::of_content(&[]), None);
    }
}
