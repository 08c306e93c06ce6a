//! What happens when, and what is stored: everything that follows from the seed.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// How the remote behaves for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Every request is refused at once and not applied.
    Down,
    /// Every request is answered within milliseconds.
    Healthy,
    /// Requests are applied, and of many nobody is told.
    Lost,
    /// Half of the requests are applied after 0.2 to 1.5 s, whether or not anybody still waits.
    Slow,
    /// Most requests are refused with a hint when to come back.
    Throttled,
}

/// The schedule of a drill.
#[derive(Debug)]
pub(crate) struct Plan {
    /// From when on the remote behaves how.
    pub(crate) phases: Vec<(Duration, Phase)>,
    /// When the child is killed.
    pub(crate) kills: Vec<Duration>,
}

/// SplitMix64: small, seedable, and good enough to choose faults and to fill objects.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Phase {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Healthy => "healthy",
            Self::Lost => "replies lost",
            Self::Slow => "slow",
            Self::Throttled => "throttled",
        }
    }
}

impl Plan {
    pub(crate) fn new(seed: u64, duration: Duration) -> Self {
        let mut rng = Rng::new(seed ^ PHASES);
        let (mut at, mut phases, mut bag) = (Duration::ZERO, vec![], vec![]);
        while at < duration {
            if bag.is_empty() {
                // Every fault comes up in every round, in an order of its own.
                bag.extend([Phase::Down, Phase::Lost, Phase::Slow, Phase::Throttled]);
                bag.extend([Phase::Healthy; 3]);
            }
            let phase = match phases.is_empty() {
                true => Phase::Healthy,
                false => bag.swap_remove(rng.below(bag.len() as u64) as usize),
            };
            phases.push((at, phase));
            at += Duration::from_millis(rng.between(600, 2_500));
        }
        let mut rng = Rng::new(seed ^ KILLS);
        let mut kills = vec![];
        let mut at = Duration::from_millis(rng.between(1_500, 3_500)).min(duration / 2);
        while at < duration {
            kills.push(at);
            // Now and then again at once, to hit the recovery.
            let gap = if rng.chance(250) { (2, 80) } else { (2_000, 4_000) };
            at += Duration::from_millis(rng.between(gap.0, gap.1));
        }
        Self { phases, kills }
    }
}

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 when `n` is 0.
    pub(crate) const fn below(&mut self, n: u64) -> u64 {
        let random = self.next();
        if n == 0 { 0 } else { random % n }
    }

    /// A number from `low` to `high`, both included.
    pub(crate) const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True so many times out of 1 000.
    pub(crate) const fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// The length of a made-up object: mostly small, some beyond what the log holds inline.
    pub(crate) const fn len(&mut self) -> u64 {
        match self.below(1_000) {
            0..=29 => self.below(9),
            30..=899 => self.between(9, 4 << 10),
            900..=979 => self.between(4 << 10, 64 << 10),
            980..=994 => self.between(64 << 10, 512 << 10),
            _ => self.between(512 << 10, 4 << 20),
        }
    }
}

/// The content of operation `i`. Unique from 8 bytes up, because it starts with a mix of its number.
pub(crate) fn content(seed: u64, i: u64, len: u64) -> Vec<u8> {
    // A bijection of `i` for one seed, so that no two operations start alike.
    let mut rng = Rng::new(seed.wrapping_add(i.wrapping_mul(0xa076_1d64_78bd_642f)));
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let mut content = Vec::with_capacity(len);
    while content.len() < len {
        let word = rng.next().to_le_bytes();
        content.extend_from_slice(&word[..word.len().min(len - content.len())]);
    }
    content
}

pub(crate) fn random_seed() -> u64 {
    // Short enough to type: it is printed to be used again.
    RandomState::new().build_hasher().finish() & 0xffff_ffff
}

const PHASES: u64 = 0x5048_4153_4553;
const KILLS: u64 = 0x4b49_4c4c_5300;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_gives_one_schedule() {
        let (a, b) = (Plan::new(7, Duration::from_secs(30)), Plan::new(7, Duration::from_secs(30)));
        assert_eq!((a.phases, a.kills), (b.phases, b.kills));
    }

    #[test]
    fn half_a_minute_has_every_fault_and_several_kills() {
        for seed in 0..200 {
            let plan = Plan::new(seed, Duration::from_secs(30));
            for phase in [Phase::Down, Phase::Lost, Phase::Slow, Phase::Throttled] {
                assert!(plan.phases.iter().any(|(_, p)| *p == phase), "{seed}: {phase:?}");
            }
            assert!(plan.kills.len() >= 6, "{seed}: {:?}", plan.kills);
        }
    }

    #[test]
    fn even_one_second_has_a_kill() {
        assert!(!Plan::new(1, Duration::from_secs(1)).kills.is_empty());
    }

    #[test]
    fn contents_differ_and_repeat() {
        let contents: HashSet<_> = (0..10_000).map(|i| content(3, i, 8)).collect();
        assert_eq!(contents.len(), 10_000);
        assert_eq!(content(3, 5, 1_000), content(3, 5, 1_000));
        assert_eq!(content(3, 5, 13).len(), 13);
    }
}
