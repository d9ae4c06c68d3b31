//! The rows nearest to a vector, without their texts. Everything that compares the results of an index with exact
//! ones uses this module (parity, tuning, monitor, doctor).

use std::time::{Duration, Instant};

use records::Embedding;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Database, Table,
    sql::{
        self, Sql,
        vector_index::{NearestOrder, nearest_of_runs, nearest_of_share},
    },
    unnamed::on,
    vector_index::{
        Filtering, IndexDefinition, Observation, Precision, Sample, SearchedIndex, Share, VectorIndex,
        search_settings, searched,
    },
};
use crate::{Error, postgres::error::StatementContext as _};

const OPERATION: &str = "search for the comparison";

/// A search whose results are compared.
#[derive(Clone, Copy, Debug)]
pub struct NeighbourSearch<'a> {
    /// The table.
    pub table: &'a Table,
    /// The vector.
    pub embedding: &'a [f32],
    /// A row to exclude; nil for none.
    pub left_out: Uuid,
    /// The rows to search.
    pub among: RowSet<'a>,
    /// Maximum number of results.
    pub limit: u32,
}

/// The rows that a search looks at.
#[derive(Clone, Copy, Debug)]
pub enum RowSet<'a> {
    /// A share of the rows.
    Share(Share),
    /// Those that one of these migration runs copied.
    Runs(&'a [Uuid]),
}

/// How the indexes of a table are searched.
#[derive(Clone, Debug)]
pub struct IndexSearch(Parameters);

#[derive(Clone, Debug)]
enum Parameters {
    OfSearches(SearchedIndex),
    Given { definition: IndexDefinition, candidates: u32, is_iterative: bool },
}

/// The results of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// Rows and their distances as pgvector returns them (`l2` is the root, `ip` the negative product), nearest
    /// first.
    pub found: Vec<(Uuid, f64)>,
    /// How long the statement took.
    pub took: Duration,
}

impl<'a> NeighbourSearch<'a> {
    /// A search for the neighbours of `sample` in `share`, without `sample` itself.
    pub fn of(table: &'a Table, sample: &'a Sample, share: Share, limit: u32) -> Self {
        let (embedding, left_out) = (sample.embedding.as_slice(), sample.id);
        Self { table, embedding, left_out, among: RowSet::Share(share), limit }
    }

    /// An exact scan.
    pub(super) async fn exact(&self, connection: &mut PgConnection) -> Result<Neighbours, Error> {
        self.find(connection, Vec::new(), NearestOrder::Exact).await.during(OPERATION)
    }

    /// Uses `index`, or an exact scan if the index cannot hold the vector, as searches do.
    pub(super) async fn by_index(
        &self,
        connection: &mut PgConnection,
        index: &IndexSearch,
    ) -> Result<Neighbours, Error> {
        if !index.holds(self.embedding) {
            return self.exact(connection).await;
        }
        let order = NearestOrder::Index(index.precision());
        self.find(connection, index.settings(self.limit), order).await.during(OPERATION)
    }

    async fn find(
        &self,
        connection: &mut PgConnection,
        settings: Vec<Sql>,
        order: NearestOrder,
    ) -> sqlx::Result<Neighbours> {
        for setting in settings {
            sqlx::raw_sql(setting).execute(&mut *connection).await?;
        }
        let taken = match order {
            NearestOrder::Exact => self.limit,
            NearestOrder::Index(precision) => precision.taken(self.limit),
        };
        let taken = taken.saturating_add(u32::from(!self.left_out.is_nil()));
        let query = match self.among {
            RowSet::Share(share) => sqlx::query_as(nearest_of_share(self.table, order))
                .bind(self.embedding)
                .bind(i64::from(taken))
                .bind(share.parts()),
            RowSet::Runs(runs) => sqlx::query_as(nearest_of_runs(self.table, order))
                .bind(self.embedding)
                .bind(i64::from(taken))
                .bind(runs),
        };
        let began = Instant::now();
        let mut found: Vec<(Uuid, f64)> = query.fetch_all(on(connection)).await?;
        let took = began.elapsed();
        found.retain(|(id, _)| *id != self.left_out);
        // NaN, which may be negative, is last.
        found.sort_by(|(_, one), (_, other)| one.is_nan().cmp(&other.is_nan()).then(one.total_cmp(other)));
        found.truncate(self.limit as usize);
        Ok(Neighbours { found, took })
    }
}

impl Neighbours {
    /// The distances alone.
    pub fn distances(&self) -> Vec<f64> {
        self.found.iter().map(|(_, distance)| *distance).collect()
    }

    /// Without rows with an undefined distance, such as the cosine distance to a zero vector.
    fn with_distance(mut self) -> Self {
        self.found.retain(|(_, distance)| distance.is_finite());
        self
    }
}

impl IndexSearch {
    /// By `index` of the observed table, with `candidates` (`ivfflat.probes` or `hnsw.ef_search`).
    pub fn with_candidates(observation: &Observation, index: &VectorIndex, candidates: u32) -> Self {
        let is_iterative = observation.is_iterative;
        Self(Parameters::Given { definition: index.definition, candidates, is_iterative })
    }

    /// As searches without a filter use `index`.
    pub(super) fn of(index: SearchedIndex) -> Self {
        Self(Parameters::OfSearches(index))
    }

    /// Whether the index can hold `vector`.
    pub fn holds(&self, vector: &[f32]) -> bool {
        self.precision().holds(vector)
    }

    fn precision(&self) -> Precision {
        match &self.0 {
            Parameters::OfSearches(index) => index.precision,
            Parameters::Given { definition, .. } => definition.precision,
        }
    }

    /// The settings of a transaction for searches for `limit` rows.
    fn settings(&self, limit: u32) -> Vec<Sql> {
        match &self.0 {
            Parameters::OfSearches(index) => index.settings(Filtering::None, limit),
            Parameters::Given { definition, candidates, is_iterative } => {
                let taken = definition.precision.taken(limit);
                search_settings(definition.kind, *candidates, taken, *is_iterative)
            }
        }
    }
}

impl Database {
    /// The embeddings of the rows `ids` that have one, in no particular order.
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

    /// How searches use the indexes of `table`; `None` if they can use none.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn index_search(&self, table: &Table) -> Result<Option<IndexSearch>, Error> {
        let index = self.in_transaction(async |connection| searched(connection, table).await).await?;
        Ok(index.map(IndexSearch::of))
    }

    /// The results of `search` with an exact scan, without rows with an undefined distance.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn nearest_exact(&self, search: &NeighbourSearch<'_>) -> Result<Neighbours, Error> {
        let found = self.in_transaction(async |connection| search.exact(connection).await).await?;
        Ok(found.with_distance())
    }

    /// The same with `index`, or with an exact scan if the index cannot hold the vector, as searches do.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn nearest_by_index(
        &self,
        search: &NeighbourSearch<'_>,
        index: &IndexSearch,
    ) -> Result<Neighbours, Error> {
        let found = self.in_transaction(async |connection| search.by_index(connection, index).await).await?;
        Ok(found.with_distance())
    }
}
