//! A filter for results.

use std::str::FromStr;

use time::PrimitiveDateTime;
use uuid::Uuid;

use crate::storage::Filter;

/// A filter for results; all given conditions must be satisfied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultSelection {
    /// Only of this query.
    pub query_id: Option<String>,
    /// Only of this theme.
    pub theme: Option<String>,
    /// Only of this model's outputs.
    pub model_id: Option<String>,
    /// Only by this metric.
    pub evaluation_prompt_id: Option<String>,
    /// Only by this judge.
    pub judge_model: Option<String>,
    /// Only of this run.
    pub run_id: Option<Uuid>,
    /// Only with this status.
    pub status: Option<ResultStatus>,
    /// Only with metadata that match this filter. Metadata that JSONB cannot hold only match negations such as `$ne`.
    pub metadata: Option<Filter>,
    /// Only with a score of at least this.
    pub min_score: Option<f64>,
    /// Only with a score of at most this.
    pub max_score: Option<f64>,
    /// Only from this time on.
    pub from: Option<PrimitiveDateTime>,
    /// Only up to this time, which is included.
    pub until: Option<PrimitiveDateTime>,
}

/// The status of a judgement. The old services stored none: their results with a score are scored, those without one
/// unparsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultStatus {
    /// The judge gave a score or a winner.
    Scored,
    /// The judge's answer cannot be parsed.
    Unparsed,
    /// The judge declined.
    Refused,
    /// The judge gave no answer.
    Failed,
    /// The model gave no output, and no judge was asked.
    Unanswered,
}

impl ResultStatus {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Scored, Self::Unparsed, Self::Refused, Self::Failed, Self::Unanswered];

    /// Its name in the metadata of a result.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scored => "scored",
            Self::Unparsed => "unparsed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unanswered => "unanswered",
        }
    }
}

/// The model with the better of two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultWinner {
    /// The model of the result.
    Model,
    /// The model that it is compared with.
    Opponent,
    /// Neither.
    Tie,
}

impl ResultWinner {
    /// Its name in the metadata of a result.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Opponent => "opponent",
            Self::Tie => "tie",
        }
    }

    /// The winner of this name; `None` for unknown names.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Model, Self::Opponent, Self::Tie].into_iter().find(|winner| winner.as_str() == name)
    }

    /// The same winner with model and opponent swapped.
    pub fn swapped(self) -> Self {
        match self {
            Self::Model => Self::Opponent,
            Self::Opponent => Self::Model,
            Self::Tie => Self::Tie,
        }
    }
}

impl FromStr for ResultStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus)
    }
}

/// An unknown status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected scored, unparsed, refused, failed or unanswered")]
pub struct UnknownStatus;
