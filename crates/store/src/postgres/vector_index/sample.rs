//! Searches whose answers are compared: for rows of the table itself, exact and by an index.

use std::time::{Duration, Instant};

use records::Embedding;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{IndexDefinition, Observation, Precision, VectorIndex, searched::search_settings};
use crate::{
    Error,
    postgres::{
        Database, Table,
        error::StatementContext as _,
        sql::{
            self,
            vector_index::{SHARE_OF, nearest_of_share},
        },
        unnamed::on,
    },
};

const OPERATION: &str = "measure the recall of an index";

/// A row of the table whose embedding is searched for.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its primary key.
    pub id: Uuid,
    /// Its embedding.
    pub embedding: Embedding,
}

/// A part of the rows, by a hash of their ids: what a filter leaves that has nothing to do with the vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// All rows.
    pub const ALL: Self = Self(SHARE_OF);

    /// So many of `rows`, in steps of a 1,024th.
    pub fn of(matching: u64, rows: u64) -> Self {
        let share = matching.saturating_mul(u64::from(SHARE_OF)).div_ceil(rows.max(1));
        Self(u32::try_from(share).unwrap_or(SHARE_OF).clamp(1, SHARE_OF))
    }

    /// Whether it is all rows.
    pub fn is_all(self) -> bool {
        self == Self::ALL
    }
}

impl Database {
    /// Up to `count` of the `rows` rows of `table`: for the same `seed` the same ones, while the table stays the same.
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
        // More than are asked for, since it is a matter of chance; in no order of theirs, so that it is not the
        // first pages' rows.
        let percent = (f64::from(count) * 150.0 / rows.max(1) as f64).min(100.0);
        let rows: Vec<(Uuid, Vec<f32>)> = sqlx::query_as(sql::vector_index::sample_embeddings(table))
            .bind(percent as f32)
            .bind(f64::from(seed))
            .bind(i64::from(count))
            .fetch_all(self)
            .await
            .during(OPERATION)?;
        Ok(rows.into_iter().map(|(id, embedding)| Sample { id, embedding: embedding.into() }).collect())
    }

    /// Distances to the `limit` rows of `share` nearest to `sample`, itself left out, found by looking at every row.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn nearest_others_exact(
        &self,
        table: &Table,
        sample: &Sample,
        share: Share,
        limit: u32,
    ) -> Result<Vec<f64>, Error> {
        let mut transaction = self.begin().await?;
        sqlx::raw_sql(sql::exact_scan()).execute(&mut *transaction).await.during(OPERATION)?;
        let statement = nearest_of_share(table, Precision::Full);
        let nearest = nearest_others(&mut transaction, statement, sample, share, limit).await?;
        transaction.commit().await.during("end a transaction")?;
        Ok(nearest)
    }

    /// The same by `index` with `candidates` (`ivfflat.probes` or `hnsw.ef_search`), as searches of the table ask it,
    /// and how long it took.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn nearest_others_by_index(
        &self,
        observation: &Observation,
        index: &VectorIndex,
        candidates: u32,
        search: (&Sample, Share, u32),
    ) -> Result<(Vec<f64>, Duration), Error> {
        let (sample, share, limit) = search;
        let IndexDefinition { kind, precision } = index.definition;
        if !precision.holds(sample.embedding.as_slice()) {
            // As searches do.
            let started = Instant::now();
            let found = self.nearest_others_exact(&observation.table, sample, share, limit).await?;
            return Ok((found, started.elapsed()));
        }
        let taken = precision.taken(limit);
        let mut transaction = self.begin().await?;
        for setting in search_settings(kind, candidates, taken, observation.is_iterative) {
            sqlx::raw_sql(setting).execute(&mut *transaction).await.during(OPERATION)?;
        }
        let statement = nearest_of_share(&observation.table, precision);
        let started = Instant::now();
        let mut nearest = nearest_others(&mut transaction, statement, sample, share, taken).await?;
        let elapsed = started.elapsed();
        transaction.commit().await.during("end a transaction")?;
        nearest.truncate(limit as usize);
        Ok((nearest, elapsed))
    }
}

/// Distances, nearest first.
async fn nearest_others(
    transaction: &mut PgConnection,
    statement: sql::Sql,
    sample: &Sample,
    share: Share,
    limit: u32,
) -> Result<Vec<f64>, Error> {
    // The sample itself is there too.
    let found =
        nearest_in_share(transaction, statement, sample.embedding.as_slice(), share, limit.saturating_add(1))
            .await;
    let found = found.during(OPERATION)?;
    let others = found.into_iter().filter(|(id, _)| *id != sample.id).map(|(_, distance)| distance);
    let mut distances: Vec<f64> = others.filter(|distance| distance.is_finite()).collect();
    distances.sort_by(f64::total_cmp);
    distances.truncate(limit as usize);
    Ok(distances)
}

/// The nearest rows of `share` to `embedding`, as `statement` ([`nearest_of_share`]) orders them, and their distances.
pub(crate) async fn nearest_in_share(
    connection: &mut PgConnection,
    statement: sql::Sql,
    embedding: &[f32],
    Share(share): Share,
    limit: u32,
) -> sqlx::Result<Vec<(Uuid, f64)>> {
    sqlx::query_as(statement)
        .bind(embedding)
        .bind(i64::from(limit))
        .bind(i32::try_from(share).expect("at most 1,024"))
        .fetch_all(on(connection))
        .await
}
