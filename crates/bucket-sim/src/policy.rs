//! [`Policy`]: what is under test, and [`Client`]: whom it belongs to.

use std::future::Future;

use bucket_core::Class;

use crate::Request;
use crate::rng::Rng;

/// How a client makes a request: the code under test.
///
/// Each client has a policy of its own, made by the closure that [`Scenario::run`] is given, and all
/// of its requests share it. A breaker is a field; what belongs to one request is a local variable.
///
/// # Examples
///
/// ```
/// use bucket_core::Class;
/// use bucket_sim::{Policy, Request};
///
/// /// Asks twice, in a row.
/// struct Twice;
///
/// impl Policy for Twice {
///     async fn request(&self, mut request: Request<'_>) -> Class {
///         match request.call().await {
///             Class::Success => Class::Success,
///             _ => request.call().await,
///         }
///     }
/// }
/// ```
///
/// [`Scenario::run`]: crate::Scenario::run
pub trait Policy {
    /// Makes one request with as many calls as it likes. It succeeded if this returns
    /// [`Class::Success`], and failed otherwise.
    ///
    /// The future may await the [`Call`](crate::Call)s and [`Sleep`](crate::Sleep)s of its request,
    /// each to its end, and nothing else.
    fn request(&self, request: Request<'_>) -> impl Future<Output = Class>;
}

/// A client, for the closure that makes its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Client {
    /// Its number; the first is 0.
    pub index: usize,
    /// For whatever is random in its policy. Differs from client to client and from run to run, and
    /// is the same again for the same seed of the run.
    pub seed: u64,
}

impl Client {
    pub(crate) fn new(index: usize, run_seed: u64) -> Self {
        Self { index, seed: Rng::new(run_seed, streams::policy(index)).next_u64() }
    }
}

/// Which generator is for what. Arrivals have their own, so that the same requests come at the same
/// moments whatever the policy does.
pub(crate) mod streams {
    pub(crate) const SERVICE: u64 = 0;

    pub(crate) const fn arrivals(index: usize) -> u64 {
        1 + 2 * index as u64
    }

    pub(crate) const fn policy(index: usize) -> u64 {
        2 + 2 * index as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_of_a_client_differs_between_clients_and_runs_and_is_repeatable() {
        let seed = |index, run_seed| Client::new(index, run_seed).seed;
        assert_eq!(seed(3, 7), seed(3, 7));
        assert_ne!(seed(3, 7), seed(4, 7));
        assert_ne!(seed(3, 7), seed(3, 8));
    }
}
