//! The tables and columns of a database. No version is stored, so features are detected (FORMAT §1).

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

/// Tables and columns of every version since 0.4.0.
const REQUIRED: &[(&str, &[&str])] = &[
    ("collections", &["id", "name", "dimension"]),
    ("collection_metadata", &["collection_id", "key", "str_value", "int_value", "float_value"]),
    ("segments", &["id", "type", "scope", "collection"]),
    ("segment_metadata", &["segment_id", "key", "str_value"]),
    ("embeddings", &["id", "segment_id", "embedding_id", "seq_id", "created_at"]),
    ("embedding_metadata", &["id", "key", "string_value", "int_value", "float_value"]),
    ("max_seq_id", &["segment_id", "seq_id"]),
    (
        "embeddings_queue",
        &["seq_id", "created_at", "operation", "topic", "id", "vector", "encoding", "metadata"],
    ),
];

/// Ordinary tables and their stored columns. Excludes views, virtual tables and generated columns: in an untrusted
/// directory they could execute any computation.
#[derive(Debug, Default)]
pub(crate) struct Schema(HashMap<String, HashSet<String>>);

impl Schema {
    pub(crate) fn inspect(connection: &Connection) -> rusqlite::Result<Self> {
        // Ordinary tables must be identified before SQLite is asked for their columns: for a virtual table it starts
        // the module, for a view it prepares the query. The type does not distinguish them, but the statement does:
        // SQLite writes it with this beginning for ordinary tables, and with CREATE VIRTUAL TABLE or CREATE VIEW
        // otherwise.
        let mut statement = connection.prepare(
            "select t.name, c.name
             from (select name from sqlite_schema where type = 'table' and sql like 'create table %') t,
                 pragma_table_info(t.name, 'main') c",
        )?;
        let mut tables: HashMap<String, HashSet<String>> = HashMap::new();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            tables.entry(row.get(0)?).or_default().insert(row.get(1)?);
        }
        Ok(Self(tables))
    }

    /// The first missing required table or column, as text for an error.
    pub(crate) fn missing(&self) -> Option<String> {
        REQUIRED.iter().find_map(|(table, columns)| {
            if !self.has_table(table) {
                return Some(format!("table `{table}`"));
            }
            let column = columns.iter().find(|column| !self.has_column(table, column))?;
            Some(format!("column `{table}.{column}`"))
        })
    }

    pub(crate) fn has_table(&self, table: &str) -> bool {
        self.0.contains_key(table)
    }

    pub(crate) fn has_column(&self, table: &str, column: &str) -> bool {
        self.0.get(table).is_some_and(|columns| columns.contains(column))
    }

    /// The column, or `null` if this version lacks it.
    pub(crate) fn column_or_null(&self, table: &str, column: &'static str) -> &'static str {
        if self.has_column(table, column) { column } else { "null" }
    }
}
