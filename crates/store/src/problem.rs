//! Values of a row that are shown differently from how they are stored.

/// A value that is shown differently from how it is stored, because responses cannot represent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The column's name in responses.
    pub field: String,
    /// The path within the column, such as `a.b[1]`; `None` for the column itself.
    pub key: Option<String>,
    /// The kind of problem.
    pub kind: ProblemKind,
    /// The stored value in PostgreSQL's format; empty for NULL.
    pub original: String,
}

/// Why a value cannot be represented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// A text has a lone surrogate: shown as U+FFFD.
    NotUnicode,
    /// The text is not JSON: shown as a string.
    NotJson,
    /// An object has a duplicate key: the last value is shown.
    DuplicateKey,
    /// It is nested too deeply: shown as JSON text.
    TooDeep,
    /// NaN or an infinity: shown as null.
    NotFinite,
    /// A time outside the years 1 to 9999: shown in PostgreSQL's format.
    TimeOutOfRange,
    /// NULL in a column that requires a value: shown as an empty text or null.
    Null,
    /// Further problems; the original is their number.
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
