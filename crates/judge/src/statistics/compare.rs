//! Paired comparison of two models.

use std::collections::BTreeMap;

use statrs::distribution::{ContinuousCDF as _, Normal, StudentsT};

use super::{
    Bootstrap, Interval,
    summary::{mean, standard_error},
};
use crate::outcome::{Counts, Outcome};

/// The difference between two models, query by query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Queries for which both have a score; the numbers below are over these. Several scores of one query are
    /// averaged.
    pub queries: u64,
    /// Queries for which only the first has a score.
    pub only_first: u64,
    /// Queries for which only the second has a score.
    pub only_second: u64,
    /// Queries on which the first is better.
    pub first_better: u64,
    /// Queries on which the second is better.
    pub second_better: u64,
    /// The mean of first minus second; none without shared queries.
    pub difference: Option<f64>,
    /// The standard error of the difference; none with fewer than two queries.
    pub standard_error: Option<f64>,
    /// The bootstrap interval of the difference; none with fewer than two queries.
    pub interval: Option<Interval>,
    /// The p-value of the paired t-test for no difference; none if all differences are equal, where the test is
    /// undefined.
    pub p_value: Option<f64>,
    /// The first's scores, and excluded judgements.
    pub first: Counts,
    /// The second's scores, and excluded judgements.
    pub second: Counts,
}

/// Compares two models by their scores, each with its query.
pub fn compare<Q: Ord>(
    first: impl IntoIterator<Item = (Q, Outcome<f64>)>,
    second: impl IntoIterator<Item = (Q, Outcome<f64>)>,
    bootstrap: &Bootstrap,
) -> Comparison {
    let (first, first_counts) = means(first);
    let (second, second_counts) = means(second);
    let shared = first.iter().filter_map(|(query, mean)| Some(mean - second.get(query)?));
    let differences: Vec<(f64, u64)> = shared.map(|difference| (difference, 1)).collect();
    let queries = differences.len() as u64;
    let difference = mean(&differences);
    let standard_error = difference.and_then(|difference| standard_error(&differences, difference));
    // Differences of scores near the limits of `f64` overflow.
    let t = difference.zip(standard_error).map(|(difference, error)| (difference / error).abs());
    let p_value = t.filter(|t| t.is_finite()).and_then(|t| {
        let freedom = queries.checked_sub(1)? as f64;
        Some(2.0 * StudentsT::new(0.0, 1.0, freedom).ok()?.sf(t))
    });
    Comparison {
        queries,
        only_first: first.len() as u64 - queries,
        only_second: second.len() as u64 - queries,
        first_better: differences.iter().filter(|(difference, _)| *difference > 0.0).count() as u64,
        second_better: differences.iter().filter(|(difference, _)| *difference < 0.0).count() as u64,
        difference,
        standard_error,
        interval: bootstrap.interval(&differences),
        p_value,
        first: first_counts,
        second: second_counts,
    }
}

fn means<Q: Ord>(scores: impl IntoIterator<Item = (Q, Outcome<f64>)>) -> (BTreeMap<Q, f64>, Counts) {
    let mut counts = Counts::default();
    let mut sums: BTreeMap<Q, (f64, u64)> = BTreeMap::new();
    for (query, outcome) in scores {
        counts.add(&outcome);
        if let Some(score) = outcome.scored() {
            let (sum, n) = sums.entry(query).or_insert((0.0, 0));
            *sum += score;
            *n += 1;
        }
    }
    (sums.into_iter().map(|(query, (sum, n))| (query, sum / n as f64)).collect(), counts)
}

impl Comparison {
    /// Number of queries that are required to find a true difference of `effect` with probability `power` and a p-value
    /// below `alpha`. None with fewer than two queries, or an effect of 0.
    ///
    /// By the normal distribution, `(z₁₋ₐ/₂ + z_power)² σ² / effect²` with the variance of the differences: Miller
    /// 2024, equation 9, for one score per query.
    ///
    /// # Panics
    /// When `alpha` or `power` is not in 0..1.
    pub fn queries_needed(&self, effect: f64, alpha: f64, power: f64) -> Option<u64> {
        let in_range = |share: f64| 0.0 < share && share < 1.0;
        assert!(in_range(alpha) && in_range(power), "alpha and power are probabilities");
        let variance = self.standard_error?.powi(2) * self.queries as f64;
        let normal = Normal::standard();
        let z = normal.inverse_cdf(1.0 - alpha / 2.0) + normal.inverse_cdf(power);
        let needed = z * z * variance / (effect * effect);
        // Fewer than two queries have no variance.
        needed.is_finite().then(|| (needed.ceil() as u64).max(2))
    }
}
