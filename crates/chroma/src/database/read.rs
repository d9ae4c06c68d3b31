//! Reads one collection: merges records, metadata, log and index, row by row (FORMAT §12).

use std::{ops::ControlFlow, path::PathBuf};

use rusqlite::types::ValueRef;

use super::{
    Database,
    catalog::StoredCollection,
    cursor::Cursor,
    log::{self, LogIndex, LogVector, Operation, Segments},
    runs::Runs,
    statements,
};
use crate::{
    Visit,
    error::Error,
    fields::Fields,
    hnsw::{self, Index, Load},
    record::{CreatedAt, Field, Origin, Problem, ProblemKind, ReadReport, Record, Vector},
    text,
    warning::{Tally, Warning, WarningCode},
};

/// The state of one read.
pub(crate) struct Reader<'d> {
    pub(crate) database: &'d Database,
    pub(crate) stored: &'d StoredCollection,
    pub(crate) index: Option<Index>,
    pub(crate) index_is_lost: bool,
    /// The last log row that the index has absorbed; −1 if none.
    pub(crate) index_mark: i64,
    log: LogIndex,
    pub(crate) tally: Tally,
    report: ReadReport,
}

impl<'d> Reader<'d> {
    /// Loads the index's ids and walks the collection's log.
    pub(crate) fn new(database: &'d Database, stored: &'d StoredCollection) -> Result<Self, Error> {
        let mut reader = Self {
            database,
            stored,
            index: None,
            index_is_lost: false,
            index_mark: -1,
            log: LogIndex::new(),
            tally: Tally::default(),
            report: ReadReport::default(),
        };
        reader.load_index();
        let empty = Runs::default();
        let runs = database.log_runs.get(stored.key.as_bytes()).unwrap_or(&empty);
        let index = reader.index.as_ref();
        let segments = Segments {
            metadata_mark: stored.metadata_segment.as_ref().and_then(|segment| segment.mark).unwrap_or(-1),
            index_mark: reader.index_mark,
            index_is_lost: reader.index_is_lost,
            index_contains: &|id| index.is_some_and(|index| index.contains(id)),
        };
        reader.log = log::index(&database.snapshot, &stored.key, runs, &segments, &mut reader.tally)?;
        Ok(reader)
    }

    /// Visits all records and says how it went.
    pub(crate) fn run(mut self, visit: Visit<'_>) -> Result<ReadReport, Error> {
        let mut flow = self.visit_stored(visit)?;
        if flow.is_continue() {
            flow = self.visit_log_only(visit)?;
        }
        self.report.complete = flow.is_continue();
        if self.report.complete {
            self.warn_of_unapplied();
        }
        self.warn_of_changes();
        self.report.warnings.extend(self.tally.into_warnings());
        Ok(self.report)
    }

    fn warn(&mut self, code: WarningCode, message: String) {
        self.report.warnings.push(Warning::new(code, message));
    }

    fn load_index(&mut self) {
        let Some(segment) = &self.stored.vector_segment else { return };
        match hnsw::load(
            &self.database.root,
            segment.id,
            self.stored.collection.space,
            segment.mark.is_some(),
        ) {
            Load::NeverFlushed => {}
            Load::Lost(error) => {
                self.index_is_lost = true;
                let mut message =
                    format!("the index `{}` is lost, only vectors in the log are left: {error}", segment.id);
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    message.push_str(&format!(": {cause}"));
                    source = cause.source();
                }
                self.warn(WarningCode::IndexLost, message);
            }
            Load::Loaded(index) => {
                // The row wins: an upgraded directory keeps a stale number in the pickle (FORMAT §5).
                self.index_mark = segment.mark.or(index.max_seq_id).unwrap_or(-1);
                self.warn_of_faults(&index);
                self.index = Some(index);
            }
        }
    }

    fn warn_of_faults(&mut self, index: &Index) {
        let faults = &index.faults;
        for id in &faults.unreachable_ids {
            self.tally.add(WarningCode::IndexTruncated, "ids of the index have no element in its files", id);
        }
        if faults.deleted_but_mapped > 0 {
            let message =
                format!("{} live elements of the index are marked deleted", faults.deleted_but_mapped);
            self.warn(WarningCode::IndexInconsistent, message);
        }
        if faults.duplicate_labels > 0 {
            let message = format!("{} elements of the index share a label", faults.duplicate_labels);
            self.warn(WarningCode::IndexInconsistent, message);
        }
        if faults.not_unit_vectors {
            let message = "the space is cosine, but not all vectors of the index have length 1".to_owned();
            self.warn(WarningCode::SpaceConflict, message);
        }
    }

    /// Records of the metadata segment, with what the log adds to them.
    fn visit_stored(&mut self, visit: Visit<'_>) -> Result<ControlFlow<()>, Error> {
        let database = self.database;
        let Some(segment) = &self.stored.metadata_segment else { return Ok(ControlFlow::Continue(())) };
        let Some(runs) = database.record_runs.get(&segment.key) else {
            return Ok(ControlFlow::Continue(()));
        };
        let connection = &database.snapshot.connection;
        let error = database.snapshot.error("the records");
        let mut records = connection.prepare_cached(statements::RECORDS).map_err(&error)?;
        let mut metadata =
            connection.prepare_cached(&statements::metadata(&database.snapshot.schema)).map_err(&error)?;
        let lists = statements::metadata_lists(&database.snapshot.schema);
        let mut lists = lists.map(|sql| connection.prepare_cached(sql)).transpose().map_err(&error)?;
        for range in &runs.ranges {
            let range = [range.0, range.1];
            let mut records = records.query(range).map_err(&error)?;
            let mut metadata = Cursor::start(metadata.query(range)).map_err(&error)?;
            let mut lists = match &mut lists {
                Some(statement) => Some(Cursor::start(statement.query(range)).map_err(&error)?),
                None => None,
            };
            while let Some(row) = records.next().map_err(&error)? {
                // A range may contain records of other segments.
                let (ValueRef::Text(owner) | ValueRef::Blob(owner)) = row.get_ref(1).map_err(&error)? else {
                    continue;
                };
                if owner != &*segment.key {
                    continue;
                }
                let row_id = row.get(0).map_err(&error)?;
                let mut fields =
                    Fields { created_at: created_at(row.get_ref(3).map_err(&error)?), ..Fields::default() };
                metadata.take(row_id, |key, cells| fields.set_cells(key, cells)).map_err(&error)?;
                if let Some(lists) = &mut lists {
                    lists.take(row_id, |key, cells| fields.push_element(key, cells)).map_err(&error)?;
                }
                let id = match row.get_ref(2).map_err(&error)? {
                    ValueRef::Text(id) | ValueRef::Blob(id) => id,
                    _ => b"",
                };
                if self.visit_record(id, Some(fields), visit)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Records that only unapplied log rows have.
    fn visit_log_only(&mut self, visit: Visit<'_>) -> Result<ControlFlow<()>, Error> {
        let is_left = |entry: &log::LogEntry| !entry.has_record && !entry.unapplied.is_empty();
        let mut left: Vec<(i64, Box<[u8]>)> = self
            .log
            .iter()
            .filter(|(_, entry)| is_left(entry))
            .filter_map(|(id, entry)| Some((entry.unapplied.first()?.0, id.clone())))
            .collect();
        left.sort_unstable();
        for (_, id) in left {
            if self.visit_record(&id, None, visit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// One id: what the metadata segment has of it, then its unapplied log rows, then its vector.
    fn visit_record(
        &mut self,
        id: &[u8],
        mut fields: Option<Fields>,
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>, Error> {
        let mut log_vector = None;
        if let Some(entry) = self.log.get_mut(id) {
            log_vector = entry.vector;
            // A record that the log goes on to delete is accounted for as well.
            entry.has_record = true;
            for (seq_id, operation) in std::mem::take(&mut entry.unapplied) {
                self.apply(&mut fields, seq_id, operation)?;
            }
        }
        let Some(fields) = fields else { return Ok(ControlFlow::Continue(())) };
        let vector = self.vector(id, log_vector)?;
        let record = self.record(id, fields, vector);
        Ok(visit(record))
    }

    fn apply(&self, fields: &mut Option<Fields>, seq_id: i64, operation: Operation) -> Result<(), Error> {
        match (operation, &fields) {
            (Operation::Delete, _) => {
                *fields = None;
                return Ok(());
            }
            (Operation::Add, Some(_)) | (Operation::Update, None) => return Ok(()),
            (Operation::Add | Operation::Upsert, None) | (Operation::Update | Operation::Upsert, Some(_)) => {
            }
        }
        let error = self.database.snapshot.error("the log");
        let connection = &self.database.snapshot.connection;
        let mut statement = connection.prepare_cached(statements::LOG_METADATA).map_err(&error)?;
        let mut rows = statement.query([seq_id]).map_err(&error)?;
        let Some(row) = rows.next().map_err(&error)? else { return Ok(()) };
        let time = created_at(row.get_ref(1).map_err(&error)?);
        let fields = fields.get_or_insert_with(|| Fields { created_at: time, ..Fields::default() });
        match row.get_ref(0).map_err(&error)? {
            ValueRef::Null => {}
            ValueRef::Text(json) | ValueRef::Blob(json) => fields.merge_log_row(seq_id, json),
            ValueRef::Integer(number) => fields.merge_log_row(seq_id, number.to_string().as_bytes()),
            ValueRef::Real(number) => fields.merge_log_row(seq_id, number.to_string().as_bytes()),
        }
        Ok(())
    }

    fn record(&mut self, id: &[u8], fields: Fields, vector: Vector) -> Record {
        let Fields { document, uri, metadata, created_at, mut problems, lost_values } = fields;
        self.report.records += 1;
        match &vector {
            Vector::Present { embedding, origin } => {
                match origin {
                    Origin::Log => self.report.from_log += 1,
                    Origin::Hnsw | Origin::HnswRounded => self.report.from_hnsw += 1,
                    Origin::Salvaged => self.report.salvaged += 1,
                }
                if self
                    .stored
                    .collection
                    .dimension
                    .is_some_and(|dimension| dimension != embedding.dimension())
                {
                    let what = "vectors are not of the collection's dimension, of";
                    self.tally.add(WarningCode::DimensionMismatch, what, id);
                }
            }
            Vector::Missing { .. } => {
                self.report.missing += 1;
                self.tally.add(WarningCode::VectorMissing, "records have no vector", id);
            }
        }
        if lost_values > 0 {
            let what = "records have metadata keys without a value (NaN, which Chroma does not store)";
            self.tally.add(WarningCode::MetadataValueLost, what, id);
        }
        let id = text::decode(id);
        if let Some(original) = id.original {
            problems.push(Problem { field: Field::Id, kind: ProblemKind::NotUnicode, original });
        }
        if !problems.is_empty() {
            let what = "records hold something that has no place in their fields";
            self.tally.add(WarningCode::RecordProblem, what, id.text.as_bytes());
        }
        Record { id: id.text, document, uri, metadata, vector, created_at, problems }
    }

    /// Log rows that claim a record which does not exist (FORMAT §10.5).
    fn warn_of_unapplied(&mut self) {
        let claims_record = |vector: &Option<LogVector>| match vector {
            Some(LogVector::Row { operation, .. }) => *operation != Operation::Update,
            Some(LogVector::Deleted) | None => false,
        };
        let mut ids: Vec<_> =
            self.log.iter().filter(|(_, entry)| !entry.has_record && claims_record(&entry.vector)).collect();
        ids.sort_unstable_by_key(|(id, _)| *id);
        for (id, _) in ids {
            self.tally.add(
                WarningCode::LogRowUnapplied,
                "ids of the log have no record and were not deleted",
                id,
            );
        }
    }

    fn warn_of_changes(&mut self) {
        let Some(segment) = &self.stored.vector_segment else { return };
        let path: PathBuf = self.database.path.clone();
        let before = self.database.stamps.get(&segment.id);
        if before.is_some_and(|before| *before != hnsw::stamp(&path, segment.id)) {
            let message =
                format!("files of the index `{}` changed during the read; stop the writer", segment.id);
            self.warn(WarningCode::IndexChanged, message);
        }
    }
}

fn created_at(cell: ValueRef<'_>) -> Option<CreatedAt> {
    match cell {
        ValueRef::Text(bytes) => CreatedAt::parse(bytes),
        _ => None,
    }
}
