//! What judges said in all.

use judge::{
    outcome::Counts,
    results::{Compared, Method, PairSummary, ScoreSummary},
    rubric::panel::Combination,
    statistics::{Bootstrap, Interval, PositionBias, Summary},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How results are compared.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) struct MethodParameters {
    #[serde(default = "Repeats::mean")]
    pub(crate) repeats: Repeats,
    /// Seed of the intervals' bootstrap: the same seed gives the same intervals.
    #[serde(default)]
    pub(crate) seed: u64,
}

/// How results are summarized.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct SummaryParameters {
    #[serde(default = "Repeats::mean")]
    pub(crate) repeats: Repeats,
    /// Seed of the intervals' bootstrap: the same seed gives the same intervals.
    #[serde(default)]
    pub(crate) seed: u64,
    /// Two models, parted by a comma, to compare on the queries that both have scores for: the first minus the second.
    pub(crate) compare: Option<String>,
}

/// How several verdicts on one query become one, first of each judge, then of all judges.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Repeats {
    /// Their mean.
    Mean,
    /// What was said most often: of scores the mean of those, if several were; of winners a tie.
    Majority,
}

impl Repeats {
    pub(crate) fn mean() -> Self {
        Self::Mean
    }

    pub(crate) fn majority() -> Self {
        Self::Majority
    }
}

impl From<Repeats> for Combination {
    fn from(repeats: Repeats) -> Self {
        match repeats {
            Repeats::Mean => Self::Mean,
            Repeats::Majority => Self::Majority,
        }
    }
}

impl MethodParameters {
    pub(crate) fn method(self) -> Method {
        let bootstrap = Bootstrap { seed: self.seed, ..Bootstrap::default() };
        Method { combination: self.repeats.into(), bootstrap }
    }
}

/// What the selected results say in all.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownSummary {
    pub(crate) repeats: Repeats,
    pub(crate) seed: u64,
    /// Results that name no query, neither by id nor by text. They are in no number below.
    pub(crate) without_query: u64,
    /// By metric, theme and model.
    pub(crate) scores: Vec<ShownScores>,
    /// Of pairwise results, by metric, theme and pair of models.
    pub(crate) pairs: Vec<ShownPair>,
    /// By metric, over all themes; empty unless `compare` names two models.
    pub(crate) comparisons: Vec<ShownComparison>,
}

/// A mean over queries.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownMean {
    /// Queries that it is over.
    queries: u64,
    /// Null without queries.
    mean: Option<f64>,
    /// Clustered by query; null with fewer than two queries.
    standard_error: Option<f64>,
    /// By bootstrap over queries; null with fewer than two.
    interval: Option<Interval>,
}

impl From<Summary> for ShownMean {
    fn from(summary: Summary) -> Self {
        let Summary { queries, mean, standard_error, interval, counts: _ } = summary;
        Self { queries, mean, standard_error, interval }
    }
}

/// A model's scores by one metric on the queries of one theme, in the metric's own scale.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownScores {
    evaluation_prompt_id: Option<String>,
    theme: Option<String>,
    model_id: Option<String>,
    #[serde(flatten)]
    mean: ShownMean,
    /// Queries without any score.
    queries_without_score: u64,
    /// Of judgements.
    counts: Counts,
    /// Scores beyond the metric's scale; the mean has them.
    out_of_range: u64,
}

impl From<ScoreSummary> for ShownScores {
    fn from(summary: ScoreSummary) -> Self {
        let ScoreSummary { metric, theme, model, summary, queries_without_score, out_of_range } = summary;
        Self {
            evaluation_prompt_id: metric,
            theme,
            model_id: model,
            mean: summary.into(),
            queries_without_score,
            counts: summary.counts,
            out_of_range,
        }
    }
}

/// How often each of two models wins, by one metric on the queries of one theme. A comparison is two results, one in
/// each order; a winner is one that wins in both.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownPair {
    evaluation_prompt_id: Option<String>,
    theme: Option<String>,
    model_a: Option<String>,
    model_b: Option<String>,
    wins_a: u64,
    wins_b: u64,
    ties: u64,
    /// `model_a`'s share of wins; a tie is half a win.
    win_rate_a: ShownMean,
    position: ShownPosition,
    /// Of comparisons.
    counts: Counts,
    /// Results whose other order is not there. They are in no other number.
    incomplete: u64,
}

impl From<PairSummary> for ShownPair {
    fn from(summary: PairSummary) -> Self {
        let PairSummary { metric, theme, first, second, wins, losses, ties, rate, position, incomplete } =
            summary;
        Self {
            evaluation_prompt_id: metric,
            theme,
            model_a: first,
            model_b: second,
            wins_a: wins,
            wins_b: losses,
            ties,
            win_rate_a: rate.into(),
            position: position.into(),
            counts: rate.counts,
            incomplete,
        }
    }
}

/// What became of comparisons when the answers changed places.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownPosition {
    /// The same winner, or a tie, in both orders.
    consistent: u64,
    /// The answer that stood first won both times.
    prefers_first: u64,
    /// The answer that stood second won both times.
    prefers_second: u64,
    /// A tie in one order only.
    half_ties: u64,
    /// The share of consistent ones; null without comparisons.
    consistency: Option<f64>,
}

impl From<PositionBias> for ShownPosition {
    fn from(bias: PositionBias) -> Self {
        let consistency = bias.consistency();
        let PositionBias { consistent, prefers_first, prefers_second, half_ties, counts: _ } = bias;
        Self { consistent, prefers_first, prefers_second, half_ties, consistency }
    }
}

/// Two sets of scores by one metric on the queries that both have scores for.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownComparison {
    evaluation_prompt_id: Option<String>,
    model_a: Option<String>,
    model_b: Option<String>,
    /// Queries that both have scores for.
    queries: u64,
    only_a: u64,
    only_b: u64,
    /// Queries on which a is better.
    a_better: u64,
    b_better: u64,
    /// The mean of a minus b; null without queries.
    difference: Option<f64>,
    /// Null with fewer than two queries.
    standard_error: Option<f64>,
    interval: Option<Interval>,
    /// Of the t-test for pairs; null where the differences do not differ.
    p_value: Option<f64>,
    /// Queries that it would take to find this difference in four of five cases, with a p-value below 0.05; null without
    /// a difference.
    queries_needed: Option<u64>,
    /// Of a's judgements.
    counts_a: Counts,
    /// Of b's judgements.
    counts_b: Counts,
}

impl From<Compared> for ShownComparison {
    fn from(compared: Compared) -> Self {
        let Compared { metric, first, second, comparison, queries_needed } = compared;
        Self {
            evaluation_prompt_id: metric,
            model_a: first,
            model_b: second,
            queries: comparison.queries,
            only_a: comparison.only_first,
            only_b: comparison.only_second,
            a_better: comparison.first_better,
            b_better: comparison.second_better,
            difference: comparison.difference,
            standard_error: comparison.standard_error,
            interval: comparison.interval,
            p_value: comparison.p_value,
            queries_needed,
            counts_a: comparison.first,
            counts_b: comparison.second,
        }
    }
}

/// Two runs on the queries that both have scores for.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownRunComparison {
    pub(crate) run_a: String,
    pub(crate) run_b: String,
    pub(crate) repeats: Repeats,
    pub(crate) seed: u64,
    /// By metric and model, over all themes; both models are the same. Pairwise results have no scores.
    pub(crate) comparisons: Vec<ShownComparison>,
}
