//! Which results are meant.

use std::str::FromStr;

use time::PrimitiveDateTime;
use uuid::Uuid;

use crate::storage::Filter;

/// Which results are meant: those that satisfy everything that is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultSelection {
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
    /// Only with metadata that satisfy this. Metadata that JSONB cannot hold satisfy nothing but `$ne` and the like.
    pub metadata: Option<Filter>,
    /// Only with a score, of at least this.
    pub min_score: Option<f64>,
    /// Only with a score, of at most this.
    pub max_score: Option<f64>,
    /// Only of this time on.
    pub from: Option<PrimitiveDateTime>,
    /// Only up to this time, which is included.
    pub until: Option<PrimitiveDateTime>,
}

/// What came of a judgement. Of results of the old services, which noted none, those with a score are scored, and those
/// without one unparsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultStatus {
    /// The judge gave a score, or a winner.
    Scored,
    /// The judge answered, and it cannot be read.
    Unparsed,
    /// The judge declined.
    Refused,
    /// There is no answer of the judge.
    Failed,
    /// The model gave no output, and no judge was asked.
    Unanswered,
}

impl ResultStatus {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Scored, Self::Unparsed, Self::Refused, Self::Failed, Self::Unanswered];

    /// Its name among a result's metadata.
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

/// The better of two answers, by whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultWinner {
    /// That of the result's own model.
    Model,
    /// That of the model that it is compared with.
    Opponent,
    /// Neither.
    Tie,
}

impl ResultWinner {
    /// Its name among a result's metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Opponent => "opponent",
            Self::Tie => "tie",
        }
    }

    /// The winner of this name; `None` for names that no version of ours has written.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Model, Self::Opponent, Self::Tie].into_iter().find(|winner| winner.as_str() == name)
    }

    /// The same winner where model and opponent are each other's.
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

/// A text that names no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected scored, unparsed, refused, failed or unanswered")]
pub struct UnknownStatus;
