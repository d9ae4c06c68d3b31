//! One model's scores.

use std::collections::BTreeMap;

use super::{Bootstrap, Interval};
use crate::{
    outcome::{Counts, Outcome},
    parse::Winner,
};

/// The mean of scores, with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many queries have a score.
    pub queries: u64,
    /// The mean; none without scores.
    pub mean: Option<f64>,
    /// The standard error of the mean, clustered by query; none with fewer than two queries.
    pub standard_error: Option<f64>,
    /// The bootstrap interval, drawn by query; none with fewer than two queries.
    pub interval: Option<Interval>,
    /// Number of scores, and excluded judgements.
    pub counts: Counts,
}

/// How often an answer wins. A tie is half a win.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WinRate {
    /// Comparisons won.
    pub wins: u64,
    /// Comparisons lost.
    pub losses: u64,
    /// Comparisons without a winner.
    pub ties: u64,
    /// `(wins + ties / 2) / comparisons` and its uncertainty.
    pub rate: Summary,
}

/// Summarizes scores, each with its query.
///
/// The standard error is Miller's clustered one, with the factor C / (C − 1) for C clusters as in Inspect AI, so that
/// it equals the ordinary one if each query has one score.
pub fn summarize<Q: Ord>(
    scores: impl IntoIterator<Item = (Q, Outcome<f64>)>,
    bootstrap: &Bootstrap,
) -> Summary {
    let mut counts = Counts::default();
    let mut clusters: BTreeMap<Q, (f64, u64)> = BTreeMap::new();
    for (query, outcome) in scores {
        counts.add(&outcome);
        if let Some(score) = outcome.scored() {
            let (sum, n) = clusters.entry(query).or_insert((0.0, 0));
            *sum += score;
            *n += 1;
        }
    }
    let clusters: Vec<(f64, u64)> = clusters.into_values().collect();
    let mean = mean(&clusters);
    Summary {
        queries: clusters.len() as u64,
        mean,
        standard_error: mean.and_then(|mean| standard_error(&clusters, mean)),
        interval: bootstrap.interval(&clusters),
        counts,
    }
}

/// The win rate of the first of two answers, of comparisons each with its query.
pub fn win_rate<Q: Ord>(
    winners: impl IntoIterator<Item = (Q, Outcome<Winner>)>,
    bootstrap: &Bootstrap,
) -> WinRate {
    let (mut wins, mut losses, mut ties) = (0, 0, 0);
    let scores = winners.into_iter().map(|(query, outcome)| {
        let score = outcome.map(|winner| match winner {
            Winner::A => {
                wins += 1;
                1.0
            }
            Winner::B => {
                losses += 1;
                0.0
            }
            Winner::Tie => {
                ties += 1;
                0.5
            }
        });
        (query, score)
    });
    let rate = summarize(scores, bootstrap);
    WinRate { wins, losses, ties, rate }
}

/// The mean of all values of clusters, given their sums and numbers.
pub(super) fn mean(clusters: &[(f64, u64)]) -> Option<f64> {
    let n: u64 = clusters.iter().map(|(_, n)| n).sum();
    (n > 0).then(|| clusters.iter().map(|(sum, _)| sum).sum::<f64>() / n as f64)
}

/// The standard error of that mean.
pub(super) fn standard_error(clusters: &[(f64, u64)], mean: f64) -> Option<f64> {
    if clusters.len() < 2 {
        return None;
    }
    let n: u64 = clusters.iter().map(|(_, n)| n).sum();
    // The sum over all pairs within a cluster, `Σᵢ Σⱼ (sᵢ − s̄)(sⱼ − s̄)`, is the square of the sum.
    let squares = clusters.iter().map(|(sum, n)| (sum - *n as f64 * mean).powi(2));
    let c = clusters.len() as f64;
    Some((squares.sum::<f64>() * c / (c - 1.0)).sqrt() / n as f64)
}
