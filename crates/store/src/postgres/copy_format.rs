//! Reads and writes the parts of PostgreSQL's binary COPY format (documentation of COPY, "Binary Format") that our
//! rows need.
//!
//! All integers are big-endian. A row is a 16-bit field count, then for each field a 32-bit length and the bytes
//! that the type's own `receive` function reads and its `send` function writes; length −1 is NULL.
//!
//! The digest of a row is computed from these bytes, so that rows are compared as PostgreSQL returns them, without
//! being decoded. That works because each value has one representation: metadata is written as JSONB prints it
//! ([`metadata_to_json`](crate::metadata_to_json)).

use records::Embedding;
use sha2::{Digest as _, Sha256};
use time::{PrimitiveDateTime, macros::datetime};
use uuid::Uuid;

use super::sql::{collections::CollectionRow, service::NewRow};
use crate::{
    RowDigest, StoredRecord,
    row::{ColumnValue, write_metadata},
};

/// PostgreSQL counts timestamps in microseconds from here.
const EPOCH: PrimitiveDateTime = datetime!(2000-01-01 00:00);

/// Signature, flags and the length of the (empty) header extension.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// A field count of −1 ends the stream.
pub(crate) const TRAILER: &[u8] = &[0xff, 0xff];

/// Replaces, in a digest, an embedding that the source did not have and that was computed from the text.
const EMBEDDED: &[u8] = b"embedded";

/// Appends `record` as a row of [`Table::all_columns`](super::Table), copied by `run`, and returns its digest.
pub(crate) fn write_record(buffer: &mut Vec<u8>, record: &StoredRecord, run: Uuid) -> RowDigest {
    // id, source_id, text, metadata, uri, created_at, embedding, migration_run, migration_digest
    let fields = 9 + record.columns.len();
    buffer.extend(i16::try_from(fields).expect("PostgreSQL ends at 1,600 columns").to_be_bytes());
    let content = write_content(buffer, record);
    let digest = content.digest(&buffer[content.start..]);
    write_field(buffer, run.as_bytes());
    write_field(buffer, &digest.0);
    digest
}

/// Bytes of a position as a field.
pub(crate) const POSITION_BYTES: usize = size_of::<i32>() + size_of::<i64>();

/// Appends an encoded row with `position` as another field.
pub(crate) fn write_positioned(buffer: &mut Vec<u8>, row: &[u8], position: i64) {
    let (fields, rest) = row.split_first_chunk().expect("a row begins with the number of its fields");
    buffer.extend((i16::from_be_bytes(*fields) + 1).to_be_bytes());
    buffer.extend(rest);
    write_field(buffer, &position.to_be_bytes());
}

/// Appends `row` as a row of [`record_rows`](super::sql::service::record_rows).
pub(crate) fn write_new_row(buffer: &mut Vec<u8>, row: &NewRow<'_>) {
    // id, source_id, text, metadata, created_at, embedding
    let fields = 6 + row.columns.len();
    buffer.extend(i16::try_from(fields).expect("PostgreSQL ends at 1,600 columns").to_be_bytes());
    write_field(buffer, row.key.as_bytes());
    write_optional(buffer, row.source_id);
    write_field(buffer, row.text.as_bytes());
    for value in &row.columns {
        write_field(buffer, value.as_bytes());
    }
    write_jsonb(buffer, |json| json.extend(row.metadata.as_bytes()));
    write_field(buffer, &microseconds(row.created_at).to_be_bytes());
    write_embedding(buffer, row.embedding);
}

/// Appends `row` as a row of [`collection_rows`](super::sql::collections::collection_rows).
pub(crate) fn write_collection_row(buffer: &mut Vec<u8>, row: &CollectionRow<'_>) {
    // id, source_id, text, metadata, uri, created_at, embedding, is_escaped
    let fields = 8 + usize::from(row.collection.is_some()) + row.columns.len();
    buffer.extend(i16::try_from(fields).expect("PostgreSQL ends at 1,600 columns").to_be_bytes());
    write_field(buffer, row.key.as_bytes());
    write_optional(buffer, row.source_id.as_deref());
    write_optional(buffer, row.text.as_deref());
    if let Some(collection) = row.collection {
        write_field(buffer, collection.as_bytes());
    }
    for value in &row.columns {
        write_column(buffer, value);
    }
    match &row.metadata {
        Some(metadata) => write_jsonb(buffer, |json| json.extend(metadata.as_bytes())),
        None => write_null(buffer),
    }
    write_optional(buffer, row.uri.as_deref());
    write_field(buffer, &microseconds(row.created_at).to_be_bytes());
    write_embedding(buffer, row.embedding);
    match row.is_escaped {
        true => write_field(buffer, &[1]),
        false => write_null(buffer),
    }
}

/// The digest that [`write_record`] returns. `scratch` is overwritten.
pub(crate) fn digest_record(scratch: &mut Vec<u8>, record: &StoredRecord) -> RowDigest {
    scratch.clear();
    let content = write_content(scratch, record);
    content.digest(scratch)
}

/// The content of `record`, field by field.
pub(crate) fn content_fields(record: &StoredRecord) -> Vec<Option<Vec<u8>>> {
    let mut content = Vec::new();
    write_content(&mut content, record);
    CopiedRow { fields: &content }.fields().map(|field| field.map(<[u8]>::to_vec)).collect()
}

/// The position of the content of a row that was just written.
struct Content {
    start: usize,
    /// The offset of the embedding from `start`, if it counts as computed from the text.
    made_embedding: Option<usize>,
}

impl Content {
    fn digest(&self, content: &[u8]) -> RowDigest {
        match self.made_embedding {
            Some(at) => digest_without_embedding(&content[..at]),
            None => digest(content),
        }
    }
}

fn write_content(buffer: &mut Vec<u8>, record: &StoredRecord) -> Content {
    let start = buffer.len();
    write_field(buffer, record.id.as_bytes());
    write_optional(buffer, record.source_id.as_deref());
    write_optional(buffer, record.text.as_deref());
    for value in &record.columns {
        write_column(buffer, value);
    }
    match &record.metadata {
        Some(metadata) => write_jsonb(buffer, |json| write_metadata(json, metadata)),
        None => write_null(buffer),
    }
    write_optional(buffer, record.uri.as_deref());
    write_field(buffer, &microseconds(record.created_at).to_be_bytes());
    let embedding_at = buffer.len() - start;
    write_embedding(buffer, &record.embedding);
    Content { start, made_embedding: record.embedding_is_made.then_some(embedding_at) }
}

fn write_column(buffer: &mut Vec<u8>, value: &ColumnValue) {
    match value {
        ColumnValue::Null => write_null(buffer),
        ColumnValue::Text(text) => write_field(buffer, text.as_bytes()),
        ColumnValue::BigInt(value) => write_field(buffer, &value.to_be_bytes()),
        ColumnValue::Double(value) => write_field(buffer, &value.to_be_bytes()),
        ColumnValue::Boolean(value) => write_field(buffer, &[u8::from(*value)]),
        ColumnValue::Timestamp(value) => write_field(buffer, &microseconds(*value).to_be_bytes()),
    }
}

/// `jsonb_recv`: version 1, then the text.
fn write_jsonb(buffer: &mut Vec<u8>, write_text: impl FnOnce(&mut Vec<u8>)) {
    // The length is known only afterwards.
    let length_at = buffer.len();
    write_field(buffer, &[1]);
    write_text(buffer);
    let length = length_of(&buffer[length_at + size_of::<i32>()..]);
    buffer[length_at..length_at + size_of::<i32>()].copy_from_slice(&length);
}

/// pgvector's `vector_recv`: dimension, 16 unused bits, then the components.
fn write_embedding(buffer: &mut Vec<u8>, embedding: &Embedding) {
    let length = 4 + 4 * embedding.dimension();
    buffer.extend(i32::try_from(length).expect("pgvector ends at 16,000 dimensions").to_be_bytes());
    let dimension = i16::try_from(embedding.dimension()).expect("pgvector ends at 16,000 dimensions");
    buffer.extend(dimension.to_be_bytes());
    buffer.extend([0, 0]);
    // In one loop, which the compiler vectorizes: the embedding is most of a row.
    let start = buffer.len();
    buffer.resize(start + 4 * embedding.dimension(), 0);
    let components = buffer[start..].as_chunks_mut::<4>().0.iter_mut();
    components.zip(embedding.as_slice()).for_each(|(bytes, component)| *bytes = component.to_be_bytes());
}

/// Appends the components of an encoded embedding as `array_recv` reads a `real[]`: one dimension, no NULLs, the type, the
/// length, the first index, then the components as fields. `None` if `embedding` is no encoded embedding.
pub(crate) fn write_real_array(buffer: &mut Vec<u8>, embedding: &[u8]) -> Option<()> {
    /// The OID of `real`.
    const REAL: i32 = 700;
    let (_, components) = embedding.split_first_chunk::<4>()?;
    let (components, []) = components.as_chunks::<4>() else { return None };
    let length = i32::try_from(components.len()).ok()?;
    for part in [1, 0, REAL, length, 1] {
        buffer.extend(part.to_be_bytes());
    }
    components.iter().for_each(|component| write_field(buffer, component));
    Some(())
}

/// The time that a field holds.
pub(crate) fn read_time(field: &[u8]) -> Option<PrimitiveDateTime> {
    let microseconds = i64::from_be_bytes(field.try_into().ok()?);
    EPOCH.checked_add(time::Duration::microseconds(microseconds))
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
    buffer.extend(length_of(field));
    buffer.extend(field);
}

fn length_of(field: &[u8]) -> [u8; size_of::<i32>()] {
    i32::try_from(field.len()).expect("fields beyond 1 GB are rejected before").to_be_bytes()
}

/// A row as COPY returns it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopiedRow<'a> {
    /// All fields with their lengths, without the count before them.
    fields: &'a [u8],
}

impl<'a> CopiedRow<'a> {
    /// The fields in order; `None` is NULL. Ends early if the bytes are invalid.
    pub(crate) fn fields(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let mut rest = self.fields;
        std::iter::from_fn(move || {
            let (field, after) = split_field(rest)?;
            rest = after;
            Some(field)
        })
    }

    /// The digest of the first `count` fields, of which the last is the embedding; and the digest for an embedding
    /// that was computed from the text.
    pub(crate) fn content_digests(
        &self,
        count: usize,
    ) -> Option<(RowDigest, impl Fn() -> RowDigest + use<'a>)> {
        let (mut rest, mut embedding_at) = (self.fields, 0);
        for _ in 0..count {
            embedding_at = self.fields.len() - rest.len();
            rest = split_field(rest)?.1;
        }
        let content = &self.fields[..self.fields.len() - rest.len()];
        Some((digest(content), move || digest_without_embedding(&content[..embedding_at])))
    }
}

fn digest(content: &[u8]) -> RowDigest {
    shortened(Sha256::new_with_prefix(content))
}

fn digest_without_embedding(content: &[u8]) -> RowDigest {
    shortened(Sha256::new_with_prefix(content).chain_update(EMBEDDED))
}

fn shortened(hasher: Sha256) -> RowDigest {
    RowDigest(*hasher.finalize().first_chunk().expect("SHA-256 has 32 bytes"))
}

/// Splits off the first field of `bytes`.
fn split_field(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    match usize::try_from(i32::from_be_bytes(*length)) {
        Ok(length) => rest.split_at_checked(length).map(|(field, rest)| (Some(field), rest)),
        Err(_negative) => Some((None, rest)),
    }
}

/// Splits the chunks that COPY sends into rows, which may cross chunks.
#[derive(Debug, Default)]
pub(crate) struct RowSplitter {
    /// The bytes of an incomplete row.
    pending: Vec<u8>,
    has_header: bool,
}

impl RowSplitter {
    /// Calls `visit` for every row that `piece` completes.
    pub(crate) fn push(&mut self, piece: &[u8], mut visit: impl FnMut(CopiedRow<'_>)) {
        // PostgreSQL ends each chunk with a row, so in practice nothing is moved here.
        let owned = (!self.pending.is_empty()).then(|| {
            let mut bytes = std::mem::take(&mut self.pending);
            bytes.extend(piece);
            bytes
        });
        let mut bytes = owned.as_deref().unwrap_or(piece);
        if !self.has_header && bytes.len() >= HEADER.len() {
            bytes = &bytes[HEADER.len()..];
            self.has_header = true;
        }
        while self.has_header
            && let Some((row, rest)) = split_row(bytes)
        {
            visit(row);
            bytes = rest;
        }
        self.pending = bytes.to_vec();
    }

    /// Whether the stream ended with its trailer.
    pub(crate) fn is_complete(&self) -> bool {
        self.pending == TRAILER
    }
}

/// The fields of all rows in `bytes`, which begin with the [`HEADER`]. `None` if there are more than `most`, or not every byte
/// is part of a row.
pub(crate) fn encoded_fields(bytes: &[u8], most: usize) -> Option<Vec<Option<&[u8]>>> {
    let mut rest = bytes.strip_prefix(HEADER)?;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (row, after) = split_row(rest)?;
        fields.extend(row.fields());
        if fields.len() > most {
            return None;
        }
        rest = after;
    }
    Some(fields)
}

fn split_row(bytes: &[u8]) -> Option<(CopiedRow<'_>, &[u8])> {
    let (count, all) = bytes.split_first_chunk::<2>()?;
    let count = u16::try_from(i16::from_be_bytes(*count)).ok()?;
    let mut rest = all;
    for _ in 0..count {
        rest = split_field(rest)?.1;
    }
    Some((CopiedRow { fields: &all[..all.len() - rest.len()] }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_however_the_stream_is_cut() {
        let mut stream = HEADER.to_vec();
        for text in ["a", "", "longer"] {
            stream.extend(2_i16.to_be_bytes());
            write_optional(&mut stream, Some(text));
            write_null(&mut stream);
        }
        stream.extend(TRAILER);
        for size in 1..=stream.len() {
            let (mut splitter, mut found) = (RowSplitter::default(), Vec::new());
            for piece in stream.chunks(size) {
                splitter.push(piece, |row| {
                    found.push(row.fields().map(|field| field.map(<[u8]>::to_vec)).collect::<Vec<_>>());
                });
            }
            let texts: Vec<_> =
                found.iter().map(|fields| (fields[0].as_deref(), fields[1].is_none())).collect();
            assert_eq!(
                texts,
                [(Some(&b"a"[..]), true), (Some(b""), true), (Some(b"longer"), true)],
                "{size}"
            );
            assert!(splitter.is_complete());
        }
    }

    #[test]
    fn fields_are_those_of_whole_rows_or_none() {
        let mut bytes = HEADER.to_vec();
        let mut ends = vec![bytes.len()];
        for text in ["a", "longer"] {
            bytes.extend(2_i16.to_be_bytes());
            write_optional(&mut bytes, Some(text));
            write_null(&mut bytes);
            ends.push(bytes.len());
        }
        assert_eq!(encoded_fields(&bytes, 4), Some(vec![Some(&b"a"[..]), None, Some(b"longer"), None]));
        assert_eq!(encoded_fields(&bytes, 3), None, "there are more");
        for end in 0..=bytes.len() {
            let fields = encoded_fields(&bytes[..end], 4).map(|fields| fields.len());
            assert_eq!(fields, ends.iter().position(|whole| *whole == end).map(|rows| 2 * rows), "{end}");
        }
    }

    #[test]
    fn what_is_no_encoded_vector_is_no_array() {
        let mut array = Vec::new();
        assert_eq!(write_real_array(&mut array, &[0, 1, 0, 0, 63, 128, 0, 0]), Some(()));
        assert_eq!(array.len(), 5 * 4 + 2 * 4, "the header, the length of a component, the component");
        for bytes in [&[][..], &[0, 1, 0], &[0, 1, 0, 0, 63, 128, 0]] {
            assert_eq!(write_real_array(&mut Vec::new(), bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn truncated_stream_is_not_complete() {
        let mut splitter = RowSplitter::default();
        splitter.push(HEADER, |_| {});
        assert!(!splitter.is_complete());
        splitter.push(&[0, 1, 0, 0, 0, 9], |_| {});
        assert!(!splitter.is_complete());
    }
}
