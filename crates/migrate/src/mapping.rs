//! From a Chroma record to a row of a service's table: what becomes of each part, and what cannot be held.

use chroma::{ProblemKind, Record, Vector};
use records::{MODEL_DIMENSION, Metadata, MetadataValue, Service, stored_id};
use store::{StoredRecord, metadata_to_json};
use time::{PrimitiveDateTime, macros::datetime};

use crate::timestamp;

/// Written where a record has no theme, metric type or model. The old scripts dropped such records.
const UNKNOWN: &str = "unknown";
/// Written where neither the record nor Chroma knows when it was made; never the day of the migration.
const UNKNOWN_TIME: PrimitiveDateTime = datetime!(1970-01-01 00:00);

/// PostgreSQL builds a row in one allocation of at most 1 GiB; this leaves room for its own headers.
const MAX_ROW_BYTES: usize = 1_000_000_000;
/// JSONB keeps lengths of its parts in 28 bits (`JENTRY_OFFLENMASK`).
const MAX_JSONB_BYTES: usize = 0x0fff_ffff;

/// Why PostgreSQL cannot hold a record exactly as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// A U+0000 in id, document, URI or a metadata string.
    NulInText,
    /// A U+0000 in a metadata key.
    NulInKey,
    /// A lone surrogate, which is no Unicode text.
    LoneSurrogate,
    /// NaN or an infinity in the vector.
    NonFiniteVector,
    /// NaN or an infinity in the metadata.
    NonFiniteMetadata,
    /// A vector of another dimension than the column's.
    Dimension,
    /// No vector is left of it in the directory.
    MissingEmbedding,
    /// No document, which the services' tables require.
    MissingDocument,
    /// Beyond PostgreSQL's own limits.
    TooLarge,
    /// Part of it is stored in a form that Chroma itself could not read.
    Unreadable,
}

impl RejectReason {
    /// The stable name of the reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NulInText => "nul_in_text",
            Self::NulInKey => "nul_in_key",
            Self::LoneSurrogate => "lone_surrogate",
            Self::NonFiniteVector => "non_finite_vector",
            Self::NonFiniteMetadata => "non_finite_metadata",
            Self::Dimension => "dimension",
            Self::MissingEmbedding => "missing_embedding",
            Self::MissingDocument => "missing_document",
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
        }
    }
}

/// How many records lacked a part that the tables require, and got the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Theme or metric type became `unknown`.
    pub category: u64,
    /// Model became `unknown`.
    pub model_id: u64,
    /// Query became the empty string.
    pub query: u64,
    /// The time became 1970-01-01.
    pub created_at: u64,
}

impl Defaults {
    /// How many defaults were written.
    pub fn total(&self) -> u64 {
        self.category + self.model_id + self.query + self.created_at
    }
}

/// The row for `record` of `service`; counts in `defaults` what had to be filled in.
pub(crate) fn map_record(
    service: Service,
    record: Record,
    defaults: &mut Defaults,
) -> Result<StoredRecord, RejectReason> {
    if let Some(problem) = record.problems.first() {
        return Err(match problem.kind {
            ProblemKind::NotUnicode => RejectReason::LoneSurrogate,
            ProblemKind::NotRepresentable | ProblemKind::NotJson | ProblemKind::NotReturned => {
                RejectReason::Unreadable
            }
        });
    }
    check_metadata(&record.metadata)?;
    let text = record.document.ok_or(RejectReason::MissingDocument)?;
    check_text(&text)?;
    check_text(&record.id)?;
    record.uri.as_deref().map_or(Ok(()), check_text)?;
    let Vector::Present { embedding, .. } = record.vector else {
        return Err(RejectReason::MissingEmbedding);
    };
    if embedding.dimension() != MODEL_DIMENSION {
        return Err(RejectReason::Dimension);
    }
    if !embedding.is_finite() {
        return Err(RejectReason::NonFiniteVector);
    }

    let mut filled_in = Defaults::default();
    let category_key = match service {
        Service::Query | Service::Judge => "theme",
        Service::Evaluation => "metric_type",
    };
    let category = column_text(&record.metadata, category_key, UNKNOWN, &mut filled_in.category);
    let attributes = match service {
        Service::Query | Service::Evaluation => Vec::new(),
        Service::Judge => vec![
            column_text(&record.metadata, "model_id", UNKNOWN, &mut filled_in.model_id),
            column_text(&record.metadata, "query", "", &mut filled_in.query),
        ],
    };
    let own_time = match record.metadata.get("timestamp") {
        Some(MetadataValue::Text(text)) => timestamp::parse(text),
        _ => None,
    };
    let chroma_time = || timestamp::parse(record.created_at.as_ref()?.as_str());
    let created_at = own_time.or_else(chroma_time).unwrap_or_else(|| {
        filled_in.created_at += 1;
        UNKNOWN_TIME
    });
    let metadata = (!record.metadata.is_empty()).then_some(record.metadata);
    check_size(&text, &attributes, metadata.as_ref())?;

    defaults.category += filled_in.category;
    defaults.model_id += filled_in.model_id;
    defaults.query += filled_in.query;
    defaults.created_at += filled_in.created_at;
    Ok(StoredRecord {
        id: stored_id(&record.id),
        source_id: Some(record.id),
        text,
        category,
        attributes,
        metadata,
        uri: record.uri,
        created_at,
        embedding,
    })
}

/// The text of a metadata key that has a column of its own; what is no string is written as JSON writes it. The
/// key stays in the metadata, with its type, in any case.
fn column_text(metadata: &Metadata, key: &str, default: &str, defaults: &mut u64) -> String {
    match metadata.get(key) {
        Some(MetadataValue::Text(text)) => text.clone(),
        Some(MetadataValue::Bool(value)) => value.to_string(),
        Some(MetadataValue::Int(value)) => value.to_string(),
        Some(MetadataValue::Float(value)) => value.to_string(),
        Some(MetadataValue::List(_)) | None => {
            *defaults += 1;
            default.to_owned()
        }
    }
}

fn check_text(text: &str) -> Result<(), RejectReason> {
    if text.contains('\0') { Err(RejectReason::NulInText) } else { Ok(()) }
}

fn check_metadata(metadata: &Metadata) -> Result<(), RejectReason> {
    for (key, value) in metadata {
        if key.contains('\0') {
            return Err(RejectReason::NulInKey);
        }
        check_value(value)?;
    }
    Ok(())
}

fn check_value(value: &MetadataValue) -> Result<(), RejectReason> {
    match value {
        MetadataValue::Text(text) => check_text(text),
        MetadataValue::Float(value) if !value.is_finite() => Err(RejectReason::NonFiniteMetadata),
        MetadataValue::List(values) => values.iter().try_for_each(check_value),
        MetadataValue::Bool(_) | MetadataValue::Int(_) | MetadataValue::Float(_) => Ok(()),
    }
}

fn check_size(text: &str, attributes: &[String], metadata: Option<&Metadata>) -> Result<(), RejectReason> {
    let metadata_bytes = metadata.map_or(0, |metadata| metadata_to_json(metadata).len());
    let attribute_bytes: usize = attributes.iter().map(String::len).sum();
    let row_bytes = text.len() + attribute_bytes + metadata_bytes;
    if metadata_bytes > MAX_JSONB_BYTES || row_bytes > MAX_ROW_BYTES {
        return Err(RejectReason::TooLarge);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chroma::Origin;
    use records::Embedding;

    use super::*;

    fn record() -> Record {
        Record {
            id: "chatcmpl-1".into(),
            document: Some("An answer".into()),
            uri: None,
            metadata: Metadata::new(),
            vector: Vector::Present {
                embedding: Embedding::from(vec![0.5; MODEL_DIMENSION]),
                origin: Origin::Log,
            },
            created_at: None,
            problems: Vec::new(),
        }
    }

    fn reason(record: Record) -> RejectReason {
        map_record(Service::Query, record, &mut Defaults::default()).expect_err("the record is rejected")
    }

    #[test]
    fn record_without_the_services_keys_gets_defaults_and_is_counted() {
        let mut defaults = Defaults::default();
        let row = map_record(Service::Judge, record(), &mut defaults).expect("the record is mapped");
        assert_eq!(row.category, "unknown");
        assert_eq!(row.attributes, ["unknown", ""]);
        assert_eq!(row.created_at, UNKNOWN_TIME);
        assert_eq!(row.metadata, None);
        assert_eq!(defaults, Defaults { category: 1, model_id: 1, query: 1, created_at: 1 });
    }

    #[test]
    fn services_keys_become_columns_and_stay_in_the_metadata() {
        let mut record = record();
        record.metadata.insert("theme".into(), MetadataValue::Text("science".into()));
        record.metadata.insert("timestamp".into(), MetadataValue::Text("2025-01-11T00:00:00.000137".into()));
        let metadata = record.metadata.clone();
        let row = map_record(Service::Query, record, &mut Defaults::default()).expect("the record is mapped");
        assert_eq!(row.category, "science");
        assert_eq!(row.created_at, datetime!(2025-01-11 00:00:00.000137));
        assert_eq!(row.metadata, Some(metadata));
        assert_eq!(row.source_id.as_deref(), Some("chatcmpl-1"));
    }

    #[test]
    fn what_postgres_cannot_hold_is_rejected_with_its_reason() {
        let with = |change: &dyn Fn(&mut Record)| {
            let mut record = record();
            change(&mut record);
            reason(record)
        };
        let vector = |values: Vec<f32>| Vector::Present { embedding: values.into(), origin: Origin::Log };
        let metadata = |key: &str, value: MetadataValue| Metadata::from([(key.to_owned(), value)]);
        assert_eq!(with(&|r| r.document = None), RejectReason::MissingDocument);
        assert_eq!(with(&|r| r.document = Some("a\0b".into())), RejectReason::NulInText);
        assert_eq!(with(&|r| r.id = "\0".into()), RejectReason::NulInText);
        assert_eq!(with(&|r| r.uri = Some("\0".into())), RejectReason::NulInText);
        assert_eq!(with(&|r| r.vector = vector(vec![1.0; 3])), RejectReason::Dimension);
        assert_eq!(
            with(&|r| r.vector = vector(vec![f32::NAN; MODEL_DIMENSION])),
            RejectReason::NonFiniteVector
        );
        let missing = Vector::Missing { reason: chroma::MissingReason::NotStored };
        assert_eq!(with(&|r| r.vector = missing.clone()), RejectReason::MissingEmbedding);
        let nan = MetadataValue::Float(f64::NAN);
        assert_eq!(with(&|r| r.metadata = metadata("k", nan.clone())), RejectReason::NonFiniteMetadata);
        let nul = MetadataValue::List(vec![MetadataValue::Text("\0".into())]);
        assert_eq!(with(&|r| r.metadata = metadata("k", nul.clone())), RejectReason::NulInText);
        assert_eq!(with(&|r| r.metadata = metadata("\0", MetadataValue::Int(1))), RejectReason::NulInKey);
    }
}
