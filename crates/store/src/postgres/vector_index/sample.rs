//! Samples of a table's rows as query vectors, and shares of its rows to search in.

use records::Embedding;
use uuid::Uuid;

use crate::{
    Error,
    postgres::{
        Database, Table,
        error::StatementContext as _,
        sql::vector_index::{SHARE_OF, sample_embeddings},
    },
};

const OPERATION: &str = "measure the recall of an index";

/// A row of the table whose embedding is the query vector.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its primary key.
    pub id: Uuid,
    /// Its embedding.
    pub embedding: Embedding,
}

/// A part of the rows, by a hash of their ids, which simulates a filter that is independent of the vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// All rows.
    pub const ALL: Self = Self(SHARE_OF);

    /// About this many of `rows`, in steps of 1/1,024.
    pub fn of(matching: u64, rows: u64) -> Self {
        let share = matching.saturating_mul(u64::from(SHARE_OF)).div_ceil(rows.max(1));
        Self(u32::try_from(share).unwrap_or(SHARE_OF).clamp(1, SHARE_OF))
    }

    /// The numerator of the share, over [`SHARE_OF`].
    pub(crate) fn parts(self) -> i32 {
        i32::try_from(self.0).expect("at most 1,024")
    }

    /// Whether it is all rows.
    pub fn is_all(self) -> bool {
        self == Self::ALL
    }
}

impl Database {
    /// Up to `count` of the `rows` rows of `table`: the same ones for the same `seed` as long as the table does not
    /// change.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn sample_rows(
        &self,
        table: &Table,
        rows: u64,
        count: u32,
        seed: u32,
    ) -> Result<Vec<Sample>, Error> {
        // More than requested, since the number is random; and in random order, so that the rows are not only from
        // the first pages.
        let percent = (f64::from(count) * 150.0 / rows.max(1) as f64).min(100.0);
        let rows: Vec<(Uuid, Vec<f32>)> = sqlx::query_as(sample_embeddings(table))
            .bind(percent as f32)
            .bind(f64::from(seed))
            .bind(i64::from(count))
            .fetch_all(self)
            .await
            .during(OPERATION)?;
        Ok(rows.into_iter().map(|(id, embedding)| Sample { id, embedding: embedding.into() }).collect())
    }
}
