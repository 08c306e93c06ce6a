//! The drain engine: which operation goes to the remote next, and what its outcome means.
//!
//! Sans-I/O: it is told of accepted operations and of outcomes, with the time, and answers with work.
//! Threads, tests with a clock that stands still, and a simulator drive the same code.
//!
//! What it keeps: the mutations of one key reach the remote in the order of their numbers, one at a
//! time; nothing is settled that a late request could still undo; nothing is given up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use bucket_core::Tick;
use bucket_remote::{Caps, Key};
use bucket_wal::Lsn;

use crate::bucket::job::{Job, Known, Next, Op, Outcome, Parked, PendingChange, Refusal, Settled};
use crate::bucket::lane::{Entry, Lane, backoff};

#[derive(Debug)]
pub(crate) struct EngineConfig {
    pub(crate) caps: Caps,
    /// How late a request may still take effect when the remote cannot say.
    pub(crate) late_window: Duration,
    pub(crate) backoff: (Duration, Duration),
    pub(crate) refused_backoff: (Duration, Duration),
}

/// The state of the drain.
#[derive(Debug)]
pub(crate) struct Engine {
    config: EngineConfig,
    lanes: BTreeMap<Key, Lane>,
    // Invariant: exactly the lanes with an acknowledged head that are not in flight.
    ready: BTreeSet<(Tick, Lsn, Key)>,
    parked: Option<(Tick, Parked)>,
    /// Until then any key may be changed by a request of a process that died.
    recovered_until: Tick,
    /// Of operations whose settlement is not durable.
    numbers: BTreeSet<Lsn>,
    /// Of records that the log was given and that the catalog does not know of: operations that are not
    /// acknowledged, settlements that are not durable.
    unapplied: BTreeSet<Lsn>,
    pending_bytes: u64,
    jitter: u64,
}

impl Engine {
    pub(crate) fn new(config: EngineConfig, seed: u64) -> Self {
        Self {
            config,
            lanes: BTreeMap::new(),
            ready: BTreeSet::new(),
            parked: None,
            recovered_until: Tick::ZERO,
            numbers: BTreeSet::new(),
            unapplied: BTreeSet::new(),
            pending_bytes: 0,
            jitter: seed,
        }
    }

    /// A process may have died with requests under way.
    pub(crate) fn after_crash(&mut self, now: Tick) {
        self.recovered_until = now.after(self.late_window());
    }

    /// Takes an operation that recovery found: acknowledged, and possibly sent.
    pub(crate) fn recover(&mut self, key: Key, op: Op, known: Known) {
        let lsn = op.lsn;
        self.register(key.clone(), op, known);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.maybe_sent = true;
        }
        self.acknowledge(&key, lsn);
    }

    /// Takes an operation that has its number and is not durable yet. Numbers only grow.
    pub(crate) fn register(&mut self, key: Key, op: Op, known: Known) {
        self.numbers.insert(op.lsn);
        self.unapplied.insert(op.lsn);
        self.pending_bytes += op.cost;
        let tainted_until = self.recovered_until;
        let lane = self.lanes.entry(key).or_insert_with(|| Lane {
            ops: VecDeque::new(),
            in_flight: false,
            known,
            attempt: 0,
            not_before: Tick::ZERO,
            refused: None,
            applied: false,
            tainted_until,
            maybe_sent: false,
            ready_at: None,
        });
        lane.ops.push_back(Entry { op, acknowledged: false });
    }

    /// The operation is durable: from now on it is visible and may be sent.
    pub(crate) fn acknowledge(&mut self, key: &Key, lsn: Lsn) {
        self.unapplied.remove(&lsn);
        let Some(lane) = self.lanes.get_mut(key) else { return };
        if let Some(entry) = lane.ops.iter_mut().find(|entry| entry.op.lsn == lsn) {
            entry.acknowledged = true;
        }
        self.make_ready(key);
    }

    /// The operation was not accepted after all.
    pub(crate) fn forget(&mut self, key: &Key, lsn: Lsn) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let Some(at) = lane.ops.iter().position(|entry| entry.op.lsn == lsn) else { return };
        if let Some(entry) = lane.ops.remove(at) {
            self.numbers.remove(&lsn);
            self.unapplied.remove(&lsn);
            self.pending_bytes -= entry.op.cost;
        }
        self.make_ready(key);
        self.drop_if_empty(key, Tick::ZERO);
    }

    /// The newest acknowledged operation on `key`, if the remote may not have it.
    pub(crate) fn newest(&self, key: &str) -> Option<&Op> {
        let lane = self.lanes.get(key)?;
        lane.ops.iter().rev().find(|entry| entry.acknowledged).map(|entry| &entry.op)
    }

    /// The newest acknowledged operation of every key after `after` that starts with `prefix`.
    pub(crate) fn pending_keys<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Op, Option<Refusal>)> {
        self.lanes
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.as_str().starts_with(prefix))
            .filter_map(|(key, lane)| {
                let newest = lane.ops.iter().rev().find(|entry| entry.acknowledged)?;
                Some((key, &newest.op, lane.refused))
            })
    }

    /// The blobs that unsettled operations need.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &String> {
        let ops = self.lanes.values().flat_map(|lane| &lane.ops);
        ops.filter_map(|entry| match &entry.op.change {
            PendingChange::Put { blob, .. } => blob.as_ref(),
            PendingChange::Delete => None,
        })
    }

    /// The oldest operation whose settlement is not durable.
    pub(crate) fn frontier(&self) -> Option<Lsn> {
        self.numbers.first().copied()
    }

    /// The oldest record that the log may hold and the catalog does not know of.
    pub(crate) fn oldest_unapplied(&self) -> Option<Lsn> {
        self.unapplied.first().copied()
    }

    /// The operations whose settlement is not durable: how many, and what they cost.
    pub(crate) fn pending(&self) -> (u64, u64) {
        (self.numbers.len() as u64, self.pending_bytes)
    }

    pub(crate) fn oldest_accepted(&self) -> Option<Tick> {
        self.lanes.values().filter_map(|lane| lane.ops.front()).map(|e| e.op.accepted).min()
    }

    pub(crate) fn parked(&self, now: Tick) -> Option<Parked> {
        self.parked.filter(|(until, _)| *until > now).map(|(_, reason)| reason)
    }

    /// Keys whose oldest operation cannot reach the remote.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&Key, Refusal)> {
        self.lanes.iter().filter_map(|(key, lane)| Some((key, lane.refused?)))
    }

    /// The next work at `now`, and operations that newer ones have replaced.
    pub(crate) fn next(&mut self, now: Tick, replaced: &mut Vec<Settled>) -> Next {
        if let Some((until, _)) = self.parked
            && until > now
        {
            return Next::Wait(Some(until));
        }
        let Some((at, _, key)) = self.ready.first().cloned() else { return Next::Wait(None) };
        if at > now {
            return Next::Wait(Some(at));
        }
        self.ready.pop_first();
        let Some(lane) = self.lanes.get_mut(&key) else { return Next::Wait(None) };
        lane.ready_at = None;
        lane.in_flight = true;
        // A newer operation replaces the head where the head was certainly never sent, or was
        // applied and only waits: the newer one then carries the wait.
        while lane.ops.get(1).is_some_and(|entry| entry.acknowledged)
            && (lane.applied || !lane.maybe_sent)
        {
            let Some(Entry { op, .. }) = lane.ops.pop_front() else { break };
            let known = lane.applied.then(|| lane.known.clone());
            replaced.push(Settled { key: key.clone(), op, known });
            lane.start_over();
        }
        lane.attempt = lane.attempt.saturating_add(1);
        let Some(Entry { op, .. }) = lane.ops.front() else { return Next::Wait(None) };
        Next::Start(Box::new(Job {
            op: op.clone(),
            known: lane.known.clone(),
            verify: lane.maybe_sent,
            confirm: lane.applied,
            key,
        }))
    }

    /// The end of a job. Returns the operation if that settles it; the key then rests until
    /// [`Engine::go_on`], so that a newer operation is never sent before the log knows that the
    /// older one is done with, and recovery finds that at most the oldest was sent.
    pub(crate) fn complete(&mut self, job: &Job, outcome: Outcome, now: Tick) -> Option<Settled> {
        let late = now.after(self.late_window());
        let key = &job.key;
        let random = self.random();
        let lane = self.lanes.get_mut(key)?;
        let mut settled = None;
        match outcome {
            Outcome::Applied { now_known, conditional } => {
                lane.known = now_known;
                lane.maybe_sent = false;
                lane.refused = None;
                // A delete leaves nothing that a late put's condition could fail on.
                let safe = conditional && job.op.change != PendingChange::Delete;
                let followed = lane.ops.get(1).is_some_and(|entry| entry.acknowledged);
                if job.confirm || safe || followed || lane.tainted_until <= now {
                    settled = lane.ops.pop_front();
                } else {
                    lane.applied = true;
                    lane.not_before = lane.tainted_until;
                }
            }
            Outcome::Unconfirmed { now_known } => {
                lane.known = now_known;
                lane.applied = false;
                lane.not_before = now;
            }
            Outcome::Ambiguous => {
                lane.known = Known::Unknown;
                lane.maybe_sent = true;
                lane.applied = false;
                lane.tainted_until = lane.tainted_until.max(late);
                lane.not_before = now.after(backoff(self.config.backoff, lane.attempt, random));
            }
            Outcome::Failed { retry_after } => {
                let wait = backoff(self.config.backoff, lane.attempt, random);
                lane.not_before = now.after(wait.max(retry_after.unwrap_or_default()));
            }
            Outcome::Park { retry_in, reason } => {
                lane.attempt = lane.attempt.saturating_sub(1);
                let until = now.after(retry_in);
                if self.parked.is_none_or(|(old, _)| old < until) {
                    self.parked = Some((until, reason));
                }
            }
            Outcome::Refused { why } => {
                // Definitely not applied, so a newer operation may replace it.
                lane.maybe_sent = false;
                lane.refused = Some(why);
                let wait = backoff(self.config.refused_backoff, lane.attempt, random);
                lane.not_before = now.after(wait);
            }
        }
        if let Some(Entry { op, .. }) = settled {
            lane.start_over();
            return Some(Settled { key: key.clone(), op, known: Some(lane.known.clone()) });
        }
        lane.in_flight = false;
        self.make_ready(key);
        None
    }

    /// The log was given a settlement, as this record.
    pub(crate) fn settling(&mut self, record: Lsn) {
        self.unapplied.insert(record);
    }

    /// The log did not take it after all.
    pub(crate) fn not_settled(&mut self, record: Lsn) {
        self.unapplied.remove(&record);
    }

    /// The settlement is durable, as this record, and the catalog knows of it: the operation takes no room
    /// any more.
    pub(crate) fn settled(&mut self, op: &Op, record: Lsn) {
        self.unapplied.remove(&record);
        if self.numbers.remove(&op.lsn) {
            self.pending_bytes -= op.cost;
        }
    }

    /// The newest settlement of the key is durable; the key goes on.
    pub(crate) fn go_on(&mut self, key: &Key, now: Tick) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        lane.in_flight = false;
        self.make_ready(key);
        self.drop_if_empty(key, now);
    }

    fn make_ready(&mut self, key: &Key) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        if let Some((at, lsn)) = lane.ready_at.take() {
            self.ready.remove(&(at, lsn, key.clone()));
        }
        if lane.in_flight {
            return;
        }
        if let Some(Entry { op, acknowledged: true }) = lane.ops.front() {
            // A newer operation need not wait for the head's turn if it will replace it.
            let followed = lane.ops.get(1).is_some_and(|entry| entry.acknowledged);
            let replaces = followed && (lane.applied || lane.refused.is_some());
            let mut at = if replaces { Tick::ZERO } else { lane.not_before };
            // A put that is still under way, and that expects nothing to be there, would succeed after
            // a delete. So a delete is sent only when nothing can be under way any more.
            if lane.to_send().is_some_and(|op| op.change == PendingChange::Delete) {
                at = at.max(lane.tainted_until);
            }
            let lsn = op.lsn;
            lane.ready_at = Some((at, lsn));
            self.ready.insert((at, lsn, key.clone()));
        }
    }

    /// A lane without operations is kept while a late request may still change its key.
    fn drop_if_empty(&mut self, key: &Key, now: Tick) {
        if self.lanes.get(key).is_some_and(|lane| lane.is_over(now)) {
            self.lanes.remove(key);
        }
    }

    /// Forgets empty lanes that nothing late can change any more.
    pub(crate) fn sweep(&mut self, now: Tick) {
        self.lanes.retain(|_, lane| !lane.is_over(now));
    }

    fn late_window(&self) -> Duration {
        self.config.caps.late_window.unwrap_or(self.config.late_window)
    }

    /// SplitMix64: jitter needs no better.
    fn random(&mut self) -> u64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.jitter;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
