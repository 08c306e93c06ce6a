//! Tests of the order of the guards, and of what each of them is told.

use std::io;
use std::time::Duration;

use bucket_breaker::{Breaker, State};
use bucket_core::testing::ManualClock;
use bucket_core::{Cancel, Class, Classified, Clock, Ctx, OpKind};
use bucket_pool::{BlockingManager, Pool};
use bucket_remote::testing::{Faults, FaultyRemote, MemoryRemote};
use bucket_remote::{
    Body, Caps, GetOptions, Key, ListRequest, Meta, Object, Page, Precondition, PutOptions, Remote,
    RemoteError, RemoteErrorKind, Version,
};
use bucket_retry::{Policies, RetryPolicy, Sleep};

use super::{ResilientBuilder, ResilientError, ResilientRemote};
use crate::sync::{Arc, AtomicU64, Ordering};

const READ: Ctx = Ctx::new(OpKind::Read);
const WRITE: Ctx = Ctx::new(OpKind::Write);

/// Everything around a guarded remote that a test looks at.
struct Rig {
    clock: ManualClock,
    faults: Faults,
    remote: Arc<FaultyRemote<MemoryRemote>>,
    sleeps: Arc<Sleeps>,
    reads: Breaker,
    writes: Breaker,
}

/// Sleeps by moving the clock, and counts.
struct Sleeps {
    clock: ManualClock,
    count: AtomicU64,
}

impl Sleep for Sleeps {
    fn sleep(&self, duration: Duration, cancel: &Cancel) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.clock.advance(duration);
        !cancel.is_cancelled()
    }
}

impl Rig {
    fn new() -> Self {
        let clock = ManualClock::new();
        let inner = MemoryRemote::new().with_clock(Arc::new(clock.clone()));
        let time = clock.clone();
        let remote =
            FaultyRemote::new(inner).with_time(Arc::new(clock.clone()), move |cancel, duration| {
                time.advance(duration);
                !cancel.is_cancelled()
            });
        let breaker = |name| {
            let (short, long) = (Duration::from_secs(10), Duration::from_secs(60));
            Breaker::builder(name)
                .consecutive_failures(5)
                .open_duration(short)
                .max_open_duration(long)
                .build()
                .unwrap()
        };
        Self {
            faults: remote.faults(),
            remote: Arc::new(remote),
            sleeps: Arc::new(Sleeps { clock: clock.clone(), count: AtomicU64::new(0) }),
            reads: breaker("reads"),
            writes: breaker("writes"),
            clock,
        }
    }

    fn guarded(&self) -> ResilientRemote {
        self.around(ResilientRemote::builder("test", Arc::clone(&self.remote) as Arc<dyn Remote>))
    }

    fn around(&self, builder: ResilientBuilder) -> ResilientRemote {
        builder
            .breakers(self.reads.clone(), self.writes.clone())
            .clock(Arc::new(self.clock.clone()))
            .sleep(Arc::clone(&self.sleeps))
            .build()
            .unwrap()
    }

    /// A pool of connections to the remote, opened by a manager that can be told to refuse.
    fn pool(&self, max_size: usize) -> (Pool<Lines>, Arc<Connects>) {
        let connects = Arc::new(Connects::default());
        let lines = Lines { remote: Arc::clone(&self.remote), connects: Arc::clone(&connects) };
        let pool = Pool::builder(lines)
            .max_size(max_size)
            .acquire_timeout(Duration::from_millis(1))
            .clock(Arc::new(self.clock.clone()))
            .build()
            .unwrap();
        (pool, connects)
    }

    fn pooled(&self, pool: &Pool<Lines>) -> ResilientRemote {
        self.around(ResilientRemote::pooled("test", pool.clone(), self.remote.caps()))
    }

    fn sleeps(&self) -> u64 {
        self.sleeps.count.load(Ordering::Relaxed)
    }

    fn failures(&self) -> (u64, u64) {
        let now = self.clock.now();
        (self.reads.snapshot(now).failures, self.writes.snapshot(now).failures)
    }
}

/// A connection: the shared remote, through a type of its own.
#[derive(Debug)]
struct Line(Arc<FaultyRemote<MemoryRemote>>);

impl Remote for Line {
    fn caps(&self) -> Caps {
        self.0.caps()
    }

    fn check_key(&self, key: &Key) -> Result<(), RemoteError> {
        self.0.check_key(key)
    }

    fn put(
        &self,
        ctx: &Ctx,
        key: &Key,
        body: &Body,
        options: &PutOptions,
    ) -> Result<Version, RemoteError> {
        self.0.put(ctx, key, body, options)
    }

    fn get(&self, ctx: &Ctx, key: &Key, options: &GetOptions) -> Result<Object, RemoteError> {
        self.0.get(ctx, key, options)
    }

    fn head(&self, ctx: &Ctx, key: &Key) -> Result<Meta, RemoteError> {
        self.0.head(ctx, key)
    }

    fn delete(&self, ctx: &Ctx, key: &Key, precondition: &Precondition) -> Result<(), RemoteError> {
        self.0.delete(ctx, key, precondition)
    }

    fn list(&self, ctx: &Ctx, request: &ListRequest) -> Result<Page, RemoteError> {
        self.0.list(ctx, request)
    }
}

struct Lines {
    remote: Arc<FaultyRemote<MemoryRemote>>,
    connects: Arc<Connects>,
}

#[derive(Debug, Default)]
struct Connects {
    count: AtomicU64,
    refuse: AtomicU64,
}

impl Connects {
    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl BlockingManager for Lines {
    type Connection = Line;
    type Error = io::Error;

    fn connect(&self, _ctx: &Ctx) -> Result<Line, io::Error> {
        self.connects.count.fetch_add(1, Ordering::Relaxed);
        if self.connects.refuse.load(Ordering::Relaxed) > 0 {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(Line(Arc::clone(&self.remote)))
    }
}

fn key() -> Key {
    Key::new("a").unwrap()
}

fn put(remote: &ResilientRemote) -> Result<(), ResilientError> {
    remote.put(&WRITE, &key(), &"content".into(), &PutOptions::new()).map(drop)
}

fn get(remote: &ResilientRemote) -> Result<(), ResilientError> {
    remote.get(&READ, &key(), &GetOptions::new()).map(drop)
}

fn attempts(error: &ResilientError) -> u32 {
    match error {
        ResilientError::Remote { attempts, .. } => *attempts,
        other => panic!("{other:?}"),
    }
}

fn transient() -> RemoteError {
    RemoteError::refused(RemoteErrorKind::Transient)
}

fn ambiguous() -> RemoteError {
    RemoteError::ambiguous(RemoteErrorKind::Timeout)
}

#[test]
fn a_failure_that_passes_is_retried_after_a_sleep() {
    let rig = Rig::new();
    let remote = rig.guarded();
    rig.faults.fail_next(2, transient, false);
    put(&remote).unwrap();
    assert_eq!((rig.faults.stats().put, rig.sleeps()), (3, 2));
    rig.faults.fail_next(3, transient, false);
    get(&remote).unwrap();
    assert_eq!((rig.faults.stats().get, rig.sleeps()), (4, 5));
    assert_eq!(rig.failures(), (3, 2), "the breakers see every attempt");
}

#[test]
fn the_last_error_says_how_often_the_remote_was_asked() {
    let rig = Rig::new();
    let remote = rig.guarded();
    rig.faults.down(true);
    let error = put(&remote).unwrap_err();
    assert_eq!(attempts(&error), 3);
    assert_eq!(error.remote().unwrap().kind, RemoteErrorKind::Unavailable);
    assert_eq!(error.class(), Class::Unavailable { after: None });
}

#[test]
fn an_open_breaker_asks_nobody_sleeps_never_and_says_when_to_come_back() {
    let rig = Rig::new();
    let (pool, connects) = rig.pool(2);
    let remote = rig.pooled(&pool);
    rig.writes.force_open();
    rig.reads.force_open();
    assert!(matches!(put(&remote), Err(ResilientError::BreakerOpen { retry_in: None })));
    assert!(matches!(get(&remote), Err(ResilientError::BreakerOpen { .. })));
    assert_eq!((connects.count(), rig.sleeps(), pool.stats().created), (0, 0, 0));
    assert_eq!(rig.faults.stats(), Faults::default().stats());
    assert_eq!(get(&remote).unwrap_err().class(), Class::Ignore);
}

#[test]
fn a_breaker_that_opens_ends_the_retries_and_closes_after_probes() {
    let rig = Rig::new();
    let (pool, connects) = rig.pool(2);
    let remote = rig.pooled(&pool);
    rig.faults.down(true);
    assert_eq!(attempts(&put(&remote).unwrap_err()), 3);
    // The fifth failure opens the breaker, and there is no third attempt.
    assert_eq!(attempts(&put(&remote).unwrap_err()), 2);
    assert_eq!(remote.breaker_state(OpKind::Write), State::Open);
    assert_eq!(remote.breaker_state(OpKind::Delete), State::Open);
    assert_eq!(remote.breaker_state(OpKind::Read), State::Closed, "reads have their own");
    let (connected, slept) = (connects.count(), rig.sleeps());
    let error = put(&remote).unwrap_err();
    let ResilientError::BreakerOpen { retry_in: Some(retry_in) } = error else {
        panic!("{error:?}")
    };
    assert_eq!((connects.count(), rig.sleeps()), (connected, slept));
    rig.faults.down(false);
    get(&remote).unwrap_err();
    rig.clock.advance(retry_in);
    put(&remote).unwrap();
    put(&remote).unwrap();
    assert_eq!(remote.breaker_state(OpKind::Write), State::Closed);
}

#[test]
fn an_unconditional_put_is_repeated_after_an_unknown_outcome() {
    let rig = Rig::new();
    let remote = rig.guarded();
    rig.faults.fail_next(1, ambiguous, true);
    put(&remote).unwrap();
    assert_eq!((rig.faults.stats().put, rig.remote.inner().history().len()), (2, 2));
}

#[test]
fn a_conditional_put_is_not_repeated_after_an_unknown_outcome() {
    let rig = Rig::new();
    let remote = rig.guarded();
    rig.faults.fail_next(1, ambiguous, true);
    let options = PutOptions::new().precondition(Precondition::IfAbsent);
    let error = remote.put(&WRITE, &key(), &"content".into(), &options).unwrap_err();
    assert_eq!((attempts(&error), rig.sleeps()), (1, 0));
    assert!(error.remote().unwrap().is_ambiguous());
    // A definite failure of one is repeated.
    rig.faults.fail_next(1, transient, false);
    let other = Key::new("b").unwrap();
    remote.put(&WRITE, &other, &"content".into(), &options).unwrap();
    assert_eq!(rig.faults.stats().put, 3);
}

#[test]
fn a_conditional_delete_is_not_repeated_after_an_unknown_outcome() {
    let rig = Rig::new();
    let remote = rig.guarded();
    let version = remote.put(&WRITE, &key(), &"content".into(), &PutOptions::new()).unwrap();
    rig.faults.fail_next(1, ambiguous, false);
    let ctx = Ctx::new(OpKind::Delete);
    let condition = Precondition::IfMatch(version);
    assert_eq!(attempts(&remote.delete(&ctx, &key(), &condition).unwrap_err()), 1);
    rig.faults.fail_next(1, ambiguous, false);
    remote.delete(&ctx, &key(), &Precondition::None).unwrap();
    assert_eq!((rig.faults.stats().delete, rig.remote.inner().len()), (3, 0));
}

#[test]
fn what_is_not_there_is_an_answer_and_neither_retried_nor_a_failure() {
    let rig = Rig::new();
    let (pool, connects) = rig.pool(1);
    let remote = rig.pooled(&pool);
    for _ in 0..20 {
        let error = get(&remote).unwrap_err();
        assert!(error.is_not_found());
        assert_eq!(attempts(&error), 1);
        assert!(remote.head(&READ, &key()).unwrap_err().is_not_found());
    }
    assert_eq!((rig.sleeps(), rig.failures()), (0, (0, 0)));
    assert_eq!(remote.breaker_state(OpKind::Read), State::Closed);
    assert_eq!(connects.count(), 1, "the connection is as good as before");
}

#[test]
fn a_false_condition_is_no_failure_of_the_remote() {
    let rig = Rig::new();
    let remote = rig.guarded();
    put(&remote).unwrap();
    let options = PutOptions::new().precondition(Precondition::IfAbsent);
    for _ in 0..20 {
        let error = remote.put(&WRITE, &key(), &"other".into(), &options).unwrap_err();
        assert_eq!(error.remote().unwrap().kind, RemoteErrorKind::ConditionFalse);
    }
    assert_eq!((rig.sleeps(), rig.failures()), (0, (0, 0)));
}

#[test]
fn an_exhausted_pool_is_not_charged_to_the_remote() {
    let rig = Rig::new();
    let (pool, connects) = rig.pool(1);
    let remote = rig.pooled(&pool);
    put(&remote).unwrap();
    let held = pool.try_acquire().unwrap();
    for _ in 0..20 {
        let error = put(&remote).unwrap_err();
        assert!(matches!(error, ResilientError::PoolExhausted { .. }), "{error:?}");
        assert_eq!(error.class(), Class::Ignore);
    }
    assert_eq!((rig.failures(), rig.sleeps(), connects.count()), ((0, 0), 0, 1));
    assert_eq!(remote.breaker_state(OpKind::Write), State::Closed);
    drop(held);
    put(&remote).unwrap();
}

#[test]
fn a_connection_that_cannot_be_made_is_charged_to_the_remote() {
    let rig = Rig::new();
    let (pool, connects) = rig.pool(1);
    let remote = rig.pooled(&pool);
    connects.refuse.store(1, Ordering::Relaxed);
    let error = put(&remote).unwrap_err();
    assert!(matches!(error, ResilientError::Connect { .. }), "{error:?}");
    assert_eq!((connects.count(), rig.failures().1), (3, 3), "it is retried");
    put(&remote).unwrap_err();
    assert_eq!(remote.breaker_state(OpKind::Write), State::Open);
    assert_eq!(connects.count(), 5);
}

#[test]
fn a_connection_that_failed_is_discarded_and_a_good_one_is_kept() {
    let rig = Rig::new();
    let (pool, connects) = rig.pool(1);
    let remote = rig.pooled(&pool);
    put(&remote).unwrap();
    put(&remote).unwrap();
    assert_eq!(connects.count(), 1);
    rig.faults.fail_next(1, ambiguous, false);
    put(&remote).unwrap();
    assert_eq!(connects.count(), 2, "the second attempt has a connection of its own");
    // A throttle and a refusal are answers: the connection carried them well.
    rig.faults.fail_next(1, || RemoteError::refused(RemoteErrorKind::Throttled), false);
    put(&remote).unwrap();
    rig.faults.fail_next(1, || RemoteError::refused(RemoteErrorKind::Auth), false);
    put(&remote).unwrap_err();
    assert_eq!(connects.count(), 2);
}

#[test]
fn a_retry_sleeps_without_a_connection_and_without_a_permit() {
    struct Looks {
        pool: Pool<Lines>,
        writes: Breaker,
        clock: ManualClock,
        seen: AtomicU64,
    }
    impl Sleep for Looks {
        fn sleep(&self, _duration: Duration, _cancel: &Cancel) -> bool {
            assert_eq!(self.pool.state().in_use, 0);
            assert!(self.writes.try_acquire(self.clock.now()).is_ok());
            self.seen.fetch_add(1, Ordering::Relaxed);
            true
        }
    }
    let rig = Rig::new();
    let (pool, _) = rig.pool(1);
    let looks = Arc::new(Looks {
        pool: pool.clone(),
        writes: rig.writes.clone(),
        clock: rig.clock.clone(),
        seen: AtomicU64::new(0),
    });
    let remote = ResilientRemote::pooled("test", pool, rig.remote.caps())
        .breakers(rig.reads.clone(), rig.writes.clone())
        .clock(Arc::new(rig.clock.clone()))
        .sleep(Arc::clone(&looks))
        .build()
        .unwrap();
    rig.faults.fail_next(2, transient, false);
    put(&remote).unwrap();
    assert_eq!(looks.seen.load(Ordering::Relaxed), 2);
}

#[test]
fn the_deadline_bounds_all_attempts_together() {
    let rig = Rig::new();
    let remote = rig.guarded();
    rig.faults.latency(Duration::from_secs(3_600));
    let ctx = WRITE.with_deadline(rig.clock.now().after(Duration::from_secs(2)));
    let error = remote.put(&ctx, &key(), &"content".into(), &PutOptions::new()).unwrap_err();
    assert!(error.remote().unwrap().is_ambiguous());
    assert_eq!(rig.clock.now().as_nanos(), 2_000_000_000);
    assert_eq!(attempts(&error), 1);
}

#[test]
fn a_cancelled_call_is_not_repeated_and_not_charged() {
    let rig = Rig::new();
    let remote = rig.guarded();
    let cancel = Cancel::new();
    cancel.cancel();
    let ctx = WRITE.with_cancel(cancel);
    let error = remote.put(&ctx, &key(), &"content".into(), &PutOptions::new()).unwrap_err();
    assert_eq!(attempts(&error), 1);
    assert_eq!((rig.sleeps(), rig.failures()), (0, (0, 0)));
}

#[test]
fn below_another_retry_nothing_is_repeated() {
    let rig = Rig::new();
    let remote = rig.guarded();
    rig.faults.fail_next(1, transient, false);
    let ctx = WRITE.for_attempt(1, None);
    let error = remote.put(&ctx, &key(), &"content".into(), &PutOptions::new()).unwrap_err();
    assert_eq!((attempts(&error), rig.sleeps()), (1, 0));
}

#[test]
fn the_policy_of_the_kind_of_operation_holds() {
    let rig = Rig::new();
    let often = RetryPolicy::builder().max_attempts(5).build().unwrap();
    let builder = ResilientRemote::builder("test", Arc::clone(&rig.remote) as Arc<dyn Remote>);
    let remote = rig.around(builder.policies(Policies::storage().with(OpKind::List, often)));
    rig.faults.fail_next(4, transient, false);
    remote.list(&Ctx::new(OpKind::List), &ListRequest::new("")).unwrap();
    assert_eq!(rig.faults.stats().list, 5);
}
