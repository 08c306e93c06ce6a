//! Work that stays in memory: nanoseconds a call, the sides taking turns of some milliseconds.
//!
//! Each round makes its subjects anew, so that where the allocator happened to put them is part of the
//! spread and not a bias of the whole row.

use std::fmt;
use std::time::Duration;

use crate::goal::Goal;
use crate::harness::{Failure, Pinned, Plan, Round, stats, wants_more};

/// Does the work so many times and says how long that took. The clock is read inside, next to the loop.
pub(crate) type Run = Box<dyn FnMut(u64) -> Duration>;

/// One side.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    make: fn() -> Result<Run, Failure>,
}

impl Subject {
    pub(crate) const fn new(make: fn() -> Result<Run, Failure>) -> Self {
        Self { make }
    }

    /// A fresh instance that has been warmed up, and how many calls make up a turn.
    fn start(self, plan: &Plan, calls: &mut Option<u64>) -> Result<Live, Failure> {
        let mut run = (self.make)()?;
        let calls = *calls.get_or_insert_with(|| calibrate(&mut run, plan.turn));
        run(calls);
        Ok(Live { run, calls })
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").finish_non_exhaustive()
    }
}

/// What is measured against what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) ours: Subject,
    pub(crate) theirs: Option<Subject>,
    /// The guarded work alone; its time is taken off both sides.
    pub(crate) bare: Option<Subject>,
}

/// The rounds of a pair, and what the bare work cost beside it.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) rounds: Vec<Round>,
    pub(crate) bare: Option<f64>,
}

/// Measures `pair` until `goal` can be judged, or the plan is at its end. `convert` turns nanoseconds a
/// call into the unit of the row.
pub(crate) fn measure(
    plan: &Plan,
    pair: &Pair,
    goal: &Goal,
    convert: fn(f64) -> f64,
) -> Result<Measured, Failure> {
    let _pinned = Pinned::new();
    let mut rounds = Vec::new();
    let mut bare_costs = Vec::new();
    let (mut our_calls, mut their_calls, mut bare_calls) = (None, None, None);
    while wants_more(plan, goal, &rounds, rounds.len()) {
        let mut ours = pair.ours.start(plan, &mut our_calls)?;
        let mut theirs =
            pair.theirs.map(|subject| subject.start(plan, &mut their_calls)).transpose()?;
        let mut bare = pair.bare.map(|subject| subject.start(plan, &mut bare_calls)).transpose()?;

        let (mut our_turns, mut their_turns, mut bare_turns) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..plan.turns {
            let base = bare.as_mut().map_or(0.0, Live::nanos);
            bare_turns.push(base);
            if (rounds.len() + turn).is_multiple_of(2) {
                our_turns.push(ours.nanos() - base);
                their_turns.extend(theirs.as_mut().map(|theirs| theirs.nanos() - base));
            } else {
                their_turns.extend(theirs.as_mut().map(|theirs| theirs.nanos() - base));
                our_turns.push(ours.nanos() - base);
            }
        }
        rounds.push(Round {
            ours: stats::median(&our_turns).map_or(f64::NAN, convert),
            theirs: stats::median(&their_turns).map(convert),
        });
        bare_costs.extend(stats::median(&bare_turns));
    }
    let bare = pair.bare.and_then(|_| stats::median(&bare_costs));
    Ok(Measured { rounds, bare })
}

struct Live {
    run: Run,
    calls: u64,
}

impl Live {
    /// Nanoseconds a call over one turn.
    fn nanos(&mut self) -> f64 {
        (self.run)(self.calls).as_nanos() as f64 / self.calls as f64
    }
}

/// How many calls take about as long as `turn`.
fn calibrate(run: &mut Run, turn: Duration) -> u64 {
    let mut calls = 16;
    loop {
        let took = run(calls);
        if took * 4 >= turn || calls >= MAX_CALLS {
            let scale = turn.as_secs_f64() / took.as_secs_f64().max(1e-9);
            return ((calls as f64 * scale) as u64).clamp(1, MAX_CALLS);
        }
        calls *= 4;
    }
}

const MAX_CALLS: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// A subject whose call takes so many nanoseconds on a clock of its own.
    fn takes<const NANOS: u64>() -> Result<Run, Failure> {
        Ok(Box::new(|calls| Duration::from_nanos(calls * NANOS)))
    }

    fn pair(theirs: Option<Subject>, bare: Option<Subject>) -> Pair {
        Pair { ours: Subject::new(takes::<30>), theirs, bare }
    }

    #[test]
    fn the_bare_work_is_taken_off_both_sides() {
        let pair = pair(Some(Subject::new(takes::<50>)), Some(Subject::new(takes::<10>)));
        let measured = measure(&Plan::FULL, &pair, &Goal::AtMost(0.6), |ns| ns).unwrap();
        assert_eq!(measured.rounds, [Round { ours: 20.0, theirs: Some(40.0) }; 7]);
        assert_eq!(measured.bare, Some(10.0));
    }

    #[test]
    fn a_rate_is_made_of_the_time() {
        let pair = pair(Some(Subject::new(takes::<60>)), None);
        let measured = measure(&Plan::FULL, &pair, &Goal::AtLeast(1.5), |ns| 1e9 / ns).unwrap();
        assert!((measured.rounds[0].value() - 2.0).abs() < 1e-9);
        assert_eq!(measured.bare, None);
    }

    #[test]
    fn without_a_peer_there_is_only_our_side() {
        let measured =
            measure(&Plan::FULL, &pair(None, None), &Goal::AtMost(9.0), |ns| ns).unwrap();
        assert_eq!(measured.rounds[0], Round { ours: 30.0, theirs: None });
        assert_eq!(measured.rounds[0].value(), 30.0);
    }

    #[test]
    fn a_subject_that_cannot_be_made_ends_the_measurement() {
        let broken = Subject::new(|| Err("no such thing".into()));
        let pair = pair(Some(broken), None);
        assert!(measure(&Plan::FULL, &pair, &Goal::Reported, |ns| ns).is_err());
    }

    #[test]
    fn a_turn_has_as_many_calls_as_fit() {
        let mut run: Run = Box::new(|calls| Duration::from_nanos(calls * 100));
        assert_eq!(calibrate(&mut run, Duration::from_millis(1)), 10_000);
        // What takes no time at all does not hold the harness up.
        let mut nothing: Run = Box::new(|_| Duration::ZERO);
        assert_eq!(calibrate(&mut nothing, Duration::from_millis(1)), MAX_CALLS);
    }
}
