//! Replays a search, as it was and as an exact search, and compares the results.

use std::time::{Duration, Instant};

use records::{Embedding, Service};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use crate::{
    Error,
    postgres::{
        Database, Table,
        bounded::{AnswerSize, bound},
        error::StatementContext as _,
        failure::Failing,
        nearest::{IndexSearch, NeighbourSearch, RowSet},
        sql::{
            self,
            service::{Measured, nearest_exact},
        },
        storage::{NearestSearch, WideFilters, nearest_rows},
        unnamed::on,
        vector_index::{SearchedIndex, Share, searched},
    },
    storage::{Selection, StorageError},
};

const OPERATION: &str = "make a search again";

/// A search to be replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayedSearch {
    /// The vector.
    pub embedding: Embedding,
    /// The filter; all rows of a table that does not belong to a service.
    pub selection: Selection,
}

/// The distances that a search found and those of the nearest rows, nearest first. Undefined distances, such as those
/// of a zero vector, are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Of the results.
    pub found: Vec<f64>,
    /// Of the nearest rows.
    pub exact: Vec<f64>,
    /// Number of existing results that it missed.
    pub missing: u64,
    /// Its latency, without the exact search.
    pub took: Duration,
}

impl Database {
    /// Replays `search` in `table` for `limit` results, and repeats it as an exact search: both in one snapshot, on
    /// one core, and with the statement time-out `timeout`.
    ///
    /// # Errors
    /// When a statement fails or exceeds the time-out.
    pub async fn replay(
        &self,
        table: &Table,
        search: &ReplayedSearch,
        limit: u32,
        timeout: Duration,
    ) -> Result<Replay, Error> {
        let mut transaction = self.begin_replay(timeout).await?;
        let index = searched(&mut transaction, table).await?;
        let service = Service::ALL.into_iter().find(|service| Table::of(*service) == *table);
        let replaying = Replaying { table, search, asked: limit };
        let (found, took, exact) = match service {
            Some(service) => replaying.of_service(&mut transaction, service, index.as_ref()).await?,
            None => replaying.of_table(&mut transaction, index.as_ref()).await?,
        };
        transaction.commit().await.during("end a transaction")?;
        let missing = exact.len().saturating_sub(found.len()) as u64;
        let measured = |mut distances: Vec<f64>| {
            distances.retain(|distance| distance.is_finite());
            distances.sort_by(f64::total_cmp);
            distances
        };
        Ok(Replay { found: measured(found), exact: measured(exact), missing, took })
    }
}

/// Distances, in the order of the results.
type Found = Vec<f64>;

struct Replaying<'a> {
    table: &'a Table,
    search: &'a ReplayedSearch,
    /// Results of each search.
    asked: u32,
}

impl Replaying<'_> {
    /// As the storage of the service makes it.
    async fn of_service(
        &self,
        transaction: &mut PgConnection,
        service: Service,
        index: Option<&SearchedIndex>,
    ) -> Result<(Found, Duration, Found), Error> {
        let Self { search, asked, .. } = self;
        let (failing, nearest) = (
            Failing(service),
            NearestSearch {
                selection: &search.selection,
                embedding: &search.embedding,
                limit: *asked,
                size: AnswerSize::Large,
            },
        );
        set(transaction, index.map_or_else(Vec::new, |index| nearest.settings(index))).await?;
        let began = Instant::now();
        let rows = nearest_rows(transaction, failing, index, &nearest, &WideFilters::default()).await;
        let ((rows, _), took) = (rows.map_err(self.failed())?, began.elapsed());
        let exact = nearest_exact(service, &search.selection, &search.embedding, *asked, Measured::All);
        // Only the distances of the exact search are needed, so PostgreSQL does not read the texts.
        let exact = bound(exact.map_err(self.failed())?.within(0)).fetch_all(on(transaction)).await;
        Ok((read(&rows)?, took, read(&exact.during(OPERATION)?)?))
    }

    /// A table that does not belong to a service is searched with the tuned settings of its index.
    async fn of_table(
        &self,
        transaction: &mut PgConnection,
        index: Option<&SearchedIndex>,
    ) -> Result<(Found, Duration, Found), Error> {
        let neighbours = NeighbourSearch {
            table: self.table,
            embedding: self.search.embedding.as_slice(),
            left_out: Uuid::nil(),
            among: RowSet::Share(Share::ALL),
            limit: self.asked,
        };
        let found = match index.cloned().map(IndexSearch::of) {
            Some(index) => neighbours.by_index(transaction, &index).await?,
            None => neighbours.exact(transaction).await?,
        };
        let exact = neighbours.exact(transaction).await?;
        Ok((found.distances(), found.took, exact.distances()))
    }

    fn failed(&self) -> impl Fn(StorageError) -> Error {
        let table = self.table.name.clone();
        move |source| Error::Replay { table: table.clone(), source: Box::new(source) }
    }
}

async fn set(transaction: &mut PgConnection, settings: Vec<sql::Sql>) -> Result<(), Error> {
    for setting in settings {
        sqlx::raw_sql(setting).execute(&mut *transaction).await.during(OPERATION)?;
    }
    Ok(())
}

fn read(rows: &[PgRow]) -> Result<Found, Error> {
    // A row with an undefined distance is a result too.
    let read = |row: &PgRow| {
        let distance: Option<f64> = row.try_get("distance")?;
        Ok(distance.unwrap_or(f64::NAN))
    };
    rows.iter().map(read).collect::<sqlx::Result<_>>().during(OPERATION)
}
