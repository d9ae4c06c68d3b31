//! Chooses the best vector that log and index have left of an id (FORMAT §12 step 6).

use std::io;

use records::Embedding;
use rusqlite::{Statement, types::ValueRef};

use super::{
    Database,
    catalog::StoredCollection,
    index,
    log::{Effect, LogVector},
    read::Reader,
    snapshot::Snapshot,
};
use crate::{
    error::Error,
    hnsw::{self, IndexedVector},
    record::{MissingReason, Origin, Vector},
    warning::WarningCode,
};

/// How far log and cosine index may differ, relative to the largest component, and still hold one vector:
/// unit vector times length is off by 2 ulp, about 2e-7.
const SAME_VECTOR: f32 = 1e-5;

impl Reader<'_> {
    /// The best vector that is left of an id (FORMAT §12 step 6).
    pub(crate) fn vector(&mut self, id: &[u8], log_vector: Option<LogVector>) -> Result<Vector, Error> {
        let missing = |reason| Ok(Vector::Missing { reason });
        let row = match log_vector {
            Some(LogVector::Deleted) => return missing(MissingReason::DeletedInLog),
            Some(LogVector::Row { seq_id, effect, .. }) => Some((seq_id, effect)),
            None => None,
        };
        let written = match row {
            Some((seq_id, _)) => read_log_vector(&self.database.snapshot, &mut self.log_vector, seq_id)?,
            None => None,
        };
        let indexed = self.indexed_vector(id)?;
        if let (Some((seq_id, _)), None) = (row, &written) {
            self.tally.add(
                WarningCode::LogRowUnreadable,
                "log rows have a vector that is not FLOAT32, of",
                id,
            );
            // The index has an older vector than a row that it has not absorbed.
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
            (Some(_), None) if effect == Effect::Refuted => missing(MissingReason::IndexLost),
            (Some(written), None) => Ok(from_log(written)),
            (Some(written), Some(indexed)) => {
                let is_same = is_same(&written, &indexed);
                let is_destroyed = is_destroyed(&indexed.components) && !is_destroyed(&written);
                if !is_same && (effect == Effect::Refuted || (effect == Effect::Uncertain && !is_destroyed)) {
                    return Ok(from_index(indexed));
                }
                if !is_same && row.is_some_and(|(seq_id, _)| seq_id <= self.index.mark) {
                    let what = "vectors of the index differ from the log's, which were taken";
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
                refuse_inaccessible(self.database, self.stored, &error)?;
                // It was there when the index was loaded: a writer has cut the file since, or length.bin is short.
                self.tally.add(
                    WarningCode::IndexTruncated,
                    "vectors could not be read from the index files, of",
                    id,
                );
                self.index.is_lost = true;
                Ok(None)
            }
        }
    }
}

/// Fails with an error of the operating system, which is no sign that a vector is lost.
pub(super) fn refuse_inaccessible(
    database: &Database,
    stored: &StoredCollection,
    error: &io::Error,
) -> Result<(), Error> {
    match (hnsw::inaccessible_code(error), &stored.vector_segment) {
        (Some(code), Some(segment)) => {
            Err(index::inaccessible(database, segment.id, Some(hnsw::LEVEL0), code))
        }
        _ => Ok(()),
    }
}

/// The vector of a log row, by the statement [`statements::LOG_VECTOR`](super::statements::LOG_VECTOR); `None`
/// if its bytes are none.
pub(super) fn read_log_vector(
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

/// Whether the index holds what the log row wrote.
pub(super) fn is_same(written: &[f32], indexed: &IndexedVector) -> bool {
    let pairs = || written.iter().zip(&indexed.components);
    let same_length = written.len() == indexed.components.len();
    if !indexed.rounded {
        return same_length && pairs().all(|(a, b)| a.to_bits() == b.to_bits());
    }
    let largest = written.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    same_length && pairs().all(|(a, b)| (a - b).abs() <= SAME_VECTOR * largest)
}

/// Whether a vector is what extreme norms become in a cosine index: all zero, or not finite (FORMAT §6).
fn is_destroyed(components: &[f32]) -> bool {
    components.iter().all(|x| *x == 0.0) || components.iter().any(|x| !x.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_vectors_are_the_same_within_tolerance_and_exact_ones_bit_for_bit() {
        let indexed = |components: &[f32], rounded| IndexedVector {
            components: components.to_vec(),
            rounded,
            salvaged: false,
        };
        assert!(is_same(&[3.0, 0.0], &indexed(&[3.000_001, 1e-6], true)));
        assert!(!is_same(&[3.0, 0.0], &indexed(&[3.001, 0.0], true)));
        assert!(!is_same(&[3.0, 0.0], &indexed(&[f32::NAN, 0.0], true)));
        assert!(!is_same(&[0.0], &indexed(&[-0.0], false)));
        assert!(!is_same(&[0.0], &indexed(&[0.0, 0.0], true)));
        assert!(
            is_destroyed(&[0.0, -0.0]) && is_destroyed(&[1.0, f32::INFINITY]) && !is_destroyed(&[0.0, 1.0])
        );
    }
}
