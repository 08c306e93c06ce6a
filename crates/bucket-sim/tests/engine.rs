//! The engine against what mathematics says, and against itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot be arranged has failed")]

use std::future::pending;
use std::time::Duration;

use bucket_core::{Class, OpKind, Tick};
use bucket_sim::{
    Arrivals, CallRecord, Client, Fault, Guarded, IpfsKit, NoPolicy, Policy, Request, Scenario,
    Service, Trace, scenarios,
};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn run_guarded(seed: u64) -> Trace {
    let scenario = scenarios::hard_outage(secs(20)).unwrap();
    scenario.run(seed, |client| Guarded::storage(OpKind::Read, client))
}

#[test]
fn one_seed_gives_one_trace_to_the_bit_and_another_seed_another() {
    assert_eq!(run_guarded(1).digest(), run_guarded(1).digest());
    assert_ne!(run_guarded(1).digest(), run_guarded(2).digest());

    let scenario = scenarios::hard_outage(secs(20)).unwrap();
    let ipfs_kit = |seed| scenario.run(seed, |c| IpfsKit::new(OpKind::Read, c)).digest();
    assert_eq!(ipfs_kit(1), ipfs_kit(1));
    assert_ne!(ipfs_kit(1), ipfs_kit(2));
}

#[test]
fn the_trace_of_a_known_seed_is_the_same_on_every_machine() {
    // Changes only when the engine draws or orders differently; then say so in the CHANGELOG.
    let service = Service::exponential_latency(millis(20)).servers(3);
    let scenario = Scenario::builder(service).clients(7).duration(secs(20)).build().unwrap();
    let digest = scenario.run(33, |_| NoPolicy::new()).digest();
    assert_eq!(digest, KNOWN_DIGEST, "{digest:#018x}");
}

const KNOWN_DIGEST: u64 = 0x3631_748e_c5cc_3185;

#[test]
fn the_same_requests_come_whatever_the_policy_does() {
    let scenario = scenarios::hard_outage(secs(20)).unwrap();
    let issued = |trace: &Trace| trace.requests().iter().map(|r| r.issued()).collect::<Vec<_>>();
    let none = issued(&scenario.run(5, |_| NoPolicy::new()));
    assert_eq!(none, issued(&run_guarded(5)));
    assert_eq!(none, issued(&scenario.run(5, |c| IpfsKit::new(OpKind::Write, c))));
}

#[test]
fn random_arrivals_are_a_poisson_process() {
    let scenario = Scenario::builder(Service::latency(millis(1)))
        .clients(10)
        .arrivals(Arrivals::poisson(10.0))
        .duration(secs(1_000))
        .build()
        .unwrap();
    let trace = scenario.run(1, |_| NoPolicy::new());
    let counts: Vec<f64> = trace.bins(secs(0), secs(1)).map(|bin| bin.requests as f64).collect();
    assert_eq!(counts.len(), 1_000);
    let mean = counts.iter().sum::<f64>() / 1_000.0;
    let variance = counts.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 999.0;
    // 100 a second; the standard errors are 0.32 and 4.5.
    assert!((mean - 100.0).abs() < 1.3, "{mean}");
    assert!((variance - 100.0).abs() < 18.0, "{variance}");
}

#[test]
fn regular_arrivals_come_at_equal_distances_and_not_together() {
    let scenario = Scenario::builder(Service::latency(millis(1)))
        .arrivals(Arrivals::regular(4.0))
        .clients(2)
        .duration(secs(10))
        .build()
        .unwrap();
    let trace = scenario.run(1, |_| NoPolicy::new());
    let issued: Vec<Tick> = trace.requests().iter().map(|request| request.issued()).collect();
    assert_eq!(issued.len(), 80);
    assert!(issued.windows(3).all(|three| three[2].since(three[0]) == millis(250)), "{issued:?}");
    assert_ne!(issued[0], issued[1]);
}

/// The mean time that calls wait for a server, after a warm-up, in units of the service time.
fn mean_wait(service: Service, rate: f64, service_time: Duration) -> f64 {
    let scenario = Scenario::builder(service)
        .arrivals(Arrivals::poisson(rate))
        .duration(secs(4_000))
        .build()
        .unwrap();
    let trace = scenario.run(1, |_| NoPolicy::new());
    let calls: Vec<_> =
        trace.calls().iter().filter(|c| c.made() > Tick::ZERO.after(secs(100))).collect();
    let total: f64 = calls.iter().map(|c| c.ended().since(c.made()).as_secs_f64()).sum();
    total / calls.len() as f64 / service_time.as_secs_f64() - 1.0
}

#[test]
fn a_queue_before_one_server_is_as_long_as_theory_says() {
    // Pollaczek and Khinchine: the wait is rho / (2 (1 - rho)) service times where they are constant,
    // rho / (1 - rho) where they are exponential.
    let service_time = millis(10);
    for rho in [0.3, 0.5, 0.8] {
        let constant =
            mean_wait(Service::latency(service_time).servers(1), rho * 100.0, service_time);
        let expected = rho / (2.0 * (1.0 - rho));
        assert!((constant / expected - 1.0).abs() < 0.06, "M/D/1 at {rho}: {constant}, {expected}");

        let random = Service::exponential_latency(service_time).servers(1);
        let wait = mean_wait(random, rho * 100.0, service_time);
        let expected = rho / (1.0 - rho);
        assert!((wait / expected - 1.0).abs() < 0.06, "M/M/1 at {rho}: {wait}, {expected}");
    }
}

#[test]
fn a_queue_before_two_servers_is_as_long_as_theory_says() {
    // Erlang C for two servers: the wait is rho² / (1 - rho²) service times.
    let service_time = millis(10);
    let wait =
        mean_wait(Service::exponential_latency(service_time).servers(2), 120.0, service_time);
    let expected = 0.6 * 0.6 / (1.0 - 0.6 * 0.6);
    assert!((wait / expected - 1.0).abs() < 0.06, "{wait}, {expected}");
}

#[test]
fn a_service_that_is_always_up_serves_everything_at_the_first_call() {
    fn check<P: Policy>(policy: impl FnMut(Client) -> P) {
        let scenario = Scenario::builder(Service::latency(millis(20)))
            .clients(20)
            .duration(secs(60))
            .build()
            .unwrap();
        let trace = scenario.run(3, policy);
        assert!(trace.requests().len() > 10_000);
        assert_eq!(trace.success(secs(0)..secs(60)), Some(1.0));
        assert_eq!(trace.amplification(), Some(1.0));
        let took_20_ms = |r: &bucket_sim::RequestRecord| {
            r.ended().is_some_and(|ended| ended.since(r.issued()) == millis(20))
        };
        assert!(trace.requests().iter().all(took_20_ms));
    }
    check(|_| NoPolicy::new());
    check(|client| Guarded::storage(OpKind::Read, client));
    check(|client| IpfsKit::new(OpKind::Read, client));
}

/// 4 requests a second, from second 2 to second 4 nothing but failures.
fn small_outage() -> Scenario {
    let fault = Fault::fails_fast(secs(2)..secs(4), millis(5));
    Scenario::builder(Service::latency(millis(20)).fault(fault))
        .clients(2)
        .arrivals(Arrivals::poisson(2.0))
        .duration(secs(8))
        .build()
        .unwrap()
}

/// Repeats at once and without end.
struct Hammer;

impl Policy for Hammer {
    async fn request(&self, mut request: Request<'_>) -> Class {
        while request.call().await != Class::Success {}
        Class::Success
    }
}

/// Never calls at all.
struct Shy;

impl Policy for Shy {
    async fn request(&self, _: Request<'_>) -> Class {
        Class::Ignore
    }
}

#[test]
fn waste_tells_a_hammer_from_one_who_calls_once_and_one_who_never_does() {
    let fault = || secs(2)..secs(4);
    let hammer = small_outage().run(1, |_| Hammer);
    let waste = hammer.waste(fault()).unwrap();
    assert!(waste > 50.0, "{waste}");
    assert_eq!(hammer.success(fault()), Some(1.0), "it gets through in the end");
    assert!(hammer.amplification().unwrap() > 5.0);

    let once = small_outage().run(1, |_| NoPolicy::new());
    assert_eq!(once.waste(fault()), Some(1.0));
    assert_eq!(once.success(fault()), Some(0.0));
    assert_eq!(once.amplification(), Some(1.0));

    let shy = small_outage().run(1, |_| Shy);
    assert_eq!(shy.waste(fault()), Some(0.0));
    assert_eq!(shy.success(secs(0)..secs(8)), Some(0.0));
}

#[test]
fn a_hammer_is_stopped_when_a_run_has_had_its_time_to_settle() {
    let fault = Fault::fails_fast(secs(1)..Duration::MAX, millis(5));
    let scenario = Scenario::builder(Service::latency(millis(20)).fault(fault))
        .arrivals(Arrivals::regular(2.0))
        .duration(secs(2))
        .settle(secs(1))
        .build()
        .unwrap();
    let trace = scenario.run(1, |_| Hammer);
    let last = trace.requests().last().unwrap();
    assert_eq!((last.ended(), last.succeeded()), (None, false));
    assert!(last.calls() > 200, "{last:?}");
    assert!(trace.calls().last().unwrap().made() <= Tick::ZERO.after(secs(3)));
}

/// The classes of the calls made in each second of a fault from second 1 to 2.
fn classes(fault: Fault) -> Vec<Class> {
    let scenario = Scenario::builder(Service::latency(millis(20)).fault(fault))
        .arrivals(Arrivals::regular(1_000.0))
        .duration(secs(3))
        .build()
        .unwrap();
    let trace = scenario.run(1, |_| NoPolicy::new());
    let second = |n| Tick::ZERO.after(secs(n));
    for call in trace.calls() {
        let in_fault = call.made() >= second(1) && call.made() < second(2);
        assert!(in_fault || call.class() == Class::Success, "{call:?}");
        let after = if call.class() == Class::Success { millis(20) } else { millis(7) };
        assert_eq!(call.ended().since(call.made()), after, "{call:?}");
    }
    let calls = trace.calls().iter();
    calls.filter(|c| c.made() >= second(1) && c.made() < second(2)).map(|c| c.class()).collect()
}

#[test]
fn each_kind_of_fault_fails_as_it_says_and_only_in_its_window() {
    let window = || secs(1)..secs(2);
    let fast = classes(Fault::fails_fast(window(), millis(7)));
    assert_eq!(fast, vec![Class::Unavailable { after: None }; 1_000]);
    let timed_out = classes(Fault::times_out(window(), millis(7)));
    assert_eq!(timed_out, vec![Class::UnknownOutcome; 1_000]);
    let partly = classes(Fault::fails_partly(window(), 0.3, millis(7)));
    let failed = partly.iter().filter(|class| **class == Class::Transient).count();
    assert!((250..350).contains(&failed), "{failed}");
    assert_eq!(partly.len(), 1_000);
}

/// The first client waits 30 ms for a call, the others as long as it takes.
struct HastyFirst(Client);

impl Policy for HastyFirst {
    async fn request(&self, mut request: Request<'_>) -> Class {
        let deadline = (self.0.index == 0).then(|| request.now().after(millis(30)));
        request.call_until(deadline).await
    }
}

#[test]
fn a_caller_who_stops_waiting_leaves_the_work_to_the_server() {
    // Two calls of 20 a second take all of the server's time: if it dropped what nobody waits for,
    // there would be time enough for both.
    let scenario = Scenario::builder(Service::latency(millis(50)).servers(1))
        .clients(2)
        .arrivals(Arrivals::regular(20.0))
        .duration(secs(4))
        .build()
        .unwrap();
    let trace = scenario.run(1, HastyFirst);
    let (given_up, served): (Vec<&CallRecord>, Vec<&CallRecord>) =
        trace.calls().iter().partition(|call| call.class() == Class::UnknownOutcome);
    assert!(given_up.iter().all(|call| call.ended().since(call.made()) == millis(30)));
    assert_eq!(given_up.len(), 80);
    // The queue grows by one call of 50 ms in each 50 ms.
    let last = served.last().unwrap();
    let took = last.ended().since(last.made());
    assert!(took > secs(3), "{took:?}");
}

/// Awaits what only a real runtime could answer.
struct Elsewhere;

impl Policy for Elsewhere {
    async fn request(&self, _: Request<'_>) -> Class {
        pending().await
    }
}

#[test]
#[should_panic(expected = "awaits one call or sleep")]
fn a_policy_that_awaits_something_else_is_an_error_and_does_not_hang() {
    small_outage().run(1, |_| Elsewhere);
}

#[test]
fn the_breaker_keeps_our_policy_off_a_service_that_is_down() {
    let scenario = scenarios::hard_outage(secs(45)).unwrap();
    let fault = scenario.service().faults()[0].window().clone();
    let ours = scenario.run(1, |client| Guarded::storage(OpKind::Read, client));
    let none = scenario.run(1, |_| NoPolicy::new());
    assert_eq!(none.waste(fault.clone()), Some(1.0));
    assert_eq!(none.recovery(fault.end), Some(secs(0)));
    let waste = ours.waste(fault.clone()).unwrap();
    assert!(waste < 0.1, "{waste}");
    assert!(ours.recovery(fault.end).is_some_and(|recovery| recovery < secs(10)));
    assert!(ours.peak(fault.end).is_some_and(|peak| peak < 2.0));
}
