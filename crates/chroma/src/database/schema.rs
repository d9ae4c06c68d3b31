//! Which tables and columns a database has. No version is stored, so capabilities decide (FORMAT §1).

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

/// What every version from 0.4.0 on has.
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

/// Ordinary tables and their stored columns. Views, virtual tables and generated columns are left out: a
/// directory from elsewhere could hide any computation in them.
#[derive(Debug, Default)]
pub(crate) struct Schema(HashMap<String, HashSet<String>>);

impl Schema {
    pub(crate) fn inspect(connection: &Connection) -> rusqlite::Result<Self> {
        // Which table is ordinary must be known before SQLite is asked for its columns: of a virtual one it starts
        // the module, of a view it prepares the query. The type does not tell, and the statement does: it begins
        // so when SQLite wrote it, and with CREATE VIRTUAL TABLE or CREATE VIEW otherwise.
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

    /// The first required table or column that is absent, as an error names it.
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

    /// The column, or `null` in its place where this version has no such column.
    pub(crate) fn column_or_null(&self, table: &str, column: &'static str) -> &'static str {
        if self.has_column(table, column) { column } else { "null" }
    }
}
