//! Scores of models, by theme and metric.

use super::{
    Judgements, Method,
    gathering::{Name, Score},
};
use crate::{
    outcome::{Counts, Outcome},
    rubric::panel::{self, Combination},
    statistics::{Summary, summarize},
};

/// A model's scores by one metric on the queries of one theme.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreSummary {
    /// The metric.
    pub metric: Option<String>,
    /// The theme.
    pub theme: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// Over queries; its counts are of judgements.
    pub summary: Summary,
    /// Queries without any score, which are excluded from the mean.
    pub queries_without_score: u64,
    /// Scores outside the metric's scale. They are included in the mean.
    pub out_of_range: u64,
}

/// Summarizes the scores, sorted by metric, theme and model.
pub fn summarize_scores(judgements: &Judgements, method: &Method) -> Vec<ScoreSummary> {
    let groups =
        judgements.scores.chunk_by(|a, b| (a.metric, a.theme, a.model) == (b.metric, b.theme, b.model));
    groups
        .map(|group| {
            let of_queries: Vec<(Name, Outcome<f64>)> =
                by_query(group, method.combination).map(|(query, score)| (query, scored(score))).collect();
            let queries_without_score =
                of_queries.iter().filter(|(_, score)| score.scored().is_none()).count() as u64;
            let counts = Counts::of(group.iter().map(|one| &one.score));
            let summary = Summary { counts, ..summarize(of_queries, &method.bootstrap) };
            let Score { metric, theme, model, .. } = group[0];
            ScoreSummary {
                metric: judgements.owned(metric),
                theme: judgements.owned(theme),
                model: judgements.owned(model),
                summary,
                queries_without_score,
                out_of_range: group.iter().filter(|one| one.is_out_of_range).count() as u64,
            }
        })
        .collect()
}

/// The combined score of each query, for the sorted `scores` of one model by one metric; none without a score.
pub(super) fn by_query(
    scores: &[Score],
    combination: Combination,
) -> impl Iterator<Item = (Name, Option<f64>)> + Clone {
    scores
        .chunk_by(|a, b| (a.theme, a.query) == (b.theme, b.query))
        .map(move |of_query| (of_query[0].query, combined(of_query, combination)))
}

/// Combines the scores of one answer, which are sorted by judge.
pub(super) fn combined(scores: &[Score], combination: Combination) -> Option<f64> {
    let of_judges: Vec<Outcome<f64>> = scores
        .chunk_by(|a, b| a.judge == b.judge)
        .map(|of_judge| {
            let outcomes: Vec<Outcome<f64>> = of_judge.iter().map(|one| one.score).collect();
            scored(panel::scores(&outcomes, combination).value)
        })
        .collect();
    panel::scores(&of_judges, combination).value
}

/// Judgements without a score are counted individually.
fn scored(score: Option<f64>) -> Outcome<f64> {
    score.map_or(Outcome::Unparsed, Outcome::Scored)
}
