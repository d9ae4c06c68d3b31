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

/// So many matches of a filter are measured in some 10 ms, and nothing is missed. Of more matches an index soon finds
/// the nearest: of 50,000 sentences, and a quarter of them, in 5 ms.
const MEASURED_MATCHES: u32 = 10_000;
/// Where PostgreSQL expects so many matches, looking whether they are too many to measure would be in vain. Its estimates
/// are often wrong by a factor of two.
const SURELY_MORE_MATCHES: f64 = 3.0 * MEASURED_MATCHES as f64;

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
            let may_be_few = filtering == Filtering::Some
                && self.expected_matches(&mut transaction, selection).await? < SURELY_MORE_MATCHES;
            if may_be_few {
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

    /// How many records PostgreSQL expects `selection` to leave.
    async fn expected_matches(
        &self,
        connection: &mut PgConnection,
        selection: &Selection,
    ) -> Result<f64, StorageError> {
        let explain = statements::explain_selected(self.service(), selection)?;
        let rows = self.fetch(connection, explain).await?;
        let row = rows.first().expect("a plan has a row");
        // Of type `json`, which is its text.
        let plan: String = row.try_get_unchecked(0).map_err(self.failing.to(OPERATION))?;
        let plan: serde_json::Value = serde_json::from_str(&plan).expect("PostgreSQL prints JSON");
        Ok(plan[0]["Plan"]["Plan Rows"].as_f64().expect("each plan says how many rows it expects"))
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
