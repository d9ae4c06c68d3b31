//! The records nearest to a vector: by the vector index where it is sure to find enough, else by measuring all.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use records::Embedding;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{PostgresStorage, fetch, row::read_record};
use crate::{
    postgres::{
        ddl::service::{self as statements, Measured},
        vector_index::{self, Filtering, SearchedIndex},
    },
    storage::{Hit, Selection, StorageError},
};

const OPERATION: &str = "search";

/// So many matches of a filter are measured in a few milliseconds, and nothing is missed. Of more matches an index
/// soon finds the nearest.
const MEASURED_MATCHES: u32 = 10_000;

/// How long what is known of a table's vector index counts. What changed since makes a search slower, never wrong.
const KNOWN_FOR: Duration = Duration::from_secs(10);

/// What the last look at the table's vector index has shown, and when; shared by the searches of a storage.
#[derive(Debug, Default)]
pub(super) struct IndexKnowledge(Mutex<Option<(Instant, Option<SearchedIndex>)>>);

impl IndexKnowledge {
    fn fresh(&self) -> Option<Option<SearchedIndex>> {
        let known = self.0.lock().expect("no holder panics");
        known.as_ref().filter(|(seen, _)| seen.elapsed() < KNOWN_FOR).map(|(_, index)| index.clone())
    }

    fn set(&self, index: Option<SearchedIndex>) {
        *self.0.lock().expect("no holder panics") = Some((Instant::now(), index));
    }
}

impl PostgresStorage {
    /// The `limit` selected records nearest to `embedding`, nearest first; those that have no distance last.
    pub(super) async fn nearest(
        &self,
        selection: &Selection,
        embedding: &Embedding,
        limit: u32,
    ) -> Result<Vec<Hit>, StorageError> {
        let filtering = if selection.is_all() { Filtering::None } else { Filtering::Some };
        let index = self.index().await?;
        let settings = index.as_ref().map_or_else(Vec::new, |index| index.settings(filtering, limit));
        let transaction = self.database.begin_service(&settings).await;
        let mut transaction = transaction.map_err(self.failing.to("begin a transaction"))?;
        let exact =
            |measured| statements::nearest_exact(self.service(), selection, embedding, limit, measured);
        if let Some(index) = index {
            if filtering == Filtering::Some {
                let measured = Measured::UpTo(MEASURED_MATCHES + 1);
                let rows = self.fetch(&mut transaction, exact(measured)?).await?;
                let matching = match rows.first() {
                    Some(row) => row.try_get::<i64, _>("matching").map_err(self.failing.to(OPERATION))?,
                    None => 0,
                };
                if matching <= i64::from(MEASURED_MATCHES) {
                    self.commit(transaction).await?;
                    return self.hits(&rows);
                }
            }
            let found =
                statements::nearest_by_index(self.service(), selection, embedding, limit, index.precision)?;
            let rows = self.fetch(&mut transaction, found).await?;
            if rows.len() >= limit as usize {
                self.commit(transaction).await?;
                return self.hits(&rows);
            }
        }
        let rows = self.fetch(&mut transaction, exact(Measured::All)?).await?;
        self.commit(transaction).await?;
        self.hits(&rows)
    }

    async fn fetch(
        &self,
        connection: &mut PgConnection,
        statement: statements::Statement,
    ) -> Result<Vec<PgRow>, StorageError> {
        fetch(connection, statement).await.map_err(self.failing.to(OPERATION))
    }

    /// The index that searches use, as it was some seconds ago.
    async fn index(&self) -> Result<Option<SearchedIndex>, StorageError> {
        if let Some(index) = self.index.fresh() {
            return Ok(index);
        }
        let mut transaction = self.begin().await?;
        let index = vector_index::searched(&mut transaction, &self.table).await;
        let index = index.map_err(|error| self.failing.of(OPERATION, error))?;
        self.commit(transaction).await?;
        self.index.set(index.clone());
        Ok(index)
    }

    /// Reads rows with the columns of a record and `distance`.
    pub(super) fn hits(&self, rows: &[PgRow]) -> Result<Vec<Hit>, StorageError> {
        let hit = |row: &PgRow| {
            let distance: Option<f64> = row.try_get("distance")?;
            // From a zero vector no distance is defined.
            let distance = distance.filter(|distance| distance.is_finite());
            Ok(Hit { record: read_record(row, &self.table)?, distance, score: None })
        };
        rows.iter().map(hit).collect::<sqlx::Result<_>>().map_err(self.failing.to(OPERATION))
    }
}
