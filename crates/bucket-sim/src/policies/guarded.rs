//! [`Guarded`]: the breaker and the retry of the sibling crates, put together as `bucket-store` does.

use bucket_breaker::Breaker;
use bucket_core::{Class, Classified, Ctx, OpKind};
use bucket_retry::{Decision, Policies, RetryPolicy};

use crate::{Client, Policy, Request};

/// A [`RetryPolicy`] around a [`Breaker`].
///
/// The breaker sees every attempt, is asked before a retry sleeps and again afterwards, and a call
/// that it rejects ends the request at once. There is no retry budget, because `bucket-retry` has
/// none yet.
#[derive(Debug)]
pub struct Guarded {
    breaker: Breaker,
    retry: RetryPolicy,
    ctx: Ctx,
    idempotent: bool,
}

impl Guarded {
    /// These two, for operations of this kind. Give both a seed, from [`Client::seed`], or no two
    /// runs are the same.
    ///
    /// Reads and lists are taken to be idempotent, which matters for outcomes that are unknown.
    pub const fn new(op: OpKind, breaker: Breaker, retry: RetryPolicy) -> Self {
        Self { breaker, retry, ctx: Ctx::new(op), idempotent: !op.is_mutation() }
    }

    /// What `bucket-store` puts around a remote unless told otherwise: a breaker with its default
    /// settings, and the policy of [`Policies::storage`] for operations of this kind.
    #[expect(clippy::missing_panics_doc, reason = "default settings are valid; a test builds them")]
    pub fn storage(op: OpKind, client: Client) -> Self {
        let breaker = Breaker::builder("service").seed(client.seed).build();
        let breaker = breaker.expect("the default settings are valid");
        Self::new(op, breaker, Policies::storage().policy(op).with_seed(client.seed))
    }
}

impl Policy for Guarded {
    async fn request(&self, mut request: Request<'_>) -> Class {
        let mut retry = self.retry.start(&self.ctx, request.now(), self.idempotent);
        loop {
            let permit = match self.breaker.try_acquire(request.now()) {
                Ok(permit) => permit,
                Err(rejected) => return rejected.class(),
            };
            let deadline = retry.attempt_ctx(request.now()).deadline;
            let class = request.call_until(deadline).await;
            permit.record(request.now(), class);
            match retry.on_outcome(request.now(), class, Some(&self.breaker)) {
                Decision::Done => return Class::Success,
                Decision::GiveUp(_) => return class,
                Decision::Retry { delay } => request.sleep(delay).await,
            }
            if retry.before_attempt(request.now(), Some(&self.breaker)).is_err() {
                return class;
            }
        }
    }
}
