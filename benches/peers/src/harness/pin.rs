//! [`Pinned`]: keeps the calling thread on one processor, so that a move between them is not measured.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Keeps the calling thread on the last processor it may use, until dropped.
///
/// Where that is not possible, nothing happens: the medians carry a moving thread as noise.
#[derive(Debug)]
#[must_use = "the thread is free again when this is dropped"]
pub(crate) struct Pinned(Option<CpuSet>);

impl Pinned {
    pub(crate) fn new() -> Self {
        let Ok(allowed) = sched_getaffinity(None) else { return Self(None) };
        let Some(last) = (0..CpuSet::MAX_CPU).rev().find(|&cpu| allowed.is_set(cpu)) else {
            return Self(None);
        };
        let mut one = CpuSet::new();
        one.set(last);
        Self(sched_setaffinity(None, &one).is_ok().then_some(allowed))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(allowed) = self.0 {
            // It was allowed before; if it is not any more, the thread stays where it is.
            let _ = sched_setaffinity(None, &allowed);
        }
    }
}
