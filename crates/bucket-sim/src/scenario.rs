//! [`Scenario`]: clients, a service and a length of time, checked and ready to run.

use std::time::Duration;

use crate::error::{ConfigError, refuse};
use crate::{Arrivals, Client, Policy, Service, Trace, engine};

/// Who calls whom and for how long.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use bucket_sim::{Arrivals, NoPolicy, Scenario, Service};
///
/// let scenario = Scenario::builder(Service::latency(Duration::from_millis(20)))
///     .clients(10)
///     .arrivals(Arrivals::poisson(5.0))
///     .duration(Duration::from_secs(30))
///     .build()?;
/// let trace = scenario.run(1, |_client| NoPolicy::new());
/// assert_eq!(trace.amplification(), Some(1.0));
/// # Ok::<(), bucket_sim::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scenario {
    pub(crate) service: Service,
    pub(crate) clients: usize,
    pub(crate) arrivals: Arrivals,
    pub(crate) duration: Duration,
    pub(crate) settle: Duration,
}

impl Scenario {
    /// The settings at their defaults: 1 client, 10 requests a second at random, 60 s.
    pub const fn builder(service: Service) -> ScenarioBuilder {
        ScenarioBuilder(Self {
            service,
            clients: 1,
            arrivals: Arrivals::poisson(10.0),
            duration: Duration::from_secs(60),
            settle: Duration::from_secs(60),
        })
    }

    /// Runs it, each client with the policy that `policy` makes for it.
    ///
    /// For one seed the same requests come at the same moments, whatever the policy, and everything
    /// else is the same again too if the policies take what is random in them from
    /// [`Client::seed`].
    ///
    /// # Panics
    ///
    /// When a policy awaits anything but the calls and sleeps of its request, or does not await one
    /// to its end.
    pub fn run<P: Policy>(&self, seed: u64, policy: impl FnMut(Client) -> P) -> Trace {
        engine::run(self, seed, policy)
    }

    /// What is called.
    pub const fn service(&self) -> &Service {
        &self.service
    }

    /// How many requests a second all clients make together, on average.
    pub fn demand(&self) -> f64 {
        self.clients as f64 * self.arrivals.rate()
    }

    /// For how long requests come in.
    pub const fn duration(&self) -> Duration {
        self.duration
    }
}

/// The settings of a [`Scenario`]. Made by [`Scenario::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ScenarioBuilder(Scenario);

impl ScenarioBuilder {
    /// How many clients there are: at least 1.
    pub const fn clients(mut self, n: usize) -> Self {
        self.0.clients = n;
        self
    }

    /// When each client has a request.
    pub const fn arrivals(mut self, arrivals: Arrivals) -> Self {
        self.0.arrivals = arrivals;
        self
    }

    /// For how long requests come in: above zero, 60 s by default.
    pub const fn duration(mut self, duration: Duration) -> Self {
        self.0.duration = duration;
        self
    }

    /// How long requests that are under way after that may still take, 60 s by default. What has not
    /// ended by then counts as failed.
    pub const fn settle(mut self, duration: Duration) -> Self {
        self.0.settle = duration;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first field that is out of bounds or contradicts another.
    pub fn build(self) -> Result<Scenario, ConfigError> {
        let Self(scenario) = self;
        scenario.service.validate()?;
        scenario.arrivals.validate()?;
        if scenario.clients == 0 {
            return refuse("clients", "at least 1");
        }
        if scenario.duration.is_zero() {
            return refuse("duration", "above zero");
        }
        if scenario.settle > MAX_SETTLE {
            return refuse("settle", "at most 1 day");
        }
        if scenario.clients > MAX_REQUESTS
            || scenario.demand() * scenario.duration.as_secs_f64() > MAX_REQUESTS as f64
        {
            let rule = "so few, so calm and so short that 10 million requests are enough";
            return refuse("clients", rule);
        }
        Ok(scenario)
    }
}

/// Each takes some 100 B while its run lasts.
const MAX_REQUESTS: usize = 10_000_000;
const MAX_SETTLE: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    use crate::Fault;

    type Change = fn(ScenarioBuilder) -> ScenarioBuilder;

    const SECOND: Duration = Duration::from_secs(1);

    fn with_fault(fault: Fault) -> ScenarioBuilder {
        Scenario::builder(Service::latency(SECOND).fault(fault))
    }

    #[test]
    fn each_invalid_setting_is_refused_by_name() {
        let rate = |b: ScenarioBuilder, rate| b.arrivals(Arrivals::poisson(rate));
        let servers = |n| Scenario::builder(Service::latency(SECOND).servers(n));
        let partly = |share| with_fault(Fault::fails_partly(SECOND..SECOND * 2, share, SECOND));
        let valid = || Scenario::builder(Service::latency(SECOND));
        let huge = Duration::MAX;
        let cases = [
            ("clients", valid().clients(0)),
            ("clients", valid().clients(usize::MAX)),
            ("clients", valid().clients(1_000_000)),
            ("clients", valid().duration(huge)),
            ("arrivals", rate(valid(), 0.0)),
            ("arrivals", rate(valid(), -1.0)),
            ("arrivals", rate(valid(), f64::NAN)),
            ("arrivals", rate(valid(), f64::INFINITY)),
            ("arrivals", rate(valid(), 1e7)),
            ("arrivals", valid().arrivals(Arrivals::regular(f64::NAN))),
            ("duration", valid().duration(Duration::ZERO)),
            ("settle", valid().settle(huge)),
            ("latency", Scenario::builder(Service::latency(huge))),
            ("latency", Scenario::builder(Service::exponential_latency(huge))),
            ("servers", servers(0)),
            ("servers", servers(usize::MAX)),
            ("fault", with_fault(Fault::fails_fast(SECOND..SECOND, SECOND))),
            ("fault", with_fault(Fault::fails_fast(SECOND * 2..SECOND, SECOND))),
            ("fault", with_fault(Fault::fails_fast(SECOND..huge, Duration::ZERO))),
            ("fault", with_fault(Fault::times_out(SECOND..huge, huge))),
            ("fault", partly(0.0)),
            ("fault", partly(1.5)),
            ("fault", partly(f64::NAN)),
        ];
        for (field, builder) in cases {
            let error = builder.build().unwrap_err();
            assert_eq!(error.field(), field, "{error}");
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }

    #[test]
    fn faults_may_touch_and_not_overlap() {
        let fault = |window| Fault::fails_fast(window, SECOND);
        let build = |first, second| {
            let service = Service::latency(SECOND).fault(fault(first)).fault(fault(second));
            Scenario::builder(service).build()
        };
        assert!(build(SECOND..SECOND * 2, SECOND * 2..SECOND * 3).is_ok());
        assert_eq!(build(SECOND..SECOND * 3, SECOND * 2..SECOND * 4).unwrap_err().field(), "fault");
        assert!(build(SECOND * 2..SECOND * 3, SECOND..SECOND * 4).is_err());
    }

    #[test]
    fn the_bounds_themselves_are_accepted() {
        let cases: [Change; 3] = [
            |b| b.arrivals(Arrivals::poisson(f64::MIN_POSITIVE)),
            |b| b.arrivals(Arrivals::poisson(1_000_000.0)).duration(SECOND * 10),
            |b| b.clients(10_000_000).arrivals(Arrivals::poisson(1.0)).duration(SECOND),
        ];
        for change in cases {
            assert!(change(Scenario::builder(Service::latency(SECOND))).build().is_ok());
        }
    }
}
