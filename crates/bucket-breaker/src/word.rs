//! [`Word`]: the bit layout of a breaker's state, as pure functions.
//!
//! ```text
//! 63..62 phase | 61..42 generation | 41..0 payload by phase
//! Closed        shift register: a sentinel 1 above the oldest outcome, 1 = failure, newest lowest
//! HalfOpen      29..20 probes in flight | 19..10 successes | 9..0 reserved for failures
//! Open          the millisecond of the clock at which it ends; all ones = forced
//! ForcedClosed  0
//! ```
//!
//! The sentinel costs one bit and saves a length: where it stands is how many outcomes there are.

/// One state of a breaker; a value, never modified in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

/// Phase and generation: what a result must agree with to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u32);

/// The two bits on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Closed,
    HalfOpen,
    Open,
    ForcedClosed,
}

impl Word {
    /// Closed, with no outcome seen.
    pub(crate) const fn closed(generation: u32) -> Self {
        Self::new(Phase::Closed, generation, 1)
    }

    /// Half-open with `in_flight` probes under way and `successes` behind it.
    pub(crate) const fn half_open(generation: u32, in_flight: u32, successes: u32) -> Self {
        let payload =
            ((in_flight as u64) << IN_FLIGHT_SHIFT) | ((successes as u64) << SUCCESS_SHIFT);
        Self::new(Phase::HalfOpen, generation, payload)
    }

    /// Open until the given millisecond, at most [`LAST_MILLI`].
    pub(crate) const fn open_until(generation: u32, milli: u64) -> Self {
        let milli = if milli < LAST_MILLI { milli } else { LAST_MILLI };
        Self::new(Phase::Open, generation, milli)
    }

    /// Open until somebody says otherwise.
    pub(crate) const fn forced_open(generation: u32) -> Self {
        Self::new(Phase::Open, generation, PAYLOAD_MASK)
    }

    /// Closed until somebody says otherwise, whatever the outcomes.
    pub(crate) const fn forced_closed(generation: u32) -> Self {
        Self::new(Phase::ForcedClosed, generation, 0)
    }

    /// The word with these bits.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn phase(self) -> Phase {
        match self.0 >> PHASE_SHIFT {
            0 => Phase::Closed,
            1 => Phase::HalfOpen,
            2 => Phase::Open,
            _ => Phase::ForcedClosed,
        }
    }

    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32 & GENERATION_MASK
    }

    /// The generation of the state after this one; wraps.
    pub(crate) const fn next_generation(self) -> u32 {
        (self.generation() + 1) & GENERATION_MASK
    }

    pub(crate) const fn tag(self) -> Tag {
        Tag((self.0 >> GENERATION_SHIFT) as u32)
    }

    /// Closed: the same with one more outcome, of which the newest `capacity` are kept.
    ///
    /// A success on a full register without failures is the identity: that is why a healthy breaker
    /// is only ever read.
    pub(crate) const fn push(self, capacity: u32, failed: bool) -> Self {
        let filled = self.filled();
        let outcomes = ((self.outcomes() << 1) | failed as u64) & low_bits(capacity);
        let filled = if filled < capacity { filled + 1 } else { capacity };
        Self((self.0 & !PAYLOAD_MASK) | (1 << filled) | outcomes)
    }

    /// Closed: how many of the newest outcomes are failures without a success between them.
    pub(crate) const fn consecutive_failures(self) -> u32 {
        self.outcomes().trailing_ones() // The sentinel is not among the outcomes.
    }

    /// Closed: the failures among the newest `window` outcomes.
    pub(crate) const fn failures(self, window: u32) -> u32 {
        (self.outcomes() & low_bits(window)).count_ones()
    }

    /// Closed: how many outcomes the register holds.
    pub(crate) const fn filled(self) -> u32 {
        self.payload().ilog2()
    }

    /// Half-open: probes that have not answered.
    pub(crate) const fn in_flight(self) -> u32 {
        (self.payload() >> IN_FLIGHT_SHIFT) as u32 & FIELD_MASK
    }

    /// Half-open: probes that succeeded.
    pub(crate) const fn successes(self) -> u32 {
        (self.payload() >> SUCCESS_SHIFT) as u32 & FIELD_MASK
    }

    /// Open: the millisecond at which it ends; `None` when it was forced.
    pub(crate) const fn expiry_milli(self) -> Option<u64> {
        if self.payload() == PAYLOAD_MASK { None } else { Some(self.payload()) }
    }

    const fn new(phase: Phase, generation: u32, payload: u64) -> Self {
        let generation = (generation & GENERATION_MASK) as u64;
        Self(((phase as u64) << PHASE_SHIFT) | (generation << GENERATION_SHIFT) | payload)
    }

    const fn payload(self) -> u64 {
        self.0 & PAYLOAD_MASK
    }

    const fn outcomes(self) -> u64 {
        self.payload() ^ (1 << self.filled())
    }
}

const fn low_bits(n: u32) -> u64 {
    (1 << n) - 1
}

/// The most outcomes that a register holds; the sentinel stands above them.
pub(crate) const MAX_WINDOW: u32 = 40;
/// The most that a field of the half-open payload counts.
pub(crate) const MAX_PROBES: u32 = FIELD_MASK;
/// The last expiry that is not the mark of a forced state: 139 years.
const LAST_MILLI: u64 = PAYLOAD_MASK - 1;

const PHASE_SHIFT: u32 = 62;
const GENERATION_SHIFT: u32 = 42;
const GENERATION_MASK: u32 = (1 << 20) - 1;
const PAYLOAD_MASK: u64 = (1 << GENERATION_SHIFT) - 1;
const IN_FLIGHT_SHIFT: u32 = 20;
const SUCCESS_SHIFT: u32 = 10;
const FIELD_MASK: u32 = (1 << 10) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_keeps_the_newest_outcomes() {
        let mut word = Word::closed(7);
        assert_eq!((word.filled(), word.consecutive_failures(), word.failures(3)), (0, 0, 0));
        for failed in [true, false, true, true] {
            word = word.push(3, failed);
        }
        assert_eq!((word.filled(), word.consecutive_failures(), word.failures(3)), (3, 2, 2));
        assert_eq!(word.failures(1), 1);
        word = word.push(3, true);
        assert_eq!((word.consecutive_failures(), word.failures(3)), (3, 3));
        assert_eq!((word.phase(), word.generation()), (Phase::Closed, 7));
    }

    #[test]
    fn the_largest_register_stays_within_its_payload() {
        let mut word = Word::closed(GENERATION_MASK);
        for _ in 0..100 {
            word = word.push(MAX_WINDOW, true);
        }
        assert_eq!(word.filled(), MAX_WINDOW);
        assert_eq!(word.consecutive_failures(), MAX_WINDOW);
        assert_eq!((word.phase(), word.generation()), (Phase::Closed, GENERATION_MASK));
    }

    #[test]
    fn a_success_on_a_full_healthy_register_changes_no_bit() {
        let mut word = Word::closed(1);
        for _ in 0..20 {
            assert_ne!(word.push(20, false), word);
            word = word.push(20, false);
        }
        assert_eq!(word.push(20, false), word);
    }

    #[test]
    fn probes_are_counted_apart() {
        let word = Word::half_open(3, MAX_PROBES, 2);
        assert_eq!((word.in_flight(), word.successes()), (MAX_PROBES, 2));
        assert_eq!((word.phase(), word.generation()), (Phase::HalfOpen, 3));
    }

    #[test]
    fn no_expiry_is_taken_for_a_forced_state() {
        assert_eq!(Word::open_until(0, 1_234).expiry_milli(), Some(1_234));
        assert_eq!(Word::open_until(0, u64::MAX).expiry_milli(), Some(LAST_MILLI));
        assert_eq!(Word::forced_open(0).expiry_milli(), None);
    }

    #[test]
    fn generations_wrap_and_tags_tell_phases_apart() {
        let last = Word::closed(GENERATION_MASK);
        assert_eq!(last.next_generation(), 0);
        assert_ne!(Word::closed(5).tag(), Word::half_open(5, 0, 0).tag());
        assert_ne!(Word::closed(5).tag(), Word::closed(6).tag());
        assert_eq!(Word::closed(5).tag(), Word::closed(5).push(8, true).tag());
    }
}
