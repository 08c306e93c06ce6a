//! The work that breakers and retries guard: a closure that succeeds, and loops around it.

use std::hint::black_box;
use std::time::Duration;

use bucket_core::{Class, Classified};

use crate::harness::cpu::Run;
use crate::harness::{Failure, now, since};

/// The error that the work could return and never does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed;

impl Classified for Failed {
    fn class(&self) -> Class {
        Class::Transient
    }
}

/// The guarded work. The compiler can neither see that it succeeds nor leave it out.
#[inline(always)]
pub(crate) fn work(n: u64) -> Result<u64, Failed> {
    black_box(Ok(black_box(n)))
}

/// Times a loop of blocking calls. A call that does not succeed is a bug of the bench, and ends it.
#[inline(always)]
pub(crate) fn time_loop<E>(calls: u64, mut call: impl FnMut(u64) -> Result<u64, E>) -> Duration {
    let start = now();
    for n in 0..calls {
        match call(n) {
            Ok(value) => black_box(value),
            Err(_) => unreachable_call(),
        };
    }
    since(start)
}

/// The same with calls that are awaited. The caller blocks on the loop, never on a call.
#[inline(always)]
pub(crate) async fn time_async_loop<E>(
    calls: u64,
    mut call: impl AsyncFnMut(u64) -> Result<u64, E>,
) -> Duration {
    let start = now();
    for n in 0..calls {
        match call(n).await {
            Ok(value) => black_box(value),
            Err(_) => unreachable_call(),
        };
    }
    since(start)
}

/// The work alone: what is taken off both sides.
pub(crate) fn bare() -> Result<Run, Failure> {
    Ok(Box::new(|calls| time_loop(calls, work)))
}

/// A runtime on this thread alone, which is what is cheapest for a future that is always ready.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_time().build()?)
}

#[cold]
fn unreachable_call() -> u64 {
    panic!("a guarded call failed, although the work succeeds")
}
