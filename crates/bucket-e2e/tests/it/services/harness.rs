//! What the harness promises, shown with programs that every machine has.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use bucket_core::{Clock as _, SystemClock};
use bucket_e2e::{Builder, Service};

use super::{alive, state};

fn shell(script: &'static str) -> Builder {
    Service::builder("fake", move |_| {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    })
}

/// Asks until it holds; the bound is there for a machine that hangs.
fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let clock = SystemClock::new();
    let deadline = clock.now().after(Duration::from_secs(20));
    while !holds() {
        assert!(clock.now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn one_that_dies_at_start_shows_its_log_at_once() {
    let clock = SystemClock::new();
    let start = clock.now();
    let never = |_: &_| Err("it never answers".to_owned());
    let error = shell("echo boom; echo bang >&2; exit 3").ready(never).try_start().unwrap_err();
    assert!(error.why.contains("exit status: 3"), "{error}");
    assert!(error.log.ends_with("boom\nbang"), "{error}");
    assert!(clock.now().since(start) < Duration::from_secs(15), "it waited for the time-out");
}

#[test]
fn a_program_that_is_not_there_is_an_error_that_names_it() {
    let missing = Service::builder("fake", |_| Command::new("no-such-program-anywhere"));
    let error = missing.ready(|_| Err("not yet".into())).try_start().unwrap_err();
    assert!(error.log.contains("no-such-program-anywhere"), "{error}");
}

#[test]
fn one_that_never_gets_ready_fails_after_the_bound_and_is_gone() {
    let (tell, told) = std::sync::mpsc::channel();
    let service = shell("echo $$; sleep 1000 & sleep 1000").ready(move |place| {
        let log = std::fs::read_to_string(place.data.with_file_name("log")).unwrap();
        if let Some(id) = log.lines().nth(1) {
            let _ = tell.send(id.parse::<u32>().unwrap());
        }
        Err("the answer is no".into())
    });
    let error = service.ready_within(Duration::from_millis(300)).try_start().unwrap_err();
    assert!(error.why.contains("not ready within 300ms: the answer is no"), "{error}");
    let id = told.try_iter().next().expect("it was running");
    assert!(Service::members_of(id).is_empty());
}

#[test]
fn its_whole_group_is_killed_and_also_who_left_the_group() {
    let mut service = shell("sleep 1000 & setsid sleep 1000 & wait").start();
    wait_for("it does not start its two children", || service.members().len() == 3);
    let members = service.members();
    service.kill();
    assert!(alive(&members).is_empty());
    assert_eq!(service.id(), None);
}

#[test]
fn children_of_a_leader_that_died_are_killed_when_that_is_noticed() {
    let mut service = Service::builder("fake", |place| {
        let mut command = Command::new("sh");
        let script = "sleep 1000 & while ! test -e now; do sleep 0.01; done; kill -KILL $$";
        command.args(["-c", script]).current_dir(&place.data);
        command
    })
    .start();
    let id = service.id().unwrap();
    std::fs::write(service.place().data.join("now"), "").unwrap();
    let status = service.ended_within(Duration::from_secs(20)).expect("it kills itself");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert!(Service::members_of(id).is_empty());
}

#[test]
fn terminate_asks_first_and_kills_who_does_not_listen() {
    let polite = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done";
    let deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    for (script, limit, code) in [(polite, 20_000, Some(7)), (deaf, 200, None)] {
        let mut service = shell(script)
            .ready(|place| {
                let log = std::fs::read_to_string(place.data.with_file_name("log")).unwrap();
                if log.ends_with("up\n") { Ok(()) } else { Err(log) }
            })
            .start();
        let members = service.members();
        // Stopped, it still gets to know that it should end.
        service.pause();
        let status = service.terminate(Duration::from_millis(limit)).unwrap();
        assert_eq!(status.code(), code, "{script}");
        assert_eq!(service.log().ends_with("bye\n"), code.is_some());
        assert!(alive(&members).is_empty());
    }
}

#[test]
fn pause_stops_all_of_it_and_resume_lets_it_go_on() {
    let mut service = shell("setsid sleep 1000 & wait").start();
    wait_for("it does not start its child", || service.members().len() == 2);
    let all = |service: &Service, wanted: char| {
        service.members().into_iter().all(|id| state(id) == Some(wanted))
    };
    service.pause();
    wait_for("it is not stopped", || all(&service, 'T'));
    service.resume();
    wait_for("it does not go on", || all(&service, 'S'));
    service.pause();
    let members = service.members();
    service.kill();
    assert!(alive(&members).is_empty(), "what is stopped can be killed");
}

#[test]
fn it_stays_when_the_thread_that_started_it_ends() {
    let start = || shell("sleep 1000 & wait").start();
    let mut service = std::thread::spawn(start).join().unwrap();
    assert_eq!(service.ended_within(Duration::from_millis(300)), None);
    wait_for("its child is gone", || service.members().len() == 2);
}

#[test]
fn nothing_is_left_of_a_test_that_panics() {
    let mut id = None;
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let service = shell("sleep 1000 & wait").start();
        id = service.id();
        panic!("the test fails");
    }));
    assert!(panic.is_err());
    assert!(Service::members_of(id.unwrap()).is_empty());
}

#[test]
fn a_restart_keeps_data_and_input_and_adds_to_the_log() {
    let mut service = Service::builder("fake", |place| {
        let mut command = Command::new("sh");
        let script = "cat; echo; echo run >> runs; echo `wc -l < runs`; exec sleep 1000";
        command.args(["-c", script]).current_dir(&place.data);
        command
    })
    .stdin("said")
    .prepare(|place| std::fs::write(place.data.join("runs"), "").map_err(|e| e.to_string()))
    .ready(|place| {
        let log = std::fs::read_to_string(place.data.with_file_name("log")).unwrap();
        let runs = log.lines().filter(|line| line.starts_with("--- ")).count();
        if log.ends_with(&format!("said\n{runs}\n")) { Ok(()) } else { Err(log) }
    })
    .start();
    let first = service.id();
    service.restart();
    assert_ne!(service.id(), first);
    assert!(service.log().contains("said\n1\n") && service.log().ends_with("said\n2\n"));
}

#[test]
fn a_port_that_was_snatched_away_is_replaced() {
    let (tell, told) = std::sync::mpsc::channel();
    let error = Service::builder("fake", move |place| {
        tell.send(place.ports.clone()).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'bind: Address already in use'; exit 1"]);
        command
    })
    .ports(2)
    .ready(|_| Err("not yet".into()))
    .try_start()
    .unwrap_err();
    assert!(error.log.contains("already in use"), "{error}");
    let mut tried: Vec<u16> = told.iter().flatten().collect();
    assert_eq!(tried.len(), 10, "it tries five times");
    tried.dedup();
    assert_eq!(tried.len(), 10, "with other ports: {tried:?}");
}

#[test]
fn an_answer_from_somebody_else_on_the_port_does_not_count() {
    let (tell, told) = std::sync::mpsc::channel();
    let error = shell("sleep 1000")
        .ports(1)
        .ready_within(Duration::from_millis(300))
        .ready(move |place| {
            let address = (Ipv4Addr::LOCALHOST, place.ports[0]);
            if let Ok(listener) = TcpListener::bind(address) {
                let _ = tell.send(listener);
            }
            let connected = TcpStream::connect(address).map(|_| ());
            connected.map_err(|error| error.to_string())
        })
        .try_start()
        .unwrap_err();
    let mut stream = told.recv().unwrap().accept().unwrap().0;
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the probe did connect");
    assert!(error.why.contains("it does not listen on port"), "{error}");
}
