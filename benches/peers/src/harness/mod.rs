//! The harness: how two sides are measured in one process, and when that is enough to say something.
//!
//! Ours and the peer do the same work in turn, in an order that is swapped each time, so that whatever
//! disturbs the machine disturbs both. One such exchange is a *round*; a row has at least seven, and up to
//! three times as many while its goal lies within the uncertainty of the median.

mod clock;
pub(crate) mod cpu;
pub(crate) mod disk;
mod pin;
pub(crate) mod stats;

use std::time::Duration;

use crate::goal::Goal;

pub(crate) use clock::{now, pause, since};
pub(crate) use pin::Pinned;

/// Why a subject could not be measured: for a person to read.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Rounds that a row needs to be judged.
    pub(crate) min_rounds: usize,
    /// Rounds that are tried at most, those that are discarded included.
    pub(crate) max_rounds: usize,
    /// How often the sides take turns within one round of work that stays in memory.
    pub(crate) turns: usize,
    /// How long one turn takes.
    pub(crate) turn: Duration,
    /// How long a side writes to the disk in one round.
    pub(crate) disk: Duration,
    /// How long the disk itself is looked at before and after.
    pub(crate) probe: Duration,
}

impl Plan {
    /// The same with three times the rounds: work in memory is over in a tenth of a second, and the machine
    /// changes its pace more slowly than that, so that seven rounds would state too small a spread.
    pub(crate) const fn with_more_rounds(self) -> Self {
        let (min_rounds, max_rounds) = (3 * self.min_rounds, 3 * self.max_rounds);
        Self { min_rounds, max_rounds, ..self }
    }

    /// What is published.
    pub(crate) const FULL: Self = Self {
        min_rounds: 7,
        max_rounds: 21,
        // Shorter than the slices of a scheduler, so that most turns are not interrupted.
        turns: 25,
        turn: Duration::from_millis(1),
        disk: Duration::from_millis(500),
        probe: Duration::from_millis(200),
    };

    /// Shows that every subject runs; too little to judge anything, so no verdict comes of it.
    pub(crate) const QUICK: Self = Self {
        min_rounds: 2,
        max_rounds: 2,
        turns: 1,
        turn: Duration::from_micros(200),
        disk: Duration::from_millis(20),
        probe: Duration::from_millis(10),
    };
}

/// The two measurements of one round. `theirs` is absent where a goal is absolute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Round {
    pub(crate) ours: f64,
    pub(crate) theirs: Option<f64>,
}

impl Round {
    /// What the goal is about: the ratio, or our own figure where there is no peer.
    pub(crate) fn value(self) -> f64 {
        self.theirs.map_or(self.ours, |theirs| ratio(self.ours, theirs))
    }
}

/// Ours over theirs; not a number where theirs is nothing that one can divide by. A cost that is a
/// difference can come out as zero or below, which says only that it was too small to see.
pub(crate) fn ratio(ours: f64, theirs: f64) -> f64 {
    if theirs > 0.0 && theirs.is_finite() && ours.is_finite() { ours / theirs } else { f64::NAN }
}

/// True when one more round is wanted for a row with these rounds and this goal.
///
/// `tried` counts the rounds that were discarded as well.
pub(crate) fn wants_more(plan: &Plan, goal: &Goal, rounds: &[Round], tried: usize) -> bool {
    if tried >= plan.max_rounds {
        return false;
    }
    if rounds.len() < plan.min_rounds {
        return true;
    }
    let values: Vec<_> = rounds.iter().map(|round| round.value()).collect();
    goal.is_bound() && goal.verdict(&values).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: &[f64]) -> Vec<Round> {
        values.iter().map(|&ours| Round { ours, theirs: Some(1.0) }).collect()
    }

    #[test]
    fn a_clear_row_stops_at_seven_rounds_and_a_close_one_goes_on_to_three_times_that() {
        let goal = Goal::AtLeast(1.0);
        let clear = rounds(&[1.5; 7]);
        assert!(wants_more(&Plan::FULL, &goal, &clear[..6], 6));
        assert!(!wants_more(&Plan::FULL, &goal, &clear, 7));
        let close = rounds(&[0.9, 1.1, 0.9, 1.1, 0.9, 1.1, 0.9]);
        assert!(wants_more(&Plan::FULL, &goal, &close, 7));
        assert!(wants_more(&Plan::FULL, &goal, &close, 20));
        assert!(!wants_more(&Plan::FULL, &goal, &close, 21));
    }

    #[test]
    fn a_disk_that_never_settles_ends_the_row() {
        assert!(wants_more(&Plan::FULL, &Goal::AtLeast(1.0), &[], 20));
        assert!(!wants_more(&Plan::FULL, &Goal::AtLeast(1.0), &[], 21));
    }

    #[test]
    fn a_row_without_a_goal_needs_no_more_than_the_least() {
        let close = rounds(&[0.5, 2.0, 0.5, 2.0, 0.5, 2.0, 0.5]);
        assert!(!wants_more(&Plan::FULL, &Goal::Reported, &close, 7));
    }

    #[test]
    fn nothing_is_divided_by_zero_or_by_a_cost_below_it() {
        for theirs in [0.0, -0.1, f64::NAN, f64::INFINITY] {
            assert!(ratio(1.0, theirs).is_nan(), "{theirs}");
        }
        assert!(ratio(f64::NAN, 1.0).is_nan());
        assert!((ratio(1.0, 4.0) - 0.25).abs() < 1e-12);
        // Ours below zero is noise around nothing, and far below any bound.
        assert!(ratio(-0.1, 4.0) < 0.0);
    }
}
