//! The oracle: what was intended, what was acknowledged, and whether reads, the remote's history and its
//! final state can be explained by it.
//!
//! At most one operation of a key is outstanding at any time, so the operations of a key have one order:
//! that of their numbers. One without an answer may have happened or not, at its place in that order. What
//! a read has shown counts as acknowledged from then on. One that was refused must never appear.

use std::collections::{BTreeMap, HashMap};

use bucket_core::OpId;
use bucket_remote::Digest;

use super::server::Mutation;

/// The drill's own record.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    keys: BTreeMap<String, KeyLog>,
    key_of: HashMap<u64, String>,
    acknowledged: u64,
    violations: Vec<Violation>,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Content,
    Lost,
    Order,
    ReadYourWrites,
    Resurrected,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) wrong: Wrong,
    pub(crate) key: String,
    pub(crate) what: String,
}

/// What an operation makes of its key: this content, or nothing.
pub(crate) type State = Option<Digest>;

#[derive(Debug, Default)]
struct KeyLog {
    ops: Vec<Op>,
    /// The newest operation that was acknowledged or shown by a read; `None` for the empty start.
    base: Option<u64>,
}

#[derive(Debug)]
struct Op {
    i: u64,
    state: State,
    fate: Fate,
    op_id: Option<OpId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    Refused,
    Unknown,
}

impl Oracle {
    /// Operation `i` is about to be sent; numbers grow.
    pub(crate) fn intend(&mut self, i: u64, key: &str, state: State) {
        let log = self.keys.entry(key.to_owned()).or_default();
        log.ops.push(Op { i, state, fate: Fate::Unknown, op_id: None });
        self.key_of.insert(i, key.to_owned());
    }

    /// Operation `i` was acknowledged, with this digest of its content.
    pub(crate) fn acknowledge(&mut self, i: u64, op_id: Option<OpId>, state: State) {
        let Some((key, log)) = self.log_of(i) else { return };
        let Some(op) = log.ops.iter_mut().rev().find(|op| op.i == i) else { return };
        (op.fate, op.op_id) = (Fate::Acknowledged, op_id);
        let intended = op.state;
        log.base = log.base.max(Some(i));
        self.acknowledged += 1;
        if intended != state {
            let what = format!("op {i} stored {}, not {}", show(state), show(intended));
            self.report(Wrong::Content, &key, what);
        }
    }

    /// Operation `i` was refused: it has not happened and never will.
    pub(crate) fn refuse(&mut self, i: u64) {
        let Some((_, log)) = self.log_of(i) else { return };
        if let Some(op) = log.ops.iter_mut().rev().find(|op| op.i == i) {
            op.fate = Fate::Refused;
        }
    }

    /// A read of `key`, while nothing else was outstanding on it, showed this.
    pub(crate) fn read(&mut self, key: &str, state: State) {
        let log = self.keys.entry(key.to_owned()).or_default();
        if let Some(shown) = log.explain(state) {
            log.base = shown;
            return;
        }
        let wrong = if log.is_intended(state) { Wrong::ReadYourWrites } else { Wrong::Content };
        let what = format!("a read showed {}; legal: {}", show(state), log.legal());
        self.report(wrong, key, what);
    }

    /// A read of `key` failed in a way that the remote is not to blame for.
    pub(crate) fn read_failed(&mut self, key: &str, message: &str) {
        self.report(Wrong::ReadYourWrites, key, format!("a read failed: {message}"));
    }

    /// Judges what the remote has after the drain, and in which order it came there.
    pub(crate) fn judge(&mut self, objects: &BTreeMap<String, Digest>, history: &[Mutation]) {
        let mut by_key: BTreeMap<&str, Vec<&Mutation>> = BTreeMap::new();
        for mutation in history {
            by_key.entry(&mutation.key).or_default().push(mutation);
        }
        for key in objects.keys().map(String::as_str).chain(by_key.keys().copied()) {
            self.keys.entry(key.to_owned()).or_default();
        }
        let mut found = Vec::new();
        for (key, log) in &self.keys {
            let applied = by_key.get(key.as_str()).map_or(&[][..], Vec::as_slice);
            let finally = log.judge_state(objects.get(key).copied());
            found.extend(
                finally
                    .into_iter()
                    .chain(log.judge_order(applied))
                    .map(|(wrong, what)| Violation { wrong, key: key.clone(), what }),
            );
        }
        self.violations.append(&mut found);
    }

    pub(crate) const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(crate) fn count(&self, wrong: Wrong) -> u64 {
        self.violations.iter().filter(|violation| violation.wrong == wrong).count() as u64
    }

    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Everything that is known of a key, for whoever has to find out why.
    pub(crate) fn evidence(&self, key: &str, history: &[Mutation]) -> Vec<String> {
        let ops = self.keys.get(key).map_or(&[][..], |log| log.ops.as_slice());
        let ops = ops.iter().map(|op| {
            let id = op.op_id.map_or_else(String::new, |id| format!(" op_id {id}"));
            format!("op {} {} {:?}{id}", op.i, show(op.state), op.fate)
        });
        let applied = history.iter().enumerate().filter(|(_, mutation)| mutation.key == key);
        let applied = applied.map(|(n, mutation)| {
            let id = mutation.op_id.map_or_else(String::new, |id| format!(" op_id {id}"));
            format!("remote {n} {}{id}", show(mutation.content))
        });
        ops.chain(applied).collect()
    }

    fn log_of(&mut self, i: u64) -> Option<(String, &mut KeyLog)> {
        let key = self.key_of.get(&i)?.clone();
        let log = self.keys.get_mut(&key)?;
        Some((key, log))
    }

    fn report(&mut self, wrong: Wrong, key: &str, what: String) {
        self.violations.push(Violation { wrong, key: key.to_owned(), what });
    }
}

impl KeyLog {
    /// The base, and what is newer and may have happened.
    fn legal_ops(&self) -> impl Iterator<Item = &Op> {
        self.ops.iter().filter(|op| {
            Some(op.i) == self.base || (Some(op.i) > self.base && op.fate == Fate::Unknown)
        })
    }

    /// The oldest legal operation that leaves `state`; the inner `None` is the empty start.
    fn explain(&self, state: State) -> Option<Option<u64>> {
        if self.base.is_none() && state.is_none() {
            return Some(None);
        }
        self.legal_ops().find(|op| op.state == state).map(|op| Some(op.i))
    }

    fn is_intended(&self, state: State) -> bool {
        state.is_none() || self.ops.iter().any(|op| op.fate != Fate::Refused && op.state == state)
    }

    fn judge_state(&self, state: State) -> Option<(Wrong, String)> {
        if self.explain(state).is_some() {
            return None;
        }
        let base = self.ops.iter().find(|op| Some(op.i) == self.base);
        let wrong = match base {
            _ if !self.is_intended(state) => Wrong::Content,
            Some(Op { state: Some(_), .. }) => Wrong::Lost,
            _ => Wrong::Resurrected,
        };
        Some((wrong, format!("the remote has {}; legal: {}", show(state), self.legal())))
    }

    /// Assigns every mutation the oldest operation that explains it and is not older than the one before:
    /// if even that fails, the order was broken.
    fn judge_order(&self, applied: &[&Mutation]) -> Vec<(Wrong, String)> {
        let (mut newest, mut found) = (None, Vec::new());
        for mutation in applied {
            let mut explained = self.explanations(mutation).peekable();
            if explained.peek().is_none() {
                let wrong = match mutation.content {
                    Some(_) => Wrong::Content,
                    None => Wrong::Order,
                };
                found.push((wrong, format!("nobody asked for {}", show(mutation.content))));
                continue;
            }
            match explained.find(|i| Some(*i) >= newest) {
                Some(i) => newest = Some(i),
                None => {
                    let what = show(mutation.content);
                    let after = newest.unwrap_or_default();
                    found.push((Wrong::Order, format!("{what} was applied after op {after}")));
                }
            }
        }
        found
    }

    /// The operations that a mutation may be, in their order: the one of its identity, if that was
    /// acknowledged; else those of its content that were not refused. A delete whose identity is not
    /// known can only be one without an answer.
    fn explanations(&self, mutation: &Mutation) -> impl Iterator<Item = u64> {
        let id = mutation.op_id.filter(|id| self.ops.iter().any(|op| op.op_id == Some(*id)));
        let content = mutation.content;
        self.ops
            .iter()
            .filter(move |op| match (id, content) {
                (Some(id), _) => op.op_id == Some(id) && op.state == content,
                (None, Some(_)) => op.fate != Fate::Refused && op.state == content,
                (None, None) => op.fate == Fate::Unknown && op.state.is_none(),
            })
            .map(|op| op.i)
    }

    fn legal(&self) -> String {
        let start = self.base.is_none().then(|| "nothing".to_owned());
        let ops = self.legal_ops().map(|op| format!("op {} {}", op.i, show(op.state)));
        start.into_iter().chain(ops).collect::<Vec<_>>().join(", ")
    }
}

fn show(state: State) -> String {
    // Eight digits tell contents apart well enough for a person.
    state.map_or_else(|| "nothing".into(), |digest| format!("{digest}").chars().take(8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(n: u8) -> State {
        Some(Digest::new([n; 32]))
    }

    fn id(i: u64) -> Option<OpId> {
        Some(OpId::new(u128::from(i)))
    }

    /// An oracle for key `k` with these operations: state and fate, numbered from 1.
    fn oracle(ops: &[(State, Fate)]) -> Oracle {
        let mut oracle = Oracle::default();
        for (i, (state, fate)) in (1..).zip(ops) {
            oracle.intend(i, "k", *state);
            match fate {
                Fate::Acknowledged => oracle.acknowledge(i, id(i), *state),
                Fate::Refused => oracle.refuse(i),
                Fate::Unknown => {}
            }
        }
        oracle
    }

    /// Judges a remote that applied these states, the last of which is what it has.
    fn applied(oracle: &mut Oracle, states: &[(State, Option<OpId>)]) {
        let history: Vec<_> = states
            .iter()
            .map(|(content, op_id)| Mutation { key: "k".into(), op_id: *op_id, content: *content })
            .collect();
        let last = states.last().and_then(|(state, _)| *state);
        judge(oracle, last, &history);
    }

    fn judge(oracle: &mut Oracle, state: State, history: &[Mutation]) {
        let objects = state.into_iter().map(|digest| ("k".to_owned(), digest)).collect();
        oracle.judge(&objects, history);
    }

    /// Exactly these verdicts are red.
    fn reds(oracle: &Oracle) -> Vec<Wrong> {
        let all =
            [Wrong::Content, Wrong::Lost, Wrong::Order, Wrong::ReadYourWrites, Wrong::Resurrected];
        all.into_iter().filter(|wrong| oracle.count(*wrong) > 0).collect()
    }

    use Fate::{Acknowledged as ACK, Refused as NO, Unknown as MAYBE};

    #[test]
    fn a_faultless_drill_has_no_violation() {
        let ops = [(content(1), ACK), (content(2), ACK), (None, ACK), (content(3), ACK)];
        let mut oracle = oracle(&ops);
        oracle.read("k", content(3));
        applied(
            &mut oracle,
            &[(content(1), id(1)), (content(1), id(1)), (None, id(3)), (content(3), id(4))],
        );
        assert_eq!((reds(&oracle), oracle.acknowledged()), (vec![], 4));
    }

    #[test]
    fn an_acknowledged_put_that_the_remote_lacks_is_lost() {
        let mut oracle = oracle(&[(content(1), ACK)]);
        judge(&mut oracle, None, &[]);
        assert_eq!(reds(&oracle), [Wrong::Lost]);
    }

    #[test]
    fn an_acknowledged_put_under_older_content_is_lost() {
        let mut oracle = oracle(&[(content(1), ACK), (content(2), ACK), (content(3), NO)]);
        applied(&mut oracle, &[(content(1), id(1))]);
        assert_eq!(reds(&oracle), [Wrong::Lost]);
    }

    #[test]
    fn an_operation_without_an_answer_may_have_happened_or_not() {
        for last in [content(1), content(2), None] {
            let mut oracle = oracle(&[(content(1), ACK), (content(2), MAYBE), (None, MAYBE)]);
            let states = [(content(1), id(1)), (content(2), id(22)), (None, id(33))];
            let n = [content(1), content(2), None].iter().position(|state| *state == last);
            applied(&mut oracle, &states[..=n.unwrap()]);
            assert_eq!(reds(&oracle), [], "{last:?}");
        }
    }

    #[test]
    fn content_that_comes_back_after_an_acknowledged_delete_is_resurrected() {
        let mut oracle = oracle(&[(content(1), ACK), (None, ACK)]);
        judge(&mut oracle, content(1), &[]);
        assert_eq!(reds(&oracle), [Wrong::Resurrected]);
    }

    #[test]
    fn content_that_nobody_stored_is_wrong() {
        let mut oracle = oracle(&[(content(1), ACK)]);
        judge(&mut oracle, content(9), &[]);
        assert_eq!(reds(&oracle), [Wrong::Content]);
    }

    #[test]
    fn content_under_a_key_that_was_never_used_is_wrong() {
        let mut oracle = Oracle::default();
        judge(&mut oracle, content(9), &[]);
        assert_eq!(reds(&oracle), [Wrong::Content]);
    }

    #[test]
    fn a_refused_put_that_appears_is_wrong() {
        let mut oracle = oracle(&[(content(1), ACK), (content(2), NO)]);
        applied(&mut oracle, &[(content(1), id(1)), (content(2), id(22))]);
        assert_eq!(reds(&oracle), [Wrong::Content]);
    }

    #[test]
    fn content_under_the_identity_of_another_operation_is_wrong() {
        let mut oracle = oracle(&[(content(1), ACK), (content(2), ACK)]);
        applied(&mut oracle, &[(content(2), id(1)), (content(2), id(2))]);
        assert_eq!(reds(&oracle), [Wrong::Content]);
    }

    #[test]
    fn an_acknowledgement_of_other_content_is_wrong() {
        let mut oracle = Oracle::default();
        oracle.intend(1, "k", content(1));
        oracle.acknowledge(1, id(1), content(2));
        assert_eq!(reds(&oracle), [Wrong::Content]);
    }

    #[test]
    fn an_older_put_applied_after_a_newer_one_breaks_the_order() {
        let mut oracle = oracle(&[(content(1), ACK), (content(2), ACK)]);
        applied(
            &mut oracle,
            &[(content(1), id(1)), (content(2), id(2)), (content(1), id(1)), (content(2), id(2))],
        );
        assert_eq!(reds(&oracle), [Wrong::Order]);
    }

    #[test]
    fn a_put_applied_again_over_its_delete_breaks_the_order() {
        for fate in [ACK, MAYBE] {
            let mut oracle = oracle(&[(content(1), ACK), (None, fate), (content(3), ACK)]);
            let delete = if fate == ACK { id(2) } else { id(22) };
            applied(
                &mut oracle,
                &[(content(1), id(1)), (None, delete), (content(1), id(1)), (content(3), id(3))],
            );
            assert_eq!(reds(&oracle), [Wrong::Order], "{fate:?}");
        }
    }

    #[test]
    fn a_delete_that_nobody_asked_for_breaks_the_order() {
        let mut oracle = oracle(&[(content(1), ACK), (content(2), ACK)]);
        applied(&mut oracle, &[(content(1), id(1)), (None, id(9)), (content(2), id(2))]);
        assert_eq!(reds(&oracle), [Wrong::Order]);
    }

    #[test]
    fn the_same_content_twice_is_two_operations() {
        let mut oracle = oracle(&[(content(1), ACK), (content(2), ACK), (content(1), MAYBE)]);
        oracle.read("k", content(1));
        applied(&mut oracle, &[(content(1), id(1)), (content(2), id(2)), (content(1), id(33))]);
        assert_eq!(reds(&oracle), []);
    }

    #[test]
    fn a_read_that_misses_an_acknowledged_put_is_a_violation() {
        for shown in [content(1), None] {
            let mut oracle = oracle(&[(content(1), ACK), (content(2), ACK)]);
            oracle.read("k", shown);
            assert_eq!(reds(&oracle), [Wrong::ReadYourWrites], "{shown:?}");
        }
    }

    #[test]
    fn a_read_goes_back_neither_behind_a_delete_nor_behind_what_was_shown() {
        let mut after_delete = oracle(&[(content(1), ACK), (None, ACK)]);
        after_delete.read("k", content(1));
        assert_eq!(reds(&after_delete), [Wrong::ReadYourWrites]);

        let mut shown = oracle(&[(content(1), ACK), (content(2), MAYBE)]);
        shown.read("k", content(1));
        shown.read("k", content(2));
        assert_eq!(reds(&shown), []);
        shown.read("k", content(1));
        assert_eq!(reds(&shown), [Wrong::ReadYourWrites]);
    }

    #[test]
    fn what_a_read_has_shown_must_reach_the_remote() {
        let mut oracle = oracle(&[(content(1), ACK), (content(2), MAYBE)]);
        oracle.read("k", content(2));
        applied(&mut oracle, &[(content(1), id(1))]);
        assert_eq!(reds(&oracle), [Wrong::Lost]);
    }

    #[test]
    fn a_read_of_content_that_nobody_stored_is_wrong_content() {
        let mut oracle = oracle(&[(content(1), ACK), (content(2), NO)]);
        oracle.read("k", content(2));
        assert_eq!(reds(&oracle), [Wrong::Content]);
    }

    #[test]
    fn a_read_that_the_bucket_itself_fails_is_a_violation() {
        let mut oracle = oracle(&[(content(1), ACK)]);
        oracle.read_failed("k", "cannot read a blob");
        assert_eq!(reds(&oracle), [Wrong::ReadYourWrites]);
    }
}
