//! The S3 server under the harness.

use bucket_e2e::{S3, Server};

use super::{check_that_it_stays_here, crash_and_restart, stop};

#[test]
fn an_object_is_there_after_a_crash() {
    let Some(mut s3) = S3::start_or_skip() else { return };
    let content = vec![0xa5; 100_000];
    assert_eq!(s3.request("PUT", "/bucket", b"").unwrap().0, 200);
    assert_eq!(s3.request("PUT", "/bucket/dir/key", &content).unwrap().0, 200);
    crash_and_restart(&mut s3);
    assert_eq!(s3.request("GET", "/bucket/dir/key", b""), Ok((200, content)));
    assert_eq!(s3.request("GET", "/bucket/other", b"").unwrap().0, 404);
    check_that_it_stays_here(&mut s3);
    stop(s3);
}

#[test]
fn who_does_not_know_the_secret_is_refused() {
    let Some(s3) = S3::start_or_skip() else { return };
    assert_eq!(s3.request_of_a_stranger("GET", "/"), Ok(403));
}

#[test]
fn two_servers_have_a_port_and_objects_each() {
    let Some(a) = S3::start_or_skip() else { return };
    let b = S3::start();
    assert_ne!(a.port(), b.port());
    assert_eq!(a.request("PUT", "/only-in-a", b"").unwrap().0, 200);
    assert_eq!(b.request("GET", "/only-in-a/key", b"").unwrap().0, 404);
}
