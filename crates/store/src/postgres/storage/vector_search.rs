//! The records nearest to a vector, for storages and measurements.

use std::time::Instant;

use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{
    PostgresStorage,
    nearest_rows::{NearestSearch, OPERATION, nearest_rows},
    row::read_record,
};
use crate::{
    postgres::{
        search_watch::{FilterClass, SearchNote},
        sql::service::{self as statements, Measured},
        vector_index::{self, Filtering, SearchedIndex},
    },
    storage::{Effort, Hit, Scan, StorageError},
};

impl PostgresStorage {
    /// The nearest selected records, nearest first, and the scan used; those without a distance last.
    pub(super) async fn nearest(
        &self,
        search: &NearestSearch<'_>,
        effort: Effort,
    ) -> Result<(Vec<Hit>, Scan), StorageError> {
        let began = Instant::now();
        let NearestSearch { selection, embedding, limit, .. } = *search;
        let index = match effort {
            Effort::Fast => self.index().await?,
            Effort::Exact => None,
        };
        let (rows, scan) = match search.filtering() {
            Filtering::None => self.nearest_of_all(index.as_ref(), search).await?,
            Filtering::Some => {
                let settings = index.as_ref().map_or_else(Vec::new, |index| search.settings(index));
                let find = async |connection: &mut PgConnection| {
                    nearest_rows(connection, self.failing, index.as_ref(), search, &self.wide).await
                };
                self.database.in_read_with(self.failing.to(OPERATION), &settings, find).await?
            }
        };
        if let Some(watch) = self.database.search_watch() {
            watch.note(&SearchNote {
                table: &self.table.name,
                filter_class: FilterClass::of(selection),
                selection: Some(selection),
                embedding,
                wanted: limit,
                returned: rows.len(),
                scan,
                latency: began.elapsed(),
            });
        }
        Ok((self.hits(&rows)?, scan))
    }

    /// The rows of an unfiltered search: like [`nearest_rows`], with fewer round trips.
    async fn nearest_of_all(
        &self,
        index: Option<&SearchedIndex>,
        search: &NearestSearch<'_>,
    ) -> Result<(Vec<PgRow>, Scan), StorageError> {
        let NearestSearch { selection, embedding, limit, size } = *search;
        let mut scan = Scan::Exact;
        if let Some(index) = index.filter(|index| index.precision.holds(embedding.as_slice())) {
            let found =
                statements::nearest_by_index(self.service(), selection, embedding, limit, index.precision)?;
            let rows = self.database.fetch_at_once(&search.settings(index), &found, size).await;
            let rows = rows.map_err(self.failing.to(OPERATION))?;
            if rows.len() >= limit as usize {
                return Ok((rows, Scan::Index));
            }
            scan = Scan::Both;
        }
        let exact = statements::nearest_exact(self.service(), selection, embedding, limit, Measured::All)?;
        let rows = self.database.fetch_at_once(&[], &exact, size).await;
        Ok((rows.map_err(self.failing.to(OPERATION))?, scan))
    }

    /// The index that searches use, cached for some seconds.
    async fn index(&self) -> Result<Option<SearchedIndex>, StorageError> {
        if let Some(index) = self.index.fresh() {
            return Ok(index);
        }
        let look = async |connection: &mut PgConnection| {
            let index = vector_index::searched(connection, &self.table).await;
            index.map_err(|error| self.failing.of(OPERATION, error))
        };
        let index = self.database.in_read_with(self.failing.to(OPERATION), &[], look).await?;
        self.index.set(index.clone());
        Ok(index)
    }

    /// Reads rows with the columns of a record and `distance`.
    pub(super) fn hits(&self, rows: &[PgRow]) -> Result<Vec<Hit>, StorageError> {
        let hit = |row: &PgRow| {
            let distance: Option<f64> = row.try_get("distance")?;
            // The distance of a zero vector is undefined.
            let distance = distance.filter(|distance| distance.is_finite());
            Ok(Hit { record: read_record(row, &self.table)?, distance, score: None })
        };
        rows.iter().map(hit).collect::<sqlx::Result<_>>().map_err(self.failing.to(OPERATION))
    }
}
