//! Recall, its confidence, and the search for the least sufficient search parameter.

use crate::policy::Policy;

/// Relative difference below which two distances are a tie: single-precision sums depend on their order.
const TIE: f64 = 1e-5;
/// One-sided 95 % quantile of the normal distribution, in standard errors.
const STANDARD_ERRORS: f64 = 1.645;
/// Parameters within a tenth of each other count as equal.
const STEP: u32 = 10;

/// An exact scan reads the complete table, so larger tables get fewer searches: about this many rows are read in
/// total, within the limits below. Too few may miss the hard queries: 33 of 300,000 rows predicted 0.98 where new
/// sentences had 0.93.
const ROWS_TO_READ: u64 = 30_000_000;
pub(crate) const FEWEST_SAMPLES: u32 = 60;

/// How many searches are made to measure the search parameters of a table of `rows` rows.
pub(crate) fn sample_count(rows: u64, policy: &Policy) -> u32 {
    let count = u32::try_from(ROWS_TO_READ / rows.max(1)).unwrap_or(u32::MAX);
    count.min(policy.most_searches).max(FEWEST_SAMPLES)
}

/// Recall over several searches, up to ties.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecallCounter {
    expected: usize,
    found: usize,
}

impl RecallCounter {
    /// Adds a search; both are distances, nearest first. Those that are not finite are ignored.
    pub fn add(&mut self, exact: &[f64], found: &[f64]) {
        let finite = |distances: &[f64]| -> Vec<f64> {
            distances.iter().copied().filter(|distance| distance.is_finite()).collect()
        };
        let (exact, found) = (finite(exact), finite(found));
        let Some(farthest) = exact.last() else { return };
        let bound = farthest + TIE * farthest.abs().max(1.0);
        self.expected += exact.len();
        self.found += found.iter().take(exact.len()).filter(|distance| **distance <= bound).count();
    }

    /// The recall; `None` without exact results.
    pub fn value(self) -> Option<f64> {
        (self.expected > 0).then(|| self.found as f64 / self.expected as f64)
    }
}

/// The recall of one search; `None` without exact results.
pub(crate) fn recall(exact: &[f64], found: &[f64]) -> Option<f64> {
    let mut share = RecallCounter::default();
    share.add(exact, found);
    share.value()
}

/// The mean of several recalls with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MeanRecall {
    pub(crate) mean: f64,
    /// Lower bound at 95 % confidence.
    pub(crate) low: f64,
    /// Upper bound at 95 % confidence.
    pub(crate) high: f64,
}

impl MeanRecall {
    /// The mean of at least one recall.
    pub(crate) fn of(recalls: &[f64]) -> Self {
        let count = recalls.len() as f64;
        let mean = recalls.iter().sum::<f64>() / count;
        let variance =
            recalls.iter().map(|recall| (recall - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
        Self::with_error(mean, (variance / count).sqrt())
    }

    /// Pools several means, each with its number of recalls.
    pub(crate) fn pooled(means: &[(Self, f64)]) -> Self {
        let count: f64 = means.iter().map(|(_, count)| count).sum();
        let mean = means.iter().map(|(part, count)| part.mean * count).sum::<f64>() / count;
        let errors = means.iter().map(|(part, count)| (part.standard_error() * count).powi(2));
        Self::with_error(mean, errors.sum::<f64>().sqrt() / count)
    }

    fn with_error(mean: f64, standard_error: f64) -> Self {
        let margin = STANDARD_ERRORS * standard_error;
        Self { mean, low: (mean - margin).max(0.0), high: (mean + margin).min(1.0) }
    }

    fn standard_error(self) -> f64 {
        // One of the bounds may be clamped.
        (self.mean - self.low).max(self.high - self.mean) / STANDARD_ERRORS
    }

    /// Whether further recalls are unlikely to reach `target`.
    pub(crate) fn is_hopeless(self, target: f64) -> bool {
        self.mean + 2.0 * (self.mean - self.low) < target
    }
}

/// Finds the least sufficient parameter: doubles it until it suffices, then bisects down to the last insufficient
/// one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParameterSearch {
    /// The greatest insufficient value, plus one.
    least: u32,
    most: u32,
    found: Found,
}

#[derive(Clone, Copy, Debug)]
enum Found {
    /// None sufficed so far; the next value to try.
    Nothing { next: u32 },
    /// This value suffices.
    Enough(u32),
    /// Not even the greatest value suffices.
    NotEvenMost,
}

impl ParameterSearch {
    /// Searches between `least` and `most`.
    pub(crate) fn between(least: u32, most: u32) -> Self {
        let least = least.min(most);
        Self { least, most, found: Found::Nothing { next: least } }
    }

    /// The next value to try; `None` when the search is complete.
    pub(crate) fn next(&self) -> Option<u32> {
        match self.found {
            Found::Nothing { next } => Some(next),
            Found::Enough(enough) if enough <= self.least + self.least / STEP => None,
            Found::Enough(enough) => Some(self.least + (enough - self.least) / 2),
            Found::NotEvenMost => None,
        }
    }

    /// Records whether `tried` sufficed.
    pub(crate) fn learn(&mut self, tried: u32, is_enough: bool) {
        if is_enough {
            self.found = Found::Enough(tried);
            return;
        }
        self.least = tried + 1;
        match self.found {
            Found::Nothing { .. } if tried < self.most => {
                self.found = Found::Nothing { next: tried.saturating_mul(2).clamp(self.least, self.most) };
            }
            Found::Nothing { .. } | Found::NotEvenMost => self.found = Found::NotEvenMost,
            Found::Enough(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_as_found() {
        assert_eq!(recall(&[0.1, 0.2], &[0.1, 0.200_001]), Some(1.0));
        assert_eq!(recall(&[0.1, 0.2], &[0.1, 0.3]), Some(0.5));
        assert_eq!(recall(&[0.1, 0.2], &[0.1]), Some(0.5));
        assert_eq!(recall(&[], &[]), None);
        assert_eq!(recall(&[f64::NAN], &[0.1]), None);
        assert_eq!(recall(&[0.1, f64::NAN], &[0.1, 0.1]), Some(1.0));
    }

    #[test]
    fn recall_is_at_most_one() {
        let mut share = RecallCounter::default();
        share.add(&[0.1, f64::INFINITY], &[0.1, 0.1, 0.1]);
        share.add(&[f64::NEG_INFINITY, 0.2], &[f64::NEG_INFINITY, 0.2, 0.2]);
        assert_eq!(share.value(), Some(1.0));
    }

    #[test]
    fn few_or_uneven_recalls_have_wider_intervals() {
        assert_eq!(MeanRecall::of(&[1.0; 30]), MeanRecall { mean: 1.0, low: 1.0, high: 1.0 });
        let uneven = |count: usize| {
            let recalls: Vec<f64> = (0..count).map(|n| if n % 5 == 0 { 0.9 } else { 1.0 }).collect();
            MeanRecall::of(&recalls)
        };
        assert!((uneven(100).mean - 0.98).abs() < 1e-9);
        assert!(uneven(100).low < 0.975 && uneven(30).low < uneven(100).low);
        let (few, many) = (uneven(30), uneven(100));
        assert!((few.high - few.mean - (few.mean - few.low)).abs() < 1e-9 || few.high == 1.0, "{few:?}");
        assert!(many.high < few.high, "{many:?}");
    }

    #[test]
    fn pooled_means_have_the_interval_of_all_recalls() {
        let recalls: Vec<f64> = (0..60).map(|n| f64::from(n % 3) / 4.0).collect();
        let parts = [MeanRecall::of(&recalls[..30]), MeanRecall::of(&recalls[30..])].map(|part| (part, 30.0));
        let (pooled, whole) = (MeanRecall::pooled(&parts), MeanRecall::of(&recalls));
        assert!((pooled.mean - whole.mean).abs() < 1e-9, "{pooled:?}");
        assert!((pooled.low - whole.low).abs() < 0.002, "{pooled:?} for {whole:?}");
        assert!((pooled.high - whole.high).abs() < 0.002, "{pooled:?} for {whole:?}");
    }

    #[test]
    fn least_setting_is_found_with_few_tries() {
        for (least, most) in [(1, 1), (1, 20), (10, 1_000), (1, 32_768)] {
            for enough in (least..=most).step_by(7) {
                let (mut search, mut tries) = (ParameterSearch::between(least, most), 0);
                let mut last_enough = None;
                while let Some(tried) = search.next() {
                    assert!((least..=most).contains(&tried) && tries < 32, "{enough}: {search:?}");
                    tries += 1;
                    search.learn(tried, tried >= enough);
                    last_enough = if tried >= enough { Some(tried) } else { last_enough };
                }
                let found = last_enough.expect("the greatest is enough");
                assert!(found >= enough && found <= enough + enough / 10 + 1, "{found} for {enough}");
            }
        }
        let mut hopeless = ParameterSearch::between(10, 1_000);
        let mut tried = Vec::new();
        while let Some(next) = hopeless.next() {
            tried.push(next);
            hopeless.learn(next, false);
        }
        assert_eq!(tried, [10, 20, 40, 80, 160, 320, 640, 1_000]);
    }
}
