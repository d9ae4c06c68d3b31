//! Regular expressions in conditions on texts.

use regex_syntax::hir::Hir;

use crate::in_place::in_place;

/// Maximum bytes of a pattern. Its parsed form may be thousands of times larger: each `\w` has 770 ranges.
pub(super) const MAX_BYTES: usize = 1_000;
/// Patterns from this size on delay no other tasks: parsing takes up to about a millisecond per 50 bytes.
const LARGE_BYTES: usize = 50;

/// A validated regular expression in Rust's syntax, which ChromaDB uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// The character that stands for NUL in the searched texts; `None` if they have no NUL.
    nul: Option<char>,
}

impl Pattern {
    /// Validates the pattern.
    ///
    /// # Errors
    /// The problem of the pattern.
    pub fn new(text: &str) -> Result<Self, String> {
        // The full messages mark the place over several lines.
        Self::checked(text, |error| match error {
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            other => other.to_string(),
        })
    }

    /// Validates the pattern.
    ///
    /// # Errors
    /// The problem of the pattern, whose place is marked over several lines.
    pub fn marked(text: &str) -> Result<Self, String> {
        Self::checked(text, |error| error.to_string())
    }

    fn checked(text: &str, problem: impl Fn(regex_syntax::Error) -> String) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("expected up to {MAX_BYTES} bytes, found {}", text.len()));
        }
        parse(text).map_err(|error| problem(*error))?;
        Ok(Self { text: text.to_owned(), nul: None })
    }

    /// The source text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same for texts in which `nul` stands for NUL.
    #[must_use]
    pub(crate) fn with_nul(self, nul: char) -> Self {
        Self { nul: Some(nul), ..self }
    }

    /// The character that stands for NUL in the searched texts.
    pub(crate) fn nul(&self) -> Option<char> {
        self.nul
    }

    /// The parsed form. It may have megabytes, so it is parsed on demand to keep only one in memory.
    pub(crate) fn parse(&self) -> Hir {
        parse(&self.text).expect("it was parsed when it was checked")
    }
}

fn parse(text: &str) -> Result<Hir, Box<regex_syntax::Error>> {
    let parse = || regex_syntax::parse(text).map_err(Box::new);
    if text.len() > LARGE_BYTES { in_place(parse) } else { parse() }
}
