//! A scripted server, and helpers to wait for a condition without sleeping.

mod acquire;
mod faults;
mod lifecycle;
mod stress;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bucket_core::Ctx;
use bucket_core::testing::ManualClock;

use crate::sync::{Arc, Mutex};
use crate::{BlockingManager, Pool, PoolBuilder, PoolState};

/// What the server said no with.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("server: {0}")]
pub(super) struct Refused(&'static str);

/// Counts the connections it has, and fails as told. Clones are the same server.
#[derive(Clone, Default)]
pub(super) struct Server(Arc<Script>);

type Hook = Mutex<Option<Box<dyn FnOnce() + Send>>>;

#[derive(Default)]
pub(super) struct Script {
    /// Connections being opened, open, or being closed; and the most there ever were.
    open: AtomicUsize,
    peak: AtomicUsize,
    connects: AtomicUsize,
    checks: AtomicUsize,
    closes: AtomicUsize,
    /// So many of the next calls end in an error.
    fail_connects: AtomicUsize,
    fail_checks: AtomicUsize,
    /// So many of the next returned connections are broken.
    break_returns: AtomicUsize,
    panic_in_connect: AtomicBool,
    panic_in_check: AtomicBool,
    panic_in_close: AtomicBool,
    panic_in_is_broken: AtomicBool,
    /// Run once, within the next connect or check.
    on_connect: Hook,
    on_check: Hook,
}

/// An open connection, with its number; the server notices its drop.
pub(super) struct Wire {
    id: usize,
    server: Server,
}

impl Server {
    fn open(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }

    fn fail_connects(&self, n: usize) {
        self.0.fail_connects.store(n, Ordering::SeqCst);
    }

    fn fail_checks(&self, n: usize) {
        self.0.fail_checks.store(n, Ordering::SeqCst);
    }

    fn run(hook: &Hook) {
        let hook = hook.lock().take();
        if let Some(hook) = hook {
            hook();
        }
    }

    fn panic_if(flag: &AtomicBool) {
        if flag.swap(false, Ordering::SeqCst) {
            // Without the hook, whose message would litter the output of the tests.
            std::panic::resume_unwind(Box::new("scripted"));
        }
    }
}

/// Takes one from a count of things to come; false when none is left.
fn take_one(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

impl BlockingManager for Server {
    type Connection = Wire;
    type Error = Refused;

    fn connect(&self, _ctx: &Ctx) -> Result<Wire, Refused> {
        let open = self.0.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.peak.fetch_max(open, Ordering::SeqCst);
        let id = self.0.connects.fetch_add(1, Ordering::SeqCst) + 1;
        // From here on the drop of the wire undoes the count, also when this panics.
        let wire = Wire { id, server: self.clone() };
        Self::run(&self.0.on_connect);
        Self::panic_if(&self.0.panic_in_connect);
        if take_one(&self.0.fail_connects) { Err(Refused("connect")) } else { Ok(wire) }
    }

    fn check(&self, _ctx: &Ctx, _wire: &mut Wire) -> Result<(), Refused> {
        self.0.checks.fetch_add(1, Ordering::SeqCst);
        Self::run(&self.0.on_check);
        Self::panic_if(&self.0.panic_in_check);
        if take_one(&self.0.fail_checks) { Err(Refused("check")) } else { Ok(()) }
    }

    fn is_broken(&self, _wire: &mut Wire) -> bool {
        Self::panic_if(&self.0.panic_in_is_broken);
        take_one(&self.0.break_returns)
    }

    fn close(&self, wire: Wire) {
        self.0.closes.fetch_add(1, Ordering::SeqCst);
        Self::panic_if(&self.0.panic_in_close);
        drop(wire);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.server.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A server, a clock that stands still, and a builder for a pool on both.
pub(super) fn scene() -> (Server, ManualClock, PoolBuilder<Server>) {
    let server = Server::default();
    let clock = ManualClock::new();
    let builder =
        Pool::builder(server.clone()).clock(Arc::new(clock.clone())).lifetime_jitter(0.0).seed(1);
    (server, clock, builder)
}

/// Waits until the state of the pool is as wanted.
pub(super) fn wait_until(pool: &Pool<Server>, wanted: impl Fn(&PoolState) -> bool) {
    // Bounded by yields, not by time: a condition that never comes true fails instead of hanging.
    for _ in 0..50_000_000_u64 {
        if wanted(&pool.state()) {
            return;
        }
        thread::yield_now();
    }
    panic!("the pool never came into the wanted state: {}", pool.state());
}

/// Checks what holds for every pool that nobody uses.
pub(super) fn assert_at_rest(pool: &Pool<Server>, server: &Server) {
    let state = pool.state();
    assert_eq!((state.in_use, state.connecting, state.closing, state.waiters), (0, 0, 0, 0));
    assert_eq!(state.size, state.idle);
    assert_eq!(server.open(), state.idle, "the server has the connections that are idle");
    assert!(server.0.peak.load(Ordering::SeqCst) <= state.max);
}

pub(super) const SECOND: Duration = Duration::from_secs(1);
/// Longer than any test: a wait that ends only because something ended it.
pub(super) const LONG: Duration = Duration::from_secs(3_600);
