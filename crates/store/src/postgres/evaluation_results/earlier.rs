//! Verdicts that need not be asked for again.

use serde_json::{Map, Value};

use super::FAILING;
use crate::{
    json::decode,
    postgres::{
        Database,
        result_selection::{ResultStatus, ResultWinner},
        unnamed::on,
    },
    storage::StorageError,
};

/// What a judge said when it was asked the very same.
#[derive(Clone, Debug, PartialEq)]
pub struct EarlierVerdict {
    /// Of the question, the judge, and how it was asked.
    pub fingerprint: String,
    /// The result's id.
    pub id: String,
    /// What came of it.
    pub status: ResultStatus,
    /// The score, if it is one.
    pub score: Option<f64>,
    /// The winner, if it is one.
    pub winner: Option<ResultWinner>,
    /// Whether the judge saw the model's own answer second, if it saw two.
    pub swapped: Option<bool>,
    /// The result's metadata.
    pub metadata: Map<String, Value>,
}

impl Database {
    /// The first verdict of each of these fingerprints, of those that a judge gave, whether or not it can be read. One whose
    /// row cannot be read is left out.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn earlier_verdicts(
        &self,
        fingerprints: &[String],
    ) -> Result<Vec<EarlierVerdict>, StorageError> {
        const OPERATION: &str = "look for earlier verdicts";
        self.in_service(FAILING, OPERATION, async |connection| {
            let rows = sqlx::query!(
                r#"
            select distinct on (panopticon_metadata(result_metadata) ->> 'fingerprint')
                panopticon_metadata(result_metadata) ->> 'fingerprint' as "fingerprint!",
                id,
                score,
                result_metadata::text as "result_metadata!"
            from evaluation_results
            where panopticon_metadata(result_metadata) ->> 'fingerprint' = any($1)
                and panopticon_metadata(result_metadata) ->> 'status' in ('scored', 'unparsed', 'refused')
                -- What is longer is asked again: as many are read at once as tasks are claimed.
                and octet_length(result_metadata::text) <= 65536
            order by panopticon_metadata(result_metadata) ->> 'fingerprint', "timestamp", id
            "#,
                fingerprints
            )
            .fetch_all(on(connection))
            .await?;
            Ok(rows
                .into_iter()
                .map(|row| {
                    // What has a fingerprint is an object.
                    let metadata =
                        decode(&row.result_metadata).value.as_object().cloned().unwrap_or_default();
                    // No verdict of ours has a score that is no number.
                    let score = row.score.filter(|score| score.is_finite());
                    let text = |key| metadata.get(key).and_then(Value::as_str);
                    // Others were not selected.
                    let status = text("status").and_then(|name| name.parse().ok());
                    EarlierVerdict {
                        fingerprint: row.fingerprint,
                        id: row.id,
                        status: status.unwrap_or(ResultStatus::Unparsed),
                        score,
                        winner: text("winner").and_then(ResultWinner::named),
                        swapped: metadata.get("swapped").and_then(Value::as_bool),
                        metadata,
                    }
                })
                .collect())
        })
        .await
    }
}
