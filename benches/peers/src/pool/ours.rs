//! Our pool.

use std::convert::Infallible;
use std::hint::black_box;

use bucket_core::Ctx;
use bucket_pool::{BlockingManager, Pool};

use super::{Connection, SIZE};
use crate::harness::cpu::Run;
use crate::harness::{Failure, now, since};

struct Connections;

impl BlockingManager for Connections {
    type Connection = Connection;
    type Error = Infallible;

    fn connect(&self, _ctx: &Ctx) -> Result<Connection, Infallible> {
        Ok(Connection::default())
    }
}

pub(crate) fn checkout() -> Result<Run, Failure> {
    let pool = Pool::builder(Connections).max_size(SIZE).build()?;
    Ok(Box::new(move |calls| {
        let start = now();
        for _ in 0..calls {
            match black_box(&pool).acquire() {
                Ok(mut connection) => black_box(&mut *connection).touch(),
                Err(error) => panic!("nobody else takes connections: {error}"),
            }
        }
        since(start)
    }))
}
