//! A test process that is killed takes its servers along.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use bucket_core::{Clock as _, SystemClock};
use bucket_e2e::{Ipfs, Missing, Postgres, Redis, S3, SecretService, Server, Service};

use super::alive;

/// Starts a server in a process of its own, kills only that process, and waits until the rest is gone,
/// its files too.
#[track_caller]
fn check(name: &str, n_processes: usize) {
    let scratch = tempfile::tempdir().unwrap();
    // Servers that run as somebody else pass through it.
    std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let mut parent = Command::new(env!("CARGO_BIN_EXE_serve"))
        .arg(name)
        .env("TMPDIR", scratch.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
    let lines: Vec<_> = lines.take_while(|line| line != "ready").collect();
    let ids: Vec<u32> =
        lines.iter().filter_map(|line| line.strip_prefix("id=")?.parse().ok()).collect();
    assert_eq!(ids.len(), n_processes, "{lines:?}");
    let members: BTreeSet<u32> = ids.iter().flat_map(|id| Service::members_of(*id)).collect();
    assert!(members.len() >= n_processes, "{members:?}");
    assert_eq!(alive(&members).len(), members.len());
    let files = || std::fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(files(), n_processes);
    parent.kill().unwrap();
    parent.wait().unwrap();
    let clock = SystemClock::new();
    let deadline = clock.now().after(Duration::from_secs(20));
    while !alive(&members).is_empty() || files() > 0 {
        let (alive, files) = (alive(&members), files());
        assert!(clock.now() < deadline, "{name}: left are {alive:?} and {files} directories");
        std::thread::yield_now();
    }
}

fn check_if_there(availability: Result<(), Missing>, name: &str, n_processes: usize) {
    match availability {
        Ok(()) => check(name, n_processes),
        Err(missing) => missing.skip(),
    }
}

#[test]
fn a_server_dies_with_the_process_that_started_it() {
    check("sleep", 1);
}

#[test]
fn ipfs_dies_with_the_process_that_started_it() {
    check_if_there(Ipfs::availability(), "ipfs", 1);
}

#[test]
fn postgres_dies_with_the_process_that_started_it() {
    check_if_there(Postgres::availability(), "postgres", 1);
}

#[test]
fn redis_dies_with_the_process_that_started_it() {
    check_if_there(Redis::availability(), "redis", 1);
}

#[test]
fn s3_dies_with_the_process_that_started_it() {
    check_if_there(S3::availability(), "s3", 1);
}

#[test]
fn the_secret_service_dies_with_the_process_that_started_it() {
    check_if_there(SecretService::availability(), "secret-service", 2);
}
