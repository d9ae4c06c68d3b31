//! Maps a Chroma record to a row of a table, and rejects what a row cannot hold.

use chroma::{ProblemKind, Record, Vector};
use records::{Embedding, Metadata, MetadataValue, timestamp};
use store::{
    ColumnValue, StoredRecord, metadata_to_json,
    postgres::{Column, ColumnType, Presence, Table},
};
use time::{PrimitiveDateTime, macros::datetime};
use uuid::Uuid;

/// Written where neither the record nor Chroma has a creation time; never the time of the migration.
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
    /// A lone surrogate, which is not valid Unicode.
    LoneSurrogate,
    /// NaN or an infinity in the vector.
    NonFiniteVector,
    /// NaN or an infinity in the metadata.
    NonFiniteMetadata,
    /// A float −0.0 in the metadata: JSONB has only 0.0.
    NegativeZero,
    /// A vector of another dimension than the column's.
    Dimension,
    /// The source has no vector of it.
    MissingEmbedding,
    /// No document, which the services' tables require.
    MissingDocument,
    /// Beyond PostgreSQL's own limits.
    TooLarge,
    /// Part of it is stored in a form that Chroma itself cannot read.
    Unreadable,
    /// Another record of the collection has the same id, which Chroma 0.3 allowed. The first one is used.
    DuplicateId,
    /// A constraint, an index or a trigger of the table, or a limit of the server, rejects it.
    RefusedByTable,
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
            Self::NegativeZero => "negative_zero",
            Self::Dimension => "dimension",
            Self::MissingEmbedding => "missing_embedding",
            Self::MissingDocument => "missing_document",
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
            Self::DuplicateId => "duplicate_id",
            Self::RefusedByTable => "refused_by_table",
        }
    }
}

impl RejectReason {
    /// The reason, as a phrase that follows the id.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NulInText => "a text has a NUL character",
            Self::NulInKey => "a metadata key has a NUL character",
            Self::LoneSurrogate => "a text is not Unicode",
            Self::NonFiniteVector => "the vector has NaN or an infinity",
            Self::NonFiniteMetadata => "the metadata has NaN or an infinity",
            Self::NegativeZero => "the metadata has a -0.0, which JSONB cannot tell from 0.0",
            Self::Dimension => "the vector's dimension differs from the table's",
            Self::MissingEmbedding => "it has no vector",
            Self::MissingDocument => "it has no text, which the table requires",
            Self::TooLarge => "it is larger than a row can be",
            Self::Unreadable => "part of it is stored in a form that ChromaDB itself cannot read",
            Self::DuplicateId => "an earlier record of the collection has the same id",
            Self::RefusedByTable => "a constraint, an index or a trigger of the table rejects it",
        }
    }
}

/// How many records lacked a value that a column requires, or had one of another type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// For each of the table's [`columns`](Table::columns), by name: how often its default was written.
    pub columns: Vec<(String, u64)>,
    /// Times that became 1970-01-01.
    pub created_at: u64,
    /// Times taken from ChromaDB because the record's `timestamp` is not a time in the years 1 to 9999.
    pub unread_timestamps: u64,
}

impl Defaults {
    pub(crate) fn of(table: &Table) -> Self {
        let columns = table.columns.iter().map(|column| (column.name.clone(), 0)).collect();
        Self { columns, created_at: 0, unread_timestamps: 0 }
    }

    /// How many defaults were written.
    pub fn total(&self) -> u64 {
        self.columns.iter().map(|(_, count)| count).sum::<u64>() + self.created_at + self.unread_timestamps
    }
}

/// What to do with a record that has a text but no vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingVectors {
    /// Reject it.
    Reject,
    /// Embed the text.
    Embed,
}

/// Whether `table` can hold `record` exactly as it is.
pub(crate) fn check_record(
    table: &Table,
    record: &Record,
    missing_vectors: MissingVectors,
) -> Result<(), RejectReason> {
    if let Some(problem) = record.problems.first() {
        return Err(match problem.kind {
            ProblemKind::NotUnicode => RejectReason::LoneSurrogate,
            ProblemKind::NotRepresentable | ProblemKind::NotJson | ProblemKind::NotReturned => {
                RejectReason::Unreadable
            }
        });
    }
    check_metadata(&record.metadata)?;
    match &record.document {
        Some(text) => check_text(text)?,
        None if table.text == Presence::Required => return Err(RejectReason::MissingDocument),
        None => {}
    }
    check_text(&record.id)?;
    record.uri.as_deref().map_or(Ok(()), check_text)?;
    match &record.vector {
        Vector::Present { embedding, .. } if embedding.dimension() != table.dimension => {
            return Err(RejectReason::Dimension);
        }
        Vector::Present { embedding, .. } if !embedding.is_finite() => {
            return Err(RejectReason::NonFiniteVector);
        }
        Vector::Present { .. } => {}
        Vector::Missing { .. } => {
            if missing_vectors == MissingVectors::Reject || record.document.is_none() {
                return Err(RejectReason::MissingEmbedding);
            }
        }
    }
    check_size(table, record)
}

/// The row of a record that passed [`check_record`]; counts defaults in `defaults`. Without a vector, the row gets an
/// empty one, which the caller must fill in. A record without a time, as servers return it, keeps that of its row, which
/// `created_at` returns.
pub(crate) fn map_record(
    table: &Table,
    record: Record,
    created_at: impl FnOnce(Uuid) -> Option<PrimitiveDateTime>,
    defaults: &mut Defaults,
) -> StoredRecord {
    let id = table.row_id(&record.id);
    let lifted =
        table.columns.iter().zip(&mut defaults.columns).map(|(column, (_, filled_in))| {
            column_value(column, record.metadata.get(&column.key), filled_in)
        });
    let collection = table.shared.iter().map(|shared| ColumnValue::Text(shared.name.clone()));
    let columns = collection.chain(lifted).collect();
    let own = record.metadata.get("timestamp");
    let own_time = match own {
        Some(MetadataValue::Text(text)) => timestamp::parse(text),
        _ => None,
    };
    let chroma_time = || timestamp::parse(record.created_at.as_ref()?.as_str());
    let created_at = match (own_time, chroma_time()) {
        (Some(own_time), _) => own_time,
        (None, Some(chroma_time)) => {
            defaults.unread_timestamps += u64::from(own.is_some());
            chroma_time
        }
        (None, None) => created_at(id).unwrap_or_else(|| {
            defaults.created_at += 1;
            UNKNOWN_TIME
        }),
    };
    let (embedding, embedding_is_made) = match record.vector {
        Vector::Present { embedding, .. } => (embedding, false),
        Vector::Missing { .. } => (Embedding::from(Vec::new()), true),
    };
    StoredRecord {
        id,
        source_id: Some(record.id),
        text: record.document,
        columns,
        metadata: (!record.metadata.is_empty()).then_some(record.metadata),
        uri: record.uri,
        created_at,
        embedding,
        embedding_is_made,
    }
}

/// The value of a metadata key that has a column. The key also stays in the metadata, with its type.
fn column_value(column: &Column, value: Option<&MetadataValue>, filled_in: &mut u64) -> ColumnValue {
    let fitting = value.and_then(|value| match (column.column_type, value) {
        (ColumnType::Text, MetadataValue::Text(text)) => Some(ColumnValue::Text(text.clone())),
        (ColumnType::Text, MetadataValue::Bool(value)) => Some(ColumnValue::Text(value.to_string())),
        (ColumnType::Text, MetadataValue::Int(value)) => Some(ColumnValue::Text(value.to_string())),
        (ColumnType::Text, MetadataValue::Float(value)) => Some(ColumnValue::Text(value.to_string())),
        (ColumnType::BigInt, MetadataValue::Int(value)) => Some(ColumnValue::BigInt(*value)),
        (ColumnType::Double, MetadataValue::Float(value)) => Some(ColumnValue::Double(*value)),
        (ColumnType::Double, MetadataValue::Int(value)) => exact_double(*value).map(ColumnValue::Double),
        (ColumnType::Boolean, MetadataValue::Bool(value)) => Some(ColumnValue::Boolean(*value)),
        (ColumnType::Timestamp, MetadataValue::Text(text)) => {
            timestamp::parse(text).map(ColumnValue::Timestamp)
        }
        _ => None,
    });
    match (fitting, &column.default) {
        (Some(value), _) => value,
        (None, Some(default)) => {
            *filled_in += 1;
            ColumnValue::Text(default.clone())
        }
        (None, None) => {
            // An absent key is NULL and not counted; a value of another type is counted.
            *filled_in += u64::from(value.is_some());
            ColumnValue::Null
        }
    }
}

/// The float with exactly this value, if there is one.
fn exact_double(value: i64) -> Option<f64> {
    const LAST_CERTAIN: i64 = 1 << f64::MANTISSA_DIGITS;
    // The conversion is exact within these bounds.
    #[expect(clippy::cast_precision_loss)]
    (-LAST_CERTAIN..=LAST_CERTAIN).contains(&value).then_some(value as f64)
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
        MetadataValue::Float(value) if *value == 0.0 && value.is_sign_negative() => {
            Err(RejectReason::NegativeZero)
        }
        MetadataValue::List(values) => values.iter().try_for_each(check_value),
        MetadataValue::Bool(_) | MetadataValue::Int(_) | MetadataValue::Float(_) => Ok(()),
    }
}

fn check_size(table: &Table, record: &Record) -> Result<(), RejectReason> {
    let text_bytes = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    // Cheap upper bounds first: nearly every record is far below the limits.
    let least = text_bytes(&record.document) + text_bytes(&record.uri) + record.id.len();
    let metadata_bound: usize =
        record.metadata.iter().map(|(key, value)| key.len() + value_bytes(value)).sum();
    if least + 8 * (metadata_bound + 16 * record.metadata.len()) < MAX_JSONB_BYTES {
        return Ok(());
    }
    let metadata_bytes = metadata_to_json(&record.metadata).len();
    let column_bytes: usize =
        table.columns.iter().filter_map(|column| record.metadata.get(&column.key)).map(value_bytes).sum();
    if metadata_bytes > MAX_JSONB_BYTES || least + metadata_bytes + column_bytes > MAX_ROW_BYTES {
        return Err(RejectReason::TooLarge);
    }
    Ok(())
}

/// Approximate length of a value as JSON; a float has up to 330 characters.
fn value_bytes(value: &MetadataValue) -> usize {
    match value {
        MetadataValue::Text(text) => text.len(),
        MetadataValue::List(values) => values.iter().map(|value| value_bytes(value) + 4).sum(),
        MetadataValue::Bool(_) | MetadataValue::Int(_) => 24,
        MetadataValue::Float(_) => 336,
    }
}

#[cfg(test)]
mod tests {
    use chroma::Origin;
    use records::{MODEL_DIMENSION, Service};

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

    fn reason(record: &Record) -> RejectReason {
        let table = Table::of(Service::Query);
        check_record(&table, record, MissingVectors::Reject).expect_err("the record is rejected")
    }

    fn map(table: &Table, record: Record) -> (StoredRecord, Defaults) {
        check_record(table, &record, MissingVectors::Reject).expect("the record can be held");
        let mut defaults = Defaults::of(table);
        (map_record(table, record, |_| None, &mut defaults), defaults)
    }

    #[test]
    fn record_without_the_service_keys_gets_defaults_that_are_counted() {
        let (row, defaults) = map(&Table::of(Service::Judge), record());
        assert_eq!(row.columns, ["unknown", "unknown", ""].map(|text| ColumnValue::Text(text.into())));
        assert_eq!(row.created_at, UNKNOWN_TIME);
        assert_eq!(row.metadata, None);
        let filled_in = ["theme", "model_id", "query"].map(|name| (name.to_owned(), 1)).to_vec();
        assert_eq!(defaults, Defaults { columns: filled_in, created_at: 1, unread_timestamps: 0 });
    }

    #[test]
    fn timestamp_outside_the_calendar_is_counted_and_replaced_by_chromas_time() {
        for odd in ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "-0044-03-15T00:00:00", "never"]
        {
            let mut record = record();
            record.created_at = chroma::CreatedAt::parse(b"2025-01-11 10:20:30");
            record.metadata.insert("timestamp".into(), MetadataValue::Text(odd.into()));
            let (row, defaults) = map(&Table::of(Service::Query), record);
            assert_eq!(row.created_at, datetime!(2025-01-11 10:20:30), "{odd}");
            assert_eq!((defaults.created_at, defaults.unread_timestamps), (0, 1), "{odd}");
            assert_eq!(row.metadata.expect("they stay")["timestamp"], MetadataValue::Text(odd.into()));
        }
    }

    #[test]
    fn service_keys_become_columns_and_stay_in_the_metadata() {
        let mut record = record();
        record.metadata.insert("theme".into(), MetadataValue::Text("science".into()));
        record.metadata.insert("timestamp".into(), MetadataValue::Text("2025-01-11T00:00:00.000137".into()));
        let metadata = record.metadata.clone();
        let (row, _) = map(&Table::of(Service::Query), record);
        assert_eq!(row.columns, [ColumnValue::Text("science".into())]);
        assert_eq!(row.created_at, datetime!(2025-01-11 00:00:00.000137));
        assert_eq!(row.metadata, Some(metadata));
        assert_eq!(row.source_id.as_deref(), Some("chatcmpl-1"));
    }

    #[test]
    fn record_that_postgres_cannot_hold_is_rejected_with_its_reason() {
        let with = |change: &dyn Fn(&mut Record)| {
            let mut record = record();
            change(&mut record);
            reason(&record)
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
        let minus = MetadataValue::List(vec![MetadataValue::Float(-0.0)]);
        assert_eq!(with(&|r| r.metadata = metadata("k", minus.clone())), RejectReason::NegativeZero);
        let nul = MetadataValue::List(vec![MetadataValue::Text("\0".into())]);
        assert_eq!(with(&|r| r.metadata = metadata("k", nul.clone())), RejectReason::NulInText);
        assert_eq!(with(&|r| r.metadata = metadata("\0", MetadataValue::Int(1))), RejectReason::NulInKey);
    }

    #[test]
    fn metadata_columns_accept_values_of_their_type_and_count_others() {
        let check = |column_type: ColumnType, value: MetadataValue, expected: ColumnValue, counted: u64| {
            let column = Column { key: "k".into(), name: "c".into(), column_type, default: None };
            let mut filled_in = 0;
            assert_eq!(column_value(&column, Some(&value), &mut filled_in), expected, "{value:?}");
            assert_eq!(filled_in, counted, "{value:?}");
        };
        check(ColumnType::BigInt, MetadataValue::Int(i64::MAX), ColumnValue::BigInt(i64::MAX), 0);
        check(ColumnType::BigInt, MetadataValue::Float(1.0), ColumnValue::Null, 1);
        check(ColumnType::Double, MetadataValue::Int(3), ColumnValue::Double(3.0), 0);
        check(ColumnType::Double, MetadataValue::Int(i64::MAX), ColumnValue::Null, 1);
        check(ColumnType::Boolean, MetadataValue::Int(1), ColumnValue::Null, 1);
        check(ColumnType::Text, MetadataValue::List(Vec::new()), ColumnValue::Null, 1);
        let time = MetadataValue::Text("2025-01-11 10:20:30".into());
        check(ColumnType::Timestamp, time, ColumnValue::Timestamp(datetime!(2025-01-11 10:20:30)), 0);
        check(ColumnType::Timestamp, MetadataValue::Text("soon".into()), ColumnValue::Null, 1);
    }

    #[test]
    fn record_without_a_vector_is_accepted_when_its_text_can_be_embedded() {
        let mut record = record();
        record.vector = Vector::Missing { reason: chroma::MissingReason::NotStored };
        let table = Table::of(Service::Query);
        assert_eq!(check_record(&table, &record, MissingVectors::Embed), Ok(()));
        assert!(map_record(&table, record, |_| None, &mut Defaults::of(&table)).embedding_is_made);
    }
}
