//! An allocator that counts, for the rows that bound allocations. Implementing one is `unsafe`.
//!
//! A thread counts only while it runs inside [`count`]; at all other times an allocation costs one look at
//! a thread-local more than the system's, on both sides alike.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting on request.
#[derive(Debug)]
pub(crate) struct Counting;

thread_local! {
    /// How often this thread has allocated; `None` while nobody wants to know. It has neither a destructor
    /// nor an initialiser, so that it can be used inside an allocator.
    static COUNT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs `work` and says how often the calling thread allocated, or grew an allocation, meanwhile.
pub(crate) fn count(work: impl FnOnce()) -> u64 {
    COUNT.set(Some(0));
    work();
    COUNT.take().unwrap_or(0)
}

fn note() {
    COUNT.set(COUNT.get().map(|n| n + 1));
}

// SAFETY: every call is passed on to the system's allocator, which keeps the contract; counting neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the contract is the trait's, and is handed on unchanged.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the contract is the trait's, and is handed on unchanged.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    // SAFETY: the contract is the trait's, and is handed on unchanged.
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note();
        // SAFETY: `ptr` came from `alloc` above and so from the system's.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    // SAFETY: the contract is the trait's, and is handed on unchanged.
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as for `realloc`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::hint::black_box;

    #[test]
    fn what_is_allocated_is_counted_and_what_is_not_is_not() {
        assert_eq!(count(|| {}), 0);
        assert_eq!(count(|| drop(black_box(Box::new(1_u64)))), 1);
        let grown = count(|| {
            let mut vec = Vec::with_capacity(1);
            vec.push(1_u8);
            vec.reserve_exact(1_000);
            black_box(vec);
        });
        assert_eq!(grown, 2);
    }

    #[test]
    fn other_threads_do_not_count() {
        let barrier = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..100 {
                    drop(black_box(Box::new(1_u64)));
                }
                barrier.wait();
            });
            let counted = count(|| {
                barrier.wait();
                barrier.wait();
            });
            assert_eq!(counted, 0);
        });
        // Outside, nothing is counted that a later count would find.
        drop(black_box(Box::new(1_u64)));
        assert_eq!(count(|| {}), 0);
    }
}
