//! Labels of people.

use judge::results::{QueryKey, stored_labels};
use records::timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::postgres::{LabelVerdict, LabelWinner, LabelledQuery, StoredLabel};
use uuid::Uuid;

use super::{
    Entries, Formulas, ItemStatus,
    agreement::{LabelledWinner, Labels},
};
use crate::{answer::ApiError, request::Object};

/// Labels are stored under an id that follows from their content if they have none. Stored data depends on it: never
/// change it.
const LABEL_NAMESPACE: Uuid = Uuid::from_u128(0x5b1e_7a60_93c4_4d0f_a8d2_6c1f_3e97_b284);

/// The format of an export of labels.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) struct LabelExportParameters {
    pub(crate) format: LabelFormat,
    /// How texts that spreadsheets read as formulas are written.
    #[serde(default)]
    pub(crate) formulas: Formulas,
}

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum LabelFormat {
    /// Comma-separated values (RFC 4180) with a header line.
    Csv,
    /// One label per line, in the format of the list.
    Jsonl,
}

impl LabelFormat {
    /// For the header Content-Type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Jsonl => "application/x-ndjson",
        }
    }

    /// The extension of the file name.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// Labels to store.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NewLabels {
    pub(crate) labels: Entries<Object<NewLabel>, 1, 1000>,
}

/// A label to store: `model_id` and `score` for one output, or `model_a`, `model_b` and `winner` for two, of which
/// `model_a` is the one that the annotator saw first. The query is given by its id, its text, or the first 16 bytes of
/// the SHA-256 of its text as hexadecimal digits.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct NewLabel {
    /// A UUID. Without it, a label that is sent twice is stored once too, because its id follows from its content.
    pub(crate) id: Option<String>,
    pub(crate) annotator: String,
    pub(crate) query_id: Option<String>,
    pub(crate) query_text: Option<String>,
    pub(crate) query_digest: Option<String>,
    /// The metric by which the annotator judged.
    pub(crate) evaluation_prompt_id: Option<String>,
    pub(crate) model_id: Option<String>,
    pub(crate) score: Option<f64>,
    pub(crate) model_a: Option<String>,
    pub(crate) model_b: Option<String>,
    pub(crate) winner: Option<LabelledWinner>,
    /// When it was given, ISO 8601; now by default. Of several labels of one annotator for the same outputs, the last
    /// one counts.
    pub(crate) labelled_at: Option<String>,
}

/// A stored label.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LabelResponse {
    pub(crate) id: String,
    pub(crate) annotator: String,
    /// The query's id; null if the query is known only by its text.
    pub(crate) query_id: Option<String>,
    /// The first 16 bytes of the SHA-256 of its text, if it has no id.
    pub(crate) query_digest: Option<String>,
    pub(crate) evaluation_prompt_id: Option<String>,
    /// The model of a scored output.
    pub(crate) model_id: Option<String>,
    pub(crate) score: Option<f64>,
    /// The model of the output that was shown first.
    pub(crate) model_a: Option<String>,
    pub(crate) model_b: Option<String>,
    /// `a`, `b` or `tie`.
    pub(crate) winner: Option<&'static str>,
    /// When it was given, UTC.
    pub(crate) labelled_at: String,
}

/// What became of labels.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StoredLabelsResponse {
    /// In the order of the request.
    pub(crate) items: Vec<LabelItemResponse>,
    /// Number of labels that are stored, by this or by an earlier request.
    pub(crate) stored: usize,
}

/// What became of a label: a conflict is another label with the same id, which was left as it is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LabelItemResponse {
    pub(crate) id: String,
    pub(crate) status: ItemStatus,
}

/// A withdrawn label.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WithdrawnLabel {
    pub(crate) id: String,
}

impl NewLabel {
    /// The label for the store.
    ///
    /// # Errors
    /// When fields are missing, or contradict each other.
    pub(crate) fn into_stored(self) -> Result<StoredLabel, ApiError> {
        let query = match (self.query_id, self.query_text, self.query_digest) {
            (Some(id), None, None) => LabelledQuery::Id(id),
            (None, Some(text), None) => match QueryKey::of_text(&text) {
                QueryKey::Id(id) => LabelledQuery::Id(id.to_owned()),
                QueryKey::Digest(digest) => LabelledQuery::Digest(digest),
            },
            (None, None, Some(digits)) => {
                let expected = || ApiError::invalid("query_digest", "expected 32 hexadecimal digits");
                LabelledQuery::Digest(digest(&digits).ok_or_else(expected)?)
            }
            _ => return Err(ApiError::invalid("query_id", "expected a query_id or a query_text")),
        };
        let verdict = match (self.model_id, self.score, self.model_a, self.model_b, self.winner) {
            (Some(model), Some(score), None, None, None) => LabelVerdict::Score { model, score: Some(score) },
            (None, None, Some(first), Some(second), Some(winner)) => {
                LabelVerdict::Preference { first, second, winner: Some(winner.into()) }
            }
            _ => {
                let expected = "expected model_id and score, or model_a, model_b and winner";
                return Err(ApiError::invalid("model_id", expected));
            }
        };
        let given = self.labelled_at.as_deref().map(|text| {
            let expected = || ApiError::invalid("labelled_at", "expected a date and time, ISO 8601");
            timestamp::parse(text).ok_or_else(expected)
        });
        let given = given.transpose()?;
        let mut label = StoredLabel {
            id: Uuid::nil(),
            annotator: self.annotator.trim().to_owned(),
            query,
            metric: self.evaluation_prompt_id,
            verdict,
            labelled_at: given.unwrap_or_else(timestamp::now).into(),
        };
        label.id = match self.id {
            Some(id) => Uuid::try_parse(&id).map_err(|_| ApiError::invalid("id", "expected a UUID"))?,
            None => derived_id(&label, given.map(timestamp::format).as_deref()),
        };
        Ok(label)
    }
}

/// The id of a label that was given none: labels with other content have other ids.
fn derived_id(label: &StoredLabel, time: Option<&str>) -> Uuid {
    let verdict = match &label.verdict {
        LabelVerdict::Score { score, .. } => score.map(|score| score.to_string()),
        LabelVerdict::Preference { first, winner, .. } => {
            winner.map(|winner| format!("{} {first}", winner.as_str()))
        }
    };
    let item: String = label.item().iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [Some(label.annotator.as_str()), Some(&item), verdict.as_deref(), time];
    let content = serde_json::to_vec(&parts).expect("texts are JSON");
    Uuid::new_v5(&LABEL_NAMESPACE, &content)
}

fn digest(digits: &str) -> Option<[u8; 16]> {
    let is_plain = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = is_plain.then(|| u128::from_str_radix(digits, 16).ok())?;
    number.map(u128::to_be_bytes)
}

impl From<LabelledWinner> for LabelWinner {
    fn from(winner: LabelledWinner) -> Self {
        match winner {
            LabelledWinner::A => Self::A,
            LabelledWinner::B => Self::B,
            LabelledWinner::Tie => Self::Tie,
        }
    }
}

impl From<StoredLabel> for LabelResponse {
    fn from(label: StoredLabel) -> Self {
        let StoredLabel { id, annotator, query, metric, verdict, labelled_at } = label;
        let (query_id, query_digest) = match query {
            LabelledQuery::Id(id) => (Some(id), None),
            LabelledQuery::Digest(digest) => (None, Some(format!("{:032x}", u128::from_be_bytes(digest)))),
        };
        let empty = Self {
            id: id.to_string(),
            annotator,
            query_id,
            query_digest,
            evaluation_prompt_id: metric,
            model_id: None,
            score: None,
            model_a: None,
            model_b: None,
            winner: None,
            labelled_at: labelled_at.to_string(),
        };
        match verdict {
            LabelVerdict::Score { model, score } => Self { model_id: Some(model), score, ..empty },
            LabelVerdict::Preference { first, second, winner } => Self {
                model_a: Some(first),
                model_b: Some(second),
                winner: winner.map(LabelWinner::as_str),
                ..empty
            },
        }
    }
}

impl Labels {
    /// Those that are stored, by kind; skipped ones are no labels.
    pub(crate) fn of_stored(stored: Vec<StoredLabel>) -> Self {
        let (scores, winners) = stored_labels(stored);
        Self { scores, winners }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::read_value;

    fn read(label: serde_json::Value) -> Result<StoredLabel, String> {
        let label: NewLabel = read_value(label).map_err(|error| error.to_string())?;
        label.into_stored().map_err(|error| error.to_string())
    }

    #[test]
    fn label_is_read_back_as_it_was_written() {
        let score = json!({"annotator": " ann ", "query_id": "q", "model_id": "m", "score": 7.5, "evaluation_prompt_id": "e"});
        let pair = json!({
            "annotator": "ann", "query_text": "Why?", "model_a": "m", "model_b": "n", "winner": "tie",
            "labelled_at": "2026-01-31T12:00:00+01:00",
        });
        for label in [score, pair] {
            let stored = read(label).expect("it reads");
            assert_eq!(stored.annotator, "ann");
            let written = serde_json::to_value(LabelResponse::from(stored.clone())).expect("JSON");
            assert_eq!(read(written).expect("it reads"), stored);
        }
    }

    #[test]
    fn id_follows_from_the_content() {
        let label = |score: f64, annotator: &str| {
            let label = json!({"annotator": annotator, "query_id": "q", "model_id": "m", "score": score});
            read(label).expect("it reads").id
        };
        assert_eq!(label(7.0, "ann"), label(7.0, "ann"));
        assert_ne!(label(7.0, "ann"), label(8.0, "ann"));
        assert_ne!(label(7.0, "ann"), label(7.0, "bob"));
        let pair = |first: &str, second: &str| {
            let label = json!({"annotator": "a", "query_id": "q", "model_a": first, "model_b": second, "winner": "a"});
            read(label).expect("it reads").id
        };
        assert_ne!(pair("m", "n"), pair("n", "m"), "the other one wins");
    }

    #[test]
    fn errors_name_the_field() {
        for (label, error) in [
            (json!({"annotator": "a", "model_id": "m", "score": 1}), "`query_id`: expected a query_id"),
            (
                json!({"annotator": "a", "query_id": "q", "query_text": "t", "model_id": "m", "score": 1}),
                "`query_id`",
            ),
            (
                json!({"annotator": "a", "query_id": "q", "model_id": "m"}),
                "`model_id`: expected model_id and score",
            ),
            (
                json!({"annotator": "a", "query_id": "q", "model_id": "m", "score": 1, "winner": "a"}),
                "`model_id`",
            ),
            (json!({"annotator": "a", "query_digest": "ff", "model_id": "m", "score": 1}), "`query_digest`"),
            (
                json!({"annotator": "a", "query_digest": "+".repeat(32), "model_id": "m", "score": 1}),
                "`query_digest`",
            ),
            (json!({"annotator": "a", "query_id": "q", "model_id": "m", "score": 1, "id": "x"}), "`id`"),
            (
                json!({"annotator": "a", "query_id": "q", "model_id": "m", "score": 1, "labelled_at": "x"}),
                "`labelled_at`",
            ),
            (json!({"annotator": "a", "query_id": "q", "model_id": "m", "score": "x"}), "`score`"),
            (json!({"query_id": "q", "model_id": "m", "score": 1}), "annotator"),
            (
                json!({"annotator": "a", "query_id": "q", "model_a": "m", "model_b": "n", "winner": "c"}),
                "`winner`",
            ),
        ] {
            let found = read(label.clone()).expect_err("it is refused");
            assert!(found.contains(error), "{label}: {found}");
        }
    }
}
