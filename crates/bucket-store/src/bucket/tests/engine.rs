//! The engine alone: operations, outcomes and times go in, work comes out.

use std::collections::BTreeMap;
use std::time::Duration;

use bucket_core::{OpId, Tick};
use bucket_remote::{Caps, Digest, Key, RemoteErrorKind, Version};
use bucket_wal::Lsn;
use proptest::prelude::*;

use super::key;
use crate::bucket::engine::{Engine, EngineConfig};
use crate::bucket::job::{Job, Known, Next, Op, Outcome, Parked, PendingChange, Refusal, Settled};

const LATE: Duration = Duration::from_secs(100);
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
const REFUSED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

fn engine(caps: Caps) -> Engine {
    let (backoff, refused_backoff) = (BACKOFF, REFUSED);
    Engine::new(EngineConfig { caps, late_window: LATE, backoff, refused_backoff }, 7)
}

/// A remote that can nothing: no conditions, no identity, no bound on lateness.
fn plain() -> Engine {
    engine(Caps::none())
}

fn conditional() -> Engine {
    engine(Caps::none().conditional().identity())
}

fn at(seconds: u64) -> Tick {
    Tick::ZERO.after(Duration::from_secs(seconds))
}

fn op(lsn: u64, change: PendingChange) -> Op {
    let (op_id, accepted) = (OpId::new(u128::from(lsn)), Tick::ZERO);
    Op { lsn: Lsn::new(lsn), op_id, change, accepted, cost: 10 }
}

fn put(lsn: u64) -> Op {
    let digest = Digest::new([lsn as u8; 32]);
    op(lsn, PendingChange::Put { digest, len: 1, blob: None })
}

fn delete(lsn: u64) -> Op {
    op(lsn, PendingChange::Delete)
}

fn accept(engine: &mut Engine, name: &str, op: Op) {
    let lsn = op.lsn;
    engine.register(key(name), op, Known::Unknown);
    engine.acknowledge(&key(name), lsn);
}

/// The job that starts now, and what it replaces.
fn start(engine: &mut Engine, now: Tick) -> (Job, Vec<Settled>) {
    let mut replaced = Vec::new();
    match engine.next(now, &mut replaced) {
        Next::Start(job) => (*job, replaced),
        Next::Wait(until) => panic!("waits until {until:?}"),
    }
}

/// The job that starts now and replaces nothing.
fn start_one(engine: &mut Engine, now: Tick) -> Job {
    let (job, replaced) = start(engine, now);
    assert!(replaced.is_empty(), "{replaced:?}");
    job
}

/// Nothing starts now; the time until which nothing will.
fn wait(engine: &mut Engine, now: Tick) -> Option<Tick> {
    let mut replaced = Vec::new();
    match engine.next(now, &mut replaced) {
        Next::Wait(until) => until,
        Next::Start(job) => panic!("starts {job:?}"),
    }
}

fn version(name: &str) -> Known {
    Known::Version(Version::new(name))
}

/// Applied, and a late duplicate is refused.
fn safe() -> Outcome {
    Outcome::Applied { now_known: version("v"), conditional: true }
}

/// Applied, and a late duplicate may undo something newer.
fn unsafe_for_late() -> Outcome {
    Outcome::Applied { now_known: version("v"), conditional: false }
}

/// The log has the settlements, from this record on.
fn settle(engine: &mut Engine, record: u64, settled: &[Settled]) {
    for (record, settled) in (record..).zip(settled) {
        engine.settling(Lsn::new(record));
        engine.settled(&settled.op, Lsn::new(record));
    }
}

fn lsns(settled: &[Settled]) -> Vec<u64> {
    settled.iter().map(|settled| settled.op.lsn.get()).collect()
}

#[test]
fn a_key_has_one_operation_in_flight_and_another_key_does_not_wait_for_it() {
    let mut engine = conditional();
    accept(&mut engine, "a", put(1));
    let first = start_one(&mut engine, at(0));
    accept(&mut engine, "a", put(2));
    accept(&mut engine, "b", put(3));
    assert_eq!(start_one(&mut engine, at(0)).op.lsn, Lsn::new(3));
    assert_eq!(wait(&mut engine, at(0)), None, "a is in flight");
    assert!(engine.complete(&first, safe(), at(1)).is_some());
    assert_eq!(wait(&mut engine, at(1)), None, "a rests until its settlement is durable");
    engine.go_on(&key("a"), at(1));
    let next = start_one(&mut engine, at(1));
    assert_eq!((next.op.lsn, next.known, next.verify), (Lsn::new(2), version("v"), false));
}

#[test]
fn an_operation_that_is_not_durable_is_neither_sent_nor_seen() {
    let mut engine = conditional();
    engine.register(key("a"), put(1), Known::Unknown);
    assert_eq!(wait(&mut engine, at(0)), None);
    assert!(engine.newest("a").is_none());
    assert_eq!(engine.pending(), (1, 10), "it takes room all the same");
    assert_eq!(engine.frontier(), Some(Lsn::new(1)));
    engine.acknowledge(&key("a"), Lsn::new(1));
    assert_eq!(engine.newest("a").map(|op| op.lsn), Some(Lsn::new(1)));
    assert_eq!(start_one(&mut engine, at(0)).op.lsn, Lsn::new(1));
}

#[test]
fn what_was_forgotten_is_not_sent_and_takes_no_room() {
    let mut engine = conditional();
    engine.register(key("a"), put(1), Known::Unknown);
    engine.forget(&key("a"), Lsn::new(1));
    assert_eq!((engine.pending(), engine.frontier()), ((0, 0), None));
    assert_eq!(wait(&mut engine, at(0)), None);
    assert!(engine.newest("a").is_none());
}

#[test]
fn an_operation_counts_until_its_settlement_is_durable() {
    let mut engine = conditional();
    accept(&mut engine, "a", put(1));
    let job = start_one(&mut engine, at(0));
    let settled = engine.complete(&job, safe(), at(0)).unwrap();
    assert!(engine.newest("a").is_none(), "the remote has it");
    assert_eq!((engine.pending(), engine.frontier()), ((1, 10), Some(Lsn::new(1))));
    engine.settling(Lsn::new(2));
    assert_eq!(engine.pending(), (1, 10));
    engine.settled(&settled.op, Lsn::new(2));
    assert_eq!((engine.pending(), engine.frontier()), ((0, 0), None));
}

/// A checkpoint that had replay start behind one of them would leave what it says out of the catalog.
#[test]
fn what_the_catalog_does_not_know_of_is_told() {
    let mut engine = conditional();
    assert_eq!(engine.oldest_unapplied(), None);
    engine.register(key("a"), put(1), Known::Unknown);
    engine.register(key("b"), put(2), Known::Unknown);
    assert_eq!(engine.oldest_unapplied(), Some(Lsn::new(1)));
    engine.acknowledge(&key("a"), Lsn::new(1));
    assert_eq!(engine.oldest_unapplied(), Some(Lsn::new(2)));
    engine.forget(&key("b"), Lsn::new(2));
    assert_eq!(engine.oldest_unapplied(), None);
    let job = start_one(&mut engine, at(0));
    let settled = engine.complete(&job, safe(), at(0)).unwrap();
    assert_eq!(engine.oldest_unapplied(), None);
    engine.settling(Lsn::new(3));
    engine.not_settled(Lsn::new(3));
    assert_eq!(engine.oldest_unapplied(), None);
    engine.settling(Lsn::new(4));
    assert_eq!(engine.oldest_unapplied(), Some(Lsn::new(4)));
    engine.settled(&settled.op, Lsn::new(4));
    assert_eq!(engine.oldest_unapplied(), None);
}

#[test]
fn operations_that_were_never_sent_are_replaced_by_the_newest() {
    let mut engine = conditional();
    for lsn in 1..=4 {
        accept(&mut engine, "a", if lsn == 3 { delete(lsn) } else { put(lsn) });
    }
    engine.register(key("a"), put(5), Known::Unknown);
    let (job, replaced) = start(&mut engine, at(0));
    assert_eq!(job.op.lsn, Lsn::new(4), "the fifth is not durable yet");
    assert_eq!(lsns(&replaced), [1, 2, 3]);
    assert!(replaced.iter().all(|settled| settled.known.is_none()));
    settle(&mut engine, 6, &replaced);
    assert_eq!((engine.pending(), engine.frontier()), ((2, 20), Some(Lsn::new(4))));
}

#[test]
fn an_operation_that_may_have_been_sent_is_not_replaced() {
    let mut engine = conditional();
    accept(&mut engine, "a", put(1));
    let job = start_one(&mut engine, at(0));
    accept(&mut engine, "a", put(2));
    assert!(engine.complete(&job, Outcome::Ambiguous, at(1)).is_none());
    let again = start_one(&mut engine, at(9));
    assert_eq!((again.op.lsn, again.verify), (Lsn::new(1), true));
    assert_eq!(again.known, Known::Unknown);
}

#[test]
fn an_operation_that_failed_definitely_is_replaced_when_its_turn_comes() {
    let mut engine = conditional();
    accept(&mut engine, "a", put(1));
    let job = start_one(&mut engine, at(0));
    accept(&mut engine, "a", put(2));
    assert!(engine.complete(&job, Outcome::Failed { retry_after: None }, at(0)).is_none());
    assert!(wait(&mut engine, at(0)).is_some());
    let (job, replaced) = start(&mut engine, at(1));
    assert_eq!((job.op.lsn, job.verify, lsns(&replaced)), (Lsn::new(2), false, vec![1]));
}

#[test]
fn what_recovery_found_is_looked_for_before_it_is_sent_and_only_the_oldest() {
    let mut engine = conditional();
    engine.after_crash(at(0));
    engine.recover(key("a"), put(1), version("old"));
    engine.recover(key("a"), put(2), version("old"));
    let job = start_one(&mut engine, at(0));
    assert_eq!((job.op.lsn, job.verify, &job.known), (Lsn::new(1), true, &version("old")));
    assert!(engine.complete(&job, safe(), at(1)).is_some());
    engine.go_on(&key("a"), at(1));
    let job = start_one(&mut engine, at(1));
    assert_eq!((job.op.lsn, job.verify), (Lsn::new(2), false));
}

#[test]
fn failures_back_off_further_each_time_and_never_give_up() {
    let mut engine = conditional();
    accept(&mut engine, "a", put(1));
    let mut now = at(0);
    for n in 0..200_u32 {
        let job = start_one(&mut engine, now);
        engine.complete(&job, Outcome::Failed { retry_after: None }, now);
        let until = wait(&mut engine, now).unwrap();
        let full = BACKOFF.0.saturating_mul(1 << n.min(10)).min(BACKOFF.1);
        let waited = until.since(now);
        assert!(full / 2 <= waited && waited <= full, "{n}: {waited:?} of {full:?}");
        now = until;
    }
}

#[test]
fn the_hint_of_the_remote_is_kept() {
    let mut engine = conditional();
    accept(&mut engine, "a", put(1));
    let job = start_one(&mut engine, at(0));
    let retry_after = Some(Duration::from_secs(50));
    engine.complete(&job, Outcome::Failed { retry_after }, at(0));
    assert_eq!(wait(&mut engine, at(0)), Some(at(50)));
}

#[test]
fn a_conditional_put_is_settled_at_once_even_after_an_ambiguous_attempt() {
    let mut engine = conditional();
    accept(&mut engine, "a", put(1));
    let job = start_one(&mut engine, at(0));
    engine.complete(&job, Outcome::Ambiguous, at(0));
    let job = start_one(&mut engine, at(1));
    let settled = engine.complete(&job, safe(), at(1)).unwrap();
    assert_eq!((settled.op.lsn, settled.known), (Lsn::new(1), Some(version("v"))));
}

#[test]
fn an_unconditional_put_is_confirmed_when_nothing_late_can_undo_it() {
    let mut engine = plain();
    accept(&mut engine, "a", put(1));
    let job = start_one(&mut engine, at(0));
    engine.complete(&job, Outcome::Ambiguous, at(0));
    let job = start_one(&mut engine, at(1));
    assert!(engine.complete(&job, unsafe_for_late(), at(2)).is_none(), "not safe yet");
    assert_eq!(engine.pending(), (1, 10));
    assert_eq!(wait(&mut engine, at(2)), Some(at(100)));
    let job = start_one(&mut engine, at(100));
    assert!(job.confirm && job.known == version("v"));
    let settled = engine.complete(&job, unsafe_for_late(), at(101)).unwrap();
    settle(&mut engine, 2, &[settled]);
    assert_eq!((engine.pending(), engine.frontier()), ((0, 0), None));
}

#[test]
fn a_delete_is_not_sent_while_a_late_put_may_be_under_way() {
    let mut engine = conditional();
    engine.after_crash(at(0));
    accept(&mut engine, "a", delete(1));
    assert_eq!(wait(&mut engine, at(1)), Some(at(100)));
    let job = start_one(&mut engine, at(100));
    let gone = Outcome::Applied { now_known: Known::Absent, conditional: true };
    assert!(engine.complete(&job, gone, at(100)).is_some());
}

#[test]
fn what_a_late_request_has_undone_is_sent_again() {
    let mut engine = plain();
    accept(&mut engine, "a", put(1));
    let job = start_one(&mut engine, at(0));
    engine.complete(&job, Outcome::Ambiguous, at(0));
    let job = start_one(&mut engine, at(1));
    assert!(engine.complete(&job, unsafe_for_late(), at(1)).is_none());
    assert_eq!(wait(&mut engine, at(1)), Some(at(100)));
    let job = start_one(&mut engine, at(100));
    assert!(job.confirm);
    engine.complete(&job, Outcome::Unconfirmed { now_known: version("late") }, at(100));
    let job = start_one(&mut engine, at(100));
    assert!(!job.confirm && job.known == version("late"));
    assert!(engine.complete(&job, unsafe_for_late(), at(101)).is_some());
}

#[test]
fn a_delete_on_an_untouched_key_is_settled_at_once() {
    for mut engine in [plain(), conditional()] {
        accept(&mut engine, "a", delete(1));
        let job = start_one(&mut engine, at(0));
        let gone = Outcome::Applied { now_known: Known::Absent, conditional: false };
        assert!(engine.complete(&job, gone, at(0)).is_some());
    }
}

#[test]
fn a_remote_that_bounds_lateness_overrides_the_setting() {
    let mut engine = engine(Caps::none().late_window(Duration::from_secs(7)));
    accept(&mut engine, "a", put(1));
    let job = start_one(&mut engine, at(0));
    engine.complete(&job, Outcome::Ambiguous, at(0));
    let job = start_one(&mut engine, at(1));
    engine.complete(&job, unsafe_for_late(), at(1));
    assert_eq!(wait(&mut engine, at(1)), Some(at(7)));
}

#[test]
fn a_newer_operation_takes_over_the_wait_of_one_that_was_applied() {
    let mut engine = plain();
    accept(&mut engine, "a", put(1));
    let job = start_one(&mut engine, at(0));
    engine.complete(&job, Outcome::Ambiguous, at(0));
    let job = start_one(&mut engine, at(1));
    engine.complete(&job, unsafe_for_late(), at(1));
    accept(&mut engine, "a", put(2));
    // The first is at the remote: it is settled with what is known, and the second need not wait.
    let (job, replaced) = start(&mut engine, at(2));
    assert_eq!((job.op.lsn, lsns(&replaced)), (Lsn::new(2), vec![1]));
    assert_eq!(replaced[0].known, Some(version("v")));
    assert!(!job.verify && !job.confirm);
    assert!(engine.complete(&job, unsafe_for_late(), at(2)).is_none(), "the taint stays");
    assert_eq!(wait(&mut engine, at(2)), Some(at(100)));
}

#[test]
fn the_taint_of_a_key_outlives_its_last_operation() {
    let mut engine = conditional();
    accept(&mut engine, "a", put(1));
    let job = start_one(&mut engine, at(0));
    engine.complete(&job, Outcome::Ambiguous, at(0));
    let job = start_one(&mut engine, at(1));
    engine.complete(&job, safe(), at(1));
    engine.go_on(&key("a"), at(1));
    engine.sweep(at(1));
    accept(&mut engine, "a", delete(2));
    assert_eq!(wait(&mut engine, at(2)), Some(at(100)), "the late put may still come");
}

/// The keeper sweeps every second, also while a drain thread waits for a settlement to be durable. A
/// lane that was swept then came back without its rest: the next operation started early, and the late
/// `settled` let a third one start beside it.
#[test]
fn a_sweep_does_not_end_the_rest_of_a_key() {
    let mut engine = conditional();
    accept(&mut engine, "a", put(1));
    let job = start_one(&mut engine, at(0));
    assert!(engine.complete(&job, safe(), at(0)).is_some());
    engine.sweep(at(1));
    accept(&mut engine, "a", put(2));
    assert_eq!(wait(&mut engine, at(1)), None, "the first is not settled in the log yet");
    engine.go_on(&key("a"), at(1));
    assert_eq!(start_one(&mut engine, at(1)).op.lsn, Lsn::new(2));
}

/// As for the sweep: an operation that was not accepted after all ended the rest of its key.
#[test]
fn forgetting_an_operation_does_not_end_the_rest_of_its_key() {
    let mut engine = conditional();
    accept(&mut engine, "a", put(1));
    let job = start_one(&mut engine, at(0));
    engine.register(key("a"), put(2), Known::Unknown);
    assert!(engine.complete(&job, safe(), at(0)).is_some());
    engine.forget(&key("a"), Lsn::new(2));
    accept(&mut engine, "a", put(3));
    assert_eq!(wait(&mut engine, at(0)), None, "the first is not settled in the log yet");
    engine.go_on(&key("a"), at(0));
    assert_eq!(start_one(&mut engine, at(0)).op.lsn, Lsn::new(3));
}

#[test]
fn parking_holds_everything_back_and_ends_by_itself() {
    let mut engine = conditional();
    accept(&mut engine, "a", put(1));
    accept(&mut engine, "b", put(2));
    let job = start_one(&mut engine, at(0));
    let park = |seconds, reason| Outcome::Park { retry_in: Duration::from_secs(seconds), reason };
    engine.complete(&job, park(30, Parked::Auth), at(0));
    assert_eq!(wait(&mut engine, at(1)), Some(at(30)));
    assert_eq!(engine.parked(at(29)), Some(Parked::Auth));
    assert_eq!(engine.parked(at(30)), None);
    let (first, second) = (start_one(&mut engine, at(30)), start_one(&mut engine, at(30)));
    assert_eq!((first.op.lsn, second.op.lsn), (Lsn::new(1), Lsn::new(2)));
    // The longer of two holds, whichever comes first.
    engine.complete(&first, park(60, Parked::Quota), at(30));
    engine.complete(&second, park(5, Parked::BreakerOpen), at(30));
    assert_eq!(wait(&mut engine, at(40)), Some(at(90)));
    assert_eq!(engine.parked(at(40)), Some(Parked::Quota));
    assert_eq!(engine.pending(), (2, 20));
}

#[test]
fn a_refused_operation_is_kept_shown_and_tried_again() {
    let mut engine = conditional();
    accept(&mut engine, "a", put(1));
    let why = Refusal::Remote(RemoteErrorKind::TooLarge);
    let job = start_one(&mut engine, at(0));
    engine.complete(&job, Outcome::Refused { why }, at(0));
    assert_eq!(engine.refused().collect::<Vec<_>>(), [(&key("a"), why)]);
    let until = wait(&mut engine, at(0)).unwrap();
    assert!(until >= at(2) && until <= at(5), "{until:?}");
    let job = start_one(&mut engine, until);
    assert!(engine.complete(&job, safe(), until).is_some());
    assert_eq!(engine.refused().count(), 0);
}

#[test]
fn a_newer_operation_replaces_a_refused_one_without_waiting() {
    let mut engine = conditional();
    accept(&mut engine, "a", put(1));
    let job = start_one(&mut engine, at(0));
    let why = Refusal::Remote(RemoteErrorKind::Invalid);
    engine.complete(&job, Outcome::Refused { why }, at(0));
    accept(&mut engine, "a", put(2));
    let (job, replaced) = start(&mut engine, at(0));
    assert_eq!((job.op.lsn, lsns(&replaced)), (Lsn::new(2), vec![1]));
    assert_eq!(engine.refused().count(), 0);
}

#[test]
fn pending_keys_are_the_newest_acknowledged_of_each_key_under_a_prefix() {
    let mut engine = conditional();
    accept(&mut engine, "a/1", put(1));
    accept(&mut engine, "a/1", delete(2));
    accept(&mut engine, "a/2", put(3));
    accept(&mut engine, "b", put(4));
    engine.register(key("a/2"), put(5), Known::Unknown);
    engine.register(key("a/3"), put(6), Known::Unknown);
    let found: Vec<_> =
        engine.pending_keys("a/").map(|(key, op, _)| (key.as_str(), op.lsn.get())).collect();
    assert_eq!(found, [("a/1", 2), ("a/2", 3)]);
}

/// What may happen to an engine.
#[derive(Clone, Debug)]
enum Step {
    Accept { key: u8, delete: bool },
    Acknowledge,
    Complete(prop::sample::Index, u8),
    Forget(prop::sample::Index),
    Next,
    Settled(prop::sample::Index),
    Sweep,
    Time(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        6 => (0..4_u8, any::<bool>()).prop_map(|(key, delete)| Step::Accept { key, delete }),
        6 => Just(Step::Acknowledge),
        6 => (index(), 0..7_u8).prop_map(|(at, outcome)| Step::Complete(at, outcome)),
        1 => index().prop_map(Step::Forget),
        8 => Just(Step::Next),
        5 => index().prop_map(Step::Settled),
        1 => Just(Step::Sweep),
        3 => any::<u8>().prop_map(Step::Time),
    ];
    prop::collection::vec(step, 1..150)
}

/// The engine, and beside it what it should know, kept in the plainest way.
struct Model {
    engine: Engine,
    now: Tick,
    last_lsn: u64,
    /// Accepted and neither settled nor forgotten: key, cost, durable.
    open: BTreeMap<u64, (Key, u64, bool)>,
    in_flight: Vec<Job>,
    /// Keys whose settlement is not durable yet, the operation, and the record that settles it.
    resting: Vec<(Key, Op, u64)>,
    settled: BTreeMap<Key, u64>,
}

impl Model {
    fn new(caps: Caps) -> Self {
        Self {
            engine: engine(caps),
            now: Tick::ZERO,
            last_lsn: 0,
            open: BTreeMap::new(),
            in_flight: Vec::new(),
            resting: Vec::new(),
            settled: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Accept { key: name, delete: is_delete } => {
                self.last_lsn += 1;
                let lsn = self.last_lsn;
                let name = key(&format!("k{name}"));
                let mut op = if *is_delete { delete(lsn) } else { put(lsn) };
                op.cost = 10 + lsn % 3;
                self.open.insert(lsn, (name.clone(), op.cost, false));
                self.engine.register(name, op, Known::Unknown);
            }
            // The log acknowledges in order.
            Step::Acknowledge => {
                let first = self.open.iter_mut().find(|(_, (_, _, durable))| !*durable);
                if let Some((&lsn, (name, _, durable))) = first {
                    *durable = true;
                    self.engine.acknowledge(name, Lsn::new(lsn));
                }
            }
            Step::Forget(at) => {
                let waiting: Vec<_> =
                    self.open.iter().filter(|(_, (_, _, durable))| !durable).collect();
                if !waiting.is_empty() {
                    let (&lsn, (name, ..)) = waiting[at.index(waiting.len())];
                    self.engine.forget(&name.clone(), Lsn::new(lsn));
                    self.open.remove(&lsn);
                }
            }
            Step::Next => {
                self.start();
            }
            Step::Complete(at, outcome) => {
                if !self.in_flight.is_empty() {
                    let job = self.in_flight.swap_remove(at.index(self.in_flight.len()));
                    let outcome = outcome_of(*outcome, &job);
                    self.complete(&job, outcome);
                }
            }
            Step::Settled(at) => {
                if !self.resting.is_empty() {
                    let rest = self.resting.swap_remove(at.index(self.resting.len()));
                    self.rested(&rest);
                }
            }
            Step::Sweep => self.engine.sweep(self.now),
            Step::Time(seconds) => {
                self.now = self.now.after(Duration::from_secs(u64::from(*seconds)));
            }
        }
        self.check();
    }

    /// Starts what can be started; the time to wait for otherwise.
    fn start(&mut self) -> Option<Option<Tick>> {
        let mut replaced = Vec::new();
        let next = self.engine.next(self.now, &mut replaced);
        for settled in &replaced {
            let record = self.settle(settled);
            self.engine.settled(&settled.op, Lsn::new(record));
        }
        match next {
            Next::Wait(until) => Some(until),
            Next::Start(job) => {
                let (name, _, durable) = &self.open[&job.op.lsn.get()];
                assert!(*durable, "{} is sent before it is durable", job.op.lsn);
                assert_eq!(name, &job.key);
                let first = self.open.iter().find(|(_, (name, ..))| *name == job.key);
                assert_eq!(first.map(|(&lsn, _)| lsn), Some(job.op.lsn.get()), "out of order");
                let busy = self.in_flight.iter().any(|other| other.key == job.key);
                assert!(!busy, "two of {} in flight", job.key);
                let rests = self.resting.iter().any(|(key, ..)| *key == job.key);
                assert!(!rests, "{} does not rest", job.key);
                self.in_flight.push(*job);
                None
            }
        }
    }

    fn complete(&mut self, job: &Job, outcome: Outcome) {
        if let Some(settled) = self.engine.complete(job, outcome, self.now) {
            assert_eq!(settled.op.lsn, job.op.lsn);
            let record = self.settle(&settled);
            self.resting.push((job.key.clone(), settled.op, record));
        }
    }

    /// The settlement is durable.
    fn rested(&mut self, (name, op, record): &(Key, Op, u64)) {
        self.engine.settled(op, Lsn::new(*record));
        self.engine.go_on(name, self.now);
    }

    /// The log is given the settlement, as a record with a number that is returned.
    fn settle(&mut self, settled: &Settled) -> u64 {
        let lsn = settled.op.lsn.get();
        let before = self.settled.insert(settled.key.clone(), lsn);
        assert!(before.is_none_or(|before| before < lsn), "{lsn} is settled after {before:?}");
        assert!(self.open.remove(&lsn).is_some(), "{lsn} is settled twice");
        self.last_lsn += 1;
        self.engine.settling(Lsn::new(self.last_lsn));
        self.last_lsn
    }

    fn check(&self) {
        let resting = self.resting.iter().map(|(_, op, _)| (op.lsn.get(), op.cost));
        let all = self.open.iter().map(|(&lsn, (_, cost, _))| (lsn, *cost)).chain(resting);
        let all: BTreeMap<u64, u64> = all.collect();
        assert_eq!(self.engine.pending(), (all.len() as u64, all.values().sum()));
        let first = all.keys().next().map(|&lsn| Lsn::new(lsn));
        assert_eq!(self.engine.frontier(), first);
        let accepted = self.open.iter().filter(|(_, (_, _, durable))| !durable);
        let settling = self.resting.iter().map(|(.., record)| *record);
        let unapplied = accepted.map(|(&lsn, _)| lsn).chain(settling).min().map(Lsn::new);
        assert_eq!(self.engine.oldest_unapplied(), unapplied);
        for n in 0..4 {
            let name = key(&format!("k{n}"));
            let newest = self.open.iter().rev().find(|(_, (k, _, durable))| *k == name && *durable);
            let found = self.engine.newest(name.as_str()).map(|op| op.lsn.get());
            assert_eq!(found, newest.map(|(&lsn, _)| lsn), "newest of {name}");
        }
    }

    /// Everything is applied from now on: nothing is left, in bounded time.
    fn finish(&mut self) {
        self.step(&Step::Sweep);
        while self.open.values().any(|(_, _, durable)| !durable) {
            self.step(&Step::Acknowledge);
        }
        for _ in 0..10_000 {
            for job in std::mem::take(&mut self.in_flight) {
                let outcome = outcome_of(0, &job);
                self.complete(&job, outcome);
            }
            for rest in std::mem::take(&mut self.resting) {
                self.rested(&rest);
            }
            self.check();
            if self.open.is_empty() {
                self.engine.sweep(Tick::MAX);
                return;
            }
            match self.start() {
                Some(Some(until)) => self.now = self.now.max(until),
                Some(None) => assert!(!self.in_flight.is_empty(), "stuck: {:?}", self.open),
                None => {}
            }
        }
        panic!("never ends: {:?}", self.open);
    }
}

fn outcome_of(n: u8, job: &Job) -> Outcome {
    let now_known = match job.op.change {
        PendingChange::Put { .. } => version("v"),
        PendingChange::Delete => Known::Absent,
    };
    match n {
        0 => Outcome::Applied { now_known, conditional: true },
        1 => Outcome::Applied { now_known, conditional: false },
        2 if job.confirm => Outcome::Unconfirmed { now_known: Known::Absent },
        3 => Outcome::Park { retry_in: Duration::from_secs(9), reason: Parked::BreakerOpen },
        4 => Outcome::Refused { why: Refusal::Remote(RemoteErrorKind::Invalid) },
        5 => Outcome::Failed { retry_after: None },
        _ => Outcome::Ambiguous,
    }
}

proptest! {
    #[test]
    fn no_sequence_of_steps_breaks_order_or_accounting(steps in steps(), kind in 0..3_u8) {
        let caps = match kind {
            0 => Caps::none(),
            1 => Caps::none().conditional().identity(),
            _ => Caps::none().late_window(Duration::ZERO),
        };
        let mut model = Model::new(caps);
        for step in &steps {
            model.step(step);
        }
        model.finish();
    }
}
