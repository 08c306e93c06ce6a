//! Redis under the harness.

use std::time::Duration;

use bucket_e2e::{Redis, Server};

use super::{check_that_it_stays_here, crash_and_restart, stop};

#[test]
fn what_redis_acknowledged_is_there_after_a_crash() {
    let Some(mut redis) = Redis::start_or_skip() else { return };
    assert_eq!(redis.command(&["SET", "k", "two\r\nlines"]).as_deref(), Ok("OK"));
    assert_eq!(redis.command(&["INCR", "n"]).as_deref(), Ok("1"));
    crash_and_restart(&mut redis);
    assert_eq!(redis.command(&["GET", "k"]).as_deref(), Ok("two\r\nlines"));
    assert_eq!(redis.command(&["MGET", "n", "other"]).as_deref(), Ok("1\nnil"));
    assert!(redis.command(&["INCR", "k"]).unwrap_err().contains("not an integer"));
    check_that_it_stays_here(&mut redis);
    stop(redis);
}

#[test]
fn two_servers_have_a_port_and_data_each() {
    let Some(a) = Redis::start_or_skip() else { return };
    let b = Redis::start();
    assert_ne!(a.port(), b.port());
    a.command(&["SET", "k", "a"]).unwrap();
    b.command(&["SET", "k", "b"]).unwrap();
    assert_eq!(a.command(&["GET", "k"]).as_deref(), Ok("a"));
    drop(b);
    assert_eq!(a.command(&["GET", "k"]).as_deref(), Ok("a"), "the other's end is its own");
}

#[test]
fn a_paused_server_hangs_and_answers_once_it_is_resumed() {
    let Some(mut redis) = Redis::start_or_skip() else { return };
    redis.processes().into_iter().for_each(|process| process.pause());
    let hung = redis.command_within(Duration::from_millis(500), &["PING"]).unwrap_err();
    assert!(hung.contains("temporarily unavailable"), "the read times out: {hung}");
    redis.processes().into_iter().for_each(|process| process.resume());
    assert_eq!(redis.command(&["PING"]).as_deref(), Ok("PONG"));
}
