//! The locks and shared pointers of this crate, in one place, so that a model checker can replace them.

pub(crate) use parking_lot::{Condvar, Mutex};
pub(crate) use std::sync::Arc;
