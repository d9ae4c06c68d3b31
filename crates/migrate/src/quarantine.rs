//! Records that PostgreSQL cannot hold, on their way to `migration_rejects`.

use std::collections::HashSet;

use chroma::{Collection, Field, Record, json_lines::CollectionLines};
use store::postgres::write::QuarantinedRecord;

use crate::mapping::RejectReason;

/// Sets records aside, but for those that an earlier run has set aside already.
pub(crate) struct Quarantine {
    lines: CollectionLines,
    /// [`QuarantinedRecord::digest`] of each of them.
    known: HashSet<[u8; 32]>,
}

impl Quarantine {
    pub(crate) fn new(collection: &Collection, known: HashSet<[u8; 32]>) -> Self {
        Self { lines: CollectionLines::new(collection), known }
    }

    /// What is to be kept of `record`; `None` if it is kept already.
    pub(crate) fn take(&self, record: &Record, reason: RejectReason) -> Option<QuarantinedRecord> {
        let quarantined = self.quarantined(record, reason);
        (!self.known.contains(&quarantined.digest())).then_some(quarantined)
    }

    /// Whether `record` is kept, exactly as it is, since the table refused its row.
    pub(crate) fn has_refused(&self, record: &Record) -> bool {
        self.known.contains(&self.quarantined(record, RejectReason::RefusedByTable).digest())
    }

    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn quarantined(&self, record: &Record, reason: RejectReason) -> QuarantinedRecord {
        let mut line = Vec::new();
        self.lines.append(record, &mut line);
        line.truncate(line.trim_ascii_end().len());
        let stored_id = record.problems.iter().find(|problem| problem.field == Field::Id);
        let source_id = stored_id.map_or(record.id.as_bytes(), |problem| &problem.original);
        QuarantinedRecord { source_id: source_id.to_vec(), reason: reason.as_str(), record: line }
    }
}
