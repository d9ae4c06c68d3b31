//! What people say of answers, by the score of a judge.

use super::{
    Judgements,
    labels::{Labelled, ScoreLabel, labelled},
};
use crate::{
    outcome::Counts,
    rubric::panel::Combination,
    statistics::{Bin, Interval, histogram},
};

/// A judge's scores by one metric next to people's.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The metric.
    pub metric: Option<String>,
    /// The judge.
    pub judge: Option<String>,
    /// By the judge's score, lowest first.
    pub bins: Vec<CalibrationBin>,
    /// Outcomes of the judge on the labelled answers, one per label.
    pub counts: Counts,
    /// Labels of answers that the judge did not judge.
    pub not_judged: u64,
}

/// Labels of answers to which a judge gives similar scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrationBin {
    /// The mean of the judge's scores.
    pub judge: f64,
    /// The mean of people's scores.
    pub people: f64,
    /// Its 95 % interval over labels, by the normal distribution; none with fewer than two.
    pub interval: Option<Interval>,
    /// Number of labels.
    pub labels: u64,
}

/// What people say of answers to which a judge gives similar scores.
pub fn calibration(
    judgements: &Judgements,
    labels: &[ScoreLabel],
    combination: Combination,
) -> Vec<Calibration> {
    let calibrations = labelled(judgements, labels, combination).into_iter().map(|of_judge| {
        let Labelled { metric, judge, pairs, not_judged } = of_judge;
        let counts = Counts::of(pairs.iter().map(|(score, _)| score));
        let scored: Vec<(f64, f64)> =
            pairs.into_iter().filter_map(|(score, label)| Some((score.scored()?, label))).collect();
        let bins = histogram(scored.iter().map(|(score, _)| *score));
        let mut of_bins: Vec<Vec<(f64, f64)>> = vec![Vec::new(); bins.len()];
        for pair in scored {
            if let Some(place) = Bin::place(&bins, pair.0) {
                of_bins[place].push(pair);
            }
        }
        let bins = of_bins.iter().filter(|pairs| !pairs.is_empty()).map(|pairs| CalibrationBin::of(pairs));
        Calibration { metric, judge, bins: bins.collect(), counts, not_judged }
    });
    calibrations.collect()
}

impl CalibrationBin {
    /// That of these scores of the judge and people.
    fn of(pairs: &[(f64, f64)]) -> Self {
        let n = pairs.len() as f64;
        // Divided first: the sum may exceed the largest number.
        let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(|pair| of(pair) / n).sum::<f64>();
        let (judge, people) = (mean(|pair| pair.0), mean(|pair| pair.1));
        let squares: f64 = pairs.iter().map(|pair| (pair.1 - people).powi(2)).sum();
        let width = 1.96 * (squares / (n - 1.0) / n).sqrt();
        let interval = Interval { low: people - width, high: people + width };
        Self { judge, people, interval: width.is_finite().then_some(interval), labels: pairs.len() as u64 }
    }
}
