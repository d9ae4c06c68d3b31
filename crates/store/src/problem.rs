//! What of a row is shown otherwise than it is stored.

/// A value of a row that is shown otherwise than it is stored, since no answer can show it as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The column, by the name under which answers show it.
    pub field: String,
    /// Where in the column, such as `a.b[1]`; `None` for all of it.
    pub key: Option<String>,
    /// What is wrong with it.
    pub kind: ProblemKind,
    /// What is stored, as PostgreSQL writes it; empty of a NULL.
    pub original: String,
}

/// Why a value cannot be shown as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// A text has half of a surrogate pair: U+FFFD is in its place.
    NotUnicode,
    /// The text is no JSON: it is shown as a text.
    NotJson,
    /// An object has a key twice: the last value is shown.
    DuplicateKey,
    /// It is nested deeper than answers are: it is shown as the text of its JSON.
    TooDeep,
    /// NaN or an infinity: null is shown.
    NotFinite,
    /// A time outside of the years 1 to 9999: it is shown as PostgreSQL writes it.
    TimeOutOfRange,
    /// NULL in a column that needs a value: an empty text, or null.
    Null,
    /// There are more problems than are named; the original is their number.
    More,
}

impl ProblemKind {
    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotUnicode => "not_unicode",
            Self::NotJson => "not_json",
            Self::DuplicateKey => "duplicate_key",
            Self::TooDeep => "too_deep",
            Self::NotFinite => "not_finite",
            Self::TimeOutOfRange => "time_out_of_range",
            Self::Null => "null",
            Self::More => "more",
        }
    }
}

impl Problem {
    pub(crate) fn new(field: &str, kind: ProblemKind, original: impl Into<String>) -> Self {
        Self { field: field.to_owned(), key: None, kind, original: original.into() }
    }

    pub(crate) fn at(
        field: &str,
        key: impl Into<String>,
        kind: ProblemKind,
        original: impl Into<String>,
    ) -> Self {
        Self { key: Some(key.into()), ..Self::new(field, kind, original) }
    }
}
