//! Writes persist directories as Chroma 1.5.9 does, without Chroma: a million records of 384 dimensions in a minute, with
//! constant memory. Entry points: [`ChromaWriter`], [`generated_records`]. Follows `docs/chroma-format.md` (§2 – §8) and
//! shares no code with our reader.
//!
//! Chroma 1.5.9 can open the result, count, get, filter by metadata, and continue to write to it. Four things differ from
//! what it would have written:
//! - the HNSW graph links neighbours in the order of records, not in space (module `hnsw`): a query among up to
//!   `ef_search` (100) records is exact, one among many more finds hardly any of the nearest;
//! - the full-text table is empty, so that `where_document` finds nothing;
//! - the metadata keys of a record are sorted, while Chroma's are in hash order;
//! - the log can have any length; Chroma converts it to an index at the first query of the collection: 10 s for 20,000
//!   rows.

mod generated;
mod hnsw;

pub use generated::{GENERATED_DIMENSION, generated_records};

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use records::{DistanceSpace, Metadata, MetadataValue};
use rusqlite::{Connection, OpenFlags, Statement, params, types::Value};
use serde_json::json;
use uuid::Uuid;

use crate::chroma_directory::workspace;

/// No transaction can be rolled back, and a crash loses the directory. The cache is for the only index with unsorted keys:
/// ids.
const FAST: &str = "pragma journal_mode = off; pragma synchronous = off; pragma locking_mode = exclusive;
    pragma foreign_keys = off; pragma cache_size = -131072; pragma temp_store = file; begin;";

/// The storage time of the first record, 2024-01-01, in seconds since 1970. Each further record is a second later.
const FIRST_STORED: i64 = 1_704_067_200;

/// Where the vectors of a collection are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChromaForm {
    /// All in the log; there is no index yet. Chroma has this below `sync_threshold` records.
    Log,
    /// All in the index files; only the last row of the log remains, as after Chroma's purge.
    Flushed,
}

/// A collection to write.
#[derive(Clone, Copy, Debug)]
pub struct ChromaCollection<'a> {
    /// Created if it does not exist.
    pub tenant: &'a str,
    /// Created if the tenant has none of this name.
    pub database: &'a str,
    /// Chroma's servers accept 3 to 512 characters of `[a-zA-Z0-9._-]`.
    pub name: &'a str,
    /// The distance metric; a flushed `cosine` index stores unit vectors and lengths.
    pub space: DistanceSpace,
    /// Where the vectors are stored.
    pub form: ChromaForm,
}

impl<'a> ChromaCollection<'a> {
    /// A collection of the default tenant and database.
    pub fn new(name: &'a str, space: DistanceSpace, form: ChromaForm) -> Self {
        Self { tenant: "default_tenant", database: "default_database", name, space, form }
    }
}

/// A record to write.
#[derive(Clone, Debug, PartialEq)]
pub struct ChromaRecord {
    /// Unique in its collection.
    pub id: String,
    /// Of the same dimension as the first one of the collection.
    pub vector: Vec<f32>,
    /// The document.
    pub document: Option<String>,
    /// The user's metadata. Chroma 1.5 has neither infinities nor NaN, and SQLite no −0.0.
    pub metadata: Metadata,
}

/// A directory that is being written. Panics on errors, since it is for tests and benchmarks.
pub struct ChromaWriter {
    folder: PathBuf,
    connection: Connection,
    /// The statements that create the last indexes.
    indexes: String,
    /// The last row of the log, which all collections share.
    last_seq_id: i64,
}

impl ChromaWriter {
    /// Starts a directory, which is created if it is missing and must not contain Chroma data.
    pub fn create(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("the folder can be made");
        let database = folder.join("chroma.sqlite3");
        assert!(!database.exists(), "{} has Chroma data already", folder.display());
        let connection = Connection::open(database).expect("the database can be made");
        connection.execute_batch(FAST).expect("the settings can be made");
        migrate(&connection);
        let indexes = take_filter_indexes(&connection);
        Self { folder: folder.to_owned(), connection, indexes, last_seq_id: 0 }
    }

    /// Writes a collection with all its records; returns how many there were. Ids of the collection and its segments
    /// follow from its name, database and tenant, so that the same calls write the same bytes.
    pub fn write(
        &mut self,
        collection: &ChromaCollection<'_>,
        records: impl IntoIterator<Item = ChromaRecord>,
    ) -> u64 {
        let segments = self.declare(collection);
        let mut rows = Rows::new(&self.connection, &segments);
        let mut index = None;
        let mut last = None;
        let mut count = 0;
        for record in records {
            count += 1;
            self.last_seq_id += 1;
            rows.write_record(self.last_seq_id, &record);
            match collection.form {
                ChromaForm::Log => rows.write_log(self.last_seq_id, &record),
                ChromaForm::Flushed => {
                    let folder = self.folder.join(segments.vector.to_string());
                    index
                        .get_or_insert_with(|| {
                            hnsw::IndexWriter::create(&folder, collection.space, record.vector.len())
                        })
                        .push(&record.vector);
                }
            }
            last = Some(record);
        }
        drop(rows);
        let Some(last) = last else { return 0 };
        let execute = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| {
            self.connection.execute(sql, parameters).expect("the row can be written");
        };
        let dimension = i64::try_from(last.vector.len()).expect("a dimension");
        execute(
            "update collections set dimension = ?2 where id = ?1",
            params![segments.collection(), dimension],
        );
        let mark = "insert into max_seq_id (segment_id, seq_id) values (?1, ?2)";
        execute(mark, params![segments.metadata.to_string(), self.last_seq_id]);
        if let Some(index) = index {
            execute(mark, params![segments.vector.to_string(), self.last_seq_id]);
            // Without it Chroma would count from 1 again and treat new rows as old ones.
            Rows::new(&self.connection, &segments).write_log(self.last_seq_id, &last);
            let sql =
                "select embedding_id, seq_id from embeddings where segment_id = ?1 order by embedding_id";
            let mut ids = self.connection.prepare(sql).expect("ids can be listed");
            let first = self.last_seq_id - count;
            index.finish(|visit| {
                let mut rows = ids.query([segments.metadata.to_string()]).expect("ids can be listed");
                while let Some(row) = rows.next().expect("an id can be read") {
                    let id = row.get_ref(0).and_then(|id| Ok(id.as_str()?)).expect("an id is text");
                    let seq_id: i64 = row.get(1).expect("a number");
                    visit(id, seq_id - first);
                }
            });
        }
        count.cast_unsigned()
    }

    /// Completes the directory. Sets modification times to the past, since the reader waits for recently modified files.
    pub fn finish(self) {
        self.connection.execute_batch(&self.indexes).expect("the indexes can be made");
        self.connection.execute_batch("commit").expect("the database can be written");
        self.connection.close().expect("the database can be closed");
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut folders = vec![self.folder];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("the folder lists") {
                let path = entry.expect("the entry reads").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let file = fs::File::options().append(true).open(&path).expect("the file opens");
                    file.set_modified(long_ago).expect("the file's time can be set");
                }
            }
        }
    }

    /// Writes the rows of the collection, its segments, tenant and database.
    fn declare(&self, collection: &ChromaCollection<'_>) -> Segments {
        let ChromaCollection { tenant, database, name, space, form: _ } = *collection;
        let execute = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| {
            self.connection.execute(sql, parameters).expect("the row can be written");
        };
        execute("insert or ignore into tenants (id) values (?1)", params![tenant]);
        let database_id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{tenant}/{database}").as_bytes());
        // The name is unique in its tenant, so the default database keeps its id.
        execute(
            "insert or ignore into databases (id, name, tenant_id) values (?1, ?2, ?3)",
            params![database_id.to_string(), database, tenant],
        );
        let id = Uuid::new_v5(&database_id, name.as_bytes());
        let segments = Segments {
            collection: id,
            metadata: Uuid::new_v5(&id, b"METADATA"),
            vector: Uuid::new_v5(&id, b"VECTOR"),
        };
        execute(
            "insert into collections (id, name, database_id, config_json_str, schema_str)
             select ?1, ?2, id, '{}', ?3 from databases where name = ?4 and tenant_id = ?5",
            params![segments.collection(), name, schema(space).to_string(), database, tenant],
        );
        let segment = "insert into segments (id, type, scope, collection) values (?1, ?2, ?3, ?4)";
        let vector = "urn:chroma:segment/vector/hnsw-local-persisted";
        execute(segment, params![segments.vector.to_string(), vector, "VECTOR", segments.collection()]);
        let metadata = "urn:chroma:segment/metadata/sqlite";
        execute(segment, params![segments.metadata.to_string(), metadata, "METADATA", segments.collection()]);
        segments
    }
}

/// The schema of a new collection. Chroma adds metadata keys as it encounters them, with the defaults.
fn schema(space: DistanceSpace) -> serde_json::Value {
    let on = json!({ "enabled": true, "config": {} });
    let off = json!({ "enabled": false, "config": {} });
    let hnsw = json!({ "ef_construction": hnsw::EF_CONSTRUCTION, "max_neighbors": hnsw::M, "ef_search": 100,
        "num_threads": 2, "batch_size": 100, "sync_threshold": 1000, "resize_factor": 1.2 });
    let vector = json!({ "space": space.as_str(), "embedding_function": { "type": "legacy" }, "hnsw": hnsw });
    let mut document_vector = vector.clone();
    document_vector["source_key"] = json!("#document");
    let sparse = json!({ "embedding_function": { "type": "unknown" }, "bm25": false });
    json!({
        "defaults": {
            "string": { "fts_index": off, "string_inverted_index": on },
            "float_list": { "vector_index": { "enabled": false, "config": vector } },
            "sparse_vector": { "sparse_vector_index": { "enabled": false, "config": sparse } },
            "int": { "int_inverted_index": on },
            "float": { "float_inverted_index": on },
            "bool": { "bool_inverted_index": on },
        },
        "keys": {
            "#document": { "string": { "fts_index": on, "string_inverted_index": off } },
            "#embedding": { "float_list": { "vector_index": { "enabled": true, "config": document_vector } } },
        },
    })
}

/// Creates the tables by the migrations that Chroma 1.5 ran for the project's sample, and records them in their table: Chroma
/// refuses a directory in which the text of a migration differs from its own.
fn migrate(connection: &Connection) {
    let sample = workspace().join("sample/query_storage_data/chroma.sqlite3");
    let sample =
        Connection::open_with_flags(sample, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the sample opens");
    let table = "select sql from sqlite_master where name = 'migrations'";
    let table: String =
        sample.query_row(table, [], |row| row.get(0)).expect("the sample's migrations are listed");
    connection.execute_batch(&table).expect("the table can be made");
    let migrations = "select dir, version, filename, sql, hash from migrations order by rowid";
    let mut migrations = sample.prepare(migrations).expect("the sample has migrations");
    let mut migrations = migrations.query([]).expect("the sample has migrations");
    while let Some(migration) = migrations.next().expect("a migration can be read") {
        let cell = |column: usize| migration.get::<_, Value>(column).expect("a cell can be read");
        let Value::Text(sql) = cell(3) else { panic!("a migration is text") };
        connection.execute_batch(&sql).expect("the migration runs");
        let insert = "insert into migrations (dir, version, filename, sql, hash) values (?1, ?2, ?3, ?4, ?5)";
        let written = connection.execute(insert, params![cell(0), cell(1), cell(2), sql, cell(4)]);
        written.expect("the row can be written");
    }
    // As in each directory created by Chroma 0.5.6 or newer.
    let purges = r#"{"automatically_purge":true,"_type":"EmbeddingsQueueConfigurationInternal"}"#;
    let written = connection.execute("insert into embeddings_queue_config values (1, ?1)", [purges]);
    written.expect("the row can be written");
}

/// Drops the indexes that Chroma's `where` filters use, and returns the statements that create them again, which is faster
/// once all rows exist.
fn take_filter_indexes(connection: &Connection) -> String {
    let list = "select name, sql from sqlite_master
        where type = 'index' and tbl_name like 'embedding_metadata%' and sql is not null";
    let mut list = connection.prepare(list).expect("indexes can be listed");
    let indexes = list.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("indexes can be listed");
    let indexes: Vec<(String, String)> = indexes.collect::<Result<_, _>>().expect("an index can be read");
    let mut make = String::new();
    for (name, sql) in indexes {
        connection.execute_batch(&format!("drop index {name}")).expect("the index can be dropped");
        make.push_str(&sql);
        make.push(';');
    }
    make
}

/// The ids of a collection.
struct Segments {
    collection: Uuid,
    metadata: Uuid,
    vector: Uuid,
}

impl Segments {
    fn collection(&self) -> String {
        self.collection.to_string()
    }
}

/// The statements that write a collection's rows.
struct Rows<'w> {
    segment: String,
    topic: String,
    embedding: Statement<'w>,
    value: Statement<'w>,
    element: Statement<'w>,
    log: Statement<'w>,
}

impl<'w> Rows<'w> {
    fn new(connection: &'w Connection, segments: &Segments) -> Self {
        let prepare = |sql: &str| connection.prepare(sql).expect("the statement fits the tables");
        Self {
            segment: segments.metadata.to_string(),
            topic: format!("persistent://default/default/{}", segments.collection),
            embedding: prepare(&format!(
                "insert into embeddings (id, segment_id, embedding_id, seq_id, created_at)
                 values (?1, ?2, ?3, ?1, datetime({FIRST_STORED} + ?1, 'unixepoch'))"
            )),
            value: prepare("insert into embedding_metadata values (?1, ?2, ?3, ?4, ?5, ?6)"),
            element: prepare("insert into embedding_metadata_array values (?1, ?2, ?3, ?4, ?5, ?6)"),
            log: prepare(&format!(
                "insert into embeddings_queue (seq_id, created_at, operation, topic, id, vector, encoding, metadata)
                 values (?1, datetime({FIRST_STORED} + ?1, 'unixepoch'), 0, ?2, ?3, ?4, 'FLOAT32', ?5)"
            )),
        }
    }

    /// Writes the record into the metadata segment; its row has the same number as its log row.
    fn write_record(&mut self, seq_id: i64, record: &ChromaRecord) {
        let written = self.embedding.execute(params![seq_id, self.segment, record.id]);
        written.expect("an id is written once");
        if let Some(document) = &record.document {
            write_value(&mut self.value, seq_id, "chroma:document", &MetadataValue::Text(document.clone()));
        }
        for (key, value) in &record.metadata {
            match value {
                MetadataValue::List(elements) => {
                    elements.iter().for_each(|element| write_value(&mut self.element, seq_id, key, element))
                }
                value => write_value(&mut self.value, seq_id, key, value),
            }
        }
    }

    /// Writes an ADD of the record into the log.
    fn write_log(&mut self, seq_id: i64, record: &ChromaRecord) {
        let vector: Vec<u8> = record.vector.iter().flat_map(|x| x.to_le_bytes()).collect();
        let document =
            record.document.as_ref().map(|text| ("chroma:document".to_owned(), text.as_str().into()));
        let values = record.metadata.iter().map(|(key, value)| (key.clone(), json_of(value)));
        let metadata: serde_json::Map<_, _> = document.into_iter().chain(values).collect();
        let metadata = serde_json::Value::Object(metadata).to_string();
        let written = self.log.execute(params![seq_id, self.topic, record.id, vector, metadata]);
        written.expect("the row can be written");
    }
}

fn write_value(insert: &mut Statement<'_>, row_id: i64, key: &str, value: &MetadataValue) {
    let mut cells = [Value::Null, Value::Null, Value::Null, Value::Null];
    match value {
        MetadataValue::Text(text) => cells[0] = Value::Text(text.clone()),
        MetadataValue::Int(number) => cells[1] = Value::Integer(*number),
        MetadataValue::Float(number) => cells[2] = Value::Real(*number),
        MetadataValue::Bool(value) => cells[3] = Value::Integer(i64::from(*value)),
        MetadataValue::List(_) => panic!("lists do not nest"),
    }
    let [text, int, float, boolean] = cells;
    insert.execute(params![row_id, key, text, int, float, boolean]).expect("a key is written once");
}

fn json_of(value: &MetadataValue) -> serde_json::Value {
    match value {
        MetadataValue::Text(text) => text.as_str().into(),
        MetadataValue::Int(number) => (*number).into(),
        MetadataValue::Float(number) => (*number).into(),
        MetadataValue::Bool(value) => (*value).into(),
        MetadataValue::List(elements) => elements.iter().map(json_of).collect(),
    }
}
