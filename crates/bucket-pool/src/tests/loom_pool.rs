//! Models of a pool under several threads: loom runs the code of this crate through every interleaving
//! with at most so many preemptions, and reports a deadlock when somebody sleeps whom nobody will wake.
//!
//! What they leave out: more callers than are written here, the manager and the clock at work (both
//! answer at once), and how long anything takes. A time-out comes at any moment, see `sync::model`.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bucket_core::testing::ManualClock;
use bucket_core::{Cancel, Clock, Ctx, OpKind};
use loom::thread::{self, JoinHandle};

use crate::sync::Arc;
use crate::{AcquireError, BlockingManager, Pool, PoolBuilder, Pooled};

#[test]
fn a_returned_connection_reaches_every_waiter() {
    explore(3, || everybody_returns(builder()));
}

/// Three callers, one connection: each gets it, one after the other.
fn everybody_returns(builder: PoolBuilder<Server>) {
    let (pool, server) = build(builder.max_size(1));
    let visits = [(); 3].map(|()| visit(&pool, &ctx(), Leave::Return));
    for visit in visits {
        assert_eq!(visit.join().unwrap(), Got::Connection);
    }
    let stats = pool.stats();
    assert_eq!((stats.created, stats.misses, stats.hits), (1, 1, 2));
    assert_eq!(stats.peak_in_use, 1);
    assert_at_rest(&pool, &server);
    assert_eq!(pool.state().idle, 1);
}

#[test]
fn two_slots_serve_three_callers() {
    explore(3, || {
        let (pool, server) = build(builder().max_size(2));
        let visits = [(); 3].map(|()| visit(&pool, &ctx(), Leave::Return));
        for visit in visits {
            assert_eq!(visit.join().unwrap(), Got::Connection);
        }
        let stats = pool.stats();
        assert_eq!(stats.hits + stats.misses, 3);
        assert_eq!(stats.created, stats.misses);
        assert_at_rest(&pool, &server);
    });
}

#[test]
fn a_freed_slot_reaches_a_waiter() {
    explore(3, || everybody_poisons(builder()));
}

/// Two callers, one slot, and no connection survives its use: the second has to be let connect.
fn everybody_poisons(builder: PoolBuilder<Server>) {
    let (pool, server) = build(builder.max_size(1));
    let visits = [(); 2].map(|()| visit(&pool, &ctx(), Leave::Poison));
    for visit in visits {
        assert_eq!(visit.join().unwrap(), Got::Connection);
    }
    let stats = pool.stats();
    assert_eq!((stats.created, stats.misses, stats.recycled_broken), (2, 2, 2));
    assert_at_rest(&pool, &server);
    assert_eq!(pool.state().size, 0);
}

#[test]
fn a_caller_whose_time_is_over_takes_nothing_along() {
    explore(3, || somebody_is_late(builder()));
}

/// Three callers, one connection; the time of one may be over at any moment, also between a grant and
/// the waking.
fn somebody_is_late(builder: PoolBuilder<Server>) {
    let (pool, server) = build(builder.max_size(1));
    let hasty = ctx().with_deadline(ManualClock::new().now().after(Duration::from_millis(1)));
    let patient = [(); 2].map(|()| visit(&pool, &ctx(), Leave::Return));
    let hasty = visit(&pool, &hasty, Leave::Return);
    for visit in patient {
        assert_eq!(visit.join().unwrap(), Got::Connection);
    }
    let got = hasty.join().unwrap();
    let stats = pool.stats();
    match got {
        Got::Connection => assert_eq!((stats.hits + stats.misses, stats.timeouts), (3, 0)),
        Got::Timeout => assert_eq!((stats.hits + stats.misses, stats.timeouts), (2, 1)),
        other => panic!("{other:?}"),
    }
    assert_at_rest(&pool, &server);
}

#[test]
fn a_cancelled_caller_passes_on_what_it_was_granted() {
    explore(2, || {
        let (pool, server) = build(builder().max_size(1));
        let cancel = Cancel::new();
        let fickle = visit(&pool, &ctx().with_cancel(cancel.clone()), Leave::Return);
        let patient = [(); 2].map(|()| visit(&pool, &ctx(), Leave::Return));
        let canceller = {
            let pool = pool.clone();
            thread::spawn(move || {
                // loom does not see the token; the lock makes it try every place for this.
                let _ = pool.state();
                cancel.cancel();
            })
        };
        for visit in patient {
            assert_eq!(visit.join().unwrap(), Got::Connection);
        }
        let got = fickle.join().unwrap();
        assert!(matches!(got, Got::Cancelled | Got::Connection), "{got:?}");
        canceller.join().unwrap();
        assert_at_rest(&pool, &server);
    });
}

#[test]
fn closing_turns_away_whoever_waits() {
    explore(3, || {
        let (pool, server) = build(builder().max_size(1));
        let visits = [(); 2].map(|()| visit(&pool, &ctx(), Leave::Return));
        let closer = {
            let pool = pool.clone();
            thread::spawn(move || pool.close())
        };
        for visit in visits {
            let got = visit.join().unwrap();
            assert!(matches!(got, Got::Closed | Got::Connection), "{got:?}");
        }
        closer.join().unwrap();
        assert_at_rest(&pool, &server);
        assert_eq!(pool.state().size, 0);
    });
}

/// The same models with a bug planted, which loom has to find.
#[cfg(bucket_planted)]
mod planted {
    use super::*;
    use crate::Bug;

    #[test]
    fn a_waiter_that_is_not_woken_on_a_return_is_found() {
        finds("deadlock", || everybody_returns(builder().planted(Bug::ReturnedWithoutWaking)));
    }

    #[test]
    fn a_waiter_that_is_not_woken_on_a_free_slot_is_found() {
        finds("deadlock", || everybody_poisons(builder().planted(Bug::FreedWithoutWaking)));
    }

    #[test]
    fn a_grant_that_crosses_a_time_out_is_found() {
        // The connection goes with it and its slot stays taken, also where nobody else waits.
        finds("a slot or a place in the queue was lost", || {
            somebody_is_late(builder().planted(Bug::NoLastLook))
        });
    }

    /// Runs a model and fails unless loom stops it with a message that contains `wanted`.
    fn finds(wanted: &str, model: impl Fn() + Send + Sync + 'static) {
        let run = std::panic::AssertUnwindSafe(|| explore(3, model));
        let panic = std::panic::catch_unwind(run);
        let panic = panic.expect_err("loom found nothing");
        let message = panic.downcast::<String>().map_or_else(|_| String::new(), |text| *text);
        assert!(message.contains(wanted), "stopped for another reason: {message}");
    }
}

/// What a caller came away with.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Cancelled,
    Closed,
    Connection,
    Timeout,
}

/// In what condition a caller leaves its connection.
#[derive(Clone, Copy)]
enum Leave {
    Poison,
    Return,
}

/// Starts a caller. The threads own their handles and the test only joins, so that the one that finds
/// itself deadlocked drops neither the last handle nor a guard, whose drop would need loom again.
fn visit(pool: &Pool<Server>, ctx: &Ctx, leave: Leave) -> JoinHandle<Got> {
    let (pool, ctx) = (pool.clone(), ctx.clone());
    thread::spawn(move || match pool.acquire_with(&ctx) {
        Ok(mut wire) => {
            wire.enter();
            // The others may come while the connection is out.
            assert!(pool.state().in_use > 0);
            wire.leave();
            if matches!(leave, Leave::Poison) {
                Pooled::poison(&mut wire);
            }
            Got::Connection
        }
        Err(AcquireError::Cancelled) => Got::Cancelled,
        Err(AcquireError::Closed) => Got::Closed,
        Err(AcquireError::Timeout { .. }) => Got::Timeout,
        Err(error) => panic!("{error}"),
    })
}

/// Counts its connections. On std's atomics, which loom does not see: it adds no interleavings.
#[derive(Clone, Default)]
struct Server(Arc<Counts>);

#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    peak: AtomicUsize,
    /// Connections that were handed to somebody while another had them.
    clashes: AtomicUsize,
}

struct Wire {
    server: Server,
    busy: AtomicBool,
}

impl Wire {
    fn enter(&self) {
        if self.busy.swap(true, SeqCst) {
            self.server.0.clashes.fetch_add(1, SeqCst);
        }
    }

    fn leave(&self) {
        self.busy.store(false, SeqCst);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.server.0.open.fetch_sub(1, SeqCst);
    }
}

impl BlockingManager for Server {
    type Connection = Wire;
    type Error = Infallible;

    fn connect(&self, _ctx: &Ctx) -> Result<Wire, Infallible> {
        let open = self.0.open.fetch_add(1, SeqCst) + 1;
        self.0.peak.fetch_max(open, SeqCst);
        Ok(Wire { server: self.clone(), busy: AtomicBool::new(false) })
    }
}

fn ctx() -> Ctx {
    Ctx::new(OpKind::Read)
}

/// Its time-out, 30 s, is one that never comes; its clock stands still.
fn builder() -> PoolBuilder<Server> {
    Pool::builder(Server::default())
        .clock(Arc::new(ManualClock::new()))
        .lifetime_jitter(0.0)
        .seed(1)
}

fn build(builder: PoolBuilder<Server>) -> (Pool<Server>, Server) {
    let pool = builder.build().unwrap();
    let server = pool.handle.shared.manager.clone();
    (pool, server)
}

/// Checks what holds for every pool that nobody uses.
fn assert_at_rest(pool: &Pool<Server>, server: &Server) {
    let state = pool.state();
    let taken = (state.in_use, state.connecting, state.closing, state.waiters);
    assert_eq!(taken, (0, 0, 0, 0), "a slot or a place in the queue was lost");
    assert_eq!(state.size, state.idle);
    assert_eq!(
        server.0.open.load(SeqCst),
        state.idle,
        "the server has the connections that are idle"
    );
    assert!(server.0.peak.load(SeqCst) <= state.max);
    assert_eq!(server.0.clashes.load(SeqCst), 0, "two callers had one connection");
}

/// Runs a model through its interleavings. `LOOM_MAX_PREEMPTIONS` overrides the bound.
fn explore(max_preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut loom = loom::model::Builder::new();
    loom.preemption_bound.get_or_insert(max_preemptions);
    let explored = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&explored);
    loom.check(move || {
        count.fetch_add(1, SeqCst);
        model();
    });
    let n = explored.load(SeqCst);
    println!("explored {n} interleavings");
    assert!(n > 1, "nothing was interleaved");
}
