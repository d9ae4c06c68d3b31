//! Whether judges say what people say.

use judge::{
    outcome::Counts,
    parse::Winner,
    results::{ScoreLabel, ScoresAgree, WinnerLabel, WinnersAgree},
    statistics::Agreement,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Entries,
    results::ResultFilters,
    summaries::{Repeats, ShownPosition},
};
use crate::{answer::ApiError, query_key::QueryKey, request::Object};

/// What people say, and the results to compare it with.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct AgreementRequest {
    /// Which results are compared; all, if absent.
    pub(crate) filters: Option<Object<ResultFilters>>,
    /// How several scores of one answer by one judge become one.
    #[serde(default = "Repeats::majority")]
    pub(crate) repeats: Repeats,
    pub(crate) labels: Entries<Object<Label>, 1, 100_000>,
}

/// What a person says: of one answer `model_id` and `score`, or of two `model_a`, `model_b` and `winner`. The query is
/// known by its id or by its text.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Label {
    query_id: Option<String>,
    query_text: Option<String>,
    model_id: Option<String>,
    score: Option<f64>,
    model_a: Option<String>,
    model_b: Option<String>,
    winner: Option<ShownWinner>,
}

/// Who wins.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum ShownWinner {
    A,
    B,
    Tie,
}

impl From<ShownWinner> for Winner {
    fn from(winner: ShownWinner) -> Self {
        match winner {
            ShownWinner::A => Self::A,
            ShownWinner::B => Self::B,
            ShownWinner::Tie => Self::Tie,
        }
    }
}

/// Labels by what they are of.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    pub(crate) scores: Vec<ScoreLabel>,
    pub(crate) winners: Vec<WinnerLabel>,
}

impl Labels {
    /// Sorts labels out.
    ///
    /// # Errors
    /// When one is neither.
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
            match (label.model_id, label.score, label.model_a, label.model_b, label.winner) {
                (Some(model), Some(score), None, None, None) => {
                    sorted.scores.push(ScoreLabel { query, model, score });
                }
                (None, None, Some(first), Some(second), Some(winner)) => {
                    if first == second {
                        return Err(wrong(".model_b", "expected another model than model_a"));
                    }
                    sorted.winners.push(WinnerLabel { query, first, second, winner: winner.into() });
                }
                _ => {
                    let expected = "expected model_id and score, or model_a, model_b and winner";
                    return Err(wrong("", expected));
                }
            }
        }
        Ok(sorted)
    }

    /// The keys of their queries.
    pub(crate) fn queries(&self) -> impl Iterator<Item = &String> {
        let scores = self.scores.iter().map(|label| &label.query);
        scores.chain(self.winners.iter().map(|label| &label.query))
    }
}

/// How judges agree with people, by metric and judge.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownAgreement {
    /// With labels of one answer.
    pub(crate) scores: Vec<ShownScoresAgree>,
    /// With labels of two answers.
    pub(crate) winners: Vec<ShownWinnersAgree>,
}

/// How often two say the same.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownRate {
    agreed: u64,
    pairs: u64,
    /// `agreed / pairs`; null without pairs.
    accuracy: Option<f64>,
    /// Cohen's kappa; null where chance leaves no room for it.
    kappa: Option<f64>,
}

impl From<Agreement> for ShownRate {
    fn from(agreement: Agreement) -> Self {
        let accuracy = agreement.rate();
        let Agreement { agreed, pairs, kappa, counts: _ } = agreement;
        Self { agreed, pairs, accuracy, kappa }
    }
}

/// How a judge's scores by one metric agree with people's: whether they are the same number.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownScoresAgree {
    evaluation_prompt_id: Option<String>,
    judge_model: Option<String>,
    #[serde(flatten)]
    agreement: ShownRate,
    /// What the judge made of the labelled answers, one a label.
    counts: Counts,
    /// Labels of answers that the judge was not asked about.
    not_judged: u64,
}

impl From<ScoresAgree> for ShownScoresAgree {
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

/// How a judge's winners by one metric agree with people's. An inconsistent comparison is a tie.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownWinnersAgree {
    evaluation_prompt_id: Option<String>,
    judge_model: Option<String>,
    /// Among a, b and tie.
    three_way: ShownRate,
    /// Where neither says tie.
    without_ties: ShownRate,
    /// Pairs that `without_ties` leaves out because one or both say tie.
    ties: u64,
    /// Of the labelled comparisons, each once.
    position: ShownPosition,
    /// What the judge made of the labelled pairs, one a label.
    counts: Counts,
    /// Labels of pairs that the judge was not asked about, or in one order only.
    not_judged: u64,
}

impl From<WinnersAgree> for ShownWinnersAgree {
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
