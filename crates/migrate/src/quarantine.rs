//! Quarantine of rejected records in `migration_rejects`.

use std::collections::HashSet;

use chroma::{Collection, Field, Record, json_lines::CollectionLines};
use store::postgres::write::QuarantinedRecord;

use crate::mapping::RejectReason;

/// Quarantines records, except for those that an earlier run quarantined.
pub(crate) struct Quarantine {
    lines: CollectionLines,
    /// [`QuarantinedRecord::digest`] of each quarantined record.
    known: HashSet<[u8; 32]>,
}

impl Quarantine {
    pub(crate) fn new(collection: &Collection, known: HashSet<[u8; 32]>) -> Self {
        Self { lines: CollectionLines::new(collection), known }
    }

    /// The quarantine entry of `record`; `None` if it already exists.
    pub(crate) fn take(&self, record: &Record, reason: RejectReason) -> Option<QuarantinedRecord> {
        let quarantined = self.quarantined(record, reason);
        (!self.known.contains(&quarantined.digest())).then_some(quarantined)
    }

    /// Whether exactly this `record` is quarantined because the table rejected its row.
    pub(crate) fn has_refused(&self, record: &Record) -> bool {
        self.known.contains(&self.quarantined(record, RejectReason::RefusedByTable).digest())
    }

    /// Whether the quarantine is empty.
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
