//! [`IpfsKit`]: the policy of the Python system `ipfs_kit`, rule by rule, for comparison.

use std::cell::RefCell;
use std::time::Duration;

use bucket_core::{Class, OpKind, Tick};

use crate::rng::Rng;
use crate::{Client, Policy, Request};

/// The breaker and the retry of the Python system
/// [`ipfs_kit`](https://github.com/endomorphosis/ipfs_kit_py), put together as its documentation
/// shows: the retry around the breaker around the call.
///
/// What its sources (`circuit_breaker.py`, `retry_strategy.py`, with their defaults) do:
///
/// - Closed, a failure adds 1 to a count and a success takes 1 away. The breaker opens at 5, or when
///   at least half of *all requests ever*, with at least 10 of them, have failed. Rejected requests
///   are among those; nothing ever leaves that count.
/// - Open, it rejects for 60 s since it opened. The next call then makes it half-open.
/// - Half-open, every call goes through, however many. The second success closes it, a failure opens
///   it for 60 s more.
/// - An outcome counts in the state that it finds at its end, whatever the state that admitted it.
/// - The retry repeats after every error. A rejection by the open breaker is one too, so requests
///   sleep and knock again while it is open.
///
/// | operation | attempts | delays |
/// |---|---|---|
/// | delete | 3 | 1 s, 2 s |
/// | list | 3 | 1 s doubling, ±30 %, at most 20 s |
/// | pin | 10 | 5 s doubling, ±30 %, at most 120 s |
/// | read | 5 | 500 ms doubling, ±30 %, at most 10 s |
/// | write | 3 | 2 s doubling, at most 30 s |
#[derive(Debug)]
pub struct IpfsKit {
    breaker: RefCell<Breaker>,
    retry: Retry,
    rng: RefCell<Rng>,
}

impl IpfsKit {
    /// The policy for operations of this kind. A kind that this version does not know gets the one
    /// for writes.
    pub fn new(op: OpKind, client: Client) -> Self {
        Self {
            breaker: RefCell::new(Breaker::default()),
            retry: Retry::of(op),
            rng: RefCell::new(Rng::new(client.seed, 0)),
        }
    }
}

impl Policy for IpfsKit {
    async fn request(&self, mut request: Request<'_>) -> Class {
        for attempt in 1.. {
            let admitted = self.breaker.borrow_mut().admits(request.now());
            let class = if admitted {
                let class = request.call().await;
                self.breaker.borrow_mut().record(request.now(), class == Class::Success);
                class
            } else {
                Class::Unavailable { after: None }
            };
            if class == Class::Success || attempt == self.retry.max_attempts {
                return class;
            }
            let delay = self.retry.delay(attempt, &mut self.rng.borrow_mut());
            request.sleep(delay).await;
        }
        Class::Ignore // The numbers do not end.
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    HalfOpen,
    Open,
}

#[derive(Debug, Default)]
struct Breaker {
    state: State,
    failures: u32,
    successes: u32,
    opened: Tick,
    all_requests: u64,
    all_failures: u64,
}

impl Breaker {
    fn admits(&mut self, now: Tick) -> bool {
        self.all_requests += 1;
        if self.state == State::Open {
            if now.since(self.opened) < OPEN_DURATION {
                return false;
            }
            self.enter(State::HalfOpen);
        }
        true
    }

    fn record(&mut self, now: Tick, success: bool) {
        if success {
            match self.state {
                State::Closed => self.failures = self.failures.saturating_sub(1),
                State::HalfOpen => {
                    self.successes += 1;
                    if self.successes >= SUCCESS_THRESHOLD {
                        self.enter(State::Closed);
                    }
                }
                State::Open => {}
            }
            return;
        }
        self.all_failures += 1;
        self.failures += 1;
        let opens = match self.state {
            State::Closed => self.failures >= FAILURE_THRESHOLD || self.rate_is_reached(),
            State::HalfOpen => true,
            State::Open => false,
        };
        if opens {
            // The counts stay as they are; only leaving this state clears them.
            self.state = State::Open;
            self.opened = now;
        }
    }

    fn rate_is_reached(&self) -> bool {
        self.all_requests >= MIN_REQUESTS && self.all_failures * 2 >= self.all_requests
    }

    fn enter(&mut self, state: State) {
        (self.state, self.failures, self.successes) = (state, 0, 0);
    }
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    max_attempts: u32,
    initial: f64,
    max: f64,
    curve: Curve,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    Doubling,
    DoublingWithJitter,
    Linear,
}

impl Retry {
    const fn of(op: OpKind) -> Self {
        let (max_attempts, initial, max, curve) = match op {
            OpKind::Delete => (3, 1.0, 15.0, Curve::Linear),
            OpKind::List => (3, 1.0, 20.0, Curve::DoublingWithJitter),
            OpKind::Pin => (10, 5.0, 120.0, Curve::DoublingWithJitter),
            OpKind::Read => (5, 0.5, 10.0, Curve::DoublingWithJitter),
            _ => (3, 2.0, 30.0, Curve::Doubling),
        };
        Self { max_attempts, initial, max, curve }
    }

    /// The delay after attempt number `attempt`; the maximum cuts the jitter.
    fn delay(self, attempt: u32, rng: &mut Rng) -> Duration {
        let doubled = self.initial * f64::from(1_u32 << (attempt - 1).min(31));
        let seconds = match self.curve {
            Curve::Doubling => doubled,
            Curve::DoublingWithJitter => doubled + doubled * JITTER * (2.0 * rng.unit() - 1.0),
            Curve::Linear => self.initial * f64::from(attempt),
        };
        Duration::from_secs_f64(seconds.min(self.max))
    }
}

const FAILURE_THRESHOLD: u32 = 5;
const JITTER: f64 = 0.3;
const MIN_REQUESTS: u64 = 10;
const OPEN_DURATION: Duration = Duration::from_secs(60);
const SUCCESS_THRESHOLD: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::ZERO.after(Duration::from_secs(seconds))
    }

    fn record(breaker: &mut Breaker, outcomes: &[bool]) {
        for success in outcomes {
            assert!(breaker.admits(at(0)));
            breaker.record(at(0), *success);
        }
    }

    #[test]
    fn a_success_takes_one_failure_away_and_does_not_start_over() {
        let mut breaker = Breaker::default();
        record(&mut breaker, &[true; 20]);
        record(&mut breaker, &[false, false, false, false, true, false]);
        assert_eq!(breaker.state, State::Closed);
        record(&mut breaker, &[false]);
        assert_eq!(breaker.state, State::Open);
    }

    #[test]
    fn the_rate_is_over_everything_that_ever_came() {
        let mut breaker = Breaker::default();
        record(&mut breaker, &[false, true, false, true, false, true, false, true, false]);
        assert_eq!((breaker.state, breaker.failures), (State::Closed, 1));
        record(&mut breaker, &[false]);
        assert_eq!(breaker.state, State::Open, "6 of 10, and only 2 in its count");
    }

    #[test]
    fn it_opens_for_a_minute_and_closes_at_the_second_success() {
        let mut breaker = Breaker::default();
        record(&mut breaker, &[false; 5]);
        assert!(!breaker.admits(at(59)));
        assert!((0..50).all(|_| breaker.admits(at(60))), "half-open has no limit");
        breaker.record(at(60), true);
        assert_eq!(breaker.state, State::HalfOpen);
        breaker.record(at(60), true);
        assert_eq!(breaker.state, State::Closed);
    }

    #[test]
    fn a_failed_probe_costs_another_minute() {
        let mut breaker = Breaker::default();
        record(&mut breaker, &[false; 5]);
        assert!(breaker.admits(at(60)));
        breaker.record(at(61), false);
        assert!(!breaker.admits(at(120)));
        assert!(breaker.admits(at(121)));
    }

    #[test]
    fn a_late_failure_of_an_earlier_state_decides() {
        let mut breaker = Breaker::default();
        record(&mut breaker, &[false; 5]);
        assert!(breaker.admits(at(60)));
        breaker.record(at(60), true);
        breaker.record(at(60), false); // Of a call that was made before it opened.
        assert_eq!(breaker.state, State::Open);
    }

    #[test]
    fn delays_follow_the_table() {
        let mut rng = Rng::new(1, 0);
        let delays = |op, rng: &mut Rng| {
            let retry = Retry::of(op);
            (1..retry.max_attempts).map(|n| retry.delay(n, rng).as_secs_f64()).collect::<Vec<_>>()
        };
        assert_eq!(delays(OpKind::Delete, &mut rng), [1.0, 2.0]);
        assert_eq!(delays(OpKind::Write, &mut rng), [2.0, 4.0]);
        for (op, nominal) in [
            (OpKind::List, vec![1.0, 2.0]),
            (OpKind::Read, vec![0.5, 1.0, 2.0, 4.0]),
            (OpKind::Pin, vec![5.0, 10.0, 20.0, 40.0, 80.0, 120.0, 120.0, 120.0, 120.0]),
        ] {
            let drawn = delays(op, &mut rng);
            assert_eq!(drawn.len(), nominal.len(), "{op}");
            for (drawn, nominal) in drawn.iter().zip(nominal) {
                assert!(*drawn >= nominal * 0.7 && *drawn <= nominal * 1.3, "{op}: {drawn}");
                assert!(*drawn <= 120.0);
            }
        }
    }
}
