//! Outcomes of judgements, without details.

use schemars::JsonSchema;
use serde::Serialize;
use store::postgres::ResultStatus;

/// The outcome of one judgement: a measurement, or why it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// A measurement.
    Scored(T),
    /// The judge's answer cannot be parsed.
    Unparsed,
    /// The judge declined.
    Refused,
    /// The call failed.
    Failed,
    /// The model gave no output, so no judge was called.
    Unanswered,
}

/// Counts of judgements by outcome. Those without a measurement are counted only here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Measurements.
    pub scored: u64,
    /// Answers that could not be parsed.
    pub unparsed: u64,
    /// Answers declined.
    pub refused: u64,
    /// Calls without an answer.
    pub failed: u64,
    /// Missing outputs, for which no judge was called.
    pub unanswered: u64,
}

impl<T> Outcome<T> {
    /// The measurement, if there is one.
    pub fn scored(self) -> Option<T> {
        match self {
            Self::Scored(value) => Some(value),
            Self::Unparsed | Self::Refused | Self::Failed | Self::Unanswered => None,
        }
    }

    /// Replaces the measurement.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Scored(value) => Outcome::Scored(change(value)),
            Self::Unparsed => Outcome::Unparsed,
            Self::Refused => Outcome::Refused,
            Self::Failed => Outcome::Failed,
            Self::Unanswered => Outcome::Unanswered,
        }
    }

    /// The outcome of a stored status; a missing measurement counts as unparsed.
    pub fn stored(status: ResultStatus, value: Option<T>) -> Self {
        match status {
            ResultStatus::Scored => value.map_or(Self::Unparsed, Self::Scored),
            ResultStatus::Unparsed => Self::Unparsed,
            ResultStatus::Refused => Self::Refused,
            ResultStatus::Failed => Self::Failed,
            ResultStatus::Unanswered => Self::Unanswered,
        }
    }

    /// The status that is stored for it.
    pub fn status(&self) -> ResultStatus {
        match self {
            Self::Scored(_) => ResultStatus::Scored,
            Self::Unparsed => ResultStatus::Unparsed,
            Self::Refused => ResultStatus::Refused,
            Self::Failed => ResultStatus::Failed,
            Self::Unanswered => ResultStatus::Unanswered,
        }
    }

    /// The name of [`status`](Self::status).
    pub fn as_str(&self) -> &'static str {
        self.status().as_str()
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            scored: self.scored + other.scored,
            unparsed: self.unparsed + other.unparsed,
            refused: self.refused + other.refused,
            failed: self.failed + other.failed,
            unanswered: self.unanswered + other.unanswered,
        }
    }
}

impl Counts {
    /// Counts outcomes.
    pub fn of<'o, T: 'o>(outcomes: impl IntoIterator<Item = &'o Outcome<T>>) -> Self {
        let mut counts = Self::default();
        outcomes.into_iter().for_each(|outcome| counts.add(outcome));
        counts
    }

    /// Counts one more.
    pub fn add<T>(&mut self, outcome: &Outcome<T>) {
        *match outcome {
            Outcome::Scored(_) => &mut self.scored,
            Outcome::Unparsed => &mut self.unparsed,
            Outcome::Refused => &mut self.refused,
            Outcome::Failed => &mut self.failed,
            Outcome::Unanswered => &mut self.unanswered,
        } += 1;
    }

    /// All judgements without a measurement.
    pub fn left_out(&self) -> u64 {
        self.unparsed + self.refused + self.failed + self.unanswered
    }
}
