//! Parsing of judges' answers: a score, a winner, or nothing reliable.
//!
//! A judge asked for a number often answers in sentences. Since the number becomes a measurement, a text is parsed only
//! if it gives the verdict clearly; an ambiguous text stays unread, with the reason.

mod claim;
mod disowned;
mod doubt;
mod json;
mod others;
mod score;
mod sentence;
mod settled;
mod text;
mod winner;

use regex::Regex;

pub use score::{Reading, Scale, read_score};
pub use winner::{Winner, read_winner};

/// Why a text was left unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The text is empty.
    Empty,
    /// It is longer than any verdict.
    TooLong,
    /// The text ends within the judge's reasoning.
    OnlyThoughts,
    /// It contains no verdict.
    NoVerdict,
    /// It contains several different verdicts.
    Contradiction,
    /// The score has another maximum than the scale.
    OtherScale,
    /// The score is above the maximum that is written with it.
    AboveMaximum,
}

impl Unread {
    /// The reason as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "the text is empty",
            Self::TooLong => "the text is longer than any verdict",
            Self::OnlyThoughts => "the text ends within the judge's reasoning",
            Self::NoVerdict => "the text contains no verdict",
            Self::Contradiction => "the text contains different verdicts",
            Self::OtherScale => "the score has another maximum",
            Self::AboveMaximum => "the score is above the maximum written with it",
        }
    }
}

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern")
}
