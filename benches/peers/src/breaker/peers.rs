//! The other breakers, each with the window nearest to ours and the fastest setup that it documents.

use std::hint::black_box;
use std::time::Duration;

use failsafe::CircuitBreaker as _;
use layered::{Execute, Service as _, Stack as _};
use tower::Service as _;

use crate::goal::Goal;
use crate::harness::Failure;
use crate::harness::cpu::Run;
use crate::work::{Failed, runtime, time_async_loop, time_loop, work};

type Peer = (&'static str, fn() -> Result<Run, Failure>, &'static str, Goal);

pub(super) const ALL: &[Peer] = &[
    (
        "failsafe",
        failsafe,
        " Theirs: consecutive failures alone, the cheaper of its policies: it keeps no window.",
        Goal::AtMost(0.25),
    ),
    (
        "breaker",
        breaker,
        " Theirs: a window of 20 calls; asynchronous, one `block_on` around the whole loop.",
        Goal::AtMost(0.25),
    ),
    ("recloser", recloser, " Theirs: a ring of 20 calls.", Goal::Reported),
    (
        "seatbelt",
        seatbelt,
        " Theirs: its window is one of time; on a clock that stands still, so that no clock is read, which \
         is in its favour; no telemetry; asynchronous, one `block_on` around the whole loop.",
        Goal::AtMost(0.06),
    ),
    (
        "tower-resilience-circuitbreaker",
        tower_resilience,
        " Theirs: a window of 20 calls; a tower service, called without `ready`, which it does not need; \
         asynchronous, one `block_on` around the whole loop.",
        Goal::Reported,
    ),
];

fn failsafe() -> Result<Run, Failure> {
    let backoff = failsafe::backoff::constant(OPEN);
    let policy = failsafe::failure_policy::consecutive_failures(5, backoff);
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    Ok(Box::new(move |calls| time_loop(calls, |n| black_box(&breaker).call(|| work(n)))))
}

fn breaker() -> Result<Run, Failure> {
    let config = breaker::CircuitBreakerConfig::builder()
        .consecutive_failures(5)
        .sliding_window_size(20)
        .minimum_calls(10)
        .failure_rate_threshold(0.5)
        .wait_duration(OPEN)
        .build();
    let breaker = breaker::CircuitBreaker::new(config);
    let runtime = runtime()?;
    Ok(Box::new(move |calls| {
        runtime.block_on(time_async_loop(calls, async |n| {
            black_box(&breaker).call(|| async { work(n) }).await
        }))
    }))
}

fn recloser() -> Result<Run, Failure> {
    let breaker = recloser::Recloser::custom()
        .error_rate(0.5)
        .closed_len(20)
        .half_open_len(2)
        .open_wait(OPEN)
        .build();
    Ok(Box::new(move |calls| time_loop(calls, |n| black_box(&breaker).call(|| work(n)))))
}

fn seatbelt() -> Result<Run, Failure> {
    let context = seatbelt::ResilienceContext::new(tick::Clock::new_frozen());
    let stack = (
        seatbelt::breaker::Breaker::layer("bench", &context)
            .recovery_with(|result: &Result<u64, Failed>, _| match result {
                Ok(_) => seatbelt::RecoveryInfo::never(),
                Err(_) => seatbelt::RecoveryInfo::retry(),
            })
            .rejected_input_error(|_, _| Failed)
            .failure_threshold(0.5)
            .min_throughput(10)
            .break_duration(OPEN),
        Execute::new(|n: u64| async move { work(n) }),
    );
    let service = stack.into_service();
    let runtime = runtime()?;
    Ok(Box::new(move |calls| {
        runtime.block_on(time_async_loop(calls, async |n| black_box(&service).execute(n).await))
    }))
}

fn tower_resilience() -> Result<Run, Failure> {
    let layer = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_size(20)
        .minimum_number_of_calls(10)
        .wait_duration_in_open(OPEN)
        .build()?;
    let mut service = layer.layer_fn(tower::service_fn(|n: u64| async move { work(n) }));
    let runtime = runtime()?;
    Ok(Box::new(move |calls| {
        runtime.block_on(time_async_loop(calls, async |n| black_box(&mut service).call(n).await))
    }))
}

const OPEN: Duration = Duration::from_secs(1);
