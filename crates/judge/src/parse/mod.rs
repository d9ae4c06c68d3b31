//! What a judge's words say: a score, a winner, or nothing that can be relied upon.
//!
//! A judge that was asked for a number answers in sentences. What is taken from them is a measurement, so a text is
//! read only where its author plainly gives the verdict; whatever is ambiguous is left unread, with the reason.

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
    /// There are no words.
    Empty,
    /// It is longer than any verdict.
    TooLong,
    /// The text ends while the judge is still thinking.
    OnlyThoughts,
    /// Nothing in it has the form of a verdict.
    NoVerdict,
    /// It gives several verdicts, and they differ.
    Contradiction,
    /// The score counts out of another maximum than was asked for.
    OtherScale,
}

impl Unread {
    /// The reason in words.
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
