//! The write-ahead log `embeddings_queue` of one collection: which row has the vector of each id, and which rows are
//! not applied to the metadata segment (FORMAT §4, §12 step 5). Holds sequence numbers, never vectors or documents.

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

/// The operation of a log row.
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

/// Whether a row took effect. An ADD of an existing id has no effect. The log, whose beginning may be purged, does not
/// always show whether the id existed; the record's own row may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Certain,
    Uncertain,
    /// It had no effect: the last change of the record is older.
    Ignored,
}

/// The latest state of an id's vector according to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogVector {
    /// The id was deleted.
    Deleted,
    /// This row has the vector.
    Row { seq_id: i64, operation: Operation, effect: Effect },
}

/// A row that is not applied to the metadata segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unapplied {
    /// The number of its id.
    number: u32,
    pub(crate) seq_id: i64,
    pub(crate) operation: Operation,
}

/// The state of a collection's ids according to the log. A million UUIDs take some 45 MB.
#[derive(Debug, Default)]
pub(crate) struct LogIndex {
    ids: IdTable,
    /// By the number of the id.
    vectors: Vec<Option<LogVector>>,
    /// By the number of the id, possibly shorter than the list of ids: the last ADD with a vector that was ignored
    /// because the id seemed to exist; −1 if none.
    ignored_adds: Vec<i64>,
    /// The numbers of the ids whose record was read.
    seen: Bits,
    /// Ordered by id and sequence number.
    unapplied: Vec<Unapplied>,
}

/// The state of both segments, which determines the effect of the log's rows.
pub(crate) struct Segments<'f> {
    /// Sequence number of the last row applied to the metadata segment; −1 if none.
    pub(crate) metadata_mark: i64,
    /// Sequence number of the last row in the index; −1 if none.
    pub(crate) index_mark: i64,
    /// Whether the index was flushed and cannot be read.
    pub(crate) index_is_lost: bool,
    /// Whether the index has an id.
    pub(crate) index_contains: &'f dyn Fn(&[u8]) -> bool,
}

/// Scans all rows of the collection. Rows beyond the metadata mark are recorded as unapplied.
pub(crate) fn index(
    snapshot: &Snapshot,
    collection: &str,
    runs: &Runs,
    segments: &Segments<'_>,
    tally: &mut Tally,
) -> Result<LogIndex, Error> {
    let LogIndex { mut ids, mut vectors, mut ignored_adds, mut unapplied, seen } = LogIndex::default();
    scan(snapshot, collection, runs.ranges.iter().copied(), tally, |row| {
        let number = ids.insert(row.id);
        if number == vectors.len() {
            vectors.push(None);
        }
        let Some(vector) = vectors.get_mut(number) else { return };
        let next = next(*vector, &row, segments);
        if row.operation == Operation::Add && row.has_vector && next == *vector {
            if number >= ignored_adds.len() {
                ignored_adds.resize(number + 1, -1);
            }
            if let Some(ignored_adds) = ignored_adds.get_mut(number) {
                *ignored_adds = row.seq_id;
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
    Ok(LogIndex { ids, vectors, ignored_adds, seen, unapplied })
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
                    "log rows have no id, at sequence numbers",
                    format!("{seq_id}").as_bytes(),
                );
                continue;
            };
            let has_vector = row.get_ref(4).map_err(&error)? != ValueRef::Text(b"null");
            match Operation::decode(operation) {
                Some(operation) => visit(LogRow { seq_id, operation, id, has_vector }),
                // 4 is BackfillFn in the sources ≥ 1.5, which no local Chroma writes.
                None if operation == ValueRef::Integer(4) => {}
                None => tally.add(
                    WarningCode::LogRowUnreadable,
                    "log rows have an unknown operation, for ids",
                    id,
                ),
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
    /// The state of an id in the log, and its unapplied rows, ascending. Marks the id as seen. `changed` is the log row
    /// of the record's last change.
    pub(crate) fn see(&mut self, id: &[u8], changed: Option<i64>) -> (Option<LogVector>, &[Unapplied]) {
        let Some(number) = self.ids.get(id) else { return (None, &[]) };
        self.seen.set(number, true);
        let vector = self.resolved_vector(number, changed);
        // Numbers of ids have 32 bits.
        let number = number as u32;
        let first = self.unapplied.partition_point(|row| row.number < number);
        // Both slices are within bounds: `first` is a partition point, `count` counts rows after it.
        let rows = self.unapplied.get(first..).unwrap_or_default();
        let count = rows.iter().take_while(|row| row.number == number).count();
        (vector, rows.get(..count).unwrap_or_default())
    }

    /// The state of an id's vector, where the record's last change resolves what is uncertain: an ADD that takes effect
    /// creates the record and is its first change, so an ADD after the last change had no effect.
    fn resolved_vector(&self, number: usize, changed: Option<i64>) -> Option<LogVector> {
        let add = |seq_id, effect| Some(LogVector::Row { seq_id, operation: Operation::Add, effect });
        let vector = self.vectors.get(number).copied().flatten();
        let ignored_adds = self.ignored_adds.get(number).copied().unwrap_or(-1);
        match (vector, changed) {
            (Some(LogVector::Row { seq_id, .. }), Some(changed))
                if changed == ignored_adds && seq_id < changed =>
            {
                add(changed, Effect::Certain)
            }
            (
                Some(LogVector::Row { seq_id, operation: Operation::Add, effect: Effect::Uncertain }),
                Some(changed),
            ) => add(
                seq_id,
                match changed.cmp(&seq_id) {
                    Ordering::Less => Effect::Ignored,
                    Ordering::Equal => Effect::Certain,
                    Ordering::Greater => Effect::Uncertain,
                },
            ),
            (vector, _) => vector,
        }
    }

    /// The log rows with the vectors of ids, given the last change of each record.
    pub(crate) fn vectors(
        &self,
        changed: impl Fn(&[u8]) -> Option<i64>,
    ) -> impl Iterator<Item = (IdText<'_>, i64, Effect)> {
        (0..self.ids.len()).filter_map(move |number| {
            let id = self.ids.id(number);
            match self.resolved_vector(number, changed(&id))? {
                LogVector::Row { seq_id, effect, .. } => Some((id, seq_id, effect)),
                LogVector::Deleted => None,
            }
        })
    }

    /// Whether the log ends with the deletion of the id.
    pub(crate) fn is_deleted_in_log(&self, id: &[u8]) -> bool {
        let vector = self.ids.get(id).and_then(|number| self.vectors.get(number));
        vector.is_some_and(|vector| *vector == Some(LogVector::Deleted))
    }

    /// Ids with unapplied rows that were not seen, in the order of their first row.
    pub(crate) fn only_unapplied(&self) -> Vec<Box<[u8]>> {
        let mut first_rows: Vec<(i64, u32)> = self
            .unapplied
            .chunk_by(|a, b| a.number == b.number)
            .filter_map(|rows| rows.first().map(|row| (row.seq_id, row.number)))
            .filter(|(_, number)| !self.seen.get(*number as usize))
            .collect();
        first_rows.sort_unstable();
        first_rows.into_iter().map(|(_, number)| Box::from(&*self.ids.id(number as usize))).collect()
    }

    /// Ids that were not seen although a row of the log creates them, in the order of the log.
    pub(crate) fn unseen_records(&self) -> impl Iterator<Item = IdText<'_>> {
        let claims_record = |vector: &Option<LogVector>| match vector {
            Some(LogVector::Row { operation, .. }) => *operation != Operation::Update,
            Some(LogVector::Deleted) | None => false,
        };
        let vectors = self.vectors.iter().enumerate();
        let unseen = vectors.filter(move |(number, vector)| !self.seen.get(*number) && claims_record(vector));
        unseen.map(|(number, _)| self.ids.id(number))
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
    /// Whether it is an UPDATE without earlier rows in log or index, so that the id may not have existed.
    fn may_have_no_target(self) -> bool {
        matches!(self, Self::Row { operation: Operation::Update, effect: Effect::Uncertain, .. })
    }
}

/// The state of an id after one more row.
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
        (Operation::Update, Some(vector)) => row_vector(!vector.may_have_no_target()),
        (Operation::Update, None) => row_vector((segments.index_contains)(row.id)),
        (Operation::Add, None) => {
            // A lost index may have had the id.
            let is_new = !segments.index_is_lost && !(segments.index_contains)(row.id);
            row_vector(row.seq_id > segments.index_mark && is_new)
        }
        (Operation::Add, Some(LogVector::Deleted)) => row_vector(true),
        // The index would contain the id if it had existed before that UPDATE; this is unknown for a lost index.
        (Operation::Add, Some(vector)) if vector.may_have_no_target() && !segments.index_is_lost => {
            row_vector(false)
        }
        (Operation::Add, Some(_)) => previous,
    }
}

/// The vector of a log row, by the statement [`statements::LOG_VECTOR`](super::statements::LOG_VECTOR); `None` if its
/// bytes are invalid.
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
    fn updates_count_unless_the_id_was_deleted() {
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
