//! The parts of results that statistics need.

use futures_util::TryStreamExt as _;
use sqlx::{Row as _, postgres::PgRow};
use time::PrimitiveDateTime;

use super::FAILING;
use crate::{
    StoredTime,
    postgres::{
        Database,
        bounded::bound,
        result_selection::{ResultSelection, ResultStatus, ResultWinner},
        sql::results::read_judgements,
        unnamed::on,
    },
    storage::StorageError,
};

/// A result without its texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoredJudgement<'r> {
    /// The query that was answered, if it is a stored one.
    pub query_id: Option<&'r str>,
    /// The first 16 bytes of the SHA-256 of the query's text, in UTF-8.
    pub query_digest: Option<&'r [u8]>,
    /// The model that gave the answer.
    pub model_id: Option<&'r str>,
    /// The query's theme.
    pub theme: Option<&'r str>,
    /// The metric.
    pub evaluation_prompt_id: Option<&'r str>,
    /// The judge.
    pub judge_model: Option<&'r str>,
    /// Its run.
    pub run_id: Option<&'r str>,
    /// Number of the repeat, as the run counts them.
    pub repeat: Option<&'r str>,
    /// Its status.
    pub status: ResultStatus,
    /// The score: a finite number wherever a judgement of one answer is scored.
    pub score: Option<f64>,
    /// Whether the score is outside the metric's scale.
    pub is_out_of_range: bool,
    /// The comparison of two answers, if it is one.
    pub comparison: Option<StoredComparison<'r>>,
    /// When it was stored, in UTC; `None` if that is unknown or no time of the calendar.
    pub at: Option<PrimitiveDateTime>,
}

/// A comparison of two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredComparison<'r> {
    /// The model that gave the other answer.
    pub opponent: Option<&'r str>,
    /// Whether the judge saw the model's own answer second.
    pub is_swapped: bool,
    /// The winner of a scored comparison, unless its name is unknown.
    pub winner: Option<ResultWinner>,
}

impl Database {
    /// What `add` makes of the selected results, each of which it adds, in no particular order, as they arrive. If a replica
    /// fails meanwhile, it begins again.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn gather_judgements<T: Default>(
        &self,
        selection: &ResultSelection,
        add: impl Fn(&mut T, StoredJudgement<'_>),
    ) -> Result<T, StorageError> {
        const OPERATION: &str = "read judgements";
        // It reads every selected row: as much work for PostgreSQL as a large answer.
        let _turn = self.begin_large().await?;
        self.in_read(FAILING, OPERATION, async |connection| {
            let (mut rows, mut gathered) =
                (bound(read_judgements(selection)).fetch(on(connection)), T::default());
            while let Some(row) = rows.try_next().await? {
                add(&mut gathered, read(&row)?);
            }
            drop(rows);
            Ok(gathered)
        })
        .await
    }
}

fn read(row: &PgRow) -> sqlx::Result<StoredJudgement<'_>> {
    let status: &str = row.try_get("status")?;
    let comparison = StoredComparison {
        opponent: row.try_get("opponent")?,
        is_swapped: row.try_get("swapped")?,
        winner: row.try_get::<Option<&str>, _>("winner")?.and_then(ResultWinner::named),
    };
    let is_pairwise: bool = row.try_get("is_pairwise")?;
    Ok(StoredJudgement {
        query_id: row.try_get("query_id")?,
        query_digest: row.try_get("query_digest")?,
        model_id: row.try_get("model_id")?,
        theme: row.try_get("theme")?,
        evaluation_prompt_id: row.try_get("evaluation_prompt_id")?,
        judge_model: row.try_get("judge_model")?,
        run_id: row.try_get("run_id")?,
        repeat: row.try_get("repeat")?,
        status: status.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        score: row.try_get("score")?,
        is_out_of_range: row.try_get("out_of_range")?,
        comparison: is_pairwise.then_some(comparison),
        at: row.try_get::<Option<StoredTime>, _>("timestamp")?.and_then(StoredTime::in_calendar),
    })
}
