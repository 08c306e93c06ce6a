//! [`Policies`]: a policy for each kind of storage operation.

use std::time::Duration;

use bucket_core::OpKind;

use crate::{Backoff, Jitter, RetryPolicy};

/// A [`RetryPolicy`] for each [`OpKind`].
///
/// # Examples
///
/// ```
/// use bucket_core::OpKind;
/// use bucket_retry::{Policies, RetryPolicy};
///
/// let patient = RetryPolicy::builder().max_attempts(8).build()?;
/// let policies = Policies::storage().with(OpKind::List, patient);
/// assert_eq!(policies.policy(OpKind::List).max_attempts(), 8);
/// assert_eq!(policies.policy(OpKind::Read).max_attempts(), 4);
/// # Ok::<(), bucket_retry::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Policies {
    delete: RetryPolicy,
    list: RetryPolicy,
    pin: RetryPolicy,
    read: RetryPolicy,
    write: RetryPolicy,
}

impl Policies {
    /// For object stores and the like, where a durable queue or a user stands behind the call.
    ///
    /// | operation | attempts | delays, full jitter | deadline |
    /// |---|---|---|---|
    /// | delete | 3 | 100 ms doubling to 2 s | |
    /// | list | 3 | 50 ms doubling to 2 s | |
    /// | pin | 2 | 100 ms doubling to 2 s | |
    /// | read | 4 | 50 ms doubling to 2 s | 10 s |
    /// | write | 3 | 100 ms doubling to 2 s | |
    pub fn storage() -> Self {
        let quick = Backoff::exponential(millis(50), millis(2_000));
        let calm = Backoff::exponential(millis(100), millis(2_000));
        let read = RetryPolicy::builder().backoff(quick).max_attempts(4).deadline(millis(10_000));
        Self {
            delete: policy(3, calm),
            list: policy(3, quick),
            pin: policy(2, calm),
            read: read.build_unchecked(),
            write: policy(3, calm),
        }
    }

    /// The table of the Python system `ipfs_kit`, for those who come from there. The original says
    /// which delays are jittered and not how much; the ±10 % and the delays of list are chosen here.
    ///
    /// | operation | attempts | delays |
    /// |---|---|---|
    /// | delete | 3 | 1 s, 2 s |
    /// | list | 3 | 1 s, 2 s |
    /// | pin | 10 | 5 s doubling to 120 s, ±10 % |
    /// | read | 5 | 500 ms doubling to 10 s, ±10 % |
    /// | write | 3 | 2 s doubling to 30 s |
    ///
    /// Not recommended: delays without jitter bring callers back together, and a pin can block for
    /// ten minutes.
    pub fn ipfs_kit_defaults() -> Self {
        let jitter = Jitter::Range(0.1);
        let linear = Backoff::linear(millis(1_000), millis(60_000));
        let pin = Backoff::exponential(millis(5_000), millis(120_000)).jitter(jitter);
        let read = Backoff::exponential(millis(500), millis(10_000)).jitter(jitter);
        let write = Backoff::exponential(millis(2_000), millis(30_000)).jitter(Jitter::None);
        Self {
            delete: policy(3, linear),
            list: policy(3, linear),
            pin: policy(10, pin),
            read: policy(5, read),
            write: policy(3, write),
        }
    }

    /// The policy for operations of this kind. A kind that this version does not know gets the one
    /// for writes.
    pub fn policy(&self, op: OpKind) -> &RetryPolicy {
        match op {
            OpKind::Delete => &self.delete,
            OpKind::List => &self.list,
            OpKind::Pin => &self.pin,
            OpKind::Read => &self.read,
            _ => &self.write,
        }
    }

    /// The same with another policy for operations of this kind.
    #[must_use]
    pub fn with(mut self, op: OpKind, policy: RetryPolicy) -> Self {
        let entry = match op {
            OpKind::Delete => &mut self.delete,
            OpKind::List => &mut self.list,
            OpKind::Pin => &mut self.pin,
            OpKind::Read => &mut self.read,
            _ => &mut self.write,
        };
        *entry = policy;
        self
    }
}

impl Default for Policies {
    /// [`Policies::storage`].
    fn default() -> Self {
        Self::storage()
    }
}

/// The tables are valid by construction; a test proves it.
fn policy(max_attempts: u32, backoff: Backoff) -> RetryPolicy {
    RetryPolicy::builder().backoff(backoff).max_attempts(max_attempts).build_unchecked()
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_of_the_tables_is_valid() {
        for policies in [Policies::storage(), Policies::ipfs_kit_defaults()] {
            for op in OpKind::ALL {
                assert_eq!(policies.policy(op).config().validate(), Ok(()), "{op}");
            }
        }
    }

    #[test]
    fn a_replaced_policy_is_the_only_one_that_changed() {
        for op in OpKind::ALL {
            let other = RetryPolicy::builder().max_attempts(99).build().unwrap();
            let policies = Policies::storage().with(op, other);
            for looked_up in OpKind::ALL {
                let replaced = policies.policy(looked_up).max_attempts() == 99;
                assert_eq!(replaced, looked_up == op, "{op}, {looked_up}");
            }
        }
    }

    #[test]
    fn the_tables_have_the_attempts_that_they_state() {
        let attempts =
            |policies: Policies| OpKind::ALL.map(|op| policies.policy(op).max_attempts());
        assert_eq!(attempts(Policies::storage()), [3, 3, 2, 4, 3]);
        assert_eq!(attempts(Policies::ipfs_kit_defaults()), [3, 3, 10, 5, 3]);
        let seconds = |op| {
            Policies::ipfs_kit_defaults()
                .policy(op)
                .delays()
                .map(|d| d.as_secs())
                .collect::<Vec<_>>()
        };
        assert_eq!(seconds(OpKind::Delete), [1, 2]);
        assert_eq!(seconds(OpKind::Write), [2, 4]);
    }
}
