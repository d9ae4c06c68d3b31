//! Writes small Chroma directories in the schema of Chroma 1.5.9. They are never flushed: all vectors are in the log.

use std::path::Path;

use records::{DistanceSpace, Metadata, MetadataValue, stored_id};
use rusqlite::{Connection, params, types::Value};
use tempfile::TempDir;

const TABLES: &str = include_str!("../../chroma/testdata/tables-1.5.9.sql");
const DATABASE: &str = "
    insert into tenants values ('default_tenant');
    insert into databases values ('00000000-0000-0000-0000-000000000000', 'default_database', 'default_tenant');";

/// Creation time of every record.
pub(crate) const CREATED_AT: &str = "2024-02-29 12:34:56";

/// A Chroma directory, deleted on drop.
pub(crate) struct Directory(TempDir);

/// One record.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) document: Option<String>,
    pub(crate) uri: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) vector: Option<Vec<f32>>,
}

impl Entry {
    /// A record with a text and a vector.
    pub(crate) fn new(id: &str, vector: Vec<f32>) -> Self {
        Self {
            id: id.to_owned(),
            document: Some(format!("text of {id}")),
            uri: None,
            metadata: Metadata::new(),
            vector: Some(vector),
        }
    }

    /// Adds a metadata key.
    pub(crate) fn with(mut self, key: &str, value: MetadataValue) -> Self {
        self.metadata.insert(key.to_owned(), value);
        self
    }
}

/// A vector whose components all differ from those of every other small `seed`.
pub(crate) fn vector(seed: u16, dimension: usize) -> Vec<f32> {
    (0..dimension).map(|axis| ((f32::from(seed) + 1.0) * (axis as f32 + 1.3)).sin()).collect()
}

/// One record per id, each with a different vector.
pub(crate) fn entries(ids: std::ops::Range<u16>, dimension: usize) -> Vec<Entry> {
    ids.map(|id| Entry::new(&format!("record {id}"), vector(id, dimension))).collect()
}

impl Directory {
    /// A directory without collections.
    pub(crate) fn new() -> Self {
        let directory = Self(tempfile::tempdir().expect("a temporary folder"));
        directory.sql(&[TABLES, DATABASE].concat());
        directory
    }

    /// A directory with one collection.
    pub(crate) fn with(name: &str, space: DistanceSpace, entries: &[Entry]) -> Self {
        let directory = Self::new();
        directory.add_collection(name, space);
        directory.put(name, entries);
        directory
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs statements on the database.
    pub(crate) fn sql(&self, sql: &str) {
        change(self.path(), sql);
    }

    pub(crate) fn add_collection(&self, name: &str, space: DistanceSpace) {
        let schema = format!(
            r##"{{"keys":{{"#embedding":{{"float_list":{{"vector_index":{{"config":{{"space":"{space}"}}}}}}}}}}}}"##
        );
        let connection = self.connection();
        let insert = "insert into collections (id, name, database_id, config_json_str, schema_str)
            values (?1, ?2, '00000000-0000-0000-0000-000000000000', '{}', ?3)";
        let id = stored_id(name).to_string();
        connection.execute(insert, (&id, name, schema)).expect("the collection is new");
        for (kind, scope) in [
            ("urn:chroma:segment/metadata/sqlite", "METADATA"),
            ("urn:chroma:segment/vector/hnsw-local-persisted", "VECTOR"),
        ] {
            let insert = "insert into segments (id, type, scope, collection) values (?1, ?2, ?3, ?4)";
            connection.execute(insert, (segment(name, scope), kind, scope, &id)).expect("the segment is new");
        }
    }

    /// Adds records, or replaces those of the same id.
    pub(crate) fn put(&self, collection: &str, entries: &[Entry]) {
        for entry in entries {
            self.remove(collection, &entry.id);
        }
        let mut connection = self.connection();
        let transaction = connection.transaction().expect("a transaction begins");
        for entry in entries {
            write(&transaction, collection, entry).expect("the record can be written");
        }
        let dimension = entries.iter().find_map(|entry| entry.vector.as_ref().map(Vec::len));
        let dimension = dimension.map(|dimension| i64::try_from(dimension).expect("vectors are short"));
        transaction
            .execute(
                "update collections set dimension = coalesce(dimension, ?2) where name = ?1",
                params![collection, dimension],
            )
            .expect("the collection exists");
        let mark =
            "insert or replace into max_seq_id values (?1, (select max(seq_id) from embeddings_queue))";
        transaction.execute(mark, [segment(collection, "METADATA")]).expect("the mark is set");
        transaction.commit().expect("the records are kept");
    }

    /// Deletes a record completely.
    pub(crate) fn remove(&self, collection: &str, id: &str) {
        let connection = self.connection();
        let of_record = "(select id from embeddings where segment_id = ?1 and embedding_id = ?2)";
        let own = (segment(collection, "METADATA"), id);
        for table in ["embedding_metadata", "embedding_metadata_array"] {
            let delete = format!("delete from {table} where id in {of_record}");
            connection.execute(&delete, own.clone()).expect("the keys go");
        }
        let delete = "delete from embeddings where segment_id = ?1 and embedding_id = ?2";
        connection.execute(delete, own).expect("the record goes");
        let delete = "delete from embeddings_queue where topic = ?1 and id = ?2";
        connection.execute(delete, (topic(collection), id)).expect("the log rows go");
    }

    fn connection(&self) -> Connection {
        open(self.path())
    }
}

/// Runs statements on the Chroma database in `folder`, which must not be shared.
pub(crate) fn change(folder: &Path, sql: &str) {
    open(folder).execute_batch(sql).expect("the Chroma database changes");
}

fn open(folder: &Path) -> Connection {
    let connection = Connection::open(folder.join("chroma.sqlite3")).expect("the Chroma database opens");
    connection
        .execute_batch("pragma foreign_keys = off; pragma synchronous = off")
        .expect("settings are set");
    connection
}

fn segment(collection: &str, scope: &str) -> String {
    stored_id(&format!("{collection} {scope}")).to_string()
}

fn topic(collection: &str) -> String {
    format!("persistent://default/default/{}", stored_id(collection))
}

fn write(connection: &Connection, collection: &str, entry: &Entry) -> rusqlite::Result<()> {
    let vector: Option<Vec<u8>> =
        entry.vector.as_ref().map(|vector| vector.iter().flat_map(|x| x.to_le_bytes()).collect());
    connection
        .prepare_cached(
            "insert into embeddings_queue (operation, topic, id, vector, encoding, metadata)
            values (0, ?1, ?2, ?3, ?4, '{}')",
        )?
        .execute(params![topic(collection), entry.id, vector, vector.as_ref().map(|_| "FLOAT32")])?;
    let seq_id = connection.last_insert_rowid();
    connection
        .prepare_cached(
            "insert into embeddings (segment_id, embedding_id, seq_id, created_at) values (?1, ?2, ?3, ?4)",
        )?
        .execute(params![segment(collection, "METADATA"), entry.id, seq_id, CREATED_AT])?;
    let row = connection.last_insert_rowid();
    for (key, text) in [("chroma:document", &entry.document), ("chroma:uri", &entry.uri)] {
        if let Some(text) = text {
            write_value(connection, "embedding_metadata", row, key, &MetadataValue::Text(text.clone()))?;
        }
    }
    for (key, value) in &entry.metadata {
        match value {
            MetadataValue::List(list) => list
                .iter()
                .try_for_each(|value| write_value(connection, "embedding_metadata_array", row, key, value))?,
            value => write_value(connection, "embedding_metadata", row, key, value)?,
        }
    }
    Ok(())
}

fn write_value(
    connection: &Connection,
    table: &str,
    row: i64,
    key: &str,
    value: &MetadataValue,
) -> rusqlite::Result<()> {
    let (column, value) = match value {
        MetadataValue::Text(text) => ("string_value", Value::Text(text.clone())),
        MetadataValue::Int(number) => ("int_value", Value::Integer(*number)),
        MetadataValue::Float(number) => ("float_value", Value::Real(*number)),
        MetadataValue::Bool(value) => ("bool_value", Value::Integer(i64::from(*value))),
        MetadataValue::List(_) => panic!("lists do not nest"),
    };
    let insert = format!("insert into {table} (id, key, {column}) values (?1, ?2, ?3)");
    connection.prepare_cached(&insert)?.execute((row, key, value)).map(drop)
}
