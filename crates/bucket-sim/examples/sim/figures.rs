//! [`Figures`]: what is measured of one run, and the [`Metric`]s with their goals.

use std::ops::Range;
use std::time::Duration;

use bucket_sim::{Scenario, Trace, scenarios};

use crate::Contender;

/// One length of outage: the runs of each contender, by seed.
#[derive(Debug)]
pub(crate) struct Outage {
    pub(crate) length: Duration,
    pub(crate) runs: [(Contender, Vec<Figures>); 3],
}

impl Outage {
    /// The values of one contender, by seed. Infinite is what never came, a recovery.
    pub(crate) fn values(&self, contender: Contender, metric: Metric) -> Vec<f64> {
        let runs = self.runs.iter().find(|(who, _)| *who == contender);
        runs.map_or_else(Vec::new, |(_, runs)| runs.iter().map(|run| run.value(metric)).collect())
    }
}

/// What is measured of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    waste: f64,
    recovery: f64,
    peak: f64,
    success: f64,
    amplification: f64,
}

impl Figures {
    pub(crate) fn of(scenario: &Scenario, trace: &Trace) -> Self {
        let fault = fault(scenario);
        let number = |value: Option<f64>| value.unwrap_or(f64::INFINITY);
        Self {
            waste: number(trace.waste(fault.clone())),
            recovery: number(trace.recovery(fault.end).map(|d| d.as_secs_f64())),
            peak: number(trace.peak(fault.end)),
            success: number(trace.success(scenarios::SUCCESS_WINDOW)),
            amplification: number(trace.amplification()),
        }
    }

    fn value(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Waste => self.waste,
            Metric::Recovery => self.recovery,
            Metric::Peak => self.peak,
            Metric::Success => self.success,
            Metric::Amplification => self.amplification,
        }
    }
}

/// A figure with its goal, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    Waste,
    Recovery,
    Peak,
    Success,
    Amplification,
}

impl Metric {
    pub(crate) const ALL: [Self; 5] =
        [Self::Waste, Self::Recovery, Self::Peak, Self::Success, Self::Amplification];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Waste => "waste",
            Self::Recovery => "recovery",
            Self::Peak => "peak",
            Self::Success => "success",
            Self::Amplification => "calls/request",
        }
    }

    pub(crate) fn show(self, value: f64) -> String {
        match self {
            _ if value.is_infinite() => "never".to_owned(),
            Self::Waste | Self::Success => format!("{:.1} %", value * 100.0),
            Self::Recovery => format!("{value:.0} s"),
            Self::Peak | Self::Amplification => format!("{value:.2} x"),
        }
    }

    /// The bounds of the median and of the worst seed; the worst may be a quarter beyond the goal
    /// unless it has one of its own.
    pub(crate) const fn goal(self) -> Option<(f64, f64)> {
        match self {
            Self::Waste => Some((0.05, 0.05 * 1.25)),
            Self::Recovery => Some((3.0, 6.0)),
            Self::Peak => Some((1.5, 1.5 * 1.25)),
            Self::Success | Self::Amplification => None,
        }
    }

    /// The worst of these, which for a success is the least.
    pub(crate) fn worst(self, values: &[f64]) -> f64 {
        let values = values.iter().copied();
        match self {
            Self::Success => values.fold(f64::INFINITY, f64::min),
            _ => values.fold(0.0, f64::max),
        }
    }
}

/// The time of the scenario's fault.
pub(crate) fn fault(scenario: &Scenario) -> Range<Duration> {
    let fault = scenario.service().faults().first();
    fault.map_or(Duration::ZERO..Duration::ZERO, |fault| fault.window().clone())
}

/// The middle one of these; of an even number, the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (len, middle) if len % 2 == 1 => sorted[middle],
        // Not the mean of two infinities, which is one, but of both in one step.
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[f64::INFINITY, 1.0, f64::INFINITY, f64::INFINITY]), f64::INFINITY);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_worst_success_is_the_least_and_of_the_others_the_most() {
        assert_eq!(Metric::Success.worst(&[0.4, 0.2, 0.9]), 0.2);
        assert_eq!(Metric::Recovery.worst(&[1.0, f64::INFINITY, 2.0]), f64::INFINITY);
        assert_eq!(Metric::Waste.worst(&[0.1, 0.3]), 0.3);
    }

    #[test]
    fn what_never_came_is_said_so() {
        assert_eq!(Metric::Recovery.show(f64::INFINITY), "never");
        assert_eq!(Metric::Recovery.show(5.0), "5 s");
        assert_eq!(Metric::Waste.show(0.0512), "5.1 %");
    }
}
