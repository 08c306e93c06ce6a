//! The locks and shared pointers of this crate, in one place, so that a model checker can replace them:
//! the tests under `--cfg bucket_loom` get loom's, in the shape of `parking_lot`.
//!
//! The pointer stays std's there: it has to hold trait objects, which loom's cannot, and nothing here
//! depends on how a count of references is kept.

#[cfg(all(test, bucket_loom))]
mod model;

pub(crate) use std::sync::Arc;

#[cfg(all(test, bucket_loom))]
pub(crate) use model::{Condvar, Mutex};
#[cfg(not(all(test, bucket_loom)))]
pub(crate) use parking_lot::{Condvar, Mutex};
