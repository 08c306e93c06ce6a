//! The blocking driver and the machine, on virtual time.

use std::cell::Cell;
use std::error::Error as _;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bucket_core::testing::ManualClock;
use bucket_core::{Blocked, Cancel, Class, Classified, Clock, Ctx, Gate, OpKind, Tick};
use bucket_retry::{
    Backoff, Decision, Policies, Reason, RetryError, RetryPolicy, RetryPolicyBuilder, Sleep,
};

#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{0:?}")]
struct Fault(Class);

impl Classified for Fault {
    fn class(&self) -> Class {
        self.0
    }
}

/// Sleeping advances the clock; what happens meanwhile is up to the test.
struct World {
    clock: ManualClock,
    sleeps: AtomicU32,
    slept_millis: AtomicU64,
    gate_open: AtomicBool,
    close_gate_in_sleep: bool,
    cancel_in_sleep: Cancel,
}

impl World {
    fn new() -> Self {
        Self {
            clock: ManualClock::new(),
            sleeps: AtomicU32::new(0),
            slept_millis: AtomicU64::new(0),
            gate_open: AtomicBool::new(true),
            close_gate_in_sleep: false,
            cancel_in_sleep: Cancel::never(),
        }
    }

    fn sleeps(&self) -> u32 {
        self.sleeps.load(Ordering::SeqCst)
    }

    fn slept(&self) -> Duration {
        millis(self.slept_millis.load(Ordering::SeqCst))
    }

    /// Runs a call in which every attempt ends like this; also says how many there were.
    fn run_failing(
        &self,
        policy: &RetryPolicy,
        ctx: &Ctx,
        idempotent: bool,
        class: Class,
    ) -> (RetryError<Fault>, u32) {
        let calls = Cell::new(0);
        let result =
            policy.call(ctx).idempotent(idempotent).gate(self).clock(&self.clock).sleep(self).run(
                |attempt| {
                    calls.set(calls.get() + 1);
                    assert_eq!(attempt.attempt, calls.get());
                    Err::<(), _>(Fault(class))
                },
            );
        (result.expect_err("every attempt fails"), calls.get())
    }
}

impl Sleep for World {
    fn sleep(&self, duration: Duration, cancel: &Cancel) -> bool {
        self.sleeps.fetch_add(1, Ordering::SeqCst);
        self.slept_millis.fetch_add(duration.as_millis() as u64, Ordering::SeqCst);
        self.clock.advance(duration);
        self.cancel_in_sleep.cancel();
        if self.close_gate_in_sleep {
            self.gate_open.store(false, Ordering::SeqCst);
        }
        !cancel.is_cancelled()
    }
}

impl Gate for World {
    fn may_try(&self, _now: Tick) -> Result<(), Blocked> {
        if self.gate_open.load(Ordering::SeqCst) { Ok(()) } else { Err(Blocked::new(None)) }
    }
}

/// 100 ms, 200 ms, 400 ms … without jitter.
fn builder() -> RetryPolicyBuilder {
    let backoff = Backoff::exponential(millis(100), millis(10_000));
    RetryPolicy::builder().backoff(backoff.jitter(bucket_retry::Jitter::None)).max_attempts(4)
}

fn policy() -> RetryPolicy {
    builder().build().expect("the settings are valid")
}

fn read() -> Ctx {
    Ctx::new(OpKind::Read)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn the_first_success_is_returned_and_nothing_more_is_called() {
    let world = World::new();
    let policy = policy();
    let ctx = read();
    let calls = Cell::new(0);
    let result = policy.call(&ctx).clock(&world.clock).sleep(&world).run(|attempt| {
        calls.set(calls.get() + 1);
        if attempt.attempt < 3 { Err(Fault(Class::Transient)) } else { Ok("done") }
    });
    assert_eq!((result, calls.get()), (Ok("done"), 3));
    assert_eq!((world.sleeps(), world.slept()), (2, millis(300)));
}

#[test]
fn the_closure_is_called_exactly_as_often_as_allowed() {
    for max_attempts in [1, 2, 7] {
        let world = World::new();
        let policy = builder().max_attempts(max_attempts).build().unwrap();
        let (error, calls) = world.run_failing(&policy, &read(), true, Class::Transient);
        assert_eq!((calls, error.attempts), (max_attempts, max_attempts));
        assert_eq!(error.reason, Reason::AttemptsExhausted);
        assert_eq!(world.sleeps(), max_attempts - 1, "no sleep after the last attempt");
        assert_eq!(error.elapsed, world.slept());
    }
}

#[test]
fn the_error_keeps_class_and_source_of_the_last_attempt() {
    let class = Class::Throttled { after: None };
    let (error, _) = World::new().run_failing(&policy(), &read(), true, class);
    assert_eq!(error.class(), class);
    assert_eq!(error.to_string(), "gave up after attempt 4, in 700ms: no attempts left");
    assert_eq!(error.source().unwrap().to_string(), Fault(class).to_string());
    assert_eq!(error.into_last(), Fault(class));
}

#[test]
fn a_definite_answer_is_not_asked_for_again() {
    for class in [Class::Permanent, Class::Ignore, Class::Success] {
        let world = World::new();
        let (error, calls) = world.run_failing(&policy(), &read(), true, class);
        assert_eq!((calls, error.reason, world.sleeps()), (1, Reason::NotRetryable, 0));
    }
}

#[test]
fn an_unknown_outcome_is_repeated_only_when_idempotent() {
    let world = World::new();
    let (error, calls) = world.run_failing(&policy(), &read(), false, Class::UnknownOutcome);
    assert_eq!((calls, error.reason, world.sleeps()), (1, Reason::OutcomeUnknown, 0));
    let (error, calls) = world.run_failing(&policy(), &read(), true, Class::UnknownOutcome);
    assert_eq!((calls, error.reason), (4, Reason::AttemptsExhausted));
}

#[test]
fn by_default_a_call_is_not_idempotent() {
    let world = World::new();
    let policy = policy();
    let ctx = read();
    let result = policy
        .call(&ctx)
        .clock(&world.clock)
        .sleep(&world)
        .run(|_| Err::<(), _>(Fault(Class::UnknownOutcome)));
    assert_eq!(result.unwrap_err().reason, Reason::OutcomeUnknown);
}

/// A pin of the original system against an open breaker slept nine times, 639 s in all, although the
/// breaker had said at once that no call would be made.
#[test]
fn a_closed_gate_is_never_slept_on() {
    let world = World::new();
    world.gate_open.store(false, Ordering::SeqCst);
    let policies = Policies::ipfs_kit_defaults();
    let pin = policies.policy(OpKind::Pin);
    let class = Class::Unavailable { after: Some(millis(60_000)) };
    let (error, calls) = world.run_failing(pin, &Ctx::new(OpKind::Pin), true, class);
    assert_eq!((calls, error.reason), (1, Reason::GateClosed));
    assert_eq!((world.sleeps(), error.elapsed), (0, Duration::ZERO));
}

#[test]
fn a_gate_that_closes_during_the_sleep_stops_the_next_attempt() {
    let world = World { close_gate_in_sleep: true, ..World::new() };
    let (error, calls) = world.run_failing(&policy(), &read(), true, Class::Transient);
    assert_eq!((calls, error.attempts, error.reason), (1, 1, Reason::GateClosed));
    assert_eq!((world.sleeps(), error.elapsed), (1, millis(100)));
}

#[test]
fn a_delay_that_would_reach_the_deadline_is_refused_before_sleeping() {
    // The delays are 100 ms and 200 ms; the second would end at 300 ms.
    for (deadline, calls) in [(100, 1), (101, 2), (300, 2), (301, 3)] {
        for own in [false, true] {
            let world = World::new();
            let (policy, ctx) = if own {
                (builder().deadline(millis(deadline)).build().unwrap(), read())
            } else {
                (policy(), read().with_deadline(world.clock.now().after(millis(deadline))))
            };
            let (error, made) = world.run_failing(&policy, &ctx, true, Class::Transient);
            assert_eq!((made, error.reason), (calls, Reason::DeadlineExceeded), "{deadline} ms");
            assert_eq!(world.sleeps(), calls - 1);
            assert!(error.elapsed < millis(deadline));
        }
    }
}

#[test]
fn a_hint_beyond_the_deadline_is_refused_before_sleeping() {
    let world = World::new();
    let policy = builder().deadline(millis(5_000)).build().unwrap();
    let class = Class::Throttled { after: Some(millis(5_000)) };
    let (error, calls) = world.run_failing(&policy, &read(), true, class);
    assert_eq!((calls, error.reason, world.sleeps()), (1, Reason::DeadlineExceeded, 0));
}

#[test]
fn a_hint_is_the_floor_of_the_delay() {
    let world = World::new();
    let class = Class::Throttled { after: Some(millis(150)) };
    world.run_failing(&policy(), &read(), true, class);
    assert_eq!(world.slept(), millis(150 + 200 + 400));
}

#[test]
fn cancelling_during_the_sleep_ends_the_call() {
    let cancel = Cancel::new();
    let world = World { cancel_in_sleep: cancel.clone(), ..World::new() };
    let ctx = read().with_cancel(cancel);
    let (error, calls) = world.run_failing(&policy(), &ctx, true, Class::Transient);
    assert_eq!((calls, error.reason, world.sleeps()), (1, Reason::Cancelled, 1));
}

#[test]
fn cancelling_during_an_attempt_ends_the_call_without_a_sleep() {
    let world = World::new();
    let cancel = Cancel::new();
    let ctx = read().with_cancel(cancel.clone());
    let result = policy().call(&ctx).clock(&world.clock).sleep(&world).run(|_| {
        cancel.cancel();
        Err::<(), _>(Fault(Class::Transient))
    });
    assert_eq!((result.unwrap_err().reason, world.sleeps()), (Reason::Cancelled, 0));
}

#[test]
fn retries_in_retries_do_not_multiply() {
    let world = World::new();
    let policy = policy();
    let ctx = read();
    let calls = Cell::new(0);
    let run = |ctx: &Ctx, op: &dyn Fn(&Ctx) -> Result<(), Fault>| {
        policy.call(ctx).clock(&world.clock).sleep(&world).run(op)
    };
    let result = run(&ctx, &|outer| {
        let nested = run(outer, &|middle| {
            run(middle, &|_| {
                calls.set(calls.get() + 1);
                Err(Fault(Class::Transient))
            })
            .map_err(RetryError::into_last)
        });
        let error = nested.unwrap_err();
        assert_eq!((error.reason, error.attempts), (Reason::Nested, 1));
        Err(error.into_last())
    });
    assert_eq!(result.unwrap_err().reason, Reason::AttemptsExhausted);
    assert_eq!(calls.get(), 4, "and not 4 * 4 * 4");
}

#[test]
fn an_attempt_is_told_the_earlier_of_its_timeout_and_the_deadline() {
    let policy = builder().deadline(millis(1_000)).attempt_timeout(millis(400)).build().unwrap();
    let at = |milli| Tick::ZERO.after(millis(milli));
    let call = policy.start(&read(), at(0), true);
    assert_eq!(call.attempt_ctx(at(0)).deadline, Some(at(400)));
    assert_eq!(call.attempt_ctx(at(700)).deadline, Some(at(1_000)));
    assert_eq!((call.attempt_ctx(at(0)).attempt, call.attempt_ctx(at(0)).depth), (1, 1));

    let hurried = policy.start(&read().with_deadline(at(300)), at(0), true);
    assert_eq!(hurried.attempt_ctx(at(0)).deadline, Some(at(300)));
}

#[test]
fn the_machine_refuses_in_the_documented_order() {
    let now = Tick::ZERO.after(millis(50));
    let closed = World::new();
    closed.gate_open.store(false, Ordering::SeqCst);
    let cancelled = Cancel::new();
    cancelled.cancel();
    let one_attempt = builder().max_attempts(1).build().unwrap();
    // Everything speaks against a further attempt; from line to line one thing fewer.
    let mut ctx = read().with_cancel(cancelled).with_deadline(now);
    ctx.depth = 1;
    let decide = |policy: &RetryPolicy, ctx: &Ctx, idempotent, class, gate: Option<&dyn Gate>| {
        policy.start(ctx, Tick::ZERO, idempotent).on_outcome(now, class, gate)
    };
    let give_up = |reason| Decision::GiveUp(reason);
    let gate: Option<&dyn Gate> = Some(&closed);
    let unknown = Class::UnknownOutcome;
    assert_eq!(decide(&one_attempt, &ctx, false, Class::Success, gate), Decision::Done);
    let decision = decide(&one_attempt, &ctx, false, Class::Permanent, gate);
    assert_eq!(decision, give_up(Reason::NotRetryable));
    let decision = decide(&one_attempt, &ctx, false, unknown, gate);
    assert_eq!(decision, give_up(Reason::OutcomeUnknown));
    assert_eq!(decide(&one_attempt, &ctx, true, unknown, gate), give_up(Reason::Nested));
    ctx.depth = 0;
    assert_eq!(decide(&one_attempt, &ctx, true, unknown, gate), give_up(Reason::Cancelled));
    ctx.cancel = Cancel::never();
    assert_eq!(decide(&one_attempt, &ctx, true, unknown, gate), give_up(Reason::AttemptsExhausted));
    assert_eq!(decide(&policy(), &ctx, true, unknown, gate), give_up(Reason::GateClosed));
    assert_eq!(decide(&policy(), &ctx, true, unknown, None), give_up(Reason::DeadlineExceeded));
    ctx.deadline = None;
    let retry = Decision::Retry { delay: millis(100) };
    assert_eq!(decide(&policy(), &ctx, true, unknown, None), retry);
}

#[test]
fn the_machine_looks_again_after_the_delay() {
    let cancel = Cancel::new();
    let deadline = Tick::ZERO.after(millis(1_000));
    let ctx = read().with_cancel(cancel.clone()).with_deadline(deadline);
    let mut call = policy().start(&ctx, Tick::ZERO, true);
    let Decision::Retry { delay } = call.on_outcome(Tick::ZERO, Class::Transient, None) else {
        panic!("it may be tried again");
    };
    let now = Tick::ZERO.after(delay);
    let gate = World::new();
    assert_eq!(call.before_attempt(now, Some(&gate)), Ok(()));
    assert_eq!(call.before_attempt(deadline, None), Err(Reason::DeadlineExceeded), "overslept");
    gate.gate_open.store(false, Ordering::SeqCst);
    assert_eq!(call.before_attempt(now, Some(&gate)), Err(Reason::GateClosed));
    cancel.cancel();
    assert_eq!(call.before_attempt(now, None), Err(Reason::Cancelled));
    assert_eq!((call.attempts(), call.elapsed(now)), (1, delay));
}

#[test]
fn a_policy_without_delays_does_not_sleep() {
    let world = World::new();
    let policy = builder().backoff(Backoff::none()).build().unwrap();
    let (error, calls) = world.run_failing(&policy, &read(), true, Class::Transient);
    assert_eq!((calls, error.reason, world.sleeps()), (4, Reason::AttemptsExhausted, 0));
}
