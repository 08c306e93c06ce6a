//! Draining over a remote that fails in every way it may.

use std::time::Duration;

use bucket_core::testing::ManualClock;
use bucket_core::{Cancel, OpKind};
use bucket_remote::testing::{FaultyRemote, MemoryRemote};
use bucket_remote::{Caps, Remote, RemoteError, RemoteErrorKind};
use bucket_retry::{Policies, RetryPolicy, Sleep};

use super::{PATIENCE, Rig, content, key, read, until};
use crate::bucket::{Bucket, EntryState, ListMode, Parked, StoreError};
use crate::resilient::ResilientRemote;
use crate::sync::Arc;

fn lost_reply() -> RemoteError {
    RemoteError::ambiguous(RemoteErrorKind::Transient)
}

#[test]
fn lost_replies_settle_once_and_leave_the_right_content() {
    let rig = Rig::new();
    rig.faults.lose_replies(400);
    let bucket = rig.open();
    for n in 0..40_u8 {
        bucket.put(&key(&format!("k{n}")), content(n, 50)).unwrap();
    }
    bucket.flush(Some(PATIENCE)).unwrap();
    for n in 0..40_u8 {
        let name = format!("k{n}");
        assert_eq!(rig.at_remote(&name).unwrap(), content(n, 50));
        assert_eq!(rig.puts_of(&name), 1, "{name} took effect more than once");
    }
    let status = bucket.status();
    assert_eq!((status.settled, status.pending_ops), (40, 0), "a flush waits for settlements");
}

#[test]
fn a_put_whose_reply_was_lost_before_a_crash_takes_effect_once() {
    let rig = Rig::new();
    rig.faults.fail_next(1, lost_reply, true);
    let bucket = rig.open();
    bucket.put(&key("a"), "content").unwrap();
    until(&bucket, |status| status.last_error.is_some() || status.settled == 1);
    rig.faults.down(true);
    drop(bucket);
    let bucket = rig.open();
    rig.faults.down(false);
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(rig.at_remote("a").unwrap(), b"content");
    assert_eq!(rig.puts_of("a"), 1);
}

#[test]
fn the_mutations_of_a_key_arrive_in_order_through_failures_and_crashes() {
    let rig = Rig::new();
    rig.faults.lose_replies(150);
    rig.faults.fail(150, RemoteErrorKind::Transient);
    let mut bucket = rig.open();
    for round in 0..12_u8 {
        for name in ["a", "b", "c"] {
            bucket.put(&key(name), content(round, 80)).unwrap();
            if round % 5 == 4 {
                bucket.delete(&key(name)).unwrap();
            }
        }
        if round % 3 == 2 {
            drop(bucket);
            bucket = rig.open();
        }
        for name in ["a", "b", "c"] {
            let expected = (round % 5 != 4).then(|| content(round, 80));
            assert_eq!(until_read(&bucket, name), expected, "{name} in round {round}");
        }
    }
    bucket.flush(Some(PATIENCE)).unwrap();
    for name in ["a", "b", "c"] {
        assert_eq!(rig.at_remote(name).unwrap(), content(11, 80));
        assert_once_each(&rig, name);
    }
}

/// As `read`, asking again while the remote fails.
fn until_read(bucket: &Bucket, name: &str) -> Option<Vec<u8>> {
    loop {
        match bucket.get(&key(name)) {
            Ok(body) => return Some(super::bytes(&body)),
            Err(StoreError::NotFound { .. }) => return None,
            Err(StoreError::Remote(_)) => {}
            Err(error) => panic!("{name}: {error:?}"),
        }
    }
}

/// No operation took effect twice.
fn assert_once_each(rig: &Rig, name: &str) {
    let history = rig.remote.inner().history();
    let mut ids: Vec<_> =
        history.iter().filter(|m| m.key == key(name)).map(|m| m.op_id.unwrap()).collect();
    let all = ids.len();
    ids.sort_unstable_by_key(|id| id.get());
    ids.dedup();
    assert_eq!(ids.len(), all, "an operation on {name} took effect twice");
}

#[test]
fn writers_of_many_keys_find_all_of_it_at_the_remote() {
    let rig = Rig::new();
    rig.faults.lose_replies(100);
    rig.faults.fail(100, RemoteErrorKind::Throttled);
    let bucket = rig.open();
    std::thread::scope(|scope| {
        for writer in 0..4_u8 {
            let bucket = &bucket;
            scope.spawn(move || {
                for n in 0..60_u8 {
                    let name = key(&format!("w{writer}/{}", n % 7));
                    bucket.put(&name, content(n, 30)).unwrap();
                }
            });
        }
    });
    bucket.flush(Some(PATIENCE)).unwrap();
    for writer in 0..4 {
        for slot in 0..7_u8 {
            let last = (0..60).rev().find(|n| n % 7 == slot).unwrap();
            let found = rig.at_remote(&format!("w{writer}/{slot}")).unwrap();
            assert_eq!(found, content(last, 30), "w{writer}/{slot}");
        }
    }
    assert_eq!(bucket.status().pending_ops, 0);
}

#[test]
fn a_flush_that_takes_too_long_says_what_is_left() {
    let rig = Rig::down();
    let bucket = rig.open();
    bucket.flush(Some(Duration::ZERO)).unwrap();
    bucket.put(&key("a"), "content").unwrap();
    let error = bucket.flush(Some(Duration::from_millis(5))).unwrap_err();
    assert!(matches!(error, StoreError::FlushTimeout { pending: 1, parked: None }), "{error:?}");
    assert!(until(&bucket, |status| status.last_error.is_some()).last_error.is_some());
}

#[test]
fn a_remote_that_refuses_the_credentials_parks_the_drain() {
    for (kind, parked) in
        [(RemoteErrorKind::Auth, Parked::Auth), (RemoteErrorKind::Quota, Parked::Quota)]
    {
        let rig = Rig::new();
        rig.faults.fail(1_000, kind);
        let bucket = rig.open();
        bucket.put(&key("a"), "content").unwrap();
        until(&bucket, |status| status.parked == Some(parked));
        let error = bucket.flush(Some(Duration::ZERO)).unwrap_err();
        let StoreError::FlushTimeout { pending: 1, parked: said } = error else {
            panic!("{error:?}")
        };
        assert_eq!(said, Some(parked));
        assert_eq!(read(&bucket, "a").unwrap(), b"content");
    }
}

#[test]
fn a_refused_operation_is_shown_kept_and_can_be_replaced() {
    let rig = Rig::new();
    rig.faults.fail(1_000, RemoteErrorKind::TooLarge);
    let bucket = rig.open();
    bucket.put(&key("a"), "too large").unwrap();
    let status = until(&bucket, |status| !status.refused.is_empty());
    assert_eq!((&*status.refused[0].key, status.refused[0].kind), ("a", "too_large"));
    let error = bucket.flush(Some(PATIENCE)).unwrap_err();
    assert!(matches!(error, StoreError::Refused { count: 1, .. }), "{error:?}");
    let listing = bucket.list("", None, 10, ListMode::Local).unwrap();
    assert_eq!(listing.entries[0].state, EntryState::Refused);
    assert_eq!(read(&bucket, "a").unwrap(), b"too large");
    rig.faults.fail(0, RemoteErrorKind::TooLarge);
    bucket.put(&key("a"), "fits").unwrap();
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(rig.at_remote("a").unwrap(), b"fits");
    assert!(bucket.status().refused.is_empty());
}

#[test]
fn a_refused_operation_is_tried_again_and_leaves_when_the_remote_relents() {
    let rig = Rig::new();
    rig.faults.fail(1_000, RemoteErrorKind::Invalid);
    let bucket = rig.open();
    bucket.put(&key("a"), "content").unwrap();
    until(&bucket, |status| !status.refused.is_empty());
    rig.faults.fail(0, RemoteErrorKind::Invalid);
    until(&bucket, |status| status.pending_ops == 0);
    assert_eq!(rig.at_remote("a").unwrap(), b"content");
}

#[test]
fn without_threads_nothing_is_drained_and_nothing_is_lost() {
    let rig = Rig::new();
    let bucket = rig.builder().workers(0).open(rig.dir()).unwrap();
    bucket.put(&key("a"), "content").unwrap();
    assert_eq!(bucket.close().unwrap().pending_ops, 1);
    assert_eq!(rig.calls(), 0);
    let bucket = rig.open();
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(rig.at_remote("a").unwrap(), b"content");
}

#[test]
fn a_remote_without_conditions_is_drained_too() {
    let rig = Rig::with_caps(Caps::none().late_window(Duration::ZERO));
    rig.faults.lose_replies(200);
    let bucket = rig.open();
    for n in 0..20_u8 {
        bucket.put(&key(&format!("k{}", n % 6)), content(n, 40)).unwrap();
    }
    bucket.delete(&key("k0")).unwrap();
    bucket.flush(Some(PATIENCE)).unwrap();
    assert_eq!(rig.at_remote("k0"), None);
    for n in 14..20_u8 {
        if n % 6 != 0 {
            assert_eq!(rig.at_remote(&format!("k{}", n % 6)).unwrap(), content(n, 40));
        }
    }
}

/// A clock that stands still, a remote on it that cannot refuse late requests, and guards whose sleep
/// between two attempts ends the latency.
struct Late {
    rig: Rig,
    clock: ManualClock,
    bucket: Bucket,
}

struct EndsLatency(bucket_remote::testing::Faults);

impl Sleep for EndsLatency {
    fn sleep(&self, _duration: Duration, _cancel: &Cancel) -> bool {
        self.0.latency(Duration::ZERO);
        true
    }
}

impl Late {
    fn new() -> Self {
        let clock = ManualClock::new();
        let inner = MemoryRemote::new().with_clock(Arc::new(clock.clone()));
        let time = clock.clone();
        let remote = FaultyRemote::new(inner).with_caps(Caps::none().identity()).with_time(
            Arc::new(clock.clone()),
            move |cancel, duration| {
                time.advance(duration);
                !cancel.is_cancelled()
            },
        );
        let rig = Rig::over(remote);
        let attempt = Duration::from_millis(10);
        let write = RetryPolicy::builder().attempt_timeout(attempt).build().unwrap();
        let guarded = ResilientRemote::builder("late", Arc::clone(&rig.remote) as Arc<dyn Remote>)
            .policies(Policies::storage().with(OpKind::Write, write))
            .clock(Arc::new(clock.clone()))
            .sleep(EndsLatency(rig.faults.clone()))
            .build()
            .unwrap();
        let bucket = Bucket::over(guarded)
            .clock(Arc::new(clock.clone()))
            .late_window(Duration::from_secs(100))
            .open(rig.dir())
            .unwrap();
        // Nothing of an earlier process is under way any more.
        clock.advance(Duration::from_secs(100));
        Self { rig, clock, bucket }
    }

    /// Lets time pass until the status is as wanted.
    fn pass(&self, wanted: impl Fn(&crate::Status) -> bool) {
        for _ in 0..1_000_000_u32 {
            if wanted(&self.bucket.status()) {
                return;
            }
            self.clock.advance(Duration::from_millis(100));
            self.bucket.inner.work.notify_all();
            std::thread::yield_now();
        }
        panic!("never came: {:?}", self.bucket.status());
    }
}

/// The guards repeated an attempt without an answer, and the second one succeeded: the store did not
/// hear of the first, settled, and sent what was newer, which the late first attempt then undid for
/// good. Draining sees every attempt now, because the guards do not repeat for it.
#[test]
fn a_late_attempt_does_not_undo_a_newer_put() {
    let late = Late::new();
    late.rig.faults.late(true);
    late.rig.faults.latency(Duration::from_secs(3_600));
    late.bucket.put(&key("a"), "old").unwrap();
    // The first attempt is on its way, and its caller has gone.
    until(&late.bucket, |status| status.last_error.is_some() || status.settled == 1);
    late.rig.faults.latency(Duration::ZERO);
    late.bucket.put(&key("a"), "new").unwrap();
    let new_is_there = || late.rig.at_remote("a").as_deref() == Some(b"new");
    late.pass(|_| new_is_there());
    assert_eq!(late.rig.faults.release_late(), 1);
    assert_eq!(late.rig.at_remote("a").unwrap(), b"old", "the late request took effect");
    late.pass(|status| status.pending_ops == 0);
    assert_eq!(late.rig.at_remote("a").unwrap(), b"new");
}
