//! [`Registry`]: named, shared instances: the breaker of `s3`, the pool of `ipfs`.

use std::collections::HashMap;
use std::fmt;
#[expect(
    clippy::disallowed_types,
    reason = "the vocabulary has no dependency, so no parking_lot"
)]
use std::sync::{Arc, PoisonError, RwLock};

/// A map from name to shared instance, created on first use.
///
/// Looking up an instance takes a read lock and allocates nothing. Entries stay until they are
/// removed, so names that come from outside need a bound of the caller's.
///
/// # Examples
///
/// ```
/// use bucket_core::Registry;
///
/// static LIMITS: Registry<u32> = Registry::new();
///
/// let limit = LIMITS.get_or_insert_with("s3", || 10);
/// assert_eq!(*limit, 10);
/// assert_eq!(*LIMITS.get_or_insert_with("s3", || 99), 10, "the first one stays");
/// ```
#[expect(clippy::disallowed_types, reason = "see the imports")]
pub struct Registry<T> {
    entries: RwLock<Option<HashMap<Box<str>, Arc<T>>>>,
}

#[expect(clippy::disallowed_types, reason = "see the imports")]
impl<T> Registry<T> {
    /// An empty registry.
    pub const fn new() -> Self {
        Self { entries: RwLock::new(None) }
    }

    /// The instance called `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<Arc<T>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.as_ref()?.get(name).cloned()
    }

    /// The instance called `name`, made by `make` if there is none.
    ///
    /// `make` runs outside the lock. When two callers race, both may run it; one result is kept and
    /// both receive that one.
    pub fn get_or_insert_with(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(found) = self.get(name) {
            return found;
        }
        let made = Arc::new(make());
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(entries.get_or_insert_default().entry(name.into()).or_insert(made))
    }

    /// Takes the instance called `name` out; those who hold it keep it.
    pub fn remove(&self, name: &str) -> Option<Arc<T>> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.as_mut()?.remove(name)
    }

    /// Every name with its instance, sorted by name; a snapshot.
    pub fn entries(&self) -> Vec<(Box<str>, Arc<T>)> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = entries
            .iter()
            .flatten()
            .map(|(name, instance)| (name.clone(), Arc::clone(instance)))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Registry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries().iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn racing_callers_receive_one_instance() {
        let registry = Registry::new();
        let made: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|n| {
                    scope.spawn({
                        let registry = &registry;
                        move || registry.get_or_insert_with("one", || n)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.iter().all(|instance| Arc::ptr_eq(instance, &made[0])));
    }

    #[test]
    fn a_removed_instance_lives_on_with_its_holders() {
        let registry = Registry::new();
        let held = registry.get_or_insert_with("one", || 1);
        assert!(registry.remove("one").is_some());
        assert!(registry.get("one").is_none());
        assert_eq!(*held, 1);
    }
}
