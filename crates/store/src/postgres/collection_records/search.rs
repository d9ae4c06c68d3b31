//! The records nearest to vectors.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use records::{DistanceSpace, Embedding};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    CollectionRecord, Collections, RecordParts, RecordSelection,
    read::Wanted,
    turn::{Attempt, Turn},
    unsupported,
};
use crate::{
    postgres::{
        Table,
        bounded::fetch,
        collections::{Collection, CollectionError, MAX_RECORDS_BYTES, failing},
        search_watch::{FilterClass, SearchNote},
        sql::{
            collections::{self as statements},
            existing_rows,
            statement::Statement,
        },
        unnamed::on,
        vector_index::{self, Filtering, SearchedIndex},
    },
    storage::{Scan, Selection},
};

pub(super) const OPERATION: &str = "search records";

/// The largest component of a vector whose length is far from the limits of single precision.
const REPRESENTABLE: RangeInclusive<f32> = 1e-10..=1e10;
/// Of all vectors of a request together.
const MAX_HITS: usize = 200_000;
/// Queries that may have more hits are made in turn.
pub(super) const MANY_HITS: u64 = 20_000;

/// The records nearest to some vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Neighbours {
    /// Each record once.
    pub records: Vec<CollectionRecord>,
    /// For each vector, positions in `records` and distances as Chroma defines them, nearest first.
    pub nearest: Vec<Vec<(usize, f64)>>,
    /// How the nearest of each vector were found.
    pub scans: Vec<Scan>,
    /// Whether one of the selected ids does not exist.
    pub has_unknown_ids: bool,
}

/// What a transaction has found.
struct Found {
    /// For each vector, keys and distances as pgvector computes them.
    found: Vec<Vec<(Uuid, f64)>>,
    scans: Vec<Scan>,
    /// Each key once.
    keys: Vec<Uuid>,
    rows: Vec<(Uuid, CollectionRecord)>,
    has_unknown_ids: bool,
}

impl Collections {
    /// The `limit` selected records nearest to each of `embeddings`.
    ///
    /// # Errors
    /// [`CollectionError::Dimension`]; when the collection is gone, a condition cannot be tested, or the database
    /// fails.
    pub async fn query(
        &self,
        collection: &Collection,
        selection: &RecordSelection,
        (embeddings, limit): (&[Embedding], u32),
        parts: RecordParts,
    ) -> Result<Neighbours, CollectionError> {
        let none = || Neighbours { nearest: vec![Vec::new(); embeddings.len()], ..Neighbours::default() };
        let Some(table) = &collection.table else { return Ok(none()) };
        check_dimensions(table, embeddings.iter())?;
        if limit == 0 || embeddings.is_empty() {
            return Ok(none());
        }
        let began = Instant::now();
        let found = self.neighbours((collection, table), selection, (embeddings, limit), parts).await?;
        self.note(table, selection, (embeddings, limit), (&found, began.elapsed()));
        Ok(found)
    }

    /// Counts the searches of a request, which share its time.
    fn note(
        &self,
        table: &Table,
        selection: &RecordSelection,
        (embeddings, limit): (&[Embedding], u32),
        (found, took): (&Neighbours, Duration),
    ) {
        let Some(watch) = self.database.search_watch() else { return };
        // The collection of a shared table is a condition like that on ids.
        let is_narrowed = selection.ids.is_some() || table.shared.is_some();
        let filter_class = match (FilterClass::of_filter(selection.filter.as_ref()), is_narrowed) {
            (class, false) => class,
            (FilterClass::None, true) => FilterClass::Metadata,
            (_, true) => FilterClass::Several,
        };
        let (all, share) = (Selection::default(), took / u32::try_from(embeddings.len()).unwrap_or(u32::MAX));
        for ((embedding, hits), scan) in embeddings.iter().zip(&found.nearest).zip(&found.scans) {
            watch.note(&SearchNote {
                table: &table.name,
                filter_class,
                // Conditions of collections are not replayed.
                selection: (filter_class == FilterClass::None).then_some(&all),
                embedding,
                wanted: limit,
                returned: hits.len(),
                scan: *scan,
                latency: share,
            });
        }
    }

    async fn neighbours(
        &self,
        (collection, table): (&Collection, &Table),
        selection: &RecordSelection,
        (embeddings, limit): (&[Embedding], u32),
        parts: RecordParts,
    ) -> Result<Neighbours, CollectionError> {
        let scaled = scaled(table.space, embeddings);
        let embeddings = scaled.as_ref();
        if let Some(found) = self.few_nearest(collection, selection, (embeddings, limit), parts).await? {
            return Ok(found);
        }
        let (wanted, turn) = (Wanted::new(table, selection), Turn::default());
        let possible = u64::from(limit).saturating_mul(embeddings.len() as u64);
        if possible > MANY_HITS {
            self.wait_for(&turn).await?;
        }
        let searches = (embeddings, limit);
        let attempt = turn.attempt();
        let mut done = self.find_nearest(table, &wanted, searches, (parts, &attempt)).await;
        if done.is_err() && self.has_given_up(&attempt).await? {
            done = self.find_nearest(table, &wanted, searches, (parts, &turn.attempt())).await;
        }
        let Found { found, scans, keys, rows, has_unknown_ids } = done?;
        let hits = found.iter().map(Vec::len).sum::<usize>();
        let mut places = HashMap::new();
        let mut by_key: HashMap<Uuid, CollectionRecord> = rows.into_iter().collect();
        // A record that was deleted between the two statements is left out.
        let mut records = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(record) = by_key.remove(&key) {
                places.insert(key, records.len());
                records.push(record);
            }
        }
        if hits > records.len() {
            check_repeated(&records, found.iter().flatten().filter_map(|(key, _)| places.get(key)))?;
        }
        let hits = |hits: Vec<(Uuid, f64)>| {
            let hit = |(key, distance): (Uuid, f64)| Some((*places.get(&key)?, shown(table.space, distance)));
            hits.into_iter().filter_map(hit).collect()
        };
        Ok(Neighbours { records, nearest: found.into_iter().map(hits).collect(), scans, has_unknown_ids })
    }

    /// Finds the nearest of each vector and reads their records, in a transaction that changes nothing.
    async fn find_nearest(
        &self,
        table: &Table,
        wanted: &Wanted,
        searches: (&[Embedding], u32),
        (parts, attempt): (RecordParts, &Attempt<'_>),
    ) -> Result<Found, CollectionError> {
        let find = async |connection: &mut PgConnection| {
            self.find_in((connection, table), wanted, searches, (parts, attempt)).await
        };
        Box::pin(self.database.in_read_with(failing(OPERATION), &[], find)).await
    }

    async fn find_in(
        &self,
        (connection, table): (&mut PgConnection, &Table),
        wanted: &Wanted,
        (embeddings, limit): (&[Embedding], u32),
        (parts, attempt): (RecordParts, &Attempt<'_>),
    ) -> Result<Found, CollectionError> {
        let has_unknown_ids = match &wanted.keys {
            Some(keys) => has_unknown(connection, table, keys).await?,
            None => false,
        };
        let index = match wanted.keys {
            Some(_) => None,
            None => self.index(connection, table).await?,
        };
        if let Some(index) = &index {
            let filtering = if wanted.is_filtered(table) { Filtering::Some } else { Filtering::None };
            for setting in index.settings(filtering, limit) {
                sqlx::raw_sql(setting).execute(&mut *connection).await.map_err(failing(OPERATION))?;
            }
        }
        let search = Search { table, wanted, limit, index: index.as_deref() };
        let (mut found, mut scans, mut hits) = (Vec::with_capacity(embeddings.len()), Vec::new(), 0);
        for embedding in embeddings {
            let (nearest, scan) = search.nearest(connection, embedding).await?;
            scans.push(scan);
            hits += nearest.len();
            if hits > MAX_HITS {
                return Err(CollectionError::TooLarge);
            }
            found.push(nearest);
        }
        let (mut known, mut keys) = (HashSet::new(), Vec::new());
        keys.extend(found.iter().flatten().map(|(key, _)| *key).filter(|key| known.insert(*key)));
        let rows = self.with_keys(connection, (table, keys.clone()), parts, attempt).await?;
        Ok(Found { found, scans, keys, rows, has_unknown_ids })
    }

    /// The index that searches use, cached for some seconds.
    pub(super) async fn index(
        &self,
        connection: &mut PgConnection,
        table: &Table,
    ) -> Result<Option<Arc<SearchedIndex>>, CollectionError> {
        if let Some(index) = self.known.lock().index(&table.name) {
            return Ok(index);
        }
        let index = vector_index::searched(connection, table).await;
        let index = index
            .map_err(|error| CollectionError::Failed { operation: OPERATION, source: error.into() })?
            .map(Arc::new);
        self.known.lock().know_index(&table.name, index.clone());
        Ok(index)
    }
}

/// The searched vectors. pgvector computes the cosine distance in single precision, in which the length of very short or long
/// ones cannot be represented: they are scaled, which does not change the distance.
fn scaled(space: DistanceSpace, embeddings: &[Embedding]) -> Cow<'_, [Embedding]> {
    let largest =
        |embedding: &Embedding| embedding.as_slice().iter().fold(0.0_f32, |most, one| most.max(one.abs()));
    let is_odd = |embedding: &Embedding| {
        let largest = largest(embedding);
        largest > 0.0 && !REPRESENTABLE.contains(&largest)
    };
    if space != DistanceSpace::Cosine || !embeddings.iter().any(is_odd) {
        return Cow::Borrowed(embeddings);
    }
    let scale = |embedding: &Embedding| match is_odd(embedding) {
        true => {
            let largest = f64::from(largest(embedding));
            let components = embedding.as_slice().iter().map(|one| (f64::from(*one) / largest) as f32);
            Embedding::from(components.collect::<Vec<f32>>())
        }
        false => embedding.clone(),
    };
    Cow::Owned(embeddings.iter().map(scale).collect())
}

/// Checks the size of an answer in which a record is repeated for each vector that it is near to.
fn check_repeated<'p>(
    records: &[CollectionRecord],
    hits: impl Iterator<Item = &'p usize>,
) -> Result<(), CollectionError> {
    let sizes: Vec<usize> = records.iter().map(CollectionRecord::bytes).collect();
    let size =
        hits.fold(0_usize, |sum, hit| sum.saturating_add(sizes.get(*hit).copied().unwrap_or_default()));
    if size > MAX_RECORDS_BYTES { Err(CollectionError::TooLarge) } else { Ok(()) }
}

/// Whether one of `keys` does not exist.
async fn has_unknown(
    connection: &mut PgConnection,
    table: &Table,
    keys: &[Uuid],
) -> Result<bool, CollectionError> {
    let existing: Vec<Uuid> = sqlx::query_scalar(existing_rows(table))
        .bind(keys)
        .fetch_all(on(connection))
        .await
        .map_err(failing(OPERATION))?;
    let existing: HashSet<Uuid> = existing.into_iter().collect();
    Ok(keys.iter().any(|key| !existing.contains(key)))
}

/// One search of a request.
struct Search<'a> {
    table: &'a Table,
    wanted: &'a Wanted,
    limit: u32,
    index: Option<&'a SearchedIndex>,
}

impl Search<'_> {
    /// Keys and distances as pgvector computes them, nearest first, and how they were found.
    async fn nearest(
        &self,
        connection: &mut PgConnection,
        embedding: &Embedding,
    ) -> Result<(Vec<(Uuid, f64)>, Scan), CollectionError> {
        let Self { table, wanted, limit, .. } = *self;
        let exact = |up_to| {
            statements::nearest_collection_records(table, wanted.rows(), (embedding, limit), up_to)
                .map_err(unsupported)
        };
        let index = self.index.filter(|index| index.precision.holds(embedding.as_slice()));
        if let Some(index) = index {
            if wanted.is_filtered(table) {
                let most = vector_index::exact_scan_limit(index.rows);
                let rows = run(connection, exact(Some(most.saturating_add(1)))?).await?;
                let matching = rows.first().map_or(Ok(0), |row| row.try_get::<i64, _>("matching"));
                if matching.map_err(failing(OPERATION))? <= i64::from(most) {
                    return Ok((hits(&rows)?, Scan::Exact));
                }
            }
            let by_index = statements::nearest_collection_records_by_index(
                table,
                wanted.filter.as_ref(),
                (embedding, limit),
                index.precision,
            )
            .map_err(unsupported)?;
            let rows = run(connection, by_index).await?;
            if rows.len() >= limit as usize {
                return Ok((hits(&rows)?, Scan::Index));
            }
        }
        let scan = if index.is_some() { Scan::Both } else { Scan::Exact };
        Ok((hits(&run(connection, exact(None)?).await?)?, scan))
    }
}

async fn run(connection: &mut PgConnection, statement: Statement) -> Result<Vec<PgRow>, CollectionError> {
    fetch(connection, statement).await.map_err(failing(OPERATION))
}

fn hits(rows: &[PgRow]) -> Result<Vec<(Uuid, f64)>, CollectionError> {
    let hits = rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("distance")?)));
    hits.collect::<sqlx::Result<_>>().map_err(failing(OPERATION))
}

/// The distance as Chroma defines it.
pub(super) fn shown(space: DistanceSpace, distance: f64) -> f64 {
    match space {
        // pgvector's is the root.
        DistanceSpace::L2 => distance * distance,
        // Of a zero vector.
        DistanceSpace::Cosine if distance.is_nan() => 1.0,
        DistanceSpace::Cosine => distance,
        // pgvector's is the negative product.
        DistanceSpace::InnerProduct => 1.0 + distance,
    }
}

/// Checks that every vector has the dimension of the table.
pub(super) fn check_dimensions<'e>(
    table: &Table,
    mut embeddings: impl Iterator<Item = &'e Embedding>,
) -> Result<(), CollectionError> {
    let expected = table.dimension;
    match embeddings.find(|embedding| embedding.dimension() != expected) {
        Some(other) => Err(CollectionError::Dimension { expected, found: other.dimension() }),
        None => Ok(()),
    }
}
