//! The harness itself, on fakes and on every server that it knows.

mod harness;
mod ipfs;
mod parent;
mod postgres;
mod redis;
mod s3;
mod secret_service;

use std::collections::BTreeSet;
use std::path::Path;

use bucket_e2e::{Server, Service, sockets};

/// The members of all processes of a server; each of them is running.
fn members<S: Server>(server: &mut S) -> BTreeSet<u32> {
    let running = |process: &mut &mut Service| process.id().is_some();
    assert!(server.processes().iter_mut().all(running));
    server.processes().into_iter().flat_map(|process| process.members()).collect()
}

/// Kills the server, sees that nothing of it is left, and starts it again where it was.
fn crash_and_restart<S: Server>(server: &mut S) {
    let before = members(server);
    let ports: Vec<_> = server.processes().iter().map(|p| p.place().ports.clone()).collect();
    server.kill();
    assert!(alive(&before).is_empty(), "{:?} outlived their service", alive(&before));
    server.restart();
    assert!(before.is_disjoint(&members(server)), "it was not started anew");
    let now: Vec<_> = server.processes().iter().map(|p| p.place().ports.clone()).collect();
    assert_eq!(ports, now);
}

/// Stops the server in good order, and sees that nothing of it is left.
fn stop<S: Server>(mut server: S) {
    let before = members(&mut server);
    server.terminate();
    assert!(alive(&before).is_empty(), "{:?} outlived their service", alive(&before));
}

/// Nothing that the server has open leads away from this machine.
fn check_that_it_stays_here<S: Server>(server: &mut S) {
    let away: Vec<_> = sockets(&members(server)).into_iter().filter(|s| !s.stays_here()).collect();
    assert!(away.is_empty(), "{away:?}");
}

/// Which of these processes run; those that ended and were not waited for do not.
fn alive(ids: &BTreeSet<u32>) -> Vec<u32> {
    let runs = |id: &&u32| {
        let stat = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat"));
        stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
    };
    ids.iter().filter(runs).copied().collect()
}

/// The state letter of a process: `S` sleeps, `T` is stopped.
fn state(id: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}
