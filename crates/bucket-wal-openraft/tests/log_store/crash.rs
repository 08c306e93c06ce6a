//! Power loss at every operation of the disk: what was acknowledged is there, and what is there is a
//! state that the store was in.

use std::cell::RefCell;
use std::io::Write;

use bucket_vfs::sim::{Crash, Explorer, SimDisk};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{LogId, Vote};

use crate::support::{Store, View, entry, log_id, options, run, view};

const SEEDS: u64 = 8;

/// A run of the store on a healthy disk, with everything it went through.
struct History {
    disk: SimDisk,
    store: Store,
    /// What the store was after each record, the first before any.
    views: Vec<View>,
    /// After so many operations of the disk the view with this number was acknowledged.
    promises: Vec<(u64, usize)>,
}

impl History {
    fn new() -> Self {
        let disk = SimDisk::new();
        disk.keep_history();
        let (store, _) = Store::open_with(options(disk.mount()), "/raft").unwrap();
        Self { disk, store, views: vec![View::default()], promises: Vec::new() }
    }

    fn then(&mut self, change: impl FnOnce(&mut View)) {
        let mut view = self.views.last().cloned().unwrap_or_default();
        change(&mut view);
        self.views.push(view);
    }

    fn acknowledged(&mut self) {
        self.promises.push((self.disk.operations(), self.views.len() - 1));
    }

    async fn vote(&mut self, term: u64) {
        let vote = Vote::new(term, 1);
        self.then(|view| view.vote = Some(vote));
        self.store.save_vote(&vote).await.unwrap();
        self.acknowledged();
    }

    /// Appends `count` entries in one call.
    async fn append(&mut self, term: u64, count: u64, len: usize) {
        let next = self.views.last().and_then(|view| view.last).map_or(0, |last| last.index + 1);
        let entries: Vec<_> = (next..next + count)
            .map(|index| (log_id(term, index), format!("{term}/{index}/").repeat(len / 5)))
            .collect();
        for appended in &entries {
            self.then(|view| {
                view.last = Some(appended.0);
                view.entries.push(appended.clone());
            });
        }
        let entries = entries.iter().map(|(id, line)| entry(term, id.index, line));
        self.store.blocking_append(entries).await.unwrap();
        self.acknowledged();
    }

    async fn commit(&mut self, committed: LogId<u64>) {
        self.then(|view| view.committed = Some(committed));
        // Not acknowledged: it may be lost until something behind it is.
        self.store.save_committed(Some(committed)).await.unwrap();
    }

    async fn truncate(&mut self, index: u64) {
        self.then(|view| {
            view.entries.retain(|(id, _)| id.index < index);
            view.last = view.entries.last().map(|(id, _)| *id).or(view.purged);
        });
        self.store.truncate(log_id(0, index)).await.unwrap();
        self.acknowledged();
    }

    async fn purge(&mut self, upto: LogId<u64>) {
        self.then(|view| {
            view.entries.retain(|(id, _)| id.index > upto.index);
            view.purged = Some(upto);
            view.last = view.last.max(Some(upto));
        });
        self.store.purge(upto).await.unwrap();
        self.acknowledged();
    }
}

/// Votes before, between and behind what is truncated and purged, over several segments.
async fn workload(history: &mut History) {
    history.vote(1).await;
    history.append(1, 3, 9_000).await;
    history.commit(log_id(1, 1)).await;
    history.append(1, 4, 9_000).await;
    history.vote(2).await;
    history.truncate(5).await;
    history.vote(3).await;
    history.append(3, 2, 9_000).await;
    history.commit(log_id(3, 5)).await;
    history.purge(log_id(1, 3)).await;
    history.append(3, 3, 9_000).await;
    history.vote(4).await;
    history.truncate(8).await;
    history.append(4, 3, 9_000).await;
    history.purge(log_id(3, 7)).await;
    history.vote(5).await;
    history.truncate(8).await;
    history.purge(log_id(5, 20)).await;
    history.append(5, 2, 9_000).await;
    history.commit(log_id(5, 21)).await;
    history.purge(log_id(5, 21)).await;
    history.vote(6).await;
    history.append(6, 3, 9_000).await;
}

#[test]
fn nothing_acknowledged_is_lost_by_a_crash_at_any_operation_and_a_second_one() {
    let mut history = History::new();
    run(workload(&mut history));
    assert_eq!(run(view(&mut history.store.clone())), history.views[history.views.len() - 1]);
    let History { disk, store, views, promises } = history;
    store.close().unwrap();

    let views = RefCell::new(views);
    let promised = |operation: u64| {
        let kept = promises.iter().take_while(|(after, _)| *after < operation);
        kept.last().map_or(0, |(_, view)| *view)
    };
    let recover = |disk: &SimDisk, crash: &Crash<'_, View>| {
        let (mut store, _) = Store::open_with(options(disk.mount()), "/raft")
            .map_err(|error| format!("cannot open: {error}"))?;
        let found = run(view(&mut store));
        let at_least = promised(crash.operation());
        if !views.borrow()[at_least..].contains(&found) {
            let acknowledged = brief(&views.borrow()[at_least]);
            return Err(format!("{} after {acknowledged} was acknowledged", brief(&found)));
        }
        if crash.before().is_some_and(|shown| *shown != found) {
            return Err(format!("{} after something else was shown", brief(&found)));
        }
        drop(store);
        goes_on(&disk.fork(), found.clone())?;
        Ok(found)
    };
    let explored = Explorer::new(&disk)
        .seeds(SEEDS)
        .seeds_in_recovery(1)
        .promises(|operation| promised(operation) as u64)
        .run(recover);
    match explored {
        Ok(coverage) => {
            // Straight to stderr, which the test harness does not keep to itself.
            let _ = writeln!(std::io::stderr(), "crash states of the log store: {coverage}");
            assert!(coverage.crashes > 200 && coverage.second_crashes > 200, "{coverage}");
        }
        Err(failure) => panic!("{failure}"),
    }
}

/// What comes after a crash is kept as well.
fn goes_on(disk: &SimDisk, mut expected: View) -> Result<(), String> {
    let (mut store, _) = Store::open_with(options(disk.mount()), "/raft")
        .map_err(|error| format!("cannot open again: {error}"))?;
    let next = log_id(9, expected.last.map_or(0, |last| last.index + 1));
    run(async {
        store.blocking_append([entry(9, next.index, "after")]).await.unwrap();
        store.save_vote(&Vote::new(9, 1)).await.unwrap();
    });
    expected.entries.push((next, "after".to_owned()));
    (expected.last, expected.vote) = (Some(next), Some(Vote::new(9, 1)));
    drop(store);
    disk.crash(bucket_vfs::sim::Survivors::None);
    let (mut store, _) = Store::open_with(options(disk.mount()), "/raft")
        .map_err(|error| format!("cannot open a third time: {error}"))?;
    let found = run(view(&mut store));
    if found == expected { Ok(()) } else { Err(format!("later: {}", brief(&found))) }
}

fn brief(view: &View) -> String {
    let ids: Vec<_> = view.entries.iter().map(|(id, _)| id.to_string()).collect();
    format!(
        "vote {:?}, committed {:?}, purged {:?}, last {:?}, entries {ids:?}",
        view.vote, view.committed, view.purged, view.last
    )
}
