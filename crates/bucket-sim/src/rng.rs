//! [`Rng`]: random numbers that are the same on every machine and in every version.
//!
//! No logarithm and no other function of a mathematical library is used, because their last bit
//! differs between platforms. Not for secrets.

/// A generator of 64-bit numbers.
///
/// See [splitmix64](https://prng.di.unimi.it/splitmix64.c) for the algorithm.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The generator number `stream` of those that belong to `seed`.
    pub(crate) const fn new(seed: u64, stream: u64) -> Self {
        Self(mix(mix(seed.wrapping_add(GOLDEN)).wrapping_add(stream.wrapping_mul(GOLDEN))))
    }

    pub(crate) const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// At least 0 and below 1; every value is a multiple of 2⁻⁵³.
    pub(crate) const fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Exponentially distributed with mean 1.
    ///
    /// Draws uniform numbers for as long as each is below the one before. An odd length of such a
    /// run accepts its first number as the fraction, an even one adds 1 and begins anew. See von
    /// Neumann, "Various techniques used in connection with random digits" (1951).
    pub(crate) fn exponential(&mut self) -> f64 {
        let mut whole = 0.0;
        loop {
            let first = self.unit();
            let (mut last, mut len) = (first, 1_u32);
            loop {
                let next = self.unit();
                if next >= last {
                    break;
                }
                (last, len) = (next, len + 1);
            }
            if len % 2 == 1 {
                return whole + first;
            }
            whole += 1.0;
        }
    }
}

const fn mix(n: u64) -> u64 {
    let z = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_numbers_have_the_moments_and_the_tail_of_the_distribution() {
        let mut rng = Rng::new(1, 0);
        let n = 400_000;
        let draws: Vec<f64> = (0..n).map(|_| rng.exponential()).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert!((variance - 1.0).abs() < 0.03, "{variance}");
        for at in [0.1_f64, 1.0, 3.0] {
            let beyond = draws.iter().filter(|x| **x > at).count() as f64 / f64::from(n);
            assert!((beyond - (-at).exp()).abs() < 0.004, "{at}: {beyond}");
        }
    }

    #[test]
    fn streams_of_one_seed_differ() {
        let first = |seed, stream| Rng::new(seed, stream).next_u64();
        let all: std::collections::BTreeSet<u64> =
            (0..50).flat_map(|seed| (0..50).map(move |stream| first(seed, stream))).collect();
        assert_eq!(all.len(), 2_500);
        assert_eq!(first(7, 3), first(7, 3));
    }
}
