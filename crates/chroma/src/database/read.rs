//! Reads one collection: merges records, metadata, log and index, row by row (FORMAT §12).

use std::ops::ControlFlow;

use rusqlite::types::ValueRef;

use super::{
    Database,
    catalog::StoredCollection,
    cursor::Cursor,
    index::SegmentIndex,
    log::{LogIndex, LogVector, Operation, Unapplied},
    seq_id, statements,
    vector::Vectors,
};
use crate::{
    error::Error,
    fields::Fields,
    record::{CreatedAt, Field, Origin, Problem, ProblemKind, ReadReport, Record, Vector, Visit},
    text,
    warning::{Tally, Warning, WarningCode},
};

/// Records that are buffered until no writer has changed the index since they were read.
const BATCH_RECORDS: usize = 128;

/// The same limit in bytes of documents and vectors, which may have megabytes each.
const BATCH_BYTES: usize = 1 << 20;

/// How often a batch is read again before the index of an active writer counts as lost.
const INDEX_RELOADS: u32 = 5;

/// The state of one read.
pub(crate) struct Reader<'d> {
    vectors: Vectors<'d>,
    log: LogIndex,
    batch: Vec<Pending>,
    batch_bytes: usize,
    report: ReadReport,
}

/// A record that was read but not visited.
struct Pending {
    id: Vec<u8>,
    fields: Fields,
    log_vector: Option<LogVector>,
    vector: Vector,
}

impl<'d> Reader<'d> {
    /// Loads the index's ids and scans the collection's log.
    pub(crate) fn new(database: &'d Database, stored: &'d StoredCollection) -> Result<Self, Error> {
        let mut report = ReadReport::default();
        let mut tally = Tally::default();
        let mut index = SegmentIndex::load(database, stored, &mut report.warnings, &mut tally)?;
        let mut log = database.walk_log(stored, &index, &mut tally)?;
        if index.salvage(database, stored, &log, &mut report.warnings)? {
            // The effect of a log row depends on the content of the index. Its problems have been reported already.
            log = database.walk_log(stored, &index, &mut Tally::default())?;
        }
        let log_vector = database.snapshot.connection.prepare(statements::LOG_VECTOR);
        let log_vector = log_vector.map_err(database.snapshot.error("a vector of the log"))?;
        Ok(Self {
            vectors: Vectors { database, stored, index, log_vector, tally },
            log,
            batch: Vec::new(),
            batch_bytes: 0,
            report,
        })
    }

    /// Visits all records and returns the report.
    pub(crate) fn run(mut self, visit: Visit<'_>) -> Result<ReadReport, Error> {
        let flow = self.visit_stored(visit).and_then(|flow| match flow {
            ControlFlow::Continue(()) => self.visit_log_only(visit),
            ControlFlow::Break(()) => Ok(flow),
        });
        let mut flow = match flow {
            Ok(flow) => flow,
            Err(error) => {
                // Records read before the damage are visited, even if the visitor ends the read.
                let (ControlFlow::Continue(()) | ControlFlow::Break(())) = self.flush(visit)?;
                return Err(error);
            }
        };
        if flow.is_continue() {
            flow = self.flush(visit)?;
        }
        self.report.complete = flow.is_continue();
        if self.report.complete {
            self.warn_about_unseen();
        }
        self.report.warnings.extend(self.vectors.tally.into_warnings());
        Ok(self.report)
    }

    /// Visits the records of the metadata segment, merged with the log.
    fn visit_stored(&mut self, visit: Visit<'_>) -> Result<ControlFlow<()>, Error> {
        let database = self.vectors.database;
        let Some(segment) = &self.vectors.stored.metadata_segment else {
            return Ok(ControlFlow::Continue(()));
        };
        let Some(runs) = database.record_runs.get(&segment.key) else {
            return Ok(ControlFlow::Continue(()));
        };
        let connection = &database.snapshot.connection;
        let error = database.snapshot.error("the records");
        let limit = || database.snapshot.row_limit();
        let mut records = connection.prepare_cached(statements::RECORDS).map_err(&error)?;
        let mut metadata =
            connection.prepare_cached(&statements::metadata(&database.snapshot.schema)).map_err(&error)?;
        let lists = statements::metadata_lists(&database.snapshot.schema);
        let mut lists = lists.map(|sql| connection.prepare_cached(sql)).transpose().map_err(&error)?;
        for range in &runs.ranges {
            let range = [range.0, range.1];
            let mut records = records.query(range).map_err(&error)?;
            let mut metadata = Cursor::start(metadata.query(range), limit()).map_err(&error)?;
            let mut lists = match &mut lists {
                Some(statement) => Some(Cursor::start(statement.query(range), limit()).map_err(&error)?),
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
                metadata
                    .take(row_id, |row| fields.set_cells(row.key(), |column| row.cell(column)))
                    .map_err(&error)?;
                if let Some(lists) = &mut lists {
                    lists
                        .take(row_id, |row| fields.push_element(row.key(), |column| row.cell(column)))
                        .map_err(&error)?;
                }
                let id = match row.get_ref(2).map_err(&error)? {
                    ValueRef::Text(id) | ValueRef::Blob(id) => id,
                    _ => b"",
                };
                // Without a number, the record cannot resolve what is uncertain in the log.
                let changed = seq_id::decode(row.get_ref(4).map_err(&error)?).ok();
                if self.visit_record(id, Some((fields, changed)), visit)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Visits the records that exist only in unapplied log rows.
    fn visit_log_only(&mut self, visit: Visit<'_>) -> Result<ControlFlow<()>, Error> {
        for id in self.log.only_unapplied() {
            if self.visit_record(&id, None, visit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Visits one id: its record in the metadata segment, then its unapplied log rows, then its vector.
    fn visit_record(
        &mut self,
        id: &[u8],
        stored: Option<(Fields, Option<i64>)>,
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>, Error> {
        // A record that the log deletes later also counts as seen.
        let (mut fields, changed) = stored.unzip();
        let (log_vector, unapplied) = self.log.see(id, changed.flatten());
        for row in unapplied {
            apply(self.vectors.database, &mut fields, row)?;
        }
        let Some(fields) = fields else { return Ok(ControlFlow::Continue(())) };
        let vector = self.vectors.best(id, log_vector)?;
        self.batch_bytes += fields.document.as_ref().map_or(0, String::len);
        if let Vector::Present { embedding, .. } = &vector {
            self.batch_bytes += size_of_val(embedding.as_slice());
        }
        self.batch.push(Pending { id: id.to_owned(), fields, log_vector, vector });
        if self.batch.len() < BATCH_RECORDS && self.batch_bytes < BATCH_BYTES {
            return Ok(ControlFlow::Continue(()));
        }
        self.flush(visit)
    }

    /// Visits the buffered records; reads their vectors again if a writer changed the index.
    fn flush(&mut self, visit: Visit<'_>) -> Result<ControlFlow<()>, Error> {
        let mut batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let mut attempts = 0..INDEX_RELOADS;
        while self.vectors.index.has_changed() {
            let message = "files of the index changed during the read, so it was read again; stop the writer";
            if self.report.warnings.iter().all(|warning| warning.code != WarningCode::IndexChanged) {
                self.report.warnings.push(Warning::new(WarningCode::IndexChanged, message));
            }
            let (warnings, mut tally) = (&mut self.report.warnings, Tally::default());
            self.vectors.index = SegmentIndex::lost();
            if attempts.next().is_some() {
                self.vectors.index =
                    SegmentIndex::load(self.vectors.database, self.vectors.stored, warnings, &mut tally)?;
                self.vectors.index.salvage(
                    self.vectors.database,
                    self.vectors.stored,
                    &self.log,
                    warnings,
                )?;
            }
            for pending in &mut batch {
                pending.vector = self.vectors.best(&pending.id, pending.log_vector)?;
            }
        }
        for pending in batch.drain(..) {
            let record = self.record(pending);
            if visit(record).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.batch = batch;
        Ok(ControlFlow::Continue(()))
    }

    fn record(&mut self, pending: Pending) -> Record {
        let Pending { id, fields, vector, .. } = pending;
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
                    .vectors
                    .stored
                    .collection
                    .dimension
                    .is_some_and(|dimension| dimension != embedding.dimension())
                {
                    let what = "vectors do not have the collection's dimension, for ids";
                    self.vectors.tally.add(WarningCode::DimensionMismatch, what, &id);
                }
            }
            Vector::Missing { .. } => {
                self.report.missing += 1;
                self.vectors.tally.add(WarningCode::VectorMissing, "records have no vector", &id);
            }
        }
        if lost_values > 0 {
            let what = "records have metadata keys without a value (NaN, which Chroma does not store)";
            self.vectors.tally.add(WarningCode::MetadataValueLost, what, &id);
        }
        let id = text::decode_owned(id);
        if let Some(original) = id.original {
            problems.push(Problem { field: Field::Id, kind: ProblemKind::NotUnicode, original });
        }
        if !problems.is_empty() {
            let what = "records have values that their fields cannot represent";
            self.vectors.tally.add(WarningCode::RecordProblem, what, id.text.as_bytes());
        }
        Record { id: id.text, document, uri, metadata, vector, created_at, problems }
    }

    /// Warns about ids of log and index without a record (FORMAT §10.5, §12 step 7).
    fn warn_about_unseen(&mut self) {
        for id in self.log.unseen_records() {
            let what = "ids in the log have no record and were not deleted";
            self.vectors.tally.add(WarningCode::LogRowUnapplied, what, &id);
        }
        // An index that was loaded again does not know which ids were read before.
        let was_reloaded =
            self.report.warnings.iter().any(|warning| warning.code == WarningCode::IndexChanged);
        let Some(index) = self.vectors.index.index.as_ref().filter(|_| !was_reloaded) else { return };
        for id in index.unread_ids().filter(|id| !self.log.is_deleted_in_log(id)) {
            let what = "vectors in the index have no record, for ids";
            self.vectors.tally.add(WarningCode::VectorWithoutRecord, what, &id);
        }
    }
}

/// Applies an unapplied log row to the fields of its record, if it exists.
fn apply(database: &Database, fields: &mut Option<Fields>, row: &Unapplied) -> Result<(), Error> {
    match (row.operation, &fields) {
        (Operation::Delete, _) => {
            *fields = None;
            return Ok(());
        }
        (Operation::Add, Some(_)) | (Operation::Update, None) => return Ok(()),
        (Operation::Add | Operation::Upsert, None) | (Operation::Update | Operation::Upsert, Some(_)) => {}
    }
    let error = database.snapshot.error("the log");
    let connection = &database.snapshot.connection;
    let mut statement = connection.prepare_cached(statements::LOG_METADATA).map_err(&error)?;
    let mut rows = statement.query([row.seq_id]).map_err(&error)?;
    let Some(cells) = rows.next().map_err(&error)? else { return Ok(()) };
    let time = created_at(cells.get_ref(1).map_err(&error)?);
    let fields = fields.get_or_insert_with(|| Fields { created_at: time, ..Fields::default() });
    match cells.get_ref(0).map_err(&error)? {
        ValueRef::Null => {}
        ValueRef::Text(json) | ValueRef::Blob(json) => fields.merge_log_row(row.seq_id, json),
        ValueRef::Integer(number) => fields.merge_log_row(row.seq_id, number.to_string().as_bytes()),
        ValueRef::Real(number) => fields.merge_log_row(row.seq_id, number.to_string().as_bytes()),
    }
    Ok(())
}

fn created_at(cell: ValueRef<'_>) -> Option<CreatedAt> {
    match cell {
        ValueRef::Text(bytes) => CreatedAt::parse(bytes),
        _ => None,
    }
}
