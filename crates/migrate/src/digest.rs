//! Digests of stored records: one for each part, so that a difference can be named, and one for a collection
//! that does not depend on the order of its records.

use std::fmt;

use records::{Metadata, MetadataValue};
use sha2::{Digest as _, Sha256};
use store::StoredRecord;
use uuid::Uuid;

/// The parts, in the order of [`RecordDigest`].
const PARTS: [&str; 8] =
    ["source_id", "text", "category", "attributes", "metadata", "uri", "created_at", "embedding"];

/// The first 64 bits of the SHA-256 of each part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordDigest([u64; PARTS.len()]);

impl RecordDigest {
    pub(crate) fn of(record: &StoredRecord) -> Self {
        let bits = record.embedding.as_slice().iter().flat_map(|component| component.to_le_bytes());
        Self([
            hash_optional(record.source_id.as_deref()),
            hash(record.text.as_bytes()),
            hash(record.category.as_bytes()),
            hash(&record.attributes.iter().fold(Vec::new(), |mut bytes, attribute| {
                write_text(&mut bytes, attribute);
                bytes
            })),
            hash(&record.metadata.as_ref().map_or_else(Vec::new, encode_metadata)),
            hash_optional(record.uri.as_deref()),
            hash(&record.created_at.assume_utc().unix_timestamp_nanos().to_le_bytes()),
            hash(&bits.collect::<Vec<u8>>()),
        ])
    }

    /// Names of the parts in which two digests differ.
    pub(crate) fn differing_parts(&self, other: &Self) -> Vec<&'static str> {
        PARTS
            .into_iter()
            .zip(self.0.iter().zip(&other.0))
            .filter_map(|(part, (one, other))| (one != other).then_some(part))
            .collect()
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    u64::from_le_bytes(*digest.first_chunk().expect("SHA-256 has 32 bytes"))
}

/// Absent and empty are different.
fn hash_optional(text: Option<&str>) -> u64 {
    let mut bytes = vec![u8::from(text.is_some())];
    bytes.extend(text.unwrap_or_default().as_bytes());
    hash(&bytes)
}

/// Keys in order, each value with a tag of its type, every text with its length.
fn encode_metadata(metadata: &Metadata) -> Vec<u8> {
    let mut bytes = vec![b'{'];
    for (key, value) in metadata {
        write_text(&mut bytes, key);
        write_value(&mut bytes, value);
    }
    bytes
}

fn write_value(bytes: &mut Vec<u8>, value: &MetadataValue) {
    match value {
        MetadataValue::Bool(value) => bytes.extend([b'b', u8::from(*value)]),
        MetadataValue::Int(value) => {
            bytes.push(b'i');
            bytes.extend(value.to_le_bytes());
        }
        MetadataValue::Float(value) => {
            bytes.push(b'f');
            bytes.extend(value.to_bits().to_le_bytes());
        }
        MetadataValue::Text(value) => {
            bytes.push(b's');
            write_text(bytes, value);
        }
        MetadataValue::List(values) => {
            bytes.push(b'l');
            bytes.extend((values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| write_value(bytes, value));
        }
    }
}

fn write_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// Sum, modulo 2²⁵⁶, of the SHA-256 of each record's id and digest: equal for equal sets of records in whatever
/// order they come. Printed as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CollectionDigest([u64; 4]);

impl CollectionDigest {
    pub(crate) fn add(&mut self, id: Uuid, digest: &RecordDigest) {
        let mut hasher = Sha256::new();
        hasher.update(id.as_bytes());
        for part in digest.0 {
            hasher.update(part.to_le_bytes());
        }
        let hash = hasher.finalize();
        let mut carry = false;
        for (sum, bytes) in self.0.iter_mut().zip(hash.as_chunks::<8>().0) {
            (*sum, carry) = sum.carrying_add(u64::from_le_bytes(*bytes), carry);
        }
    }
}

impl fmt::Display for CollectionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|limb| write!(f, "{limb:016x}"))
    }
}

#[cfg(test)]
mod tests {
    use records::Embedding;
    use time::macros::datetime;

    use super::*;

    fn record() -> StoredRecord {
        StoredRecord {
            id: Uuid::from_u128(7),
            source_id: Some("7".into()),
            text: "text".into(),
            category: "theme".into(),
            attributes: vec!["model".into(), "query".into()],
            metadata: Some(Metadata::from([("k".into(), MetadataValue::Int(1))])),
            uri: None,
            created_at: datetime!(2025-01-01 0:00),
            embedding: Embedding::from(vec![0.0, 1.0]),
        }
    }

    #[test]
    fn each_change_shows_in_its_part_and_nowhere_else() {
        let check = |part: &str, change: &dyn Fn(&mut StoredRecord)| {
            let mut changed = record();
            change(&mut changed);
            let differing = RecordDigest::of(&record()).differing_parts(&RecordDigest::of(&changed));
            assert_eq!(differing, [part]);
        };
        check("source_id", &|r| r.source_id = None);
        check("text", &|r| r.text.push('\u{301}'));
        check("category", &|r| r.category.clear());
        check("attributes", &|r| r.attributes = vec!["modelq".into(), "uery".into()]);
        check("metadata", &|r| r.metadata = Some(Metadata::from([("k".into(), MetadataValue::Float(1.0))])));
        check("metadata", &|r| r.metadata = None);
        check("uri", &|r| r.uri = Some(String::new()));
        check("created_at", &|r| r.created_at = datetime!(2025-01-01 0:00:00.000001));
        check("embedding", &|r| r.embedding = Embedding::from(vec![-0.0, 1.0]));
    }

    #[test]
    fn collection_digest_does_not_depend_on_order_but_on_every_record() {
        let digest = RecordDigest::of(&record());
        let sum = |ids: &[u128]| {
            let mut sum = CollectionDigest::default();
            ids.iter().for_each(|id| sum.add(Uuid::from_u128(*id), &digest));
            sum.to_string()
        };
        assert_eq!(sum(&[1, 2, 3]), sum(&[3, 1, 2]));
        assert_ne!(sum(&[1, 2, 3]), sum(&[1, 2]));
        assert_ne!(sum(&[1, 1]), sum(&[]));
        assert_eq!(sum(&[]), "0".repeat(64));
    }
}
