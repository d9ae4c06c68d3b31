//! Reads one collection of Chroma 0.3, row by row.

use std::ops::ControlFlow;

use super::{
    collections::StoredCollection,
    column::List,
    embeddings::{Embeddings, RecordColumns, Run},
    vector::{self, Narrowed},
};
use crate::{
    error::Error,
    fault::ParquetFault,
    fields::Fields,
    ids::IdTable,
    record::{Field, MissingReason, Origin, Problem, ProblemKind, ReadReport, Record, Vector, Visit},
    text,
    warning::{Tally, Warning, WarningCode},
};

/// Rows decoded at once: a few hundred kilobytes of vectors.
const ROWS_PER_BATCH: u64 = 64;

/// The values of a row.
struct Row<'b> {
    id: Option<&'b [u8]>,
    embedding: List<'b>,
    document: Option<&'b [u8]>,
    metadata: Option<&'b [u8]>,
}

/// The state of one read.
pub(super) struct Reader<'d> {
    embeddings: &'d Embeddings,
    stored: &'d StoredCollection,
    /// Of the collection, or of its first vector.
    dimension: Option<usize>,
    ids: IdTable,
    tally: Tally,
    report: ReadReport,
}

impl<'d> Reader<'d> {
    pub(super) fn new(embeddings: &'d Embeddings, stored: &'d StoredCollection) -> Self {
        Self {
            embeddings,
            stored,
            dimension: stored.collection.dimension,
            ids: IdTable::default(),
            tally: Tally::default(),
            report: ReadReport::default(),
        }
    }

    /// Visits all records and returns the report.
    pub(super) fn run(mut self, visit: Visit<'_>) -> Result<ReadReport, Error> {
        self.embeddings.file.begin_operation();
        let runs = self.embeddings.rows(&self.stored.key).map_or(&[][..], |rows| &rows.runs);
        let mut flow = ControlFlow::Continue(());
        for runs in runs.chunk_by(|a, b| a.group == b.group) {
            flow = self.visit_group(runs, visit)?;
            if flow.is_break() {
                break;
            }
        }
        self.report.complete = flow.is_continue();
        self.report.warnings.extend(self.tally.into_warnings());
        if self.embeddings.file.has_changed() {
            let message = "the file of the records changed during the read; stop the writer and read again";
            self.report.warnings.push(Warning::new(WarningCode::ParquetChanged, message));
        }
        Ok(self.report)
    }

    /// Visits runs of one row group.
    fn visit_group(&mut self, runs: &[Run], visit: Visit<'_>) -> Result<ControlFlow<()>, Error> {
        let Some(Run { group, .. }) = runs.first() else { return Ok(ControlFlow::Continue(())) };
        let mut columns = self.embeddings.open_group(*group)?;
        for run in runs {
            let mut read = 0;
            while read < run.count {
                let count = (run.count - read).min(ROWS_PER_BATCH);
                let first = run.first + read;
                let file = &self.embeddings.file;
                file.decode("the records", || columns.read(first, count as usize))?;
                if self.visit_batch(&columns, count, visit)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                read += count;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn visit_batch(
        &mut self,
        columns: &RecordColumns,
        count: u64,
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>, Error> {
        let (mut ids, mut embeddings) = (columns.id.texts(), columns.embedding.lists());
        let (mut documents, mut metadata) = (columns.document.texts(), columns.metadata.texts());
        for _ in 0..count {
            let row = self.embeddings.file.decode("the records", || {
                let mut row = || {
                    Some(Row {
                        id: ids.next()?,
                        embedding: embeddings.next()?,
                        document: documents.next()?,
                        metadata: metadata.next()?,
                    })
                };
                let message = || "columns of one row group differ in their number of rows".to_owned();
                row().ok_or_else(|| ParquetFault::Panicked { message: message() })
            })?;
            let record = self.record(row);
            if visit(record).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn record(&mut self, row: Row<'_>) -> Record {
        let id = row.id.unwrap_or_default();
        let mut fields = Fields::default();
        if let Some(json) = row.metadata {
            fields.set_user_metadata(json);
        }
        if fields.lost_values > 0 {
            let what = "records have metadata keys with the value null, which cannot be represented";
            self.tally.add(WarningCode::MetadataValueLost, what, id);
        }
        let document = row.document.map(text::decode);
        if let Some(original) = document.as_ref().and_then(|document| document.original.clone()) {
            let problem = Problem { field: Field::Document, kind: ProblemKind::NotUnicode, original };
            fields.problems.push(problem);
        }
        let decoded_id = text::decode(id);
        let id_problem = match (row.id, decoded_id.original) {
            (None, _) => Some((ProblemKind::NotRepresentable, Box::default())),
            (Some(_), original) => original.map(|original| (ProblemKind::NotUnicode, original)),
        };
        let id_problem = id_problem.map(|(kind, original)| Problem { field: Field::Id, kind, original });
        fields.problems.extend(id_problem);
        if !fields.problems.is_empty() {
            let what = "records have values that their fields cannot represent";
            self.tally.add(WarningCode::RecordProblem, what, id);
        }
        let known = self.ids.len();
        if self.ids.insert(id) < known {
            self.tally.add(WarningCode::DuplicateIds, "records have the same id as an earlier record", id);
        }
        self.report.records += 1;
        Record {
            id: decoded_id.text,
            document: document.map(|document| document.text),
            uri: None,
            metadata: fields.metadata,
            vector: self.vector(id, row.embedding),
            created_at: None,
            problems: fields.problems,
        }
    }

    fn vector(&mut self, id: &[u8], embedding: List<'_>) -> Vector {
        let components = match embedding {
            List::Null | List::Values([]) => Err(MissingReason::NotStored),
            List::WithNulls => {
                let what = "vectors have null components, for ids";
                self.tally.add(WarningCode::VectorUndecodable, what, id);
                Err(MissingReason::Undecodable)
            }
            List::Values(values) => match vector::narrow(values) {
                Narrowed::Exact(components) => Ok(components),
                Narrowed::Rounded(components) => {
                    let what = "vectors were rounded to single precision, for ids";
                    self.tally.add(WarningCode::VectorRounded, what, id);
                    Ok(components)
                }
                Narrowed::TooLarge => {
                    let what = "vectors have components out of the range of single precision, for ids";
                    self.tally.add(WarningCode::VectorUndecodable, what, id);
                    Err(MissingReason::Undecodable)
                }
            },
        };
        match components {
            Ok(components) => {
                if *self.dimension.get_or_insert(components.len()) != components.len() {
                    let what = "vectors do not have the collection's dimension, for ids";
                    self.tally.add(WarningCode::DimensionMismatch, what, id);
                }
                self.report.from_log += 1;
                Vector::Present { embedding: components.into(), origin: Origin::Log }
            }
            Err(reason) => {
                self.report.missing += 1;
                self.tally.add(WarningCode::VectorMissing, "records have no vector", id);
                Vector::Missing { reason }
            }
        }
    }
}
