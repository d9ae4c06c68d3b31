//! Selects the best available vector of an id from log and index (FORMAT §12 step 6).

use records::Embedding;
use rusqlite::Statement;

use super::{
    Database,
    catalog::StoredCollection,
    inaccessible::fail_if_inaccessible,
    index::SegmentIndex,
    log::{Effect, LogVector, read_vector},
};
use crate::{
    error::Error,
    hnsw::IndexedVector,
    record::{MissingReason, Origin, Vector},
    warning::{Tally, WarningCode},
};

/// Sources of the vectors of a collection.
pub(super) struct Vectors<'d> {
    pub(super) database: &'d Database,
    pub(super) stored: &'d StoredCollection,
    pub(super) index: SegmentIndex,
    /// [`statements::LOG_VECTOR`](super::statements::LOG_VECTOR).
    pub(super) log_vector: Statement<'d>,
    /// Problems of the vectors, and of the rest of the collection.
    pub(super) tally: Tally,
}

impl Vectors<'_> {
    /// The best available vector of an id (FORMAT §12 step 6).
    pub(super) fn best(&mut self, id: &[u8], log_vector: Option<LogVector>) -> Result<Vector, Error> {
        let missing = |reason| Ok(Vector::Missing { reason });
        let row = match log_vector {
            Some(LogVector::Deleted) => return missing(MissingReason::DeletedInLog),
            Some(LogVector::Row { seq_id, effect, .. }) => Some((seq_id, effect)),
            None => None,
        };
        let written = match row {
            Some((seq_id, _)) => read_vector(&self.database.snapshot, &mut self.log_vector, seq_id)?,
            None => None,
        };
        let indexed = self.indexed_vector(id)?;
        if let (Some((seq_id, _)), None) = (row, &written) {
            self.tally.add(
                WarningCode::LogRowUnreadable,
                "log rows have a vector that is not FLOAT32, for ids",
                id,
            );
            // The vector in the index is older than a row that is not in the index yet.
            if seq_id > self.index.mark {
                return missing(MissingReason::Undecodable);
            }
        }
        let effect = row.map_or(Effect::Certain, |(_, effect)| effect);
        match (written, indexed) {
            (None, None) if row.is_some() => missing(MissingReason::Undecodable),
            (None, None) if self.index.has_lost(id) => missing(MissingReason::IndexLost),
            (None, None) => missing(MissingReason::NotStored),
            (None, Some(indexed)) => Ok(from_index(indexed)),
            (Some(_), None) if effect == Effect::Ignored => missing(MissingReason::IndexLost),
            (Some(written), None) => Ok(from_log(written)),
            (Some(written), Some(indexed)) => {
                let is_same = indexed.is_same(&written);
                let is_destroyed = is_destroyed(&indexed.components) && !is_destroyed(&written);
                if !is_same && (effect == Effect::Ignored || (effect == Effect::Uncertain && !is_destroyed)) {
                    return Ok(from_index(indexed));
                }
                if !is_same && row.is_some_and(|(seq_id, _)| seq_id <= self.index.mark) {
                    let what = "vectors differ between index and log; the log's were used, for ids";
                    self.tally.add(WarningCode::IndexContradictsLog, what, id);
                }
                Ok(from_log(written))
            }
        }
    }

    fn indexed_vector(&mut self, id: &[u8]) -> Result<Option<IndexedVector>, Error> {
        let Some(index) = &mut self.index.index else { return Ok(None) };
        match index.vector(id) {
            Ok(vector) => Ok(vector),
            Err(error) => {
                fail_if_inaccessible(self.database, self.stored, &error)?;
                // It existed when the index was loaded: a writer has truncated the file since, or length.bin is short.
                self.tally.add(
                    WarningCode::IndexTruncated,
                    "vectors could not be read from the index files, for ids",
                    id,
                );
                self.index.is_lost = true;
                Ok(None)
            }
        }
    }
}

fn from_log(components: Vec<f32>) -> Vector {
    Vector::Present { embedding: Embedding::from(components), origin: Origin::Log }
}

fn from_index(indexed: IndexedVector) -> Vector {
    let origin = match indexed {
        IndexedVector { salvaged: true, .. } => Origin::Salvaged,
        IndexedVector { rounded: true, .. } => Origin::HnswRounded,
        _ => Origin::Hnsw,
    };
    Vector::Present { embedding: Embedding::from(indexed.components), origin }
}

/// Whether a vector is the result of an extreme norm in a cosine index: all zero, or not finite (FORMAT §6).
fn is_destroyed(components: &[f32]) -> bool {
    components.iter().all(|x| *x == 0.0) || components.iter().any(|x| !x.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_non_finite_vectors_are_destroyed() {
        assert!(
            is_destroyed(&[0.0, -0.0]) && is_destroyed(&[1.0, f32::INFINITY]) && !is_destroyed(&[0.0, 1.0])
        );
    }
}
