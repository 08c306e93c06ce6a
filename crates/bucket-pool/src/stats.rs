//! [`PoolState`], what the pool looks like now, and [`PoolStats`], what happened since it was built.

use std::fmt;

/// A snapshot of a pool, consistent in itself.
///
/// Always `size == idle + in_use + connecting + closing` and `size <= max`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolState {
    /// How many connections there may be.
    pub max: usize,
    /// How many slots are taken.
    pub size: usize,
    /// Connections that wait to be used.
    pub idle: usize,
    /// Connections that are with a caller, or being checked for one.
    pub in_use: usize,
    /// Slots for which a connection is being opened.
    pub connecting: usize,
    /// Connections whose close has not returned.
    pub closing: usize,
    /// Callers that wait for a connection.
    pub waiters: usize,
    /// True once the pool was closed.
    pub closed: bool,
}

impl fmt::Display for PoolState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "of {} connections {} in use, {} connecting, {} closing, {} idle; {} others waiting",
            self.max, self.in_use, self.connecting, self.closing, self.idle, self.waiters,
        )
    }
}

/// Totals since the pool was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Checkouts that were served with a connection that existed.
    pub hits: u64,
    /// Checkouts for which a connection was opened.
    pub misses: u64,
    /// Connections that were opened.
    pub created: u64,
    /// Connects that ended in an error.
    pub connect_failures: u64,
    /// Checks that ended in an error; each closed its connection.
    pub check_failures: u64,
    /// Connections closed because they were idle for too long.
    pub recycled_idle: u64,
    /// Connections closed because they were too old.
    pub recycled_lifetime: u64,
    /// Connections closed because they were used often enough.
    pub recycled_uses: u64,
    /// Connections closed because they were poisoned, found broken, or held by a panicking thread.
    pub recycled_broken: u64,
    /// Callers whose deadline passed.
    pub timeouts: u64,
    /// The most connections that were in use at one time.
    pub peak_in_use: usize,
}

impl PoolStats {
    /// The share of checkouts that needed no connect; `None` before the first.
    pub fn hit_rate(&self) -> Option<f64> {
        let checkouts = self.hits + self.misses;
        (checkouts > 0).then(|| self.hits as f64 / checkouts as f64)
    }
}
