//! The other pools, of the same size. None tests a connection at checkout, as ours does not while one is
//! proven; the asynchronous ones get one `block_on` around the whole loop.

use std::convert::Infallible;
use std::hint::black_box;

use super::{Connection, SIZE};
use crate::goal::Goal;
use crate::harness::cpu::Run;
use crate::harness::{Failure, now, since};
use crate::session::Unit;
use crate::work::runtime;

type Peer = (&'static str, fn() -> Result<Run, Failure>, &'static str, Unit, Goal);

pub(super) const ALL: &[Peer] = &[
    (
        "r2d2",
        r2d2,
        " Theirs: `get`, no test at checkout, no reaper's deadlines.",
        Unit::Rate,
        Goal::AtLeast(6.0),
    ),
    (
        "bb8",
        bb8,
        " Theirs: `get`, no test at checkout, no reaper's deadlines.",
        Unit::Rate,
        Goal::AtLeast(6.0),
    ),
    (
        "deadpool",
        deadpool,
        " Theirs: managed, no time-outs, a recycle that does nothing.",
        Unit::Rate,
        Goal::AtLeast(6.0),
    ),
    (
        "mobc",
        mobc,
        " Theirs: `get`, no test at checkout, no lifetimes.",
        Unit::Rate,
        Goal::Reported,
    ),
    (
        "qp",
        qp,
        " Theirs: `acquire`, which asks the manager whether the connection is good; its `acquire_unchecked` \
         keeps no promise that ours keeps.",
        Unit::Nanos,
        Goal::AtMost(1.2),
    ),
];

fn r2d2() -> Result<Run, Failure> {
    struct Manager;
    impl r2d2::ManageConnection for Manager {
        type Connection = Connection;
        type Error = Infallible;
        fn connect(&self) -> Result<Connection, Infallible> {
            Ok(Connection::default())
        }
        fn is_valid(&self, _connection: &mut Connection) -> Result<(), Infallible> {
            Ok(())
        }
        fn has_broken(&self, _connection: &mut Connection) -> bool {
            false
        }
    }
    let pool = r2d2::Pool::builder()
        .max_size(SIZE as u32)
        .test_on_check_out(false)
        .max_lifetime(None)
        .idle_timeout(None)
        .build(Manager)?;
    Ok(Box::new(move |calls| {
        let start = now();
        for _ in 0..calls {
            match black_box(&pool).get() {
                Ok(mut connection) => black_box(&mut *connection).touch(),
                Err(error) => panic!("nobody else takes connections: {error}"),
            }
        }
        since(start)
    }))
}

fn bb8() -> Result<Run, Failure> {
    struct Manager;
    impl bb8::ManageConnection for Manager {
        type Connection = Connection;
        type Error = Infallible;
        async fn connect(&self) -> Result<Connection, Infallible> {
            Ok(Connection::default())
        }
        async fn is_valid(&self, _connection: &mut Connection) -> Result<(), Infallible> {
            Ok(())
        }
        fn has_broken(&self, _connection: &mut Connection) -> bool {
            false
        }
    }
    let runtime = runtime()?;
    let pool = runtime.block_on(
        bb8::Pool::builder()
            .max_size(SIZE as u32)
            .test_on_check_out(false)
            .max_lifetime(None)
            .idle_timeout(None)
            .build(Manager),
    )?;
    Ok(Box::new(move |calls| {
        runtime.block_on(async {
            let start = now();
            for _ in 0..calls {
                match black_box(&pool).get().await {
                    Ok(mut connection) => black_box(&mut *connection).touch(),
                    Err(error) => panic!("nobody else takes connections: {error:?}"),
                }
            }
            since(start)
        })
    }))
}

fn deadpool() -> Result<Run, Failure> {
    struct Manager;
    impl deadpool::managed::Manager for Manager {
        type Type = Connection;
        type Error = Infallible;
        async fn create(&self) -> Result<Connection, Infallible> {
            Ok(Connection::default())
        }
        async fn recycle(
            &self,
            _connection: &mut Connection,
            _metrics: &deadpool::managed::Metrics,
        ) -> deadpool::managed::RecycleResult<Infallible> {
            Ok(())
        }
    }
    let runtime = runtime()?;
    let pool = deadpool::managed::Pool::<Manager>::builder(Manager).max_size(SIZE).build()?;
    Ok(Box::new(move |calls| {
        runtime.block_on(async {
            let start = now();
            for _ in 0..calls {
                match black_box(&pool).get().await {
                    Ok(mut connection) => black_box(&mut *connection).touch(),
                    Err(error) => panic!("nobody else takes connections: {error}"),
                }
            }
            since(start)
        })
    }))
}

fn mobc() -> Result<Run, Failure> {
    struct Manager;
    #[async_trait::async_trait]
    impl mobc::Manager for Manager {
        type Connection = Connection;
        type Error = Infallible;
        async fn connect(&self) -> Result<Connection, Infallible> {
            Ok(Connection::default())
        }
        async fn check(&self, connection: Connection) -> Result<Connection, Infallible> {
            Ok(connection)
        }
    }
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let pool = mobc::Pool::builder()
        .max_open(SIZE as u64)
        .max_idle(SIZE as u64)
        .test_on_check_out(false)
        .max_lifetime(None)
        .max_idle_lifetime(None)
        .get_timeout(None)
        .build(Manager);
    drop(_entered);
    Ok(Box::new(move |calls| {
        runtime.block_on(async {
            let start = now();
            for _ in 0..calls {
                match black_box(&pool).get().await {
                    Ok(mut connection) => black_box(&mut *connection).touch(),
                    Err(_) => panic!("nobody else takes connections"),
                }
            }
            since(start)
        })
    }))
}

fn qp() -> Result<Run, Failure> {
    struct Manager;
    #[async_trait::async_trait]
    impl qp::resource::Manage for Manager {
        type Output = Connection;
        type Error = Infallible;
        async fn try_create(&self) -> Result<Connection, Infallible> {
            Ok(Connection::default())
        }
    }
    let runtime = runtime()?;
    let pool = qp::Pool::new(Manager, SIZE);
    Ok(Box::new(move |calls| {
        runtime.block_on(async {
            let start = now();
            for _ in 0..calls {
                match black_box(&pool).acquire().await {
                    Ok(mut connection) => black_box(&mut *connection).touch(),
                    Err(error) => match error {},
                }
            }
            since(start)
        })
    }))
}
