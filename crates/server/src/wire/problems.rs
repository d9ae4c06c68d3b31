//! Values that a response shows differently from how they are stored.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use store::Problem;

/// A value that is shown differently from how it is stored, because the response cannot represent it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ProblemResponse {
    /// The field of the response.
    field: String,
    /// The path within the field, such as `a.b[1]`; absent for the field itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// `not_unicode` (a lone surrogate is shown as U+FFFD), `not_json`, `duplicate_key` (the last value is shown),
    /// `too_deep` (the text of the JSON is shown), `not_finite` (null is shown), `time_out_of_range` (the time is
    /// shown as PostgreSQL formats it), `null` (the field requires a value), `more` (`original` is the number of
    /// further problems).
    kind: &'static str,
    /// The stored value, as PostgreSQL formats it.
    original: String,
}

impl ProblemResponse {
    /// `problems` of a record whose text is shown as `text`.
    pub(crate) fn of_record(problems: Vec<Problem>, text: &str) -> Vec<Self> {
        let named = problems.into_iter().map(|problem| match problem.field.as_str() {
            "text" => Problem { field: text.to_owned(), ..problem },
            _ => problem,
        });
        named.map(Self::from).collect()
    }
}

impl fmt::Display for ProblemResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, key, kind, original } = self;
        let separator = if key.is_some() { "." } else { "" };
        let key = key.as_deref().unwrap_or_default();
        write!(f, "{field}{separator}{key} ({kind}): stored as {original}")
    }
}

impl From<Problem> for ProblemResponse {
    fn from(problem: Problem) -> Self {
        let Problem { field, key, kind, original } = problem;
        Self { field, key, kind: kind.as_str(), original }
    }
}
