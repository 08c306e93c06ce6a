//! The window against the plainest reference: a queue of outcomes, looked at from scratch each time.

use std::collections::VecDeque;

use bucket_breaker::{Breaker, Recorded, State};
use bucket_core::Tick;

struct Reference {
    outcomes: VecDeque<bool>,
    consecutive_failures: u32,
    window: u32,
    min_calls: u32,
    rate: f64,
}

impl Reference {
    /// Whether the breaker is open after this outcome.
    fn record(&mut self, failed: bool) -> bool {
        self.outcomes.push_front(failed);
        self.outcomes.truncate(64);
        if !failed {
            return false;
        }
        let row = self.outcomes.iter().take_while(|&&failed| failed).count();
        let calls = self.outcomes.len().min(self.window as usize);
        let failures = self.outcomes.iter().take(calls).filter(|&&failed| failed).count();
        row >= self.consecutive_failures as usize
            || calls >= self.min_calls as usize && failures as f64 / calls as f64 >= self.rate
    }
}

#[test]
fn the_window_agrees_with_a_reference_over_many_steps() {
    let mut random = Xorshift(0x5eed_0123_4567_89ab);
    let mut trips = 0;
    for round in 0..300 {
        let window = 1 + random.below(40);
        let min_calls = 1 + random.below(window);
        let consecutive_failures = 1 + random.below(40);
        let rate = f64::from(1 + random.below(100)) / 100.0;
        let failing = random.below(100);
        let breaker = Breaker::builder("differential")
            .consecutive_failures(consecutive_failures)
            .window(window)
            .min_calls(min_calls)
            .failure_rate_threshold(rate)
            .build()
            .unwrap();
        let outcomes = VecDeque::new();
        let mut reference = Reference { outcomes, consecutive_failures, window, min_calls, rate };
        for step in 0..1_500 {
            let failed = random.below(100) < failing;
            let permit = breaker.try_acquire(Tick::ZERO).unwrap();
            let recorded =
                if failed { permit.failure(Tick::ZERO) } else { permit.success(Tick::ZERO) };
            assert_eq!(recorded, Recorded::Counted);
            let open = reference.record(failed);
            assert_eq!(breaker.state(Tick::ZERO) == State::Open, open, "round {round} step {step}");
            if open {
                trips += 1;
                breaker.reset();
                reference.outcomes.clear();
            }
        }
    }
    assert!(trips > 1_000, "only {trips} trips: the comparison saw too little");
}

struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32 % bound
    }
}
