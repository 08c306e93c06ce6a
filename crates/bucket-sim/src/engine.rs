//! The engine: a heap of events, a clock that jumps from one to the next, and the executor of the
//! policies.
//!
//! Events of one moment happen in the order in which they were scheduled, so a run depends on its
//! seed alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bucket_core::{Class, Tick};

use crate::policy::streams;
use crate::request::{Ask, ONE_AT_A_TIME, Port};
use crate::rng::Rng;
use crate::service::Serving;
use crate::trace::{CallRecord, RequestRecord};
use crate::{Client, Policy, Request, Scenario, Trace};

pub(crate) fn run<P: Policy>(
    scenario: &Scenario,
    seed: u64,
    policy: impl FnMut(Client) -> P,
) -> Trace {
    let policies: Vec<P> =
        (0..scenario.clients).map(|index| Client::new(index, seed)).map(policy).collect();
    let port = Port::new();
    // Last, so that it is dropped first: the futures in it borrow policies and port.
    let mut engine = Engine {
        scenario,
        port: &port,
        policies: &policies,
        events: Events::default(),
        arrivals: Vec::with_capacity(policies.len()),
        serving: Serving::new(&scenario.service, Rng::new(seed, streams::SERVICE)),
        running: Vec::new(),
        requests: Vec::new(),
        calls: Vec::new(),
    };
    engine.start(seed);
    engine.run();
    Trace::from_run(scenario, engine.requests, engine.calls)
}

type Running<'a> = Pin<Box<dyn Future<Output = Class> + 'a>>;

struct Engine<'a, P> {
    scenario: &'a Scenario,
    port: &'a Port,
    policies: &'a [P],
    events: Events,
    /// The generator of each client's arrivals.
    arrivals: Vec<Rng>,
    serving: Serving<'a>,
    /// The future of each request, by its number; `None` once it has ended.
    ///
    /// Invariant: as long as `requests`.
    running: Vec<Option<Running<'a>>>,
    requests: Vec<RequestRecord>,
    calls: Vec<CallRecord>,
}

impl<P: Policy> Engine<'_, P> {
    fn start(&mut self, seed: u64) {
        for client in 0..self.policies.len() {
            let mut rng = Rng::new(seed, streams::arrivals(client));
            let first = Tick::ZERO.after(self.scenario.arrivals.first(&mut rng));
            self.arrivals.push(rng);
            self.schedule_arrival(client, first);
        }
    }

    fn run(&mut self) {
        let end = Tick::ZERO.after(self.scenario.duration.saturating_add(self.scenario.settle));
        while let Some((now, what)) = self.events.pop() {
            if now > end {
                break;
            }
            self.port.now.set(now);
            match what {
                What::Arrival { client } => {
                    let gap = self.scenario.arrivals.next(&mut self.arrivals[client]);
                    self.schedule_arrival(client, now.after(gap));
                    let request = self.requests.len();
                    self.requests.push(RequestRecord::begun(now));
                    let future = self.policies[client].request(Request::new(self.port));
                    self.running.push(Some(Box::pin(future)));
                    self.poll(request);
                }
                What::Answer { request, class } => {
                    self.port.answer.set(Some(class));
                    self.poll(request);
                }
            }
        }
    }

    fn schedule_arrival(&mut self, client: usize, at: Tick) {
        if at < Tick::ZERO.after(self.scenario.duration) {
            self.events.push(at, What::Arrival { client });
        }
    }

    /// Lets the policy go on with a request, and does what it asks for.
    fn poll(&mut self, request: usize) {
        let now = self.port.now.get();
        let Some(future) = &mut self.running[request] else { return };
        // Nobody is woken: the engine knows itself when to poll again.
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(class) = future.as_mut().poll(&mut cx) {
            self.running[request] = None;
            self.requests[request].end(now, class);
            assert!(self.port.asked.take().is_none(), "{ONE_AT_A_TIME}");
            return;
        }
        match self.port.asked.take().expect(ONE_AT_A_TIME) {
            Ask::Call { deadline } => {
                let (mut ended, mut class) = self.serving.call(now);
                if let Some(deadline) = deadline.filter(|deadline| *deadline < ended) {
                    (ended, class) = (deadline.max(now), Class::UnknownOutcome);
                }
                self.requests[request].calls += 1;
                self.calls.push(CallRecord::new(now, ended, class));
                self.events.push(ended, What::Answer { request, class });
            }
            Ask::Sleep(duration) => {
                let class = Class::Success; // Of no meaning; a sleep has no outcome.
                self.events.push(now.after(duration), What::Answer { request, class });
            }
        }
    }
}

/// What is going to happen, earliest first.
#[derive(Debug, Default)]
struct Events {
    heap: BinaryHeap<Reverse<Event>>,
    scheduled: u64,
}

impl Events {
    fn push(&mut self, at: Tick, what: What) {
        self.heap.push(Reverse(Event { at, nth: self.scheduled, what }));
        self.scheduled += 1;
    }

    fn pop(&mut self) -> Option<(Tick, What)> {
        self.heap.pop().map(|Reverse(event)| (event.at, event.what))
    }
}

#[derive(Debug)]
struct Event {
    at: Tick,
    /// Tells events of one moment apart.
    nth: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Answer { request: usize, class: Class },
    Arrival { client: usize },
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.nth).cmp(&(other.at, other.nth))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.nth) == (other.at, other.nth)
    }
}

impl Eq for Event {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_and_of_one_moment_as_they_were_scheduled() {
        let mut events = Events::default();
        for (client, nanos) in [(0, 9), (1, 5), (2, 5), (3, 1), (4, 5)] {
            events.push(Tick::from_nanos(nanos), What::Arrival { client });
        }
        let order: Vec<usize> = std::iter::from_fn(|| events.pop())
            .map(|(_, what)| match what {
                What::Arrival { client } => client,
                What::Answer { request, .. } => request,
            })
            .collect();
        assert_eq!(order, [3, 1, 2, 4, 0]);
    }
}
