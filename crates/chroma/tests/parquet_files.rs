//! Writes persist directories of Chroma 0.3, in DuckDB's encoding and in others.

use std::{fs::File, path::Path, sync::Arc};

use parquet::{
    basic::Compression,
    data_type::{ByteArray, ByteArrayType, DoubleType},
    file::{
        properties::{WriterProperties, WriterPropertiesBuilder},
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::parser::parse_message_type,
};

pub(crate) const COLLECTIONS: &str = "chroma-collections.parquet";
pub(crate) const EMBEDDINGS: &str = "chroma-embeddings.parquet";

const COLLECTIONS_SCHEMA: &str = "message duckdb_schema {
    optional byte_array uuid (UTF8);
    optional byte_array name (UTF8);
    optional byte_array metadata (UTF8);
}";

const EMBEDDINGS_SCHEMA: &str = "message duckdb_schema {
    optional byte_array collection_uuid (UTF8);
    optional byte_array uuid (UTF8);
    optional group embedding (LIST) { repeated group list { optional double element; } }
    optional byte_array document (UTF8);
    optional byte_array id (UTF8);
    optional byte_array metadata (UTF8);
}";

/// A nullable cell of text. Clones share the bytes.
pub(crate) type Text = Option<ByteArray>;

/// One row of the embeddings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) collection: Text,
    pub(crate) id: Text,
    pub(crate) embedding: Option<Vec<Option<f64>>>,
    pub(crate) document: Text,
    pub(crate) metadata: Text,
}

impl Row {
    /// A row with a vector and nothing else.
    pub(crate) fn new(collection: &str, id: &str, embedding: &[f64]) -> Self {
        Self {
            collection: text(collection),
            id: text(id),
            embedding: Some(embedding.iter().copied().map(Some).collect()),
            ..Self::default()
        }
    }
}

pub(crate) fn text(text: &str) -> Text {
    Some(text.into())
}

/// DuckDB's encoding: Snappy, and a dictionary if values repeat.
pub(crate) fn as_duckdb() -> WriterPropertiesBuilder {
    WriterProperties::builder().set_compression(Compression::SNAPPY)
}

/// Writes `chroma-collections.parquet` from rows of uuid, name, metadata.
pub(crate) fn write_collections(directory: &Path, rows: &[[Text; 3]]) {
    write_collections_with(directory, rows, as_duckdb());
}

/// The same with the given `properties`.
pub(crate) fn write_collections_with(
    directory: &Path,
    rows: &[[Text; 3]],
    properties: WriterPropertiesBuilder,
) {
    let mut writer = writer(&directory.join(COLLECTIONS), COLLECTIONS_SCHEMA, properties);
    let mut group = writer.next_row_group().unwrap();
    for column in 0..3 {
        write_texts(&mut group, rows.iter().map(|row| &row[column]));
    }
    group.close().unwrap();
    writer.close().unwrap();
}

/// Writes `chroma-embeddings.parquet` with a row group for each of `groups`.
pub(crate) fn write_embeddings<'r>(
    directory: &Path,
    groups: impl IntoIterator<Item = &'r [Row]>,
    properties: WriterPropertiesBuilder,
) {
    let mut writer = writer(&directory.join(EMBEDDINGS), EMBEDDINGS_SCHEMA, properties);
    for rows in groups {
        let mut group = writer.next_row_group().unwrap();
        write_texts(&mut group, rows.iter().map(|row| &row.collection));
        let uuids: Vec<Text> = (0..rows.len()).map(|row| text(&format!("uuid of row {row}"))).collect();
        write_texts(&mut group, uuids.iter());
        write_lists(&mut group, rows);
        write_texts(&mut group, rows.iter().map(|row| &row.document));
        write_texts(&mut group, rows.iter().map(|row| &row.id));
        write_texts(&mut group, rows.iter().map(|row| &row.metadata));
        group.close().unwrap();
    }
    writer.close().unwrap();
}

fn writer(path: &Path, schema: &str, properties: WriterPropertiesBuilder) -> SerializedFileWriter<File> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = File::create(path).unwrap();
    SerializedFileWriter::new(file, schema, Arc::new(properties.build())).unwrap()
}

fn write_texts<'r>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    texts: impl Iterator<Item = &'r Text> + Clone,
) {
    let levels: Vec<i16> = texts.clone().map(|text| i16::from(text.is_some())).collect();
    let values: Vec<ByteArray> = texts.flatten().cloned().collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
    column.close().unwrap();
}

fn write_lists(group: &mut SerializedRowGroupWriter<'_, File>, rows: &[Row]) {
    let (mut values, mut definition, mut repetition) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        match row.embedding.as_deref() {
            None => definition.push(0),
            Some([]) => definition.push(1),
            Some(elements) => {
                definition.extend(elements.iter().map(|element| if element.is_some() { 3 } else { 2 }));
                values.extend(elements.iter().flatten());
            }
        }
        repetition.push(0);
        repetition.resize(definition.len(), 1);
    }
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<DoubleType>().write_batch(&values, Some(&definition), Some(&repetition)).unwrap();
    column.close().unwrap();
}
