//! [`Goal`]: the bound of a row, as the report states it, and the verdict on what was measured.

use std::fmt;

use crate::harness::stats;

/// What a row has to reach. It bounds the ratio, or our own figure where there is no peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// No bound: the figure is shown so that its trend is kept.
    Reported,
}

impl Goal {
    pub(crate) const fn is_bound(&self) -> bool {
        !matches!(self, Self::Reported)
    }

    /// Whether the values reach the goal; `None` when they cannot say.
    ///
    /// They can when there are seven, and the interval that holds their median in 95 of 100 cases lies on
    /// one side of the bound. That a median alone lies there says nothing: with a bound in the middle of
    /// the noise, every second run would turn the verdict.
    pub(crate) fn verdict(&self, values: &[f64]) -> Option<bool> {
        let finite = values.iter().filter(|value| value.is_finite()).count();
        if finite < MIN_ROUNDS || finite * 2 < values.len() {
            return None;
        }
        let (low, high) = stats::median_interval(values)?;
        match *self {
            Self::AtLeast(bound) if low >= bound => Some(true),
            Self::AtLeast(bound) if high < bound => Some(false),
            Self::AtMost(bound) if high <= bound => Some(true),
            Self::AtMost(bound) if low > bound => Some(false),
            _ => None,
        }
    }
}

/// As the report has it: `>=1.5`, `<=3`, `reported`.
impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, ">={bound}"),
            Self::AtMost(bound) => write!(f, "<={bound}"),
            Self::Reported => f.write_str("reported"),
        }
    }
}

/// The fewest rounds on which a verdict can stand.
const MIN_ROUNDS: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_the_interval_on_one_side() {
        let values = [0.96, 1.0, 1.02, 1.1, 1.0, 0.98, 1.05];
        assert_eq!(Goal::AtLeast(0.9).verdict(&values), Some(true));
        assert_eq!(Goal::AtLeast(1.2).verdict(&values), Some(false));
        assert_eq!(Goal::AtLeast(1.0).verdict(&values), None);
        assert_eq!(Goal::AtMost(1.2).verdict(&values), Some(true));
        assert_eq!(Goal::AtMost(0.9).verdict(&values), Some(false));
        assert_eq!(Goal::AtMost(1.0).verdict(&values), None);
    }

    #[test]
    fn a_bound_that_is_reached_exactly_is_reached() {
        assert_eq!(Goal::AtMost(0.0).verdict(&[0.0; 7]), Some(true));
        assert_eq!(Goal::AtLeast(2.0).verdict(&[2.0; 7]), Some(true));
        assert_eq!(Goal::AtMost(0.0).verdict(&[1.0; 7]), Some(false));
    }

    #[test]
    fn too_few_values_or_values_that_are_none_give_no_verdict() {
        assert_eq!(Goal::AtLeast(1.0).verdict(&[]), None);
        assert_eq!(Goal::AtLeast(1.0).verdict(&[9.0; 6]), None);
        assert_eq!(Goal::AtLeast(1.0).verdict(&[f64::NAN; 21]), None);
        // Where most rounds failed, the rest is no sample.
        let mut mostly_nan = vec![f64::NAN; 14];
        mostly_nan.extend([9.0; 7]);
        assert_eq!(Goal::AtLeast(1.0).verdict(&mostly_nan), None);
    }

    #[test]
    fn what_is_only_reported_has_no_verdict() {
        assert_eq!(Goal::Reported.verdict(&[1.0; 21]), None);
        assert!(!Goal::Reported.is_bound());
    }

    #[test]
    fn a_goal_is_written_as_the_report_has_it() {
        assert_eq!(Goal::AtLeast(1.5).to_string(), ">=1.5");
        assert_eq!(Goal::AtMost(3.0).to_string(), "<=3");
        assert_eq!(Goal::Reported.to_string(), "reported");
    }
}
