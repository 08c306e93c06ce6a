//! Medians, and how sure one can be of them, without assuming any distribution.

/// The median of the finite values; `None` when there are none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let n = sorted.len();
    let (low, high) = (sorted.get(n.checked_sub(1)? / 2)?, sorted.get(n / 2)?);
    Some(f64::midpoint(*low, *high))
}

/// The least and the greatest of the finite values.
pub(crate) fn range(values: &[f64]) -> Option<(f64, f64)> {
    let sorted = sorted(values);
    Some((*sorted.first()?, *sorted.last()?))
}

/// Two of the values between which the true median lies in at least 95 of 100 such samples; `None` for
/// fewer than six finite values, which cannot say so much.
///
/// Whatever the distribution, a value lies below its median as often as a coin falls: the chance that the
/// true median is below the k-th smallest of n is the chance of fewer than k heads in n throws.
pub(crate) fn median_interval(values: &[f64]) -> Option<(f64, f64)> {
    let sorted = sorted(values);
    let n = sorted.len();
    let mut k = 0;
    let mut tail = 0.0;
    loop {
        tail += binomial_half(n, k);
        if 2.0 * tail > 0.05 || k >= n / 2 {
            break;
        }
        k += 1;
    }
    let low = k.checked_sub(1)?;
    Some((sorted[low], sorted[n - 1 - low]))
}

/// The `share` quantile, such as 0.99, of `sorted`, which is the value that so many do not exceed.
pub(crate) fn quantile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<_> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The chance of exactly `k` heads in `n` throws.
fn binomial_half(n: usize, k: usize) -> f64 {
    (0..k).fold(0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX)), |chance, i| {
        chance * (n - i) as f64 / (i + 1) as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_ignores_what_is_no_number_and_order() {
        assert_eq!(median(&[3.0, f64::NAN, 1.0, f64::INFINITY, 2.0]), Some(2.0));
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[f64::NAN]), None);
        // One wild round does not move it.
        assert_eq!(median(&[1.0, 1.0, 1.0, 1.0, 1e9]), Some(1.0));
    }

    #[test]
    fn a_range_spans_the_finite_values() {
        assert_eq!(range(&[2.0, f64::NAN, -1.0]), Some((-1.0, 2.0)));
        assert_eq!(range(&[]), None);
    }

    #[test]
    fn an_interval_needs_six_values_and_narrows_with_more() {
        let values = |n: u32| (1..=n).map(f64::from).collect::<Vec<_>>();
        assert_eq!(median_interval(&values(5)), None);
        assert_eq!(median_interval(&values(6)), Some((1.0, 6.0)));
        assert_eq!(median_interval(&values(7)), Some((1.0, 7.0)));
        // The tables of the sign test say the third of 14 and the sixth of 21.
        assert_eq!(median_interval(&values(14)), Some((3.0, 12.0)));
        assert_eq!(median_interval(&values(21)), Some((6.0, 16.0)));
        assert_eq!(median_interval(&[]), None);
    }

    #[test]
    fn an_interval_misses_the_median_no_more_often_than_it_says() {
        // A skewed distribution whose median is 0.25: the square of a uniform one.
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let misses = (0..4_000)
            .filter(|_| {
                let values: Vec<_> = (0..7).map(|_| uniform().powi(2)).collect();
                let (low, high) = median_interval(&values).unwrap();
                !(low..=high).contains(&0.25)
            })
            .count();
        // Exactly 1 in 64 is expected: 62 of 4 000.
        assert!((20..=110).contains(&misses), "{misses}");
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!(quantile(&sorted, 0.5), Some(50));
        assert_eq!(quantile(&sorted, 0.99), Some(99));
        assert_eq!(quantile(&sorted, 1.0), Some(100));
        assert_eq!(quantile(&sorted, 0.0), Some(1));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
