//! Verdicts from judges' answers.

use crate::{
    outcome::Outcome,
    parse::{Reading, Scale, Unread, Winner, read_score, read_winner},
    provider::{Completion, Content, Error, Kind},
};

/// The result of a judge's answer: a measurement of type `T`, or why it is missing.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<T> {
    /// The judge gave its verdict.
    Given(T),
    /// The judge's answer cannot be parsed.
    Unparsed(Unreadable),
    /// The judge declined, or a filter removed its answer.
    Refused,
    /// The call failed.
    Failed,
}

/// Why an answer cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Its text has no clear verdict.
    Text(Unread),
    /// It gives two scores for one answer.
    Pair,
    /// It was cut off.
    Truncated,
    /// It calls a tool.
    ToolCall,
}

/// A judge's score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The score; clamped to the scale if requested.
    pub value: f64,
    /// Whether the judge's score is outside the scale.
    pub is_out_of_range: bool,
}

/// How to treat a score outside the scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BeyondScale {
    /// It is kept and flagged.
    Keep,
    /// It is clamped to the scale and flagged.
    Clamp,
}

impl Unreadable {
    /// The reason as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text(unread) => unread.as_str(),
            Self::Pair => "the text gives two scores for one answer",
            Self::Truncated => "the answer was truncated",
            Self::ToolCall => "the judge called a tool",
        }
    }
}

impl<T> Verdict<T> {
    /// The same without the reason.
    pub fn outcome(self) -> Outcome<T> {
        match self {
            Self::Given(given) => Outcome::Scored(given),
            Self::Unparsed(_) => Outcome::Unparsed,
            Self::Refused => Outcome::Refused,
            Self::Failed => Outcome::Failed,
        }
    }

    /// The verdict for a failed call: a refusal if the provider or its filter declined the content, otherwise a
    /// failure.
    pub fn of_error(error: &Error) -> Self {
        match error.kind() {
            Kind::ContentRefused => Self::Refused,
            _ => Self::Failed,
        }
    }

    fn of(completion: &Completion, read: impl FnOnce(&str) -> Result<T, Unreadable>) -> Self {
        let read = match &completion.content {
            Content::Text(text) => read(text),
            Content::Truncated(_) => Err(Unreadable::Truncated),
            Content::ToolCall(_) => Err(Unreadable::ToolCall),
            Content::Empty => Err(Unreadable::Text(Unread::Empty)),
            Content::Refused(_) | Content::Filtered(_) => return Self::Refused,
        };
        read.map_or_else(Self::Unparsed, Self::Given)
    }
}

impl Verdict<Score> {
    /// Parses a judge's score on `scale`.
    pub fn of_score(completion: &Completion, scale: Scale, beyond: BeyondScale) -> Self {
        Self::of(completion, |text| match read_score(text, Some(scale)) {
            Reading::Score(given) => {
                let value = match beyond {
                    BeyondScale::Keep => given,
                    BeyondScale::Clamp => given.clamp(scale.min, scale.max),
                };
                Ok(Score { value, is_out_of_range: !scale.contains(given) })
            }
            Reading::Pair(..) => Err(Unreadable::Pair),
            Reading::Unread(unread) => Err(Unreadable::Text(unread)),
        })
    }
}

impl Verdict<Winner> {
    /// Parses which of two answers a judge prefers, in the order in which it saw them.
    pub fn of_winner(completion: &Completion) -> Self {
        Self::of(completion, |text| read_winner(text).map_err(Unreadable::Text))
    }
}
