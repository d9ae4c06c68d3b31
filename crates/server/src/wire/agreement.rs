//! Agreement between judges and people.

use judge::{
    outcome::Counts,
    parse::Winner,
    results::{QueryKey, ScoreLabel, ScoresAgree, WinnerLabel, WinnersAgree},
    statistics::Agreement,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::postgres::LabelSelection;

use super::{
    Entries,
    results::ResultFilters,
    summaries::{PositionResponse, Repeats},
};
use crate::{answer::ApiError, request::Object};

/// Selects labels that satisfy all given conditions.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct LabelFilters {
    /// Only of this annotator.
    pub(crate) annotator: Option<String>,
    /// Only by this evaluation metric.
    pub(crate) evaluation_prompt_id: Option<String>,
}

impl From<LabelFilters> for LabelSelection {
    fn from(LabelFilters { annotator, evaluation_prompt_id }: LabelFilters) -> Self {
        Self { annotator, metric: evaluation_prompt_id, after: None }
    }
}

/// Human labels, and the results to compare them with.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct AgreementRequest {
    /// Results to compare; all by default.
    pub(crate) filters: Option<Object<ResultFilters>>,
    /// How several scores of one output by one judge are combined.
    #[serde(default = "Repeats::majority")]
    pub(crate) repeats: Repeats,
    pub(crate) labels: Option<Entries<Object<Label>, 1, 100_000>>,
    /// Stored labels that satisfy these conditions are compared too: the newest 100,000.
    pub(crate) stored: Option<Object<LabelFilters>>,
}

/// A human label: `model_id` and `score` for one output, or `model_a`, `model_b` and `winner` for two. The query is
/// given by its id or by its text.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Label {
    query_id: Option<String>,
    query_text: Option<String>,
    /// The metric by which the person judged; by default, the label is compared with judgements by every metric.
    evaluation_prompt_id: Option<String>,
    model_id: Option<String>,
    score: Option<f64>,
    model_a: Option<String>,
    model_b: Option<String>,
    winner: Option<LabelledWinner>,
}

/// The winner.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum LabelledWinner {
    A,
    B,
    Tie,
}

impl From<LabelledWinner> for Winner {
    fn from(winner: LabelledWinner) -> Self {
        match winner {
            LabelledWinner::A => Self::A,
            LabelledWinner::B => Self::B,
            LabelledWinner::Tie => Self::Tie,
        }
    }
}

/// Labels by kind.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    pub(crate) scores: Vec<ScoreLabel>,
    pub(crate) winners: Vec<WinnerLabel>,
}

impl Labels {
    /// Sorts labels by kind.
    ///
    /// # Errors
    /// When a label is of neither kind.
    pub(crate) fn new(labels: Vec<Object<Label>>) -> Result<Self, ApiError> {
        let mut sorted = Self::default();
        for (index, Object(label)) in labels.into_iter().enumerate() {
            let wrong =
                |field: &str, reason: &str| ApiError::invalid(format!("labels[{index}]{field}"), reason);
            let query = match (label.query_id, label.query_text) {
                (Some(id), None) => QueryKey::Id(&id).to_string(),
                (None, Some(text)) => QueryKey::of_text(&text).to_string(),
                _ => return Err(wrong("", "expected a query_id or a query_text")),
            };
            let metric = label.evaluation_prompt_id;
            match (label.model_id, label.score, label.model_a, label.model_b, label.winner) {
                (Some(model), Some(score), None, None, None) => {
                    sorted.scores.push(ScoreLabel { query, metric, model, score });
                }
                (None, None, Some(first), Some(second), Some(winner)) => {
                    if first == second {
                        return Err(wrong(".model_b", "expected a model other than model_a"));
                    }
                    sorted.winners.push(WinnerLabel { query, metric, first, second, winner: winner.into() });
                }
                _ => {
                    let expected = "expected model_id and score, or model_a, model_b and winner";
                    return Err(wrong("", expected));
                }
            }
        }
        Ok(sorted)
    }

    /// Adds `others`.
    pub(crate) fn extend(&mut self, others: Self) {
        self.scores.extend(others.scores);
        self.winners.extend(others.winners);
    }

    /// The keys of the labels' queries.
    pub(crate) fn queries(&self) -> impl Iterator<Item = &String> {
        let scores = self.scores.iter().map(|label| &label.query);
        scores.chain(self.winners.iter().map(|label| &label.query))
    }
}

/// Agreement of judges with people, by metric and judge.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AgreementResponse {
    /// Number of labels that were compared.
    pub(crate) labels: u64,
    /// Whether older stored labels were left out, because there are too many.
    pub(crate) older_left_out: bool,
    /// For labels of one output.
    pub(crate) scores: Vec<ScoreAgreementResponse>,
    /// For labels of two outputs.
    pub(crate) winners: Vec<WinnerAgreementResponse>,
}

/// How often two raters agree.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RateResponse {
    pub(crate) agreed: u64,
    pub(crate) pairs: u64,
    /// `agreed / pairs`; null without pairs.
    pub(crate) accuracy: Option<f64>,
    /// Cohen's kappa; null where chance agreement is complete.
    pub(crate) kappa: Option<f64>,
}

impl From<Agreement> for RateResponse {
    fn from(agreement: Agreement) -> Self {
        let accuracy = agreement.rate();
        let Agreement { agreed, pairs, kappa, counts: _ } = agreement;
        Self { agreed, pairs, accuracy, kappa }
    }
}

/// Agreement of a judge's scores by one metric with people's: whether the numbers are equal.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ScoreAgreementResponse {
    pub(crate) evaluation_prompt_id: Option<String>,
    pub(crate) judge_model: Option<String>,
    #[serde(flatten)]
    pub(crate) agreement: RateResponse,
    /// Outcomes of the judge on the labelled outputs, one per label.
    pub(crate) counts: Counts,
    /// Labels of outputs that the judge has not judged.
    pub(crate) not_judged: u64,
}

impl From<ScoresAgree> for ScoreAgreementResponse {
    fn from(agree: ScoresAgree) -> Self {
        let ScoresAgree { metric, judge, agreement, not_judged } = agree;
        Self {
            evaluation_prompt_id: metric,
            judge_model: judge,
            agreement: agreement.into(),
            counts: agreement.counts,
            not_judged,
        }
    }
}

/// Agreement of a judge's winners by one metric with people's. An inconsistent comparison counts as a tie.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WinnerAgreementResponse {
    pub(crate) evaluation_prompt_id: Option<String>,
    pub(crate) judge_model: Option<String>,
    /// With the three outcomes a, b and tie.
    pub(crate) three_way: RateResponse,
    /// Without pairs that either calls a tie.
    pub(crate) without_ties: RateResponse,
    /// Pairs that `without_ties` excludes because one or both call them a tie.
    pub(crate) ties: u64,
    /// Of the labelled comparisons, each counted once.
    pub(crate) position: PositionResponse,
    /// Outcomes of the judge on the labelled pairs, one per label.
    pub(crate) counts: Counts,
    /// Labels of pairs that the judge has not judged, or in one order only.
    pub(crate) not_judged: u64,
}

impl From<WinnersAgree> for WinnerAgreementResponse {
    fn from(agree: WinnersAgree) -> Self {
        let WinnersAgree { metric, judge, agreement, position, not_judged } = agree;
        Self {
            evaluation_prompt_id: metric,
            judge_model: judge,
            three_way: agreement.with_ties.into(),
            without_ties: agreement.without_ties.into(),
            ties: agreement.ties,
            position: position.into(),
            counts: agreement.with_ties.counts,
            not_judged,
        }
    }
}
