//! Checks the embeddings of a table in one pass over its rows.

use records::Embedding;

use super::{Database, Table, sql::embedding_health as statements};
use crate::{Error, postgres::error::StatementContext as _};

const OPERATION: &str = "check the embeddings of a table";

/// Embeddings of a table's rows, or of a sample of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmbeddingHealth {
    /// Rows that were read.
    pub rows: u64,
    /// The share of the table's pages that was read, above 0; 1 is all of them.
    pub share: f64,
    /// Rows without a vector.
    pub missing: u64,
    /// Rows whose vector is all zeros.
    pub zero: u64,
    /// Rows whose vector has length 1, within a thousandth.
    pub unit: u64,
    /// Least and greatest length of the vectors that are not all zeros; `None` where there are none.
    pub lengths: Option<(f64, f64)>,
    /// Rows whose vector is bit by bit equal to that of a row with another text. Texts count as equal if their first
    /// 200 characters are equal without regard to case: the model may not have read more.
    pub shared: u64,
}

impl EmbeddingHealth {
    /// Rows whose vector is neither all zeros nor of length 1.
    pub fn other_lengths(&self) -> u64 {
        self.rows - self.missing - self.zero - self.unit
    }
}

impl Database {
    /// Checks the embeddings on `share` (above 0, up to 1) of the pages of `table`.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn embedding_health(&self, table: &Table, share: f64) -> Result<EmbeddingHealth, Error> {
        type Counts = (i64, i64, i64, i64, Option<f64>, Option<f64>, i64);
        let (rows, missing, zero, unit, shortest, longest, shared): Counts =
            sqlx::query_as(statements::embedding_health(table))
                .bind((share * 100.0) as f32)
                .fetch_one(self)
                .await
                .during(OPERATION)?;
        Ok(EmbeddingHealth {
            rows: rows.unsigned_abs(),
            share,
            missing: missing.unsigned_abs(),
            zero: zero.unsigned_abs(),
            unit: unit.unsigned_abs(),
            lengths: shortest.zip(longest),
            shared: shared.unsigned_abs(),
        })
    }

    /// Texts and embeddings of up to `count` rows of `table` that have both, from `share` of its pages.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn sample_texts(
        &self,
        table: &Table,
        share: f64,
        count: u32,
    ) -> Result<Vec<(String, Embedding)>, Error> {
        let rows: Vec<(String, Vec<f32>)> = sqlx::query_as(statements::sample_texts(table))
            .bind((share * 100.0) as f32)
            .bind(i64::from(count))
            .fetch_all(self)
            .await
            .during(OPERATION)?;
        Ok(rows.into_iter().map(|(text, embedding)| (text, embedding.into())).collect())
    }
}
