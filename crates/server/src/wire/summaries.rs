//! Summaries and comparisons of results.

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
    /// Two models, separated by a comma, to compare on the queries that both have scores for: the first minus the
    /// second.
    pub(crate) compare: Option<String>,
}

/// How several verdicts on one query are combined, first per judge, then across judges.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Repeats {
    /// Their mean.
    Mean,
    /// The most frequent verdict. If there are several, the mean of these scores, or a tie between winners.
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

/// Summary of the selected results.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SummaryResponse {
    pub(crate) repeats: Repeats,
    pub(crate) seed: u64,
    /// Results without a query id or text, which all other numbers exclude.
    pub(crate) without_query: u64,
    /// By metric, theme and model.
    pub(crate) scores: Vec<ScoresResponse>,
    /// Pairwise results by metric, theme and pair of models.
    pub(crate) pairs: Vec<PairResponse>,
    /// By metric, over all themes; empty unless `compare` names two models.
    pub(crate) comparisons: Vec<ComparisonResponse>,
}

/// A mean over queries.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MeanResponse {
    /// Number of queries.
    pub(crate) queries: u64,
    /// Null without queries.
    pub(crate) mean: Option<f64>,
    /// Clustered by query; null with fewer than two queries.
    pub(crate) standard_error: Option<f64>,
    /// By bootstrap over queries; null with fewer than two queries.
    pub(crate) interval: Option<Interval>,
}

impl From<Summary> for MeanResponse {
    fn from(summary: Summary) -> Self {
        let Summary { queries, mean, standard_error, interval, counts: _ } = summary;
        Self { queries, mean, standard_error, interval }
    }
}

/// A model's scores by one metric on the queries of one theme, on the metric's scale.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ScoresResponse {
    pub(crate) evaluation_prompt_id: Option<String>,
    pub(crate) theme: Option<String>,
    pub(crate) model_id: Option<String>,
    #[serde(flatten)]
    pub(crate) mean: MeanResponse,
    /// Queries without any score.
    pub(crate) queries_without_score: u64,
    /// Outcomes of the judgements.
    pub(crate) counts: Counts,
    /// Scores outside the metric's scale, which the mean includes.
    pub(crate) out_of_range: u64,
}

impl From<ScoreSummary> for ScoresResponse {
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

/// How often each of two models wins, by one metric on the queries of one theme. A comparison consists of two
/// results, one in each order; a model wins if it wins in both.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PairResponse {
    pub(crate) evaluation_prompt_id: Option<String>,
    pub(crate) theme: Option<String>,
    pub(crate) model_a: Option<String>,
    pub(crate) model_b: Option<String>,
    pub(crate) wins_a: u64,
    pub(crate) wins_b: u64,
    pub(crate) ties: u64,
    /// Win rate of `model_a`; a tie counts as half a win.
    pub(crate) win_rate_a: MeanResponse,
    pub(crate) position: PositionResponse,
    /// Outcomes of the comparisons.
    pub(crate) counts: Counts,
    /// Results without the other order, which all other numbers exclude.
    pub(crate) incomplete: u64,
}

impl From<PairSummary> for PairResponse {
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

/// How the order of the outputs affected comparisons.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PositionResponse {
    /// The same winner, or a tie, in both orders.
    pub(crate) consistent: u64,
    /// The first output won in both orders.
    pub(crate) prefers_first: u64,
    /// The second output won in both orders.
    pub(crate) prefers_second: u64,
    /// A tie in one order only.
    pub(crate) half_ties: u64,
    /// Share of consistent comparisons; null without comparisons.
    pub(crate) consistency: Option<f64>,
}

impl From<PositionBias> for PositionResponse {
    fn from(bias: PositionBias) -> Self {
        let consistency = bias.consistency();
        let PositionBias { consistent, prefers_first, prefers_second, half_ties, counts: _ } = bias;
        Self { consistent, prefers_first, prefers_second, half_ties, consistency }
    }
}

/// Two sets of scores by one metric on the queries that both have scores for.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ComparisonResponse {
    pub(crate) evaluation_prompt_id: Option<String>,
    pub(crate) model_a: Option<String>,
    pub(crate) model_b: Option<String>,
    /// Queries that both have scores for.
    pub(crate) queries: u64,
    pub(crate) only_a: u64,
    pub(crate) only_b: u64,
    /// Queries on which a is better.
    pub(crate) a_better: u64,
    pub(crate) b_better: u64,
    /// The mean of a minus b; null without queries.
    pub(crate) difference: Option<f64>,
    /// Null with fewer than two queries.
    pub(crate) standard_error: Option<f64>,
    pub(crate) interval: Option<Interval>,
    /// By the paired t-test; null if all differences are equal.
    pub(crate) p_value: Option<f64>,
    /// Number of queries needed to detect this difference with 80 % power at p < 0.05; null without a difference.
    pub(crate) queries_needed: Option<u64>,
    /// Outcomes of a's judgements.
    pub(crate) counts_a: Counts,
    /// Outcomes of b's judgements.
    pub(crate) counts_b: Counts,
}

impl From<Compared> for ComparisonResponse {
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
pub(crate) struct RunComparisonResponse {
    pub(crate) run_a: String,
    pub(crate) run_b: String,
    pub(crate) repeats: Repeats,
    pub(crate) seed: u64,
    /// By metric and model, over all themes; `model_a` and `model_b` are the same model. Pairwise results have no
    /// scores.
    pub(crate) comparisons: Vec<ComparisonResponse>,
}
