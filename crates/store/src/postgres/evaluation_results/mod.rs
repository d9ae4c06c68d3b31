//! The judge's results: `evaluation_results`, which are in PostgreSQL even if the outputs are in ChromaDB.

mod earlier;
mod judged;
mod judgements;
mod list;

use records::Service;
use serde_json::Value;
use sqlx::PgConnection;

pub use earlier::EarlierVerdict;
pub use judged::{JudgedAnswer, JudgedItem, JudgedKind, NewestAnswer};
pub use judgements::{StoredComparison, StoredJudgement};

use super::{Database, failure::Failing, result_selection::ResultCursor, unnamed::on};
use crate::{
    Problem, StoredTime,
    storage::{StorageError, check_text},
};

const FAILING: Failing = Failing(Service::Judge);

/// A judgement of an output. The rows of the old services may lack everything except the id.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationResult {
    /// Its id: any text.
    pub id: String,
    /// The query that was answered, if it is a stored one.
    pub query_id: Option<String>,
    /// Its text.
    pub query_text: Option<String>,
    /// The answer.
    pub output_text: Option<String>,
    /// The model that gave it.
    pub model_id: Option<String>,
    /// The query's theme.
    pub theme: Option<String>,
    /// The stored metric whose prompt was used.
    pub evaluation_prompt_id: Option<String>,
    /// That prompt.
    pub evaluation_prompt: Option<String>,
    /// The score, if the judge gave one.
    pub score: Option<f64>,
    /// The model that judged.
    pub judge_model: Option<String>,
    /// When it was judged.
    pub timestamp: Option<StoredTime>,
    /// Other data.
    pub result_metadata: Option<Value>,
}

/// A result as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredResult {
    /// The result.
    pub result: EvaluationResult,
    /// Values that are shown differently than they are stored.
    pub problems: Vec<Problem>,
}

impl Database {
    /// Stores `results` in one transaction. Existing ids are left unchanged.
    ///
    /// # Errors
    /// [`StorageError::Refused`] for a text with the character NUL; when the statement fails.
    pub async fn insert_evaluation_results(&self, results: &[EvaluationResult]) -> Result<(), StorageError> {
        results.iter().try_for_each(EvaluationResult::check)?;
        self.in_service(FAILING, "store evaluation results", async |connection| {
            insert_results(connection, results).await?;
            Ok(())
        })
        .await
    }
}

/// Stores `results`, which were checked; existing ids are left unchanged.
pub(super) async fn insert_results(
    connection: &mut PgConnection,
    results: &[EvaluationResult],
) -> sqlx::Result<()> {
    let texts = |part: fn(&EvaluationResult) -> &Option<String>| -> Vec<Option<String>> {
        results.iter().map(|result| part(result).clone()).collect()
    };
    let ids: Vec<String> = results.iter().map(|result| result.id.clone()).collect();
    let scores: Vec<Option<f64>> = results.iter().map(|result| result.score).collect();
    let timestamps: Vec<Option<StoredTime>> = results.iter().map(|result| result.timestamp).collect();
    let metadata: Vec<Option<String>> =
        results.iter().map(|result| result.result_metadata.as_ref().map(Value::to_string)).collect();
    sqlx::query_file!(
        "src/postgres/evaluation_results/insert.sql",
        &ids,
        &texts(|result| &result.query_id) as &[Option<String>],
        &texts(|result| &result.query_text) as &[Option<String>],
        &texts(|result| &result.output_text) as &[Option<String>],
        &texts(|result| &result.model_id) as &[Option<String>],
        &texts(|result| &result.theme) as &[Option<String>],
        &texts(|result| &result.evaluation_prompt_id) as &[Option<String>],
        &texts(|result| &result.evaluation_prompt) as &[Option<String>],
        &scores as &[Option<f64>],
        &texts(|result| &result.judge_model) as &[Option<String>],
        &timestamps as &[Option<StoredTime>],
        &metadata as &[Option<String>]
    )
    .execute(on(connection))
    .await?;
    Ok(())
}

impl EvaluationResult {
    /// The cursor after it.
    pub fn cursor(&self) -> ResultCursor {
        ResultCursor { timestamp: self.timestamp, id: self.id.clone() }
    }

    pub(super) fn check(&self) -> Result<(), StorageError> {
        let texts = [
            ("id", Some(&self.id)),
            ("query_id", self.query_id.as_ref()),
            ("query_text", self.query_text.as_ref()),
            ("output_text", self.output_text.as_ref()),
            ("model_id", self.model_id.as_ref()),
            ("theme", self.theme.as_ref()),
            ("evaluation_prompt_id", self.evaluation_prompt_id.as_ref()),
            ("evaluation_prompt", self.evaluation_prompt.as_ref()),
            ("judge_model", self.judge_model.as_ref()),
        ];
        texts.into_iter().try_for_each(|(field, text)| text.map_or(Ok(()), |text| check_text(field, text)))
    }
}
