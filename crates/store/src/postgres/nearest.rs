//! The nearest rows to a vector, without the texts: to compare what is found by different ways.

use records::Embedding;
use uuid::Uuid;

use super::{
    Database, Table, sql,
    unnamed::on,
    vector_index::{self, Filtering, Precision},
};
use crate::{Error, postgres::error::StatementContext as _};

const OPERATION: &str = "search for the comparison";

impl Database {
    /// The embeddings of the rows `ids`, as far as they have one, in no particular order.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn embeddings(&self, table: &Table, ids: &[Uuid]) -> Result<Vec<Embedding>, Error> {
        let embeddings: Vec<Option<Vec<f32>>> = sqlx::query_scalar(sql::select_embeddings(table))
            .bind(ids)
            .fetch_all(self)
            .await
            .during(OPERATION)?;
        Ok(embeddings.into_iter().flatten().map(Embedding::from).collect())
    }

    /// The `limit` nearest rows to `embedding` that one of `runs` brought, and their distances, found by looking at
    /// every row. Distances are pgvector's: of `l2` the root, of `ip` the negative product.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn nearest_brought(
        &self,
        table: &Table,
        runs: &[Uuid],
        embedding: &[f32],
        limit: u32,
    ) -> Result<Vec<(Uuid, f64)>, Error> {
        let mut transaction = self.begin().await?;
        sqlx::raw_sql(sql::exact_scan()).execute(&mut *transaction).await.during(OPERATION)?;
        let nearest: Vec<(Uuid, Option<f64>)> = sqlx::query_as(sql::nearest_brought(table))
            .bind(embedding)
            .bind(i64::from(limit))
            .bind(runs)
            .fetch_all(on(&mut transaction))
            .await
            .during(OPERATION)?;
        transaction.commit().await.during("end a transaction")?;
        // A row that lost its vector is at no distance, and last.
        Ok(nearest.into_iter().filter_map(|(id, distance)| Some((id, distance?))).collect())
    }

    /// Distances to the `limit` nearest of all rows by looking at every row.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn nearest_exact(
        &self,
        table: &Table,
        embedding: &[f32],
        limit: u32,
    ) -> Result<Vec<f64>, Error> {
        let statement = sql::nearest(table, Precision::Full);
        self.nearest_with(vec![sql::exact_scan()], statement, embedding, limit).await
    }

    /// Distances to the `limit` nearest of all rows by the table's index, with the settings of an ordinary search;
    /// `None` where there is no index.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn nearest_by_index(
        &self,
        table: &Table,
        embedding: &[f32],
        limit: u32,
    ) -> Result<Option<Vec<f64>>, Error> {
        let mut transaction = self.begin().await?;
        let index = vector_index::searched(&mut transaction, table).await?;
        transaction.commit().await.during("end a transaction")?;
        let Some(index) = index.filter(|index| index.precision.holds(embedding)) else { return Ok(None) };
        let settings = index.settings(Filtering::None, limit);
        self.nearest_with(settings, sql::nearest(table, index.precision), embedding, limit).await.map(Some)
    }

    async fn nearest_with(
        &self,
        settings: Vec<sql::Sql>,
        statement: sql::Sql,
        embedding: &[f32],
        limit: u32,
    ) -> Result<Vec<f64>, Error> {
        let mut transaction = self.begin().await?;
        for setting in settings {
            sqlx::raw_sql(setting).execute(&mut *transaction).await.during(OPERATION)?;
        }
        let distances: Vec<Option<f64>> = sqlx::query_scalar(statement)
            .bind(embedding)
            .bind(i64::from(limit))
            .fetch_all(on(&mut transaction))
            .await
            .during(OPERATION)?;
        transaction.commit().await.during("end a transaction")?;
        Ok(distances.into_iter().flatten().collect())
    }
}
