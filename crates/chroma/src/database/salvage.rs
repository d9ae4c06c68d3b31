//! Matches vectors to ids when an index has lost its list of ids (FORMAT §7, "Lost pickle salvage").
//!
//! Chroma ≥ 1.0 numbers vectors (labels) and records (rows of `embeddings`) in the order of the log. So the labels that
//! are not marked deleted and the flushed rows match in order, unless a record was deleted after the flush: then its
//! label still exists and its row does not. If the match is ambiguous, the vectors that the log has of flushed records
//! must decide, or nothing is salvaged:
//!
//! 1. If there are as many labels as flushed rows, there is one way to match them.
//! 2. If there are more labels, and no other collection used row numbers in between, rows and labels increase in
//!    parallel with a fixed difference. Each difference that maps every row to a live label is tried.
//!
//! Chroma < 1.0 assigns labels in the order of a Python set, so its indexes are not salvaged.

use std::cell::Cell;

use rusqlite::types::ValueRef;

use super::{
    Database,
    catalog::{StoredCollection, VectorSegment},
    inaccessible::{fail_if_inaccessible, unreadable},
    log::{self, Effect, LogIndex, Operation},
    statements,
};
use crate::{
    error::Error,
    hnsw::{self, Index, IndexError, Labels},
    ids::IdTable,
    warning::Tally,
};

/// How many candidates are tried. There is more than one only if records at either end of the collection were deleted,
/// and each requires a pass over the labels of the file.
const MAX_CANDIDATES: usize = 64;

/// How many rows are looked up for all differences together; takes some seconds.
const MAX_LOOKUPS: usize = 1 << 26;

/// Why no vector was salvaged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("`max_seq_id` has no entry for it")]
    NoMark,
    #[error("it was written by Chroma < 1.0, which does not label vectors in insertion order")]
    NoOrder,
    #[error("its vectors cannot be read")]
    Index(#[source] IndexError),
    #[error(
        "it is ambiguous which of its {labels} vectors belong to the {rows} records and which to deleted ones"
    )]
    Counts { labels: usize, rows: usize },
    #[error("vectors in the log contradict the insertion order")]
    Contradiction,
    #[error("records were deleted after the flush, and no vector in the log shows which")]
    Ambiguous,
}

/// An index with inferred ids.
pub(crate) struct Salvaged {
    pub(crate) index: Index,
    /// The method, as a part of the message.
    pub(crate) by: &'static str,
}

/// A row of `embeddings`.
struct Row {
    row_id: i64,
    /// The number of its id among those of the collection.
    number: usize,
    seq_id: i64,
}

/// Effect of the log rows of an id after the flush.
#[derive(Clone, Copy)]
struct Tail {
    first: Operation,
    is_deleted: bool,
}

/// The flushed rows of the collection, and the number of rows that may have been flushed.
struct Flushed {
    rows: Vec<Row>,
    /// Ids that were deleted since the flush, and may have been flushed before.
    deleted: usize,
    /// Rows after those, created or changed by an UPSERT.
    uncertain: usize,
}

/// Matches the vectors of an index to the ids of a collection. `remains` is the readable part of its list of ids.
pub(super) fn salvage(
    database: &Database,
    stored: &StoredCollection,
    remains: &Labels,
    log: &LogIndex,
) -> Result<Result<Salvaged, Refusal>, Error> {
    let Some((segment, mark)) = stored.vector_segment.as_ref().and_then(|s| Some((s, s.mark?))) else {
        return Ok(Err(Refusal::NoMark));
    };
    let mut ids = IdTable::default();
    let rows = if stored.created_by_1_x { rows(database, stored, &mut ids)? } else { None };
    let Some(rows) = rows else {
        // The readable part of a torn list is certain for every version.
        return Ok(partial(database, stored, segment, remains)?.ok_or(Refusal::NoOrder));
    };
    let flushed = flushed(database, stored, mark, rows, &mut ids)?;
    let found = match hnsw::live_labels(&database.root, segment.id) {
        Ok(labels) => {
            let candidates = match candidates(database, &flushed, &labels) {
                Ok(candidates) => candidates,
                Err(refusal) => return Ok(partial(database, stored, segment, remains)?.ok_or(refusal)),
            };
            choose(
                database,
                stored,
                Candidates { segment, ids: &ids, flushed, candidates, live_labels: &labels, remains },
                log,
            )?
        }
        Err(error) => Err(Refusal::Index(damage(database, segment, error)?)),
    };
    let by_order = |index| Salvaged { index, by: "matched to their ids by insertion order" };
    match found {
        Ok(index) => Ok(Ok(by_order(index))),
        Err(refusal) => Ok(partial(database, stored, segment, remains)?.ok_or(refusal)),
    }
}

/// Returns an error of damage unchanged, and converts others: inaccessible data is not lost.
fn damage(database: &Database, segment: &VectorSegment, error: IndexError) -> Result<IndexError, Error> {
    match error.inaccessible() {
        Some(_) => Err(unreadable(database, segment.id, &error)),
        None => Ok(error),
    }
}

/// The index of the ids in the readable part of a torn list.
fn partial(
    database: &Database,
    stored: &StoredCollection,
    segment: &VectorSegment,
    remains: &Labels,
) -> Result<Option<Salvaged>, Error> {
    if remains.ids.len() == 0 {
        return Ok(None);
    }
    match hnsw::load_labels(&database.root, segment.id, stored.shape, remains.clone()) {
        Ok(index) => Ok(Some(Salvaged { index, by: "found by the readable part of the list of ids" })),
        Err(error) => {
            damage(database, segment, error)?;
            Ok(None)
        }
    }
}

/// The rows of the collection in their order; `None` if Chroma < 1.0 wrote one of them.
fn rows(
    database: &Database,
    stored: &StoredCollection,
    ids: &mut IdTable,
) -> Result<Option<Vec<Row>>, Error> {
    let Some(segment) = &stored.metadata_segment else { return Ok(None) };
    let Some(runs) = database.record_runs.get(&segment.key) else { return Ok(None) };
    let error = database.snapshot.error("the order of the records");
    let mut statement = database.snapshot.connection.prepare(statements::RECORD_ORDER).map_err(&error)?;
    let mut rows = Vec::new();
    for range in &runs.ranges {
        let mut found = statement.query([range.0, range.1]).map_err(&error)?;
        while let Some(row) = found.next().map_err(&error)? {
            let (ValueRef::Text(owner) | ValueRef::Blob(owner)) = row.get_ref(1).map_err(&error)? else {
                continue;
            };
            if owner != &*segment.key {
                continue;
            }
            let (ValueRef::Text(id) | ValueRef::Blob(id)) = row.get_ref(2).map_err(&error)? else {
                return Ok(None);
            };
            // Chroma < 1.0 stores sequence numbers as BLOBs.
            let ValueRef::Integer(seq_id) = row.get_ref(3).map_err(&error)? else { return Ok(None) };
            rows.push(Row { row_id: row.get(0).map_err(&error)?, number: ids.insert(id), seq_id });
        }
    }
    Ok(Some(rows))
}

/// The rows that were in the index when it was flushed.
fn flushed(
    database: &Database,
    stored: &StoredCollection,
    mark: i64,
    rows: Vec<Row>,
    ids: &mut IdTable,
) -> Result<Flushed, Error> {
    let mut tails: Vec<Option<Tail>> = vec![None; ids.len()];
    if let Some(runs) = database.log_runs.get(stored.key.as_bytes()) {
        log::scan(&database.snapshot, &stored.key, runs.after(mark), &mut Tally::default(), |row| {
            let number = ids.insert(row.id);
            if number >= tails.len() {
                tails.resize(number + 1, None);
            }
            if let Some(tail) = tails.get_mut(number) {
                let tail = tail.get_or_insert(Tail { first: row.operation, is_deleted: false });
                tail.is_deleted |= row.operation == Operation::Delete;
            }
        })?;
    }
    // A row whose number is beyond the mark was created or changed later; the first operation shows which.
    let first = |row: &Row| tails.get(row.number).copied().flatten().map(|tail| tail.first);
    let is_certain = |row: &Row| row.seq_id <= mark || first(row) == Some(Operation::Update);
    let last_certain = rows.iter().filter(|row| is_certain(row)).map(|row| row.row_id).max();
    let is_upsert = |row: &Row| first(row) == Some(Operation::Upsert);
    let is_before = |row: &Row| last_certain.is_some_and(|last| row.row_id < last);
    let uncertain = rows.iter().filter(|row| !is_certain(row) && is_upsert(row) && !is_before(row)).count();
    let may_be_flushed = |tail: &Tail| tail.is_deleted && tail.first != Operation::Add;
    let deleted = tails.iter().flatten().filter(|tail| may_be_flushed(tail)).count();
    let rows = rows.into_iter().filter(|row| is_certain(row) || (is_upsert(row) && is_before(row))).collect();
    Ok(Flushed { rows, deleted, uncertain })
}

/// A way to match rows and labels, both ascending.
#[derive(Clone, Copy)]
enum Candidate {
    /// In order, as far as there are rows.
    InOrder,
    /// The row's number minus the label's.
    Distance(i64),
}

impl Candidate {
    /// The label of each row.
    fn labels<'r>(self, rows: &'r [Row], labels: &'r [u64]) -> impl Iterator<Item = Option<u64>> + 'r {
        rows.iter().enumerate().map(move |(place, row)| match self {
            Self::InOrder => labels.get(place).copied(),
            Self::Distance(distance) => u64::try_from(row.row_id.checked_sub(distance)?).ok(),
        })
    }
}

/// The ways to match rows and labels that map every row to a live label.
fn candidates(database: &Database, flushed: &Flushed, labels: &[u64]) -> Result<Vec<Candidate>, Refusal> {
    let Flushed { rows, deleted, uncertain } = flushed;
    let Some(surplus) = labels.len().checked_sub(rows.len()) else { return Ok(Vec::new()) };
    // Rows that an UPSERT may have created come after all others, and so do their labels.
    if surplus == 0 || (*deleted == 0 && surplus <= *uncertain) {
        return Ok(vec![Candidate::InOrder]);
    }
    let is_alone = database.record_runs.len() == 1;
    let ends = (rows.first(), rows.last(), labels.first(), labels.last());
    let (Some(first_row), Some(last_row), Some(first_label), Some(last_label)) = ends else {
        return Ok(Vec::new());
    };
    if !is_alone || surplus > deleted + uncertain {
        return Ok(Vec::new());
    }
    let label = |label: u64| i64::try_from(label).unwrap_or(i64::MAX);
    let smallest = last_row.row_id.saturating_sub(label(*last_label));
    let largest = first_row.row_id.saturating_sub(label(*first_label));
    // Each step of the difference skips one surplus label, so there are at most that many.
    let distances = (smallest..=largest).take(surplus + 1);
    let lookups = Cell::new(0);
    let mut is_live = |label: Option<u64>| {
        lookups.set(lookups.get() + 1);
        label.is_some_and(|label| labels.binary_search(&label).is_ok())
    };
    let mut candidates = Vec::new();
    for candidate in distances.map(Candidate::Distance) {
        if candidate.labels(rows, labels).all(&mut is_live) {
            candidates.push(candidate);
        }
        if candidates.len() > MAX_CANDIDATES || lookups.get() > MAX_LOOKUPS {
            return Err(Refusal::Ambiguous);
        }
    }
    Ok(candidates)
}

/// Candidates and their data.
struct Candidates<'a> {
    segment: &'a VectorSegment,
    ids: &'a IdTable,
    flushed: Flushed,
    candidates: Vec<Candidate>,
    live_labels: &'a [u64],
    remains: &'a Labels,
}

/// The only candidate without a contradiction. If there were several, it must also be confirmed.
fn choose(
    database: &Database,
    stored: &StoredCollection,
    tried: Candidates<'_>,
    log: &LogIndex,
) -> Result<Result<Index, Refusal>, Error> {
    let Candidates { segment, ids, flushed, candidates, live_labels, remains } = tried;
    let rows = flushed.rows.len();
    let count = candidates.len();
    // The row of each id, counted from 1; a map would take ten times as much memory.
    let mut places = vec![0_u32; ids.len()];
    for (place, row) in (1..).zip(&flushed.rows) {
        if let Some(known) = places.get_mut(row.number) {
            *known = place;
        }
    }
    let changed = |id: &[u8]| {
        let place = places.get(ids.get(id)?)?.checked_sub(1)?;
        flushed.rows.get(place as usize).map(|row| row.seq_id)
    };
    let mut chosen = None;
    for candidate in candidates {
        let mut labels = Labels::default();
        for (row, label) in flushed.rows.iter().zip(candidate.labels(&flushed.rows, live_labels)) {
            // Every row of a candidate has a label.
            if let Some(label) = label {
                labels.insert(&ids.id(row.number), label);
            }
        }
        if remains.contradicts(&labels) {
            continue;
        }
        let confirmed_by_list = remains.ids.len();
        let mut index = match hnsw::load_labels(&database.root, segment.id, stored.shape, labels) {
            Ok(index) => index,
            Err(error) => return Ok(Err(Refusal::Index(damage(database, segment, error)?))),
        };
        let Some(confirmed) = confirmations(database, stored, &mut index, log, changed)? else { continue };
        let is_doubtful = count > 1 && confirmed + confirmed_by_list == 0;
        if is_doubtful || chosen.is_some() {
            return Ok(Err(Refusal::Ambiguous));
        }
        chosen = Some(index);
    }
    Ok(match chosen {
        Some(index) => Ok(index),
        None if count == 0 => Err(Refusal::Counts { labels: live_labels.len(), rows }),
        None => Err(Refusal::Contradiction),
    })
}

/// How many flushed vectors that are still in the log have the same position in the index; `None` if one has another.
fn confirmations(
    database: &Database,
    stored: &StoredCollection,
    index: &mut Index,
    log: &LogIndex,
    changed: impl Fn(&[u8]) -> Option<i64>,
) -> Result<Option<usize>, Error> {
    let Some(mark) = stored.vector_segment.as_ref().and_then(|segment| segment.mark) else { return Ok(None) };
    let error = database.snapshot.error("a vector of the log");
    let mut statement = database.snapshot.connection.prepare(statements::LOG_VECTOR).map_err(&error)?;
    let mut confirmed = 0;
    for (id, seq_id, effect) in log.vectors(changed).filter(|(_, seq_id, _)| *seq_id <= mark) {
        let Some(written) = log::read_vector(&database.snapshot, &mut statement, seq_id)? else { continue };
        match index.vector(&id) {
            Ok(Some(indexed)) if indexed.is_same(&written) => confirmed += 1,
            Ok(None) => {}
            Ok(Some(_)) if effect != Effect::Certain => {}
            Ok(Some(_)) => return Ok(None),
            Err(error) => {
                fail_if_inaccessible(database, stored, &error)?;
                return Ok(None);
            }
        }
    }
    index.clear_read();
    Ok(Some(confirmed))
}
