//! The table `vector_search_samples`: query vectors of sampled searches.

use records::Embedding;
use time::PrimitiveDateTime;
use uuid::Uuid;

use crate::{
    Error,
    postgres::{Database, Table, error::StatementContext as _, search_watch::FilterClass, unnamed::on},
};

/// A sampled search, without its filter.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSample {
    /// The table.
    pub table: String,
    /// The class of its filter.
    pub filter_class: FilterClass,
    /// When, in UTC.
    pub searched_at: PrimitiveDateTime,
    /// The vector.
    pub embedding: Embedding,
    /// Requested results.
    pub wanted: u32,
    /// Results that there were.
    pub returned: u32,
    /// How long it took.
    pub latency_ms: f64,
}

impl Database {
    /// Stores `samples` in one transaction.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn store_search_samples(&self, samples: &[StoredSample]) -> Result<(), Error> {
        self.in_transaction(async |connection| {
            for sample in samples {
                let signed = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
                sqlx::query!(
                    r#"
                insert into vector_search_samples (
                    id, table_name, filter_class, searched_at, embedding, wanted, returned, latency_ms
                )
                values ($1, $2, $3, $4, $5, $6, $7, $8)
                "#,
                    Uuid::new_v4(),
                    sample.table,
                    sample.filter_class.as_str(),
                    sample.searched_at,
                    sample.embedding.as_slice(),
                    signed(sample.wanted),
                    signed(sample.returned),
                    sample.latency_ms
                )
                .execute(on(connection))
                .await
                .during("keep searches")?;
            }
            Ok(())
        })
        .await
    }

    /// The vectors of the last `limit` sampled searches of `table`, of any class, newest first, without those that
    /// have no distance to the rows of `table`.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn search_samples(&self, table: &Table, limit: u32) -> Result<Vec<Embedding>, Error> {
        let embeddings = sqlx::query_scalar!(
            r#"
            select embedding
            from vector_search_samples
            where table_name = $1
                and searched_at < 'infinity'
                and cardinality(embedding) = $3
                and array_position(embedding, null) is null
                and not (embedding && array['NaN', 'Infinity', '-Infinity']::real[])
            order by searched_at desc
            limit $2
            "#,
            table.name,
            i64::from(limit),
            i32::try_from(table.dimension).unwrap_or(i32::MAX)
        )
        .fetch_all(self)
        .await
        .during("read kept searches")?;
        Ok(embeddings.into_iter().map(Embedding::from).collect())
    }

    /// Deletes the samples from before `before` and all but the last `most` of each table; returns the number of
    /// deleted rows.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn expire_search_samples(&self, before: PrimitiveDateTime, most: u32) -> Result<u64, Error> {
        let done = sqlx::query!(
            r#"
            delete from vector_search_samples
            where searched_at < $1
                or id in (
                    select id
                    from (
                        select id, row_number() over (partition by table_name order by searched_at desc, id) as place
                        from vector_search_samples
                    ) placed
                    where place > $2
                )
            "#,
            before,
            i64::from(most)
        )
        .execute(self)
        .await
        .during("forget kept searches")?;
        Ok(done.rows_affected())
    }
}
