//! Our retry, blocking.

use std::hint::black_box;

use bucket_core::{Ctx, OpKind};
use bucket_retry::RetryPolicy;

use crate::harness::Failure;
use crate::harness::cpu::Run;
use crate::work::{time_loop, work};

pub(crate) fn call() -> Result<Run, Failure> {
    let policy = RetryPolicy::builder().build()?;
    let ctx = Ctx::new(OpKind::Read);
    Ok(Box::new(move |calls| {
        time_loop(calls, |n| {
            black_box(&policy).call(black_box(&ctx)).idempotent(true).run(|_| work(n))
        })
    }))
}
