//! Earlier verdicts that are reused.

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

/// An earlier verdict on the same request.
#[derive(Clone, Debug, PartialEq)]
pub struct EarlierVerdict {
    /// Fingerprint of the question, the judge and the request.
    pub fingerprint: String,
    /// The result's id.
    pub id: String,
    /// Its status.
    pub status: ResultStatus,
    /// The score, if it is a scored answer.
    pub score: Option<f64>,
    /// The winner, if it is a comparison.
    pub winner: Option<ResultWinner>,
    /// Whether the judge saw the model's own answer second, if it saw two.
    pub swapped: Option<bool>,
    /// The result's metadata.
    pub metadata: Map<String, Value>,
}

impl Database {
    /// The first verdict of each of these fingerprints, whether or not the judge's answer can be parsed. A row that
    /// cannot be read is left out.
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
                -- Instead of reading a longer text, the judge is asked again: all claimed tasks are read at once.
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
                    // Metadata with a fingerprint are an object.
                    let metadata =
                        decode(&row.result_metadata).value.as_object().cloned().unwrap_or_default();
                    // Panopticon's verdicts have no score that is not a number.
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
