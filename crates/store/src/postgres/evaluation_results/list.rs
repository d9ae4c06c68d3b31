//! Lists results, newest first.

use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use sqlx::{Row as _, postgres::PgRow};

use super::{EvaluationResult, FAILING, StoredResult};
use crate::{
    Problem, ProblemKind, StoredTime,
    json::decode_metadata,
    postgres::{
        Database,
        bounded::{AnswerSize, fetch_answer},
        lsn::{self, reading_after},
        result_selection::{ResultCursor, ResultSelection},
        sql::{
            results::{Part, count_results, list_results},
            statement::Statement,
        },
    },
    storage::StorageError,
};

/// Results of a page of an export, which are in memory at once. Each has four texts, which may have megabytes.
const EXPORT_PAGE: u32 = 64;

impl Database {
    /// Up to `limit` of the selected results after the `offset` newest; those without a time come last.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn evaluation_results(
        &self,
        selection: &ResultSelection,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<StoredResult>, StorageError> {
        self.results(selection, &[Part::From(offset)], limit).await
    }

    /// Up to `limit` of the selected results after `cursor`, or from the newest; those without a time come last.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn evaluation_results_after(
        &self,
        selection: &ResultSelection,
        cursor: Option<&ResultCursor>,
        limit: u32,
    ) -> Result<Vec<StoredResult>, StorageError> {
        match cursor {
            None => self.results(selection, &[Part::From(0)], limit).await,
            // Two statements, since no index can be used for a position before a null.
            Some(cursor @ ResultCursor { timestamp: Some(_), .. }) => {
                self.results(selection, &[Part::After(cursor), Part::Timeless], limit).await
            }
            Some(cursor) => self.results(selection, &[Part::After(cursor)], limit).await,
        }
    }

    /// All selected results, newest first, read in pages: one that is stored during the export may be missing, none
    /// occurs twice. The stream ends after the first error.
    pub fn export_evaluation_results(
        &self,
        selection: ResultSelection,
    ) -> BoxStream<'static, Result<StoredResult, StorageError>> {
        // The stream outlives the request's handler.
        let (first, needed) = (Some((self.clone(), selection, None)), lsn::of_request());
        let pages = stream::try_unfold(first, move |rest| async move {
            let Some((database, selection, cursor)) = rest else { return Ok(None) };
            let page = database.export_page(&selection, cursor.as_ref());
            let (page, is_last) = reading_after(needed, page).await?;
            let last = page.last().filter(|_| !is_last);
            let rest = last.map(|last| (database, selection, Some(last.result.cursor())));
            Ok(Some((stream::iter(page.into_iter().map(Ok)), rest)))
        });
        pages.try_flatten().boxed()
    }

    /// A page of an export after `cursor`, and whether it is the last one.
    async fn export_page(
        &self,
        selection: &ResultSelection,
        cursor: Option<&ResultCursor>,
    ) -> Result<(Vec<StoredResult>, bool), StorageError> {
        let mut limit = EXPORT_PAGE;
        loop {
            match self.evaluation_results_after(selection, cursor, limit).await {
                // A page that is not full was the last one.
                Ok(page) => {
                    let is_last = page.len() < limit as usize;
                    return Ok((page, is_last));
                }
                // A single result is never too large.
                Err(StorageError::TooLarge) => limit = (limit / 4).max(1),
                Err(error) => return Err(error),
            }
        }
    }

    /// How many results are selected.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn count_evaluation_results(&self, selection: &ResultSelection) -> Result<u64, StorageError> {
        const OPERATION: &str = "count evaluation results";
        let statements = [count_results(selection)];
        let rows = self.result_rows(&statements, (AnswerSize::Small, None), OPERATION).await?;
        let count = rows.first().expect("an aggregate has a row").try_get::<i64, _>(0);
        Ok(count.map_err(FAILING.to(OPERATION))?.unsigned_abs())
    }

    /// Up to `limit` results of `parts`, in this order.
    async fn results(
        &self,
        selection: &ResultSelection,
        parts: &[Part<'_>],
        limit: u32,
    ) -> Result<Vec<StoredResult>, StorageError> {
        const OPERATION: &str = "list evaluation results";
        let statements: Vec<Statement> =
            parts.iter().map(|part| list_results(selection, part, limit)).collect();
        let limit = usize::try_from(limit).expect("a limit fits into memory");
        let rows = self.in_turn(|size| self.result_rows(&statements, (size, Some(limit)), OPERATION)).await?;
        rows.iter().map(read).collect::<sqlx::Result<_>>().map_err(FAILING.to(OPERATION))
    }

    /// The rows of `statements`, in one transaction; a statement is only run if there are fewer than `limit` rows so
    /// far.
    pub(super) async fn result_rows(
        &self,
        statements: &[Statement],
        (size, limit): (AnswerSize, Option<usize>),
        operation: &'static str,
    ) -> Result<Vec<PgRow>, StorageError> {
        self.in_read(FAILING, operation, async |connection| {
            let mut rows = Vec::new();
            for statement in statements {
                if limit.is_some_and(|limit| rows.len() >= limit) {
                    break;
                }
                let more = fetch_answer(connection, statement, size).await;
                rows.extend(more?);
            }
            rows.truncate(limit.unwrap_or(usize::MAX));
            Ok(rows)
        })
        .await
    }
}

fn read(row: &PgRow) -> sqlx::Result<StoredResult> {
    let mut problems = Vec::new();
    let score: Option<f64> = row.try_get("score")?;
    if let Some(score) = score.filter(|score| !score.is_finite()) {
        problems.push(Problem::new("score", ProblemKind::NotFinite, as_postgresql_writes(score)));
    }
    let timestamp: Option<StoredTime> = row.try_get("timestamp")?;
    if let Some(time) = timestamp.filter(|time| time.in_calendar().is_none()) {
        problems.push(Problem::new("timestamp", ProblemKind::TimeOutOfRange, time.to_string()));
    }
    let result = EvaluationResult {
        id: row.try_get("id")?,
        query_id: row.try_get("query_id")?,
        query_text: row.try_get("query_text")?,
        output_text: row.try_get("output_text")?,
        model_id: row.try_get("model_id")?,
        theme: row.try_get("theme")?,
        evaluation_prompt_id: row.try_get("evaluation_prompt_id")?,
        evaluation_prompt: row.try_get("evaluation_prompt")?,
        score,
        judge_model: row.try_get("judge_model")?,
        timestamp,
        result_metadata: decode_metadata(row.try_get("result_metadata")?, &mut problems),
    };
    Ok(StoredResult { result, problems })
}

/// NaN or an infinity.
fn as_postgresql_writes(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}
