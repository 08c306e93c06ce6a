//! The Secret Service under the harness.

use bucket_e2e::{SecretService, Server};

use super::{check_that_it_stays_here, crash_and_restart, stop};

#[test]
fn a_stored_secret_is_there_after_a_crash() {
    let Some(mut service) = SecretService::start_or_skip() else { return };
    service.store("name", "hush").unwrap();
    crash_and_restart(&mut service);
    assert_eq!(service.lookup("name").as_deref(), Ok("hush"));
    assert!(service.lookup("other").is_err());
    check_that_it_stays_here(&mut service);
    stop(service);
}

#[test]
fn a_killed_keyring_is_not_started_behind_our_back() {
    let Some(mut service) = SecretService::start_or_skip() else { return };
    service.store("name", "hush").unwrap();
    service.keyring().kill();
    let away = service.lookup("name").unwrap_err();
    assert!(away.contains("org.freedesktop.secrets"), "{away}");
    assert_eq!(service.bus().members().len(), 1);
    service.keyring().restart();
    assert_eq!(service.lookup("name").as_deref(), Ok("hush"));
}

#[test]
fn two_services_know_nothing_of_each_other() {
    let Some(a) = SecretService::start_or_skip() else { return };
    let b = SecretService::start();
    a.store("name", "of a").unwrap();
    assert!(b.lookup("name").is_err());
    b.store("name", "of b").unwrap();
    assert_eq!(a.lookup("name").as_deref(), Ok("of a"));
}
