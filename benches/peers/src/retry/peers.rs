//! The other retries: an exponential backoff of three attempts, built once where the crate lets it be.

use std::hint::black_box;
use std::time::Duration;

use backon::BlockingRetryable;

use crate::goal::Goal;
use crate::harness::Failure;
use crate::harness::cpu::Run;
use crate::work::{Failed, runtime, time_async_loop, time_loop, work};

type Peer = (&'static str, fn() -> Result<Run, Failure>, &'static str, Goal);

pub(super) const ALL: &[Peer] = &[
    (
        "backon",
        backon,
        " Theirs: blocking, the builder made once and copied for each call, as its API asks.",
        Goal::AtMost(0.3),
    ),
    (
        "backoff",
        backoff,
        " Theirs: `retry` with its exponential backoff, which is cloned for each call, as its API asks: \
         it reads the clock to know when it began.",
        Goal::Reported,
    ),
    (
        "retry",
        retry,
        " Theirs: `retry` with the delays of an exponential, cut at two, made for each call because they cannot be cloned; no context, no classes, no clock.",
        Goal::Reported,
    ),
    (
        "tokio-retry",
        tokio_retry,
        " Theirs: asynchronous only; one `block_on` around the whole loop, on a runtime of one thread.",
        Goal::Reported,
    ),
];

fn backon() -> Result<Run, Failure> {
    let builder = backon::ExponentialBuilder::default()
        .with_min_delay(BASE)
        .with_max_delay(LONGEST)
        .with_max_times(2);
    Ok(Box::new(move |calls| time_loop(calls, |n| (|| work(n)).retry(*black_box(&builder)).call())))
}

fn backoff() -> Result<Run, Failure> {
    let policy = backoff::ExponentialBackoff {
        initial_interval: BASE,
        max_interval: LONGEST,
        max_elapsed_time: None,
        ..backoff::ExponentialBackoff::default()
    };
    Ok(Box::new(move |calls| {
        time_loop(calls, |n| {
            backoff::retry(black_box(&policy).clone(), || {
                work(n).map_err(backoff::Error::transient)
            })
        })
    }))
}

fn retry() -> Result<Run, Failure> {
    Ok(Box::new(|calls| {
        time_loop(calls, |n| {
            let delays = retry::delay::Exponential::from_millis(black_box(100)).take(2);
            retry::retry(delays, || work(n))
        })
    }))
}

fn tokio_retry() -> Result<Run, Failure> {
    let runtime = runtime()?;
    let delays = tokio_retry::strategy::ExponentialBackoff::from_millis(100);
    Ok(Box::new(move |calls| {
        runtime.block_on(time_async_loop::<Failed>(calls, async |n| {
            let delays = black_box(&delays).clone().take(2);
            tokio_retry::Retry::start(delays, async || work(n)).await
        }))
    }))
}

const BASE: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);
