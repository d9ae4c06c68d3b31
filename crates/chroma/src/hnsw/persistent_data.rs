//! The required fields of `index_metadata.pickle`: ids and their labels (FORMAT §7).

use std::io::{Read, Seek};

use super::{
    labels::Labels,
    pickle::{PickleError, Value, unpickle},
};

/// `PersistentData` of `local_persistent_hnsw.py`, or the dict with the same keys that Chroma ≥ 1.0 writes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct PersistentData {
    /// Label of each live id. Ids are bytes, as in SQLite.
    pub(super) labels: Labels,
    /// The last sequence number in the index, where Chroma ≤ 0.5.5 stored it.
    pub(super) max_seq_id: Option<i64>,
}

/// Why a pickle is not a `PersistentData`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PersistentDataError {
    #[error("failed to unpickle")]
    Pickle(#[source] PickleError),
    #[error("expected PersistentData, found something else")]
    NotPersistentData,
    #[error("expected `{field}` to be {expected}, found something else")]
    Field { field: &'static str, expected: &'static str },
}

impl PersistentData {
    /// Decodes a pickle of `size` bytes. For a broken one, returns the labels before the error.
    pub(super) fn decode(
        pickle: impl Read + Seek,
        size: u32,
    ) -> Result<Self, (PersistentDataError, Box<Labels>)> {
        match unpickle(pickle, size) {
            Ok(value) => Self::from_value(value).map_err(|error| (error, Box::default())),
            Err((error, labels)) => Err((PersistentDataError::Pickle(error), labels)),
        }
    }

    fn from_value(value: Value) -> Result<Self, PersistentDataError> {
        let Value::Dict(fields) = value else {
            return Err(PersistentDataError::NotPersistentData);
        };
        let mut labels = None;
        let mut max_seq_id = None;
        for (key, value) in fields.elements {
            match (key, value) {
                (b"id_to_label", Value::Labels(map)) => labels = Some(*map),
                (b"id_to_label", Value::Dict(empty)) if empty.elements.is_empty() => {
                    labels = Some(Labels::default());
                }
                (b"max_seq_id", Value::Int(number)) => max_seq_id = Some(number),
                (b"max_seq_id", Value::None) => max_seq_id = None,
                (b"max_seq_id", _) => {
                    return Err(PersistentDataError::Field {
                        field: "max_seq_id",
                        expected: "an int or None",
                    });
                }
                // `id_to_seq_id` is stale after an upgrade, `dimensionality` is None since 1.0: neither is used.
                _ => {}
            }
        }
        let missing = PersistentDataError::Field { field: "id_to_label", expected: "a dict" };
        Ok(Self { labels: labels.ok_or(missing)?, max_seq_id })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn decode(pickle: &[u8]) -> Result<PersistentData, (PersistentDataError, Box<Labels>)> {
        PersistentData::decode(Cursor::new(pickle), pickle.len() as u32)
    }

    #[test]
    fn fields_are_found_among_unknown_ones() {
        let pickle = b"\x80\x03}(X\x07\0\0\0unknown](NeX\x0b\0\0\0id_to_label}(X\x01\0\0\0aK\x05uX\x0a\0\0\0max_seq_idK\x09u.";
        let data = decode(pickle).unwrap();
        let mut labels = Labels::default();
        labels.insert(b"a", 5);
        assert_eq!(data, PersistentData { labels, max_seq_id: Some(9) });
    }

    #[test]
    fn invalid_types_are_rejected() {
        for pickle in [
            &b"}."[..],
            b"N.",
            b"}X\x0b\0\0\0id_to_label}NK\x01ss.",
            b"}X\x0b\0\0\0id_to_label}X\x01\0\0\0aJ\xff\xff\xff\xffss.",
            b"}(X\x0b\0\0\0id_to_label}X\x0a\0\0\0max_seq_id}u.",
        ] {
            assert!(decode(pickle).is_err());
        }
    }
}
