//! The answers that were judged, as people label them: without the judge's verdict.

use sqlx::{Row as _, postgres::PgRow};

use super::FAILING;
use crate::{
    postgres::{
        Database,
        bounded::AnswerSize,
        labels::LabelledQuery,
        result_selection::ResultSelection,
        sql::results::{list_judged_items, newest_answer},
        unnamed::on,
    },
    storage::StorageError,
};

/// What a result is about, without texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedItem {
    /// The result's id.
    pub result_id: String,
    /// The query.
    pub query: LabelledQuery,
    /// The metric.
    pub metric: Option<String>,
    /// The model of the answer.
    pub model: String,
    /// Whether the judge saw one answer or two.
    pub kind: JudgedKind,
}

/// How many answers the judge saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JudgedKind {
    /// One.
    Alone,
    /// Two.
    Paired {
        /// The model of the other answer.
        opponent: String,
    },
    /// Two, but the model of the other one is unknown, or the same.
    Incomplete,
}

/// An item with its texts.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedAnswer {
    /// What it is about.
    pub item: JudgedItem,
    /// The query's text.
    pub query_text: Option<String>,
    /// The metric's prompt.
    pub evaluation_prompt: Option<String>,
    /// The beginning of the answer.
    pub text: String,
    /// Bytes of the whole answer.
    pub text_bytes: u64,
    /// The id of the other output, if there is one.
    pub opponent_output_id: Option<String>,
    /// Its run.
    pub run_id: Option<String>,
}

/// A model's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestAnswer {
    /// The beginning of the answer.
    pub text: String,
    /// Bytes of the whole answer.
    pub text_bytes: u64,
    /// The query's text.
    pub query_text: Option<String>,
}

impl Database {
    /// Up to `limit` of the selected results with an answer that can be labelled, after the result `after`, in the order
    /// of their ids.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn judged_items(
        &self,
        selection: &ResultSelection,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<JudgedItem>, StorageError> {
        const OPERATION: &str = "list judged answers";
        let statements = [list_judged_items(selection, after, limit)];
        let rows = self.in_turn(|size| self.result_rows(&statements, (size, None), OPERATION)).await?;
        rows.iter().map(item).collect::<sqlx::Result<_>>().map_err(FAILING.to(OPERATION))
    }

    /// The answer of the result `id`, with the first `characters` of its texts; `None` if there is no such result, or
    /// it has no answer that can be labelled.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn judged_answer(
        &self,
        id: &str,
        characters: u32,
    ) -> Result<Option<JudgedAnswer>, StorageError> {
        // No row has such an id, and PostgreSQL does not accept it as a parameter.
        if id.contains('\0') {
            return Ok(None);
        }
        let characters = i32::try_from(characters).unwrap_or(i32::MAX);
        self.in_service(FAILING, "read a judged answer", async |connection| {
            let row = sqlx::query_file!("src/postgres/evaluation_results/judged_answer.sql", id, characters)
                .fetch_optional(on(connection))
                .await?;
            let Some(row) = row else { return Ok(None) };
            let query = query(row.query_id, row.query_digest.as_deref())?;
            let kind = kind(row.is_pairwise, &row.model_id, row.opponent);
            let item = JudgedItem {
                result_id: row.id,
                query,
                metric: row.evaluation_prompt_id,
                model: row.model_id,
                kind,
            };
            Ok(Some(JudgedAnswer {
                item,
                query_text: row.query_text,
                evaluation_prompt: row.evaluation_prompt,
                text: row.output_text,
                text_bytes: row.output_bytes.unsigned_abs().into(),
                opponent_output_id: row.opponent_output_id,
                run_id: row.run_id,
            }))
        })
        .await
    }

    /// The newest of the selected results with an answer: the first `characters` of its texts.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn newest_answer(
        &self,
        selection: &ResultSelection,
        characters: u32,
    ) -> Result<Option<NewestAnswer>, StorageError> {
        const OPERATION: &str = "read an answer";
        let statements = [newest_answer(selection, i32::try_from(characters).unwrap_or(i32::MAX))];
        let rows = self.result_rows(&statements, (AnswerSize::Large, Some(1)), OPERATION).await?;
        let read = |row: &PgRow| {
            let text_bytes: i32 = row.try_get("output_bytes")?;
            Ok(NewestAnswer {
                text: row.try_get("output_text")?,
                text_bytes: text_bytes.unsigned_abs().into(),
                query_text: row.try_get("query_text")?,
            })
        };
        rows.first().map(read).transpose().map_err(FAILING.to(OPERATION))
    }
}

fn item(row: &PgRow) -> sqlx::Result<JudgedItem> {
    let model: String = row.try_get("model_id")?;
    let kind = kind(row.try_get("is_pairwise")?, &model, row.try_get("opponent")?);
    Ok(JudgedItem {
        result_id: row.try_get("id")?,
        query: query(row.try_get("query_id")?, row.try_get("query_digest")?)?,
        metric: row.try_get("evaluation_prompt_id")?,
        model,
        kind,
    })
}

fn query(id: Option<String>, digest: Option<&[u8]>) -> sqlx::Result<LabelledQuery> {
    let of_text = || {
        let digest = digest.and_then(|digest| digest.try_into().ok()).map(LabelledQuery::Digest);
        digest.ok_or_else(|| sqlx::Error::Decode("a selected result has no query".into()))
    };
    id.map(LabelledQuery::Id).map_or_else(of_text, Ok)
}

fn kind(is_pairwise: bool, model: &str, opponent: Option<String>) -> JudgedKind {
    match opponent {
        _ if !is_pairwise => JudgedKind::Alone,
        Some(opponent) if opponent != model => JudgedKind::Paired { opponent },
        Some(_) | None => JudgedKind::Incomplete,
    }
}
