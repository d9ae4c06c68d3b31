//! Bootstrap confidence intervals.

use schemars::JsonSchema;
use serde::Serialize;

/// Parameters of the bootstrap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// Number of resamples.
    pub replicates: u32,
    /// Seed. The same seed gives the same samples, on every machine and in every version.
    pub seed: u64,
    /// Confidence level, in 0..1.
    pub level: f64,
}

/// An interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// 95 %, with enough resamples to determine the ends to about a hundredth of the interval's length.
impl Default for Bootstrap {
    fn default() -> Self {
        Self { replicates: 10_000, seed: 0, level: 0.95 }
    }
}

impl Bootstrap {
    /// The interval of the mean of all values, by resampling clusters; `clusters` contains the sum and number of each
    /// cluster's values. None with fewer than two clusters.
    pub(super) fn interval(&self, clusters: &[(f64, u64)]) -> Option<Interval> {
        if clusters.len() < 2 || self.replicates == 0 {
            return None;
        }
        let mut random = SplitMix64(self.seed);
        let mut means: Vec<f64> = (0..self.replicates)
            .map(|_| {
                let (mut sum, mut n) = (0.0, 0);
                for _ in clusters {
                    let (cluster_sum, cluster_n) = clusters[random.below(clusters.len())];
                    sum += cluster_sum;
                    n += cluster_n;
                }
                sum / n as f64
            })
            .collect();
        means.sort_by(f64::total_cmp);
        let tail = (1.0 - self.level) / 2.0;
        Some(Interval { low: quantile(&means, tail), high: quantile(&means, 1.0 - tail) })
    }
}

impl Bootstrap {
    /// The interval of `statistic` by resampling `units` places. None with fewer than two units, or if more than half of
    /// the samples have no such statistic, which the interval excludes.
    pub(super) fn interval_of(
        &self,
        units: usize,
        mut statistic: impl FnMut(&[usize]) -> Option<f64>,
    ) -> Option<Interval> {
        if units < 2 || self.replicates == 0 {
            return None;
        }
        let (mut random, mut drawn) = (SplitMix64(self.seed), vec![0; units]);
        let mut found: Vec<f64> = (0..self.replicates)
            .filter_map(|_| {
                drawn.fill_with(|| random.below(units));
                statistic(&drawn)
            })
            .collect();
        if found.is_empty() || found.len() < self.replicates as usize / 2 {
            return None;
        }
        found.sort_by(f64::total_cmp);
        let tail = (1.0 - self.level) / 2.0;
        Some(Interval { low: quantile(&found, tail), high: quantile(&found, 1.0 - tail) })
    }
}

/// Between the two values next to it, by distance (type 7 of Hyndman and Fan 1996, as R and NumPy do).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

/// Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number Generators". Implemented here, since no crate
/// guarantees stable numbers.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `0..bound`, up to a bias of less than 2^-32 for any realistic number of clusters.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_matches_the_reference() {
        let mut random = SplitMix64(1234567);
        // The reference implementation's first numbers (prng.di.unimi.it/splitmix64.c).
        assert_eq!([random.next(), random.next()], [6457827717110365317, 3203168211198807973]);
    }

    #[test]
    fn quantiles_are_interpolated() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(quantile(&sorted, 0.0), 1.0);
        assert_eq!(quantile(&sorted, 1.0), 8.0);
        assert_eq!(quantile(&sorted, 0.5), 3.0);
        assert_eq!(quantile(&sorted, 0.9), 4.0 + 4.0 * (0.9 * 3.0 - 2.0));
    }
}
