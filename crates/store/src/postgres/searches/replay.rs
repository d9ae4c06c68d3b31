//! Makes a search again, as it was made and exactly, and compares the two.

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
        nearest::{Among, IndexSearch, NeighbourSearch},
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

/// A search to be made again.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayedSearch {
    /// The vector.
    pub embedding: Embedding,
    /// Among which records; of a table that is no service's, all.
    pub selection: Selection,
}

/// What a search finds, and what there is to find: distances, nearest first; those that are not defined, as of a vector
/// of zeros, are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Of what it finds.
    pub found: Vec<f64>,
    /// Of the nearest rows.
    pub exact: Vec<f64>,
    /// Results that it does not have although there are as many.
    pub missing: u64,
    /// How long it took, without the exact search.
    pub took: Duration,
}

impl Database {
    /// Makes `search` in `table` again for `limit` results, and once more by measuring every row that it may find: both in
    /// one snapshot, on one core, and each statement for as long as `timeout` at the most.
    ///
    /// # Errors
    /// When a statement fails or takes longer.
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

/// Distances, in the order of the answer.
type Found = Vec<f64>;

struct Replaying<'a> {
    table: &'a Table,
    search: &'a ReplayedSearch,
    /// Results of each search.
    asked: u32,
}

impl Replaying<'_> {
    /// As the service's storage makes it.
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
        // Of the exact ones only the distances are needed: PostgreSQL leaves their texts where they are.
        let exact = bound(exact.map_err(self.failed())?.within(0)).fetch_all(on(transaction)).await;
        Ok((read(&rows)?, took, read(&exact.during(OPERATION)?)?))
    }

    /// A table that no service searches is searched as its index is tuned.
    async fn of_table(
        &self,
        transaction: &mut PgConnection,
        index: Option<&SearchedIndex>,
    ) -> Result<(Found, Duration, Found), Error> {
        let neighbours = NeighbourSearch {
            table: self.table,
            embedding: self.search.embedding.as_slice(),
            left_out: Uuid::nil(),
            among: Among::Share(Share::ALL),
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
    // Where no distance is defined the search has a result all the same.
    let read = |row: &PgRow| {
        let distance: Option<f64> = row.try_get("distance")?;
        Ok(distance.unwrap_or(f64::NAN))
    };
    rows.iter().map(read).collect::<sqlx::Result<_>>().during(OPERATION)
}
