//! Searches with small answers, as almost all are: one message finds the nearest records of some vectors and reads them.

use std::collections::{HashMap, hash_map::Entry};

use futures_util::future::try_join;
use records::Embedding;
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    CollectionRecord, Collections, Neighbours, RecordParts, RecordSelection,
    escape::escaped_filter,
    read::read,
    search::{MANY_HITS, OPERATION, shown as distance_shown},
    turn::Turn,
    unsupported,
};
use crate::{
    postgres::{
        Table,
        collections::{Collection, CollectionError, MAX_RECORDS_BYTES, failing},
        sql::{
            Sql,
            collections::{NearestBy, nearest_records},
        },
        vector_index::{Filtering, SearchedIndex, exact_scan_limit},
    },
    storage::{RecordFilter, Scan},
};

/// Maximum hits of a message, in which records that are near to several vectors are read for each of them.
const MOST_HITS: usize = 1_000;
/// Maximum vectors of a message.
const MOST_VECTORS: usize = 32;
/// Messages of a request that are under way at the same time, each on a connection of its own: with more, the requests of
/// one client would take the connections of the others.
const MESSAGES: usize = 2;

/// What the messages of a request have in common.
#[derive(Clone, Copy)]
struct Message<'a> {
    collection: &'a Collection,
    table: &'a Table,
    filter: Option<&'a RecordFilter>,
    limit: u32,
    shown: RecordParts,
    by: NearestBy,
    settings: &'a [Sql],
    turn: &'a Turn,
}

/// A row of an answer.
struct Found {
    search: usize,
    key: Uuid,
    distance: f64,
    record: CollectionRecord,
    /// How many records match, at least; where it was counted.
    matching: Option<i64>,
}

/// The searches of a request, and what is found so far.
struct Searches<'a> {
    embeddings: &'a [Embedding],
    limit: u32,
    /// For each search, its hits, once it is complete.
    found: Vec<Option<Vec<(usize, f64)>>>,
    /// For each complete search, how.
    scans: Vec<Scan>,
    records: Vec<CollectionRecord>,
    /// The size of each record in an answer.
    sizes: Vec<usize>,
    /// The size of the answer, in which records are repeated for each vector that they are near to.
    bytes: usize,
    places: HashMap<Uuid, usize>,
}

impl Collections {
    /// The records nearest to each of `embeddings`; `None` if there may be many, or ids are selected.
    pub(super) async fn few_nearest(
        &self,
        collection: &Collection,
        selection: &RecordSelection,
        (embeddings, limit): (&[Embedding], u32),
        shown: RecordParts,
    ) -> Result<Option<Neighbours>, CollectionError> {
        let most_vectors = MOST_VECTORS.min(MOST_HITS / (limit as usize).max(1));
        let hits = u64::from(limit).saturating_mul(embeddings.len() as u64);
        let is_few = most_vectors > 0 && hits <= MANY_HITS;
        let Some(table) = collection.table.as_ref().filter(|_| is_few && selection.ids.is_none()) else {
            return Ok(None);
        };
        let filter = selection.filter.as_ref().map(escaped_filter);
        let filter = filter.as_ref();
        let mut searches = Searches {
            embeddings,
            limit,
            found: vec![None; embeddings.len()],
            scans: vec![Scan::Exact; embeddings.len()],
            records: Vec::new(),
            sizes: Vec::new(),
            bytes: 0,
            places: HashMap::new(),
        };
        let turn = Turn::default();
        let index = self.known.lock().index(&table.name);
        let index = match index {
            Some(index) => index,
            None => {
                let look = async |connection: &mut PgConnection| self.index(connection, table).await;
                self.database.in_read_with(failing(OPERATION), &[], look).await?
            }
        };
        let index = index.as_deref();
        for by in self.ways(table, filter, index) {
            let is_filtered = filter.is_some() || table.shared.is_some();
            let filtering = if is_filtered { Filtering::Some } else { Filtering::None };
            let (pending, settings) = match (by, index) {
                (NearestBy::Exact, _) | (_, None) => (searches.pending(|_| true), Vec::new()),
                (_, Some(index)) => (
                    searches.pending(|embedding| index.precision.holds(embedding.as_slice())),
                    index.settings(filtering, limit),
                ),
            };
            if matches!(by, NearestBy::Index(_)) {
                // If it finds too few, an exact scan follows.
                pending.iter().for_each(|search| searches.scans[*search] = Scan::Both);
            }
            let message =
                Message { collection, table, filter, limit, shown, by, settings: &settings, turn: &turn };
            let mut is_wide = false;
            for part in pending.chunks(MESSAGES * most_vectors) {
                let (first, second) = part.split_at(part.len().min(most_vectors));
                let (of_first, of_second) = try_join(
                    self.nearest_of((first, embeddings), &message),
                    self.nearest_of((second, embeddings), &message),
                )
                .await?;
                is_wide |= searches.add(first, of_first, (table, by))?;
                is_wide |= searches.add(second, of_second, (table, by))?;
            }
            if is_wide {
                self.known.lock().know_wide(table, filter);
            }
        }
        let Searches { found, scans, records, .. } = searches;
        let nearest = found.into_iter().map(|hits| hits.expect("an exact scan finds all")).collect();
        Ok(Some(Neighbours { records, nearest, scans, has_unknown_ids: false }))
    }

    /// What a message finds that searches for the vectors with these places; nothing without places.
    async fn nearest_of(
        &self,
        (places, embeddings): (&[usize], &[Embedding]),
        message: &Message<'_>,
    ) -> Result<Vec<Found>, CollectionError> {
        let Message { collection, table, filter, limit, shown, by, settings, turn } = *message;
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut statements = Vec::with_capacity(places.len());
        for place in places {
            let search = (*place, &embeddings[*place], limit);
            statements.push(nearest_records(table, filter, search, shown, by).map_err(unsupported)?);
        }
        self.read_at_once(collection, (settings, statements), turn, |row| found(row, shown, by)).await
    }

    /// How the nearest are found: each in turn, for the searches that the former ones do not complete.
    fn ways(
        &self,
        table: &Table,
        filter: Option<&RecordFilter>,
        index: Option<&SearchedIndex>,
    ) -> Vec<NearestBy> {
        let mut ways = Vec::new();
        if let Some(index) = index {
            let known = self.known.lock();
            if (filter.is_some() || table.shared.is_some()) && !known.is_wide(table, filter) {
                ways.push(NearestBy::ExactUpTo(exact_scan_limit(index.rows).saturating_add(1)));
            }
            ways.push(NearestBy::Index(index.precision));
        }
        ways.push(NearestBy::Exact);
        ways
    }
}

impl Searches<'_> {
    /// The searches that are not complete and whose vectors `fit`.
    fn pending(&self, fit: impl Fn(&Embedding) -> bool) -> Vec<usize> {
        let is_pending = |search: &usize| self.found[*search].is_none() && fit(&self.embeddings[*search]);
        (0..self.found.len()).filter(is_pending).collect()
    }

    /// Adds the answer to the `pending` searches, and returns whether more records match than are compared.
    fn add(
        &mut self,
        pending: &[usize],
        rows: Vec<Found>,
        (table, by): (&Table, NearestBy),
    ) -> Result<bool, CollectionError> {
        let mut by_search: HashMap<usize, Vec<Found>> = HashMap::new();
        for row in rows {
            by_search.entry(row.search).or_default().push(row);
        }
        let mut is_wide = false;
        for search in pending {
            let rows = by_search.remove(search).unwrap_or_default();
            let is_complete = match by {
                NearestBy::Exact => true,
                NearestBy::ExactUpTo(most) => rows
                    .first()
                    .and_then(|row| row.matching)
                    .is_none_or(|matching| matching < i64::from(most)),
                NearestBy::Index(_) => rows.len() >= self.limit as usize,
            };
            is_wide |= !is_complete && matches!(by, NearestBy::ExactUpTo(_));
            if is_complete {
                if matches!(by, NearestBy::Index(_)) {
                    self.scans[*search] = Scan::Index;
                }
                let hits = rows.into_iter().map(|row| self.hit(row, table)).collect();
                self.found[*search] = Some(hits);
            }
        }
        if self.bytes > MAX_RECORDS_BYTES { Err(CollectionError::TooLarge) } else { Ok(is_wide) }
    }

    fn hit(&mut self, row: Found, table: &Table) -> (usize, f64) {
        let place = match self.places.entry(row.key) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(place) => {
                self.sizes.push(row.record.bytes());
                self.records.push(row.record);
                *place.insert(self.records.len() - 1)
            }
        };
        self.bytes = self.bytes.saturating_add(self.sizes[place]);
        (place, distance_shown(table.space, row.distance))
    }
}

fn found(row: &PgRow, parts: RecordParts, by: NearestBy) -> sqlx::Result<Found> {
    let search = row.try_get::<i64, _>("search")?;
    Ok(Found {
        search: usize::try_from(search).map_err(|error| sqlx::Error::Decode(error.into()))?,
        key: row.try_get("id")?,
        distance: row.try_get("distance")?,
        record: read(row, parts)?,
        matching: match by {
            NearestBy::ExactUpTo(_) => Some(row.try_get("matching")?),
            NearestBy::Exact | NearestBy::Index(_) => None,
        },
    })
}
