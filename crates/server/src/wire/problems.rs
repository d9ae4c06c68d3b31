//! What of an answer is otherwise than it is stored.

use schemars::JsonSchema;
use serde::Serialize;
use store::Problem;

/// A value that is shown otherwise than it is stored, since no answer can show it as it is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownProblem {
    /// The field of the answer.
    field: String,
    /// Where in the field, such as `a.b[1]`; absent for all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// `not_unicode` (U+FFFD is shown for half of a surrogate pair), `not_json`, `duplicate_key` (the last value is
    /// shown), `too_deep` (the text of the JSON is shown), `not_finite` (null is shown), `time_out_of_range` (the time is
    /// shown as PostgreSQL writes it), `null` (where the field needs a value), `more` (`original` is how many more).
    kind: &'static str,
    /// What is stored, as PostgreSQL writes it.
    original: String,
}

impl ShownProblem {
    /// `problems` of a record whose text is shown as `text`.
    pub(crate) fn of_record(problems: Vec<Problem>, text: &str) -> Vec<Self> {
        let named = problems.into_iter().map(|problem| match problem.field.as_str() {
            "text" => Problem { field: text.to_owned(), ..problem },
            _ => problem,
        });
        named.map(Self::from).collect()
    }
}

impl From<Problem> for ShownProblem {
    fn from(problem: Problem) -> Self {
        let Problem { field, key, kind, original } = problem;
        Self { field, key, kind: kind.as_str(), original }
    }
}
