//! The figures, read off traces made by hand.

use super::*;

fn at(millis: u64) -> Tick {
    Tick::ZERO.after(Duration::from_millis(millis))
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn request(millis: u64, class: Option<Class>) -> RequestRecord {
    let mut record = RequestRecord::begun(at(millis));
    if let Some(class) = class {
        record.end(at(millis + 1), class);
    }
    record
}

fn call(millis: u64) -> CallRecord {
    CallRecord::new(at(millis), at(millis + 5), Class::Transient)
}

fn trace(requests: Vec<RequestRecord>, calls: Vec<CallRecord>) -> Trace {
    Trace { duration: secs(10), demand: 100.0, requests, calls }
}

/// 100 requests in each second, of which so many fail.
fn by_second(failing: [usize; 10]) -> Trace {
    let mut requests = Vec::new();
    for (second, failing) in failing.into_iter().enumerate() {
        for n in 0..100 {
            let class = if n < failing { Class::Transient } else { Class::Success };
            requests.push(request(second as u64 * 1_000 + n as u64 * 10, Some(class)));
        }
    }
    trace(requests, Vec::new())
}

#[test]
fn recovery_is_the_start_of_the_first_of_three_good_seconds() {
    let recovery = |failing, end| by_second(failing).recovery(secs(end));
    assert_eq!(recovery([0; 10], 2), Some(secs(0)));
    assert_eq!(recovery([9, 9, 9, 9, 0, 0, 0, 9, 9, 9], 2), Some(secs(2)));
    // One in a hundred is still good, two are not.
    assert_eq!(recovery([1; 10], 0), Some(secs(0)));
    assert_eq!(recovery([2; 10], 0), None);
    // Two in a row are not enough, and the count starts over.
    assert_eq!(recovery([9, 0, 0, 9, 0, 0, 0, 0, 9, 9], 0), Some(secs(4)));
}

#[test]
fn the_third_good_second_may_be_the_last_and_not_beyond() {
    let failing = [9, 9, 9, 9, 9, 9, 9, 0, 0, 0];
    assert_eq!(by_second(failing).recovery(secs(3)), Some(secs(4)));
    let failing = [9, 9, 9, 9, 9, 9, 9, 9, 0, 0];
    assert_eq!(by_second(failing).recovery(secs(3)), None);
    assert_eq!(by_second([0; 10]).recovery(secs(8)), None, "two seconds are left");
    assert_eq!(by_second([0; 10]).recovery(secs(99)), None);
}

#[test]
fn seconds_are_counted_from_the_end_of_the_fault() {
    // The failures lie in the first half of a second: from its middle on all is well.
    let trace = by_second([9, 9, 9, 9, 0, 0, 0, 0, 0, 0]);
    assert_eq!(trace.recovery(Duration::from_millis(3_500)), Some(secs(0)));
    assert_eq!(trace.recovery(Duration::from_millis(2_500)), Some(secs(1)));
}

#[test]
fn a_second_in_which_nobody_asks_is_no_evidence() {
    assert_eq!(trace(Vec::new(), Vec::new()).recovery(secs(0)), None);
    let requests = (0..10).filter(|n| *n != 1).map(|n| request(n * 1_000, Some(Class::Success)));
    assert_eq!(trace(requests.collect(), Vec::new()).recovery(secs(0)), Some(secs(2)));
}

#[test]
fn a_request_that_never_ended_has_failed() {
    let requests = vec![request(0, Some(Class::Success)), request(1, None)];
    assert_eq!(trace(requests, Vec::new()).success(secs(0)..secs(1)), Some(0.5));
}

#[test]
fn a_window_has_its_start_and_not_its_end() {
    let requests = vec![
        request(999, Some(Class::Transient)),
        request(1_000, Some(Class::Success)),
        request(1_999, Some(Class::Success)),
        request(2_000, Some(Class::Transient)),
    ];
    let calls = vec![call(999), call(1_000), call(1_500), call(1_999), call(2_000)];
    let trace = trace(requests, calls);
    assert_eq!(trace.success(secs(1)..secs(2)), Some(1.0));
    assert_eq!(trace.waste(secs(1)..secs(2)), Some(1.5));
    assert_eq!(trace.amplification(), Some(1.25));
}

#[test]
fn a_share_of_nothing_is_none() {
    let trace = trace(Vec::new(), vec![call(0)]);
    assert_eq!(trace.success(secs(0)..secs(10)), None);
    assert_eq!(trace.waste(secs(0)..secs(10)), None);
    assert_eq!(trace.amplification(), None);
    let backwards = secs(2)..secs(1);
    assert_eq!(by_second([0; 10]).success(backwards), None);
}

#[test]
fn a_peak_is_the_fullest_tenth_of_a_second_after_the_start() {
    // The demand makes 10 calls in 100 ms.
    let calls = [[100; 90].as_slice(), &[2_030; 20], &[2_099; 10], &[2_100; 25]].concat();
    let trace = trace(Vec::new(), calls.into_iter().map(call).collect());
    assert_eq!(trace.peak(secs(2)), Some(3.0));
    assert_eq!(trace.peak(Duration::from_millis(2_050)), Some(3.5), "the steps start elsewhere");
    assert_eq!(trace.peak(secs(3)), Some(0.0));
    assert_eq!(trace.peak(secs(10)), None);
}

#[test]
fn bins_cover_whole_steps_only() {
    let trace = by_second([3; 10]);
    let bins: Vec<Bin> = trace.bins(secs(1), secs(4)).collect();
    assert_eq!(bins.len(), 2);
    let expected = Bin { start: secs(5), requests: 400, succeeded: 388, calls: 0 };
    assert_eq!(bins[1], expected);
    assert_eq!(trace.bins(secs(0), Duration::ZERO).count(), 0);
    assert_eq!(trace.bins(Duration::MAX, secs(1)).count(), 0);
}

#[test]
fn every_part_of_a_trace_is_in_its_digest() {
    let base = || trace(vec![request(1, Some(Class::Success))], vec![call(1)]);
    let digest = base().digest();
    assert_eq!(base().digest(), digest);
    for other in [
        trace(vec![request(2, Some(Class::Success))], vec![call(1)]),
        trace(vec![request(1, Some(Class::Transient))], vec![call(1)]),
        trace(vec![request(1, None)], vec![call(1)]),
        trace(vec![request(1, Some(Class::Success))], vec![call(2)]),
        trace(vec![request(1, Some(Class::Success))], vec![call(1), call(1)]),
    ] {
        assert_ne!(other.digest(), digest, "{other:?}");
    }
}
