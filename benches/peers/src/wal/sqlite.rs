//! SQLite as a log: a row a transaction, in WAL mode with full synchronisation.

use std::fmt;
use std::path::Path;

#[expect(
    clippy::disallowed_types,
    reason = "guards one connection; nothing here runs under loom"
)]
use std::sync::Mutex;

use rusqlite::Connection;

use crate::harness::Failure;
use crate::harness::disk::{DurableWrite, Shape};
use crate::session::DiskPeer;

pub(super) const PEER: DiskPeer = DiskPeer {
    name: "SQLite",
    package: Some("rusqlite"),
    setup: "an `INSERT` a transaction, `journal_mode=WAL`, `synchronous=FULL`, a cached statement, \
            exclusive locking so that no lock is taken on the file, compiled with `HAVE_FDATASYNC`; its \
            log grown in advance to 4 000 pages, after which it starts over instead of after 1 000; one \
            connection behind a mutex, because two would wait for each other asleep.",
    open,
};

#[expect(clippy::disallowed_types, reason = "as above")]
struct Sqlite(Mutex<Connection>);

impl DurableWrite for Sqlite {
    fn write(&self, _thread: usize, _n: u64, payload: &[u8]) -> Result<(), Failure> {
        let connection = self.0.lock().map_err(|_| "another writer panicked")?;
        insert(&connection, payload)
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").finish_non_exhaustive()
    }
}

#[expect(clippy::disallowed_types, reason = "as above")]
fn open(dir: &Path, _shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    if option_env!("LIBSQLITE3_FLAGS") != Some("-DHAVE_FDATASYNC=1") {
        return Err("SQLite was built to use fsync, which does more than its peers: use cargo xtask bench, \
                    or run cargo in benches/peers"
            .into());
    }
    let connection = Connection::open(dir.join("log.sqlite"))?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.execute("CREATE TABLE log (n INTEGER PRIMARY KEY, record BLOB NOT NULL)", [])?;
    // Grows the file of its log to where it starts over, so that no sync in the round has to change a length.
    connection.pragma_update(None, "synchronous", "OFF")?;
    for _ in 0..CHECKPOINT_PAGES {
        insert(&connection, &[0; 1 << 10])?;
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    let level: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
    if (mode.as_str(), level) != ("wal", 2) {
        return Err(format!("SQLite runs with {mode} and synchronous {level}").into());
    }
    Ok(Box::new(Sqlite(Mutex::new(connection))))
}

fn insert(connection: &Connection, payload: &[u8]) -> Result<(), Failure> {
    connection.prepare_cached("INSERT INTO log (record) VALUES (?1)")?.execute([payload])?;
    Ok(())
}

const CHECKPOINT_PAGES: i64 = 4_000;
