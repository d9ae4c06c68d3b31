//! Parsing of judges' answers: a score, a winner, or nothing reliable.
//!
//! A judge asked for a number often answers in sentences. Since the number becomes a measurement, a text is parsed only
//! if it gives the verdict clearly; an ambiguous text stays unread, with the reason.

mod claim;
mod doubt;
mod json;
mod score;
mod sentence;
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
    /// The text ends while the judge is still thinking.
    OnlyThoughts,
    /// It contains no verdict.
    NoVerdict,
    /// It contains several different verdicts.
    Contradiction,
    /// The score counts out of another maximum than was asked for.
    OtherScale,
}

impl Unread {
    /// The reason as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "the text is empty",
            Self::TooLong => "the text is longer than any verdict",
            Self::OnlyThoughts => "the text ends before the judge's thoughts do",
            Self::NoVerdict => "nothing in the text has the form of a verdict",
            Self::Contradiction => "the text gives verdicts that differ",
            Self::OtherScale => "the score counts out of another maximum",
        }
    }
}

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern")
}
