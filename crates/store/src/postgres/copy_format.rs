//! PostgreSQL's binary COPY format (documentation of COPY, "Binary Format"), as far as our rows need it.
//!
//! All integers are big-endian. A row is a 16-bit field count, then for each field a 32-bit length and the bytes
//! that the type's own `receive` function reads; length −1 is NULL.

use records::Embedding;
use time::{PrimitiveDateTime, macros::datetime};

use crate::{StoredRecord, row::metadata_to_json};

/// PostgreSQL counts timestamps in microseconds from here.
const EPOCH: PrimitiveDateTime = datetime!(2000-01-01 00:00);

/// Signature, flags and the length of the (empty) header extension.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// A field count of −1 ends the stream.
pub(crate) const TRAILER: &[u8] = &[0xff, 0xff];

/// Appends `record` in the order of [`crate::postgres::ServiceTable::columns`].
pub(crate) fn write_record(buffer: &mut Vec<u8>, record: &StoredRecord) {
    // id, source_id, text, category, metadata, uri, created_at, embedding
    let fields = 8 + record.attributes.len();
    buffer.extend(i16::try_from(fields).expect("a handful of columns").to_be_bytes());
    write_field(buffer, record.id.as_bytes());
    write_optional(buffer, record.source_id.as_deref());
    write_field(buffer, record.text.as_bytes());
    write_field(buffer, record.category.as_bytes());
    for attribute in &record.attributes {
        write_field(buffer, attribute.as_bytes());
    }
    match &record.metadata {
        // `jsonb_recv`: version 1, then the text.
        Some(metadata) => write_field(buffer, format!("\u{1}{}", metadata_to_json(metadata)).as_bytes()),
        None => write_null(buffer),
    }
    write_optional(buffer, record.uri.as_deref());
    write_field(buffer, &microseconds(record.created_at).to_be_bytes());
    write_embedding(buffer, &record.embedding);
}

/// pgvector's `vector_recv`: dimension, 16 unused bits, then the components.
fn write_embedding(buffer: &mut Vec<u8>, embedding: &Embedding) {
    let length = 4 + 4 * embedding.dimension();
    buffer.extend(i32::try_from(length).expect("pgvector ends at 16,000 dimensions").to_be_bytes());
    let dimension = i16::try_from(embedding.dimension()).expect("pgvector ends at 16,000 dimensions");
    buffer.extend(dimension.to_be_bytes());
    buffer.extend([0, 0]);
    for component in embedding.as_slice() {
        buffer.extend(component.to_be_bytes());
    }
}

/// Reads what pgvector's `vector_send` gives; `None` when it is not that.
pub(crate) fn read_embedding(bytes: &[u8]) -> Option<Embedding> {
    let (header, components) = bytes.split_first_chunk::<4>()?;
    let dimension = usize::from(u16::from_be_bytes([header[0], header[1]]));
    let (chunks, rest) = components.as_chunks::<4>();
    if chunks.len() != dimension || !rest.is_empty() {
        return None;
    }
    Some(Embedding::from(chunks.iter().map(|bytes| f32::from_be_bytes(*bytes)).collect::<Vec<_>>()))
}

fn microseconds(timestamp: PrimitiveDateTime) -> i64 {
    // `time` spans the years −9999 to 9999, which fit an i64 of microseconds thirty times over.
    i64::try_from((timestamp - EPOCH).whole_microseconds()).expect("20,000 years of microseconds fit an i64")
}

fn write_optional(buffer: &mut Vec<u8>, field: Option<&str>) {
    match field {
        Some(field) => write_field(buffer, field.as_bytes()),
        None => write_null(buffer),
    }
}

fn write_null(buffer: &mut Vec<u8>) {
    buffer.extend((-1_i32).to_be_bytes());
}

fn write_field(buffer: &mut Vec<u8>, field: &[u8]) {
    buffer.extend(i32::try_from(field.len()).expect("fields beyond 1 GB are rejected before").to_be_bytes());
    buffer.extend(field);
}
