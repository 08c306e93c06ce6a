//! PostgreSQL under the harness.

use bucket_e2e::{Postgres, Server};

use super::{check_that_it_stays_here, crash_and_restart, stop};

#[test]
fn a_committed_row_is_there_after_a_crash() {
    let Some(mut postgres) = Postgres::start_or_skip() else { return };
    postgres.query("CREATE TABLE t (id int PRIMARY KEY, name text)").unwrap();
    postgres.query("INSERT INTO t VALUES (1, 'one'), (2, 'two')").unwrap();
    crash_and_restart(&mut postgres);
    assert_eq!(postgres.query("SELECT * FROM t ORDER BY id").as_deref(), Ok("1|one\n2|two"));
    let log = postgres.processes()[0].log();
    assert!(log.contains("was not properly shut down"), "it did crash: {log}");
    let twice = postgres.query("INSERT INTO t VALUES (1, 'again')").unwrap_err();
    assert!(twice.contains("duplicate key"), "{twice}");
    check_that_it_stays_here(&mut postgres);
    stop(postgres);
}

#[test]
fn two_clusters_have_a_port_and_data_each() {
    let Some(a) = Postgres::start_or_skip() else { return };
    let b = Postgres::start();
    assert_ne!(a.port(), b.port());
    a.query("CREATE TABLE only_in_a ()").unwrap();
    assert!(b.query("SELECT * FROM only_in_a").unwrap_err().contains("does not exist"));
}
