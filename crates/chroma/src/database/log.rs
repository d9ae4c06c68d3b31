//! The write-ahead log `embeddings_queue` of one collection: which row has which id's vector, and which rows the
//! metadata segment has not absorbed (FORMAT §4, §12 step 5). Holds positions, never vectors or documents.

use std::cmp::Ordering;

use rusqlite::{Statement, types::ValueRef};

use super::{runs::Runs, snapshot::Snapshot, statements};
use crate::{
    bits::Bits,
    error::Error,
    hnsw,
    ids::{IdTable, IdText},
    warning::{Tally, WarningCode},
};

/// What a log row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Add,
    Update,
    Upsert,
    Delete,
}

/// One log row without its vector and metadata.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogRow<'r> {
    pub(crate) seq_id: i64,
    pub(crate) operation: Operation,
    pub(crate) id: &'r [u8],
    pub(crate) has_vector: bool,
}

/// Whether a row took effect. An ADD does nothing if the id existed, and the log, whose beginning may be purged,
/// does not always tell; the record's own row may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Certain,
    Uncertain,
    /// It did nothing: the record was last changed before it.
    Refuted,
}

/// The newest that the log says about an id's vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogVector {
    /// The id was deleted.
    Deleted,
    /// This row has it.
    Row { seq_id: i64, operation: Operation, effect: Effect },
}

/// A row that the metadata segment has not absorbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unapplied {
    /// The number of its id.
    number: u32,
    pub(crate) seq_id: i64,
    pub(crate) operation: Operation,
}

/// What the log says about the ids of a collection. A million UUIDs take some 45 MB.
#[derive(Debug, Default)]
pub(crate) struct LogIndex {
    ids: IdTable,
    /// By the number of the id.
    vectors: Vec<Option<LogVector>>,
    /// By the number of the id, as far as there are any: the last ADD with a vector that was passed over because
    /// the id seemed to exist; −1 if none.
    passed_over: Vec<i64>,
    /// The numbers of the ids of which a record was met.
    met: Bits,
    /// By id and sequence number.
    unapplied: Vec<Unapplied>,
}

/// What must be known of both segments to judge the log's rows.
pub(crate) struct Segments<'f> {
    /// The last row that the metadata segment has absorbed; −1 if none.
    pub(crate) metadata_mark: i64,
    /// The last row that the index has absorbed; −1 if none.
    pub(crate) index_mark: i64,
    /// Whether the index was flushed and cannot be read.
    pub(crate) index_is_lost: bool,
    /// Whether the index has an id.
    pub(crate) index_contains: &'f dyn Fn(&[u8]) -> bool,
}

/// Walks all rows of the collection. Rows beyond the metadata mark are noted as unapplied.
pub(crate) fn index(
    snapshot: &Snapshot,
    collection: &str,
    runs: &Runs,
    segments: &Segments<'_>,
    tally: &mut Tally,
) -> Result<LogIndex, Error> {
    let LogIndex { mut ids, mut vectors, mut passed_over, mut unapplied, met } = LogIndex::default();
    scan(snapshot, collection, runs.ranges.iter().copied(), tally, |row| {
        let number = ids.insert(row.id);
        if number == vectors.len() {
            vectors.push(None);
        }
        let Some(vector) = vectors.get_mut(number) else { return };
        let next = next(*vector, &row, segments);
        if row.operation == Operation::Add && row.has_vector && next == *vector {
            if number >= passed_over.len() {
                passed_over.resize(number + 1, -1);
            }
            if let Some(passed_over) = passed_over.get_mut(number) {
                *passed_over = row.seq_id;
            }
        }
        *vector = next;
        if row.seq_id > segments.metadata_mark {
            // Numbers of ids have 32 bits.
            let number = number as u32;
            unapplied.push(Unapplied { number, seq_id: row.seq_id, operation: row.operation });
        }
    })?;
    unapplied.sort_unstable();
    Ok(LogIndex { ids, vectors, passed_over, met, unapplied })
}

/// Visits the collection's rows in key ranges, ascending.
pub(crate) fn scan(
    snapshot: &Snapshot,
    collection: &str,
    ranges: impl Iterator<Item = (i64, i64)>,
    tally: &mut Tally,
    mut visit: impl FnMut(LogRow<'_>),
) -> Result<(), Error> {
    let error = snapshot.error("the log");
    for (first, last) in ranges {
        let mut statement = snapshot.connection.prepare_cached(statements::LOG_ROWS).map_err(&error)?;
        let mut rows = statement.query([first, last]).map_err(&error)?;
        while let Some(row) = rows.next().map_err(&error)? {
            // A range may contain rows of other collections.
            if topic_collection(row.get_ref(1).map_err(&error)?) != Some(collection.as_bytes()) {
                continue;
            }
            let seq_id = row.get(0).map_err(&error)?;
            let operation = row.get_ref(2).map_err(&error)?;
            let (ValueRef::Text(id) | ValueRef::Blob(id)) = row.get_ref(3).map_err(&error)? else {
                tally.add(
                    WarningCode::LogRowUnreadable,
                    "log rows without an id, at",
                    format!("{seq_id}").as_bytes(),
                );
                continue;
            };
            let has_vector = row.get_ref(4).map_err(&error)? != ValueRef::Text(b"null");
            match Operation::decode(operation) {
                Some(operation) => visit(LogRow { seq_id, operation, id, has_vector }),
                // 4 is BackfillFn of the ≥ 1.5 sources, which no local Chroma writes.
                None if operation == ValueRef::Integer(4) => {}
                None => tally.add(WarningCode::LogRowUnreadable, "log rows of an unknown operation, of", id),
            }
        }
    }
    Ok(())
}

/// The collection in a topic `persistent://<tenant>/<namespace>/<collection>`; the first two are settings.
pub(crate) fn topic_collection(topic: ValueRef<'_>) -> Option<&[u8]> {
    match topic {
        ValueRef::Text(topic) | ValueRef::Blob(topic) => topic.rsplit(|byte| *byte == b'/').next(),
        _ => None,
    }
}

/// Whether a record exists after operations on its id, given whether it existed before.
pub(crate) fn exists_after(existed: bool, operations: impl IntoIterator<Item = Operation>) -> bool {
    operations.into_iter().fold(existed, |exists, operation| match operation {
        Operation::Add | Operation::Upsert => true,
        Operation::Update => exists,
        Operation::Delete => false,
    })
}

impl LogIndex {
    /// What the log says about an id, and its unapplied rows, ascending. The id counts as met from now on.
    /// `changed` is the log row that its record names as its last change.
    pub(crate) fn meet(&mut self, id: &[u8], changed: Option<i64>) -> (Option<LogVector>, &[Unapplied]) {
        let Some(number) = self.ids.get(id) else { return (None, &[]) };
        self.met.set(number, true);
        let vector = self.settled(number, changed);
        // Numbers of ids have 32 bits.
        let number = number as u32;
        let first = self.unapplied.partition_point(|row| row.number < number);
        // Neither slice can be out of bounds: `first` is a partition point, `count` counts rows after it.
        let rows = self.unapplied.get(first..).unwrap_or_default();
        let count = rows.iter().take_while(|row| row.number == number).count();
        (vector, rows.get(..count).unwrap_or_default())
    }

    /// What the log says of an id's vector, where the record's last change decides what the log leaves open: an ADD
    /// that takes effect makes the record and is its first change, so one after the last change did nothing.
    fn settled(&self, number: usize, changed: Option<i64>) -> Option<LogVector> {
        let add = |seq_id, effect| Some(LogVector::Row { seq_id, operation: Operation::Add, effect });
        let vector = self.vectors.get(number).copied().flatten();
        let passed_over = self.passed_over.get(number).copied().unwrap_or(-1);
        match (vector, changed) {
            (Some(LogVector::Row { seq_id, .. }), Some(changed))
                if changed == passed_over && seq_id < changed =>
            {
                add(changed, Effect::Certain)
            }
            (
                Some(LogVector::Row { seq_id, operation: Operation::Add, effect: Effect::Uncertain }),
                Some(changed),
            ) => add(
                seq_id,
                match changed.cmp(&seq_id) {
                    Ordering::Less => Effect::Refuted,
                    Ordering::Equal => Effect::Certain,
                    Ordering::Greater => Effect::Uncertain,
                },
            ),
            (vector, _) => vector,
        }
    }

    /// The log rows that have the vectors of ids, given the last change of each record.
    pub(crate) fn vectors(
        &self,
        changed: impl Fn(&[u8]) -> Option<i64>,
    ) -> impl Iterator<Item = (IdText<'_>, i64, Effect)> {
        (0..self.ids.len()).filter_map(move |number| {
            let id = self.ids.id(number);
            match self.settled(number, changed(&id))? {
                LogVector::Row { seq_id, effect, .. } => Some((id, seq_id, effect)),
                LogVector::Deleted => None,
            }
        })
    }

    /// Whether the log deletes an id for good.
    pub(crate) fn says_deleted(&self, id: &[u8]) -> bool {
        let vector = self.ids.get(id).and_then(|number| self.vectors.get(number));
        vector.is_some_and(|vector| *vector == Some(LogVector::Deleted))
    }

    /// Ids that have unapplied rows and were not met, in the order of their first row.
    pub(crate) fn only_unapplied(&self) -> Vec<Box<[u8]>> {
        let mut first_rows: Vec<(i64, u32)> = self
            .unapplied
            .chunk_by(|a, b| a.number == b.number)
            .filter_map(|rows| rows.first().map(|row| (row.seq_id, row.number)))
            .filter(|(_, number)| !self.met.get(*number as usize))
            .collect();
        first_rows.sort_unstable();
        first_rows.into_iter().map(|(_, number)| Box::from(&*self.ids.id(number as usize))).collect()
    }

    /// Ids that were not met though the log has a row that makes them, in the order of the log.
    pub(crate) fn unmet_claims(&self) -> impl Iterator<Item = IdText<'_>> {
        let claims_record = |vector: &Option<LogVector>| match vector {
            Some(LogVector::Row { operation, .. }) => *operation != Operation::Update,
            Some(LogVector::Deleted) | None => false,
        };
        let vectors = self.vectors.iter().enumerate();
        let unmet = vectors.filter(move |(number, vector)| !self.met.get(*number) && claims_record(vector));
        unmet.map(|(number, _)| self.ids.id(number))
    }
}

impl Operation {
    fn decode(cell: ValueRef<'_>) -> Option<Self> {
        match cell {
            ValueRef::Integer(0) => Some(Self::Add),
            ValueRef::Integer(1) => Some(Self::Update),
            ValueRef::Integer(2) => Some(Self::Upsert),
            ValueRef::Integer(3) => Some(Self::Delete),
            _ => None,
        }
    }
}

impl LogVector {
    /// An UPDATE is the first that the log and the index know of this id, so it may have had nothing to update.
    fn is_unfounded_update(self) -> bool {
        matches!(self, Self::Row { operation: Operation::Update, effect: Effect::Uncertain, .. })
    }
}

/// What the log says after one more row.
fn next(previous: Option<LogVector>, row: &LogRow<'_>, segments: &Segments<'_>) -> Option<LogVector> {
    let row_vector = |is_certain| {
        let effect = if is_certain { Effect::Certain } else { Effect::Uncertain };
        Some(LogVector::Row { seq_id: row.seq_id, operation: row.operation, effect })
    };
    if row.operation != Operation::Delete && !row.has_vector {
        return previous;
    }
    match (row.operation, previous) {
        (Operation::Delete, _) => Some(LogVector::Deleted),
        (Operation::Upsert, _) => row_vector(true),
        (Operation::Update, Some(LogVector::Deleted)) => previous,
        (Operation::Update, Some(vector)) => row_vector(!vector.is_unfounded_update()),
        (Operation::Update, None) => row_vector((segments.index_contains)(row.id)),
        (Operation::Add, None) => {
            // A lost index may have had the id.
            let is_new = !segments.index_is_lost && !(segments.index_contains)(row.id);
            row_vector(row.seq_id > segments.index_mark && is_new)
        }
        (Operation::Add, Some(LogVector::Deleted)) => row_vector(true),
        // The index would know the id if it had existed before that UPDATE; a lost index knows nothing.
        (Operation::Add, Some(vector)) if vector.is_unfounded_update() && !segments.index_is_lost => {
            row_vector(false)
        }
        (Operation::Add, Some(_)) => previous,
    }
}

/// The vector of a log row, by the statement [`statements::LOG_VECTOR`](super::statements::LOG_VECTOR); `None`
/// if its bytes are none.
pub(super) fn read_vector(
    snapshot: &Snapshot,
    statement: &mut Statement<'_>,
    seq_id: i64,
) -> Result<Option<Vec<f32>>, Error> {
    let error = snapshot.error("a vector of the log");
    let mut rows = statement.query([seq_id]).map_err(&error)?;
    let Some(row) = rows.next().map_err(&error)? else { return Ok(None) };
    let is_float32 = row.get_ref(1).map_err(&error)? == ValueRef::Text(b"FLOAT32");
    Ok(match row.get_ref(0).map_err(&error)? {
        ValueRef::Blob(bytes) if is_float32 && !bytes.is_empty() && bytes.len() % 4 == 0 => {
            Some(hnsw::components(bytes))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// Rows are `<operation><seq>`: A add, U update, P upsert, D delete; lower case without a vector.
    fn check(rows: &str, mark: i64, in_index: bool, expected: Expect) {
        let segments = Segments {
            metadata_mark: -1,
            index_mark: mark,
            index_is_lost: false,
            index_contains: &|_| in_index,
        };
        let vector = rows.split_whitespace().fold(None, |previous, row| {
            let (operation, seq_id) = row.split_at(1);
            let has_vector = operation.chars().all(char::is_uppercase) && operation != "D";
            let operation = match operation.to_uppercase().as_str() {
                "A" => Operation::Add,
                "U" => Operation::Update,
                "P" => Operation::Upsert,
                _ => Operation::Delete,
            };
            next(
                previous,
                &LogRow { seq_id: seq_id.parse().unwrap(), operation, id: b"x", has_vector },
                &segments,
            )
        });
        let found = match vector {
            None => "nothing".to_owned(),
            Some(LogVector::Deleted) => "deleted".to_owned(),
            Some(LogVector::Row { seq_id, effect, .. }) => format!("{seq_id} {effect:?}").to_lowercase(),
        };
        expected.assert_eq(&found);
    }

    #[test]
    fn add_is_certain_only_where_it_cannot_be_a_duplicate() {
        check("A1", -1, false, expect!["1 certain"]);
        check("A1", 1, false, expect!["1 uncertain"]);
        check("A9", 5, true, expect!["9 uncertain"]);
        check("A1 A2", -1, false, expect!["1 certain"]);
        check("A1 D2 A3", 9, true, expect!["3 certain"]);
        check("a1 A2", -1, false, expect!["2 certain"]);
    }

    #[test]
    fn updates_count_unless_the_id_is_gone() {
        check("A1 U2", 9, true, expect!["2 certain"]);
        check("U2", 9, true, expect!["2 certain"]);
        check("U2", -1, false, expect!["2 uncertain"]);
        check("U2 A3", -1, false, expect!["3 uncertain"]);
        check("U2 U3 A4 U5", -1, false, expect!["5 certain"]);
        check("A1 D2 U3", -1, false, expect!["deleted"]);
        check("A1 u2", -1, false, expect!["1 certain"]);
        check("A1 D2 U3 P4", -1, false, expect!["4 certain"]);
        check("u1 p2", -1, false, expect!["nothing"]);
    }

    #[test]
    fn existence_follows_the_operations() {
        use Operation::{Add, Delete, Update, Upsert};
        assert!(!exists_after(false, [Update]));
        assert!(exists_after(false, [Upsert]));
        assert!(exists_after(true, [Delete, Update, Add]));
        assert!(!exists_after(true, [Add, Delete, Update]));
    }

    #[test]
    fn topic_ends_in_the_collection() {
        assert_eq!(topic_collection(ValueRef::Text(b"persistent://a/b/c")), Some(&b"c"[..]));
        assert_eq!(topic_collection(ValueRef::Text(b"c")), Some(&b"c"[..]));
        assert_eq!(topic_collection(ValueRef::Null), None);
    }
}
