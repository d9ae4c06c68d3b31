//! Verdicts from judges' answers.

use crate::{
    outcome::Outcome,
    parse::{Reading, Scale, Unread, Winner, read_score, read_winner},
    provider::{Completion, Content, Error, Kind},
};

/// What came of asking a judge: a measurement of type `T`, or why there is none. Nothing stands for another.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<T> {
    /// The judge gave its verdict.
    Given(T),
    /// The judge answered, and it cannot be read.
    Unparsed(Unreadable),
    /// The judge declined, or a filter kept its answer back.
    Refused,
    /// There is no answer.
    Failed,
}

/// Why an answer cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Its text is no verdict.
    Text(Unread),
    /// It gives two scores for one answer.
    Pair,
    /// It was cut off.
    Truncated,
    /// It calls a tool.
    ToolCall,
}

/// A score as the judge gave it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The score; clamped to the scale if that was asked for.
    pub value: f64,
    /// Whether what the judge gave lies beyond the scale.
    pub is_out_of_range: bool,
}

/// How to treat a score outside the scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BeyondScale {
    /// It is kept as it is, and flagged.
    Keep,
    /// It becomes the nearest that is on the scale, and is flagged.
    Clamp,
}

impl Unreadable {
    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text(unread) => unread.as_str(),
            Self::Pair => "the text gives two scores for one answer",
            Self::Truncated => "the answer was cut off",
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

    /// What a call that brought no completion is: a refusal, if provider or filter declined the content, else a failure.
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
    /// Reads the score that a judge gave on `scale`.
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
    /// Reads which of two answers a judge prefers, in the order in which it saw them.
    pub fn of_winner(completion: &Completion) -> Self {
        Self::of(completion, |text| read_winner(text).map_err(Unreadable::Text))
    }
}
