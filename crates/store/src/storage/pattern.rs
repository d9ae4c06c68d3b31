//! Regular expressions of conditions on texts.

use regex_syntax::hir::Hir;

/// Bytes of a pattern. Its meaning may take thousands of times as many: each `\w` is 770 ranges.
pub(super) const MAX_BYTES: usize = 1_000;

/// A regular expression that was checked, in Rust's syntax, which is ChromaDB's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Checks the pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("expected up to {MAX_BYTES} bytes, found {}", text.len()));
        }
        regex_syntax::parse(text).map_err(|error| match error {
            // Their texts draw the place over several lines.
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            other => other.to_string(),
        })?;
        Ok(Self(text.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it matches. Megabytes, which are made anew so that those of one pattern are in memory and not of all.
    pub(crate) fn parse(&self) -> Hir {
        regex_syntax::parse(&self.0).expect("it was parsed when it was checked")
    }
}
