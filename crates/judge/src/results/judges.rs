//! How judges judge, by metric: what is missing, their scores, and whether the order of answers changes their verdicts.

use std::collections::BTreeMap;

use super::{Judgements, gathering::Name, pairs::both_orders};
use crate::{
    outcome::{Counts, Outcome},
    rubric::pairwise::Consistency,
    statistics::{Bin, PositionBias, histogram, position},
};

/// A judge by one metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JudgeSummary {
    /// The metric.
    pub metric: Option<String>,
    /// The judge.
    pub judge: Option<String>,
    /// Outcomes of judgements on one answer.
    pub scores: Counts,
    /// Scores outside the metric's scale, which the mean includes.
    pub out_of_range: u64,
    /// Mean of the scores, over judgements; none without scores.
    pub mean: Option<f64>,
    /// The scores in bins.
    pub histogram: Vec<Bin>,
    /// Outcomes of judgements on two answers, each order for itself.
    pub comparisons: Counts,
    /// Comparisons in both orders.
    pub position: PositionBias,
    /// Judgements on two answers without the other order, which `position` excludes.
    pub incomplete: u64,
}

#[derive(Default)]
struct Gathered {
    scores: Vec<Outcome<f64>>,
    out_of_range: u64,
    comparisons: Counts,
    compared: Vec<Outcome<Consistency>>,
    incomplete: u64,
}

/// Summarizes each judge by metric, sorted by metric and judge.
pub fn summarize_judges(judgements: &Judgements) -> Vec<JudgeSummary> {
    let mut gathered: BTreeMap<(Name, Name), Gathered> = BTreeMap::new();
    for score in &judgements.scores {
        let of_judge = gathered.entry((score.metric, score.judge)).or_default();
        of_judge.scores.push(score.score);
        of_judge.out_of_range += u64::from(score.is_out_of_range);
    }
    for of_unit in judgements.comparisons.chunk_by(|a, b| a.pair == b.pair && a.unit == b.unit) {
        let of_judge = gathered.entry((of_unit[0].pair.metric, of_unit[0].unit.judge)).or_default();
        for one in of_unit {
            of_judge.comparisons.add(&one.winner);
        }
        let (compared, incomplete) = both_orders(of_unit);
        of_judge
            .compared
            .extend(compared.into_iter().map(|(_, verdict)| verdict.map(|pair| pair.consistency)));
        of_judge.incomplete += incomplete;
    }
    let summaries = gathered.into_iter().map(|((metric, judge), gathered)| {
        let Gathered { scores, out_of_range, comparisons, compared, incomplete } = gathered;
        let values = || scores.iter().filter_map(|score| score.scored());
        let counts = Counts::of(&scores);
        // Divided first: the sum may exceed the largest number.
        let mean = values().map(|value| value / counts.scored as f64).sum();
        JudgeSummary {
            metric: judgements.owned(metric),
            judge: judgements.owned(judge),
            scores: counts,
            out_of_range,
            mean: (counts.scored > 0).then_some(mean),
            histogram: histogram(values()),
            comparisons,
            position: position(compared),
            incomplete,
        }
    });
    summaries.collect()
}
