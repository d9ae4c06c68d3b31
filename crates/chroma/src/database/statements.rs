//! The SQL statements.
//!
//! The statements over records and log rows must execute as ordered scans of a b-tree: a sort would hold the documents
//! of a collection in memory. A test below checks their query plans, and [`unexpected_step`] checks those of
//! every database. `not indexed` and `indexed by` fix the plan: statistics of the empty database by `analyze`, or an
//! additional index, would otherwise change it.

use rusqlite::Connection;

use super::schema::Schema;

/// Segment of each record; with this column order it is on the leaf pages.
pub(crate) const RECORD_OWNERS: &str = "select id, segment_id from embeddings not indexed order by id";

/// Topic of each log row.
pub(crate) const LOG_OWNERS: &str = "select seq_id, topic from embeddings_queue not indexed order by seq_id";

pub(crate) const RECORDS: &str =
    "select id, segment_id, embedding_id, created_at, seq_id from embeddings not indexed
     where id between ?1 and ?2 order by id";

/// The order in which records were stored, and the log row of their last change.
pub(crate) const RECORD_ORDER: &str = "select id, segment_id, embedding_id, seq_id from embeddings not indexed where id between ?1 and ?2 order by id";

/// Whether a record exists.
pub(crate) const RECORD_EXISTS: &str = "select 1 from embeddings indexed by sqlite_autoindex_embeddings_1
     where segment_id = ?1 and embedding_id = ?2";

/// Log rows without large columns: SQLite reads `typeof` from the row's header, without its overflow pages.
pub(crate) const LOG_ROWS: &str =
    "select seq_id, topic, operation, id, typeof(vector) from embeddings_queue not indexed
     where seq_id between ?1 and ?2 order by seq_id";

pub(crate) const LOG_VECTOR: &str =
    "select vector, encoding from embeddings_queue not indexed where seq_id = ?1";

pub(crate) const LOG_METADATA: &str =
    "select metadata, created_at from embeddings_queue not indexed where seq_id = ?1";

/// Columns: id, key, then the four typed values.
pub(crate) fn metadata(schema: &Schema) -> String {
    let bool_value = schema.column_or_null("embedding_metadata", "bool_value");
    format!(
        "select id, key, string_value, int_value, float_value, {bool_value} from embedding_metadata
         indexed by sqlite_autoindex_embedding_metadata_1 where id between ?1 and ?2 order by id"
    )
}

/// Elements of list values, in the order of their lists; columns as in [`metadata`]. None before 1.5.
pub(crate) fn metadata_lists(schema: &Schema) -> Option<&'static str> {
    // The index on (id, key) ends with the rowid, which is the order of the elements.
    schema.has_table("embedding_metadata_array").then_some(
        "select id, key, string_value, int_value, float_value, bool_value from embedding_metadata_array
         indexed by embedding_metadata_array_id_key where id between ?1 and ?2 order by id, key, rowid",
    )
}

/// Columns: id, name, dimension, database, `config_json_str`, `schema_str`.
pub(crate) fn collections(schema: &Schema) -> String {
    let [database, configuration, index_schema] = ["database_id", "config_json_str", "schema_str"]
        .map(|column| schema.column_or_null("collections", column));
    format!("select id, name, dimension, {database}, {configuration}, {index_schema} from collections")
}

pub(crate) const DATABASES: &str = "select id, name, tenant_id from databases";

pub(crate) const TENANTS: &str = "select id from tenants";

pub(crate) const SEGMENTS: &str = "select collection, id, type, scope from segments";

pub(crate) const SEGMENT_SPACES: &str = "select segment_id, str_value, key from segment_metadata";

/// The part of the schema that was created first.
pub(crate) const FIRST_MIGRATION: &str = "select dir from migrations order by rowid limit 1";

pub(crate) const MARKS: &str = "select segment_id, seq_id from max_seq_id";

/// Columns: collection, key, then the four typed values.
pub(crate) fn collection_metadata(schema: &Schema) -> String {
    let bool_value = schema.column_or_null("collection_metadata", "bool_value");
    format!(
        "select collection_id, key, str_value, int_value, float_value, {bool_value} from collection_metadata"
    )
}

/// The statements that must execute as ordered scans.
fn ordered_scans(schema: &Schema) -> impl Iterator<Item = String> {
    let fixed =
        [RECORD_OWNERS, LOG_OWNERS, RECORDS, RECORD_ORDER, RECORD_EXISTS, LOG_ROWS, LOG_VECTOR, LOG_METADATA];
    let lists = metadata_lists(schema).map(str::to_owned);
    fixed.into_iter().map(str::to_owned).chain([metadata(schema)]).chain(lists)
}

/// A step of the ordered scans' plans that never occurs with Chroma's tables, such as a sort.
///
/// A scan of the complete table for a range is accepted: with statistics of a database of one row, SQLite chooses it.
pub(crate) fn unexpected_step(connection: &Connection, schema: &Schema) -> rusqlite::Result<Option<String>> {
    for sql in ordered_scans(schema) {
        let steps = plan(connection, &sql)?;
        let odd = steps.into_iter().find(|step| !(step.starts_with("SCAN") || step.starts_with("SEARCH")));
        if odd.is_some() {
            return Ok(odd);
        }
    }
    Ok(None)
}

/// The query plan of a statement.
fn plan(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("explain query plan {sql}"))?;
    let parameters = vec![1; statement.parameter_count()];
    let steps = statement.query_map(rusqlite::params_from_iter(parameters), |row| row.get(3))?;
    steps.collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use rusqlite::Connection;

    use super::*;

    const TABLES: &str = include_str!("../../testdata/tables-1.5.9.sql");

    #[test]
    fn statements_run_as_ordered_scans() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        let schema = Schema::inspect(&connection).unwrap();
        assert_eq!(unexpected_step(&connection, &schema).unwrap(), None);
        let mut plans = Vec::new();
        for sql in ordered_scans(&schema) {
            plans.extend(plan(&connection, &sql).unwrap());
        }
        expect![[r#"
            SCAN embeddings
            SCAN embeddings_queue
            SEARCH embeddings USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)
            SEARCH embeddings USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)
            SEARCH embeddings USING COVERING INDEX sqlite_autoindex_embeddings_1 (segment_id=? AND embedding_id=?)
            SEARCH embeddings_queue USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)
            SEARCH embeddings_queue USING INTEGER PRIMARY KEY (rowid=?)
            SEARCH embeddings_queue USING INTEGER PRIMARY KEY (rowid=?)
            SEARCH embedding_metadata USING INDEX sqlite_autoindex_embedding_metadata_1 (id>? AND id<?)
            SEARCH embedding_metadata_array USING INDEX embedding_metadata_array_id_key (id>? AND id<?)"#]].assert_eq(&plans.join("\n"));
    }
}
