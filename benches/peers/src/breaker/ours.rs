//! Our breaker, with and without its totals.

use std::hint::black_box;

use bucket_breaker::Breaker;
use bucket_core::SystemClock;

use crate::harness::Failure;
use crate::harness::cpu::Run;
use crate::work::{time_loop, work};

pub(crate) fn totals_off() -> Result<Run, Failure> {
    guarded(false)
}

pub(crate) fn totals_on() -> Result<Run, Failure> {
    guarded(true)
}

fn guarded(totals: bool) -> Result<Run, Failure> {
    let breaker = Breaker::builder("bench").totals(totals).build()?;
    let clock = SystemClock::new();
    Ok(Box::new(move |calls| time_loop(calls, |n| black_box(&breaker).call(&clock, || work(n)))))
}
