//! Decides on the action for each record and counts them, both for planning and for copying.

use std::collections::HashSet;

use chroma::{Record, Vector, Warning};
use store::{
    RowDigest, StoredRecord,
    postgres::{
        Table,
        jobs::Counts,
        vector_index::Precision,
        write::{QuarantinedRecord, row_digest},
    },
};
use uuid::Uuid;

use crate::{
    mapping::{Defaults, RejectReason, check_record, map_record},
    options::Choices,
    quarantine::Quarantine,
    report::{Conflict, ConflictReason, CopyReport, Examples, Reject},
    target::{Action, TargetRows},
};

/// Classifies records in the order of the source.
pub(crate) struct Classifier {
    pub(crate) table: Table,
    pub(crate) rows: TargetRows,
    pub(crate) choices: Choices,
    /// `None` if rejects stop the migration before the copy.
    quarantine: Option<Quarantine>,
    /// Duplicate ids of the source, and those of them that were already seen.
    pub(crate) duplicates: HashSet<Uuid>,
    taken: HashSet<Uuid>,
    pub(crate) tally: Tally,
    scratch: Vec<u8>,
}

/// Counts of records by action.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) source_records: u64,
    /// Records that the source counts but did not return.
    pub(crate) unread: u64,
    pub(crate) inserts: u64,
    pub(crate) updates: u64,
    pub(crate) unchanged: u64,
    pub(crate) conflicts: Vec<Conflict>,
    pub(crate) rejects: Vec<Reject>,
    /// Records to quarantine that no earlier run has quarantined.
    pub(crate) quarantined: u64,
    pub(crate) defaults: Defaults,
    pub(crate) zero_vectors: Examples,
    pub(crate) embedded: u64,
    /// Whether half precision cannot hold a vector to be written.
    pub(crate) exceeds_half: bool,
    /// Ids of rows of another collection.
    pub(crate) of_others: Examples,
}

impl Tally {
    /// The report of a copy with these decisions that changed `counts` rows. `stale` rows without a record are kept.
    pub(crate) fn into_report(self, counts: Counts, stale: u64, warnings: Vec<Warning>) -> CopyReport {
        CopyReport {
            source_records: self.source_records,
            unread: self.unread,
            written: counts.written,
            updated: counts.updated,
            unchanged: self.unchanged,
            deleted: counts.deleted,
            stale,
            conflicts: self.conflicts,
            rejects: self.rejects,
            defaults: self.defaults,
            zero_vectors: self.zero_vectors,
            embedded: self.embedded,
            warnings,
            digest_source: String::new(),
        }
    }

    pub(crate) fn new(table: &Table) -> Self {
        Self {
            source_records: 0,
            unread: 0,
            inserts: 0,
            updates: 0,
            unchanged: 0,
            conflicts: Vec::new(),
            rejects: Vec::new(),
            quarantined: 0,
            defaults: Defaults::of(table),
            zero_vectors: Examples::default(),
            embedded: 0,
            exceeds_half: false,
            of_others: Examples::default(),
        }
    }
}

/// The decision on a record.
pub(crate) enum Classified {
    /// A row and its action. The digest is present if it was computed.
    Row(StoredRecord, Action, Option<RowDigest>),
    /// PostgreSQL cannot hold the record. The quarantine entry, unless an earlier run stored it.
    Rejected(Option<QuarantinedRecord>),
}

impl Classified {
    /// Whether this is a row to be written that still needs an embedding.
    pub(crate) fn lacks_embedding(&self) -> bool {
        matches!(self, Self::Row(row, Action::Insert | Action::Update(_), _) if row.embedding_is_made)
    }
}

impl Classifier {
    pub(crate) fn new(
        table: Table,
        rows: TargetRows,
        choices: Choices,
        quarantine: Option<Quarantine>,
    ) -> Self {
        Self {
            tally: Tally::new(&table),
            table,
            rows,
            choices,
            quarantine,
            duplicates: HashSet::new(),
            taken: HashSet::new(),
            scratch: Vec::new(),
        }
    }

    /// Resets the state for another read of the same source.
    pub(crate) fn restart(&mut self) {
        self.tally = Tally::new(&self.table);
        self.taken.clear();
        self.rows.forget_seen();
    }

    /// Classifies the next record.
    pub(crate) fn classify(&mut self, record: Record) -> Classified {
        self.tally.source_records += 1;
        match self.check(&record) {
            Ok(()) => self.decide(record),
            Err(reason) => {
                self.rows.see(self.table.row_id(&record.id));
                Classified::Rejected(self.reject(record, reason))
            }
        }
    }

    /// Rejects `record`, and returns its quarantine entry, unless an earlier run stored it.
    pub(crate) fn reject(&mut self, record: Record, reason: RejectReason) -> Option<QuarantinedRecord> {
        let quarantined = self.quarantine.as_ref().and_then(|rejects| rejects.take(&record, reason));
        self.tally.quarantined += u64::from(quarantined.is_some());
        self.tally.rejects.push(Reject { source_id: record.id, reason });
        quarantined
    }

    fn check(&mut self, record: &Record) -> Result<(), RejectReason> {
        check_record(&self.table, record, self.choices.missing_vectors)?;
        if !self.duplicates.is_empty() {
            let id = self.table.row_id(&record.id);
            if self.duplicates.contains(&id) && !self.taken.insert(id) {
                return Err(RejectReason::DuplicateId);
            }
        }
        Ok(())
    }

    fn decide(&mut self, record: Record) -> Classified {
        let tally = &mut self.tally;
        let is_zero = matches!(&record.vector, Vector::Present { embedding, .. }
            if embedding.as_slice().iter().all(|component| *component == 0.0));
        if is_zero {
            tally.zero_vectors.add(&record.id);
        }
        let rows = &self.rows;
        let row = map_record(&self.table, record, |id| rows.created_at(id), &mut tally.defaults);
        tally.embedded += u64::from(row.embedding_is_made);
        let mut digest = None;
        let scratch = &mut self.scratch;
        let needed = || *digest.insert(row_digest(scratch, &row));
        let action = self.rows.action(row.id, needed, self.choices.edited_rows);
        let source_id = row.source_id.as_deref().expect("a record has an id");
        let conflict = |reason| Conflict { source_id: Some(source_id.to_owned()), id: row.id, reason };
        if matches!(action, Action::Insert | Action::Update(_)) {
            tally.exceeds_half |= !Precision::Half.holds(row.embedding.as_slice());
        }
        match action {
            Action::Insert => tally.inserts += 1,
            Action::Keep => tally.unchanged += 1,
            Action::Update(_) => tally.updates += 1,
            Action::Edited => tally.conflicts.push(conflict(ConflictReason::Edited)),
            Action::BornHere => tally.conflicts.push(conflict(ConflictReason::BornHere)),
            Action::DeletedHere => tally.conflicts.push(conflict(ConflictReason::DeletedHere)),
            Action::OfAnother => {
                tally.of_others.add(source_id);
                tally.conflicts.push(conflict(ConflictReason::OfAnother));
            }
        }
        Classified::Row(row, action, digest)
    }
}
