//! Deduces the version of Chroma that last opened a database (FORMAT §1).
//!
//! No version is stored. Opening a database runs all missing migrations, so its tables and columns are those of the
//! newest Chroma that opened it.

use rusqlite::Connection;

use super::schema::Schema;
use crate::overview::VersionRange;

/// A feature, the release that introduced it, and the last release before the next feature. Newest first.
/// Releases as published on PyPI up to 1.5.9.
const STEPS: [(Mark, &str, &str); 10] = [
    (Mark::Table("embedding_metadata_array"), "1.5.0", "1.5.9"),
    (Mark::Column("collections", "schema_str"), "1.3.0", "1.4.1"),
    (Mark::RustEngine, "1.0.0", "1.2.2"),
    (Mark::Table("embeddings_queue_config"), "0.5.6", "0.6.3"),
    (Mark::Column("collections", "config_json_str"), "0.5.4", "0.5.5"),
    (Mark::Column("segment_metadata", "bool_value"), "0.5.1", "0.5.3"),
    (Mark::NoColumn("collections", "topic"), "0.5.0", "0.5.0"),
    (Mark::Table("databases"), "0.4.15", "0.4.24"),
    (Mark::VirtualTable("embedding_fulltext_search"), "0.4.6", "0.4.14"),
    (Mark::Column("embedding_metadata", "bool_value"), "0.4.4", "0.4.5"),
];

/// Releases without any of these features.
const FIRST: (&str, &str) = ("0.4.0", "0.4.3");

/// The last known migration of each directory; 1.5.9 has about twenty in all.
const NEWER_MIGRATION: &str = "select exists (select 1 from (select dir, version from migrations limit 1000) where not coalesce(
    dir = 'sysdb' and version <= 10 or dir = 'metadb' and version <= 6 or dir = 'embeddings_queue' and version <= 2,
    false))";

/// The Rust engine's first migration, which makes `seq_id` an integer.
const RUST_MIGRATION: &str = "select exists (select 1 from (select dir, version from migrations limit 1000)
    where dir = 'metadb' and version = 5)";

/// Queries the schema's rows, which contain the name of a virtual table. Opening it would start its module, on
/// untrusted tables.
const VIRTUAL_TABLE: &str = "select exists (select 1 from sqlite_schema where type = 'table' and name = ?1)";

/// A feature that distinguishes a release from the previous one.
#[derive(Clone, Copy)]
enum Mark {
    Table(&'static str),
    VirtualTable(&'static str),
    Column(&'static str, &'static str),
    NoColumn(&'static str, &'static str),
    /// A lock table of the Rust engine, or its first migration.
    RustEngine,
}

/// Deduces the version.
pub(crate) fn deduce(connection: &Connection, schema: &Schema) -> rusqlite::Result<VersionRange> {
    let has_migrations = schema.has_column("migrations", "dir") && schema.has_column("migrations", "version");
    let ask_migrations = |sql| match has_migrations {
        true => connection.query_row(sql, [], |row| row.get(0)),
        false => Ok(false),
    };
    let is_newer: bool = ask_migrations(NEWER_MIGRATION)?;
    let (mut min, mut max) = FIRST;
    for (mark, first, last) in STEPS {
        let file_exists = match mark {
            Mark::Table(table) => schema.has_table(table),
            Mark::VirtualTable(table) => connection.query_row(VIRTUAL_TABLE, [table], |row| row.get(0))?,
            Mark::Column(table, column) => schema.has_column(table, column),
            Mark::NoColumn(table, column) => !schema.has_column(table, column),
            Mark::RustEngine => schema.has_table("acquire_write") || ask_migrations(RUST_MIGRATION)?,
        };
        if file_exists {
            (min, max) = (first, last);
            break;
        }
    }
    Ok(VersionRange { min, max: (!is_newer).then_some(max) })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// The effects of the migrations, oldest first.
    const MIGRATIONS: [&str; 10] = [
        "alter table embedding_metadata add column bool_value integer",
        "create virtual table embedding_fulltext_search using fts5(string_value, tokenize = 'trigram')",
        "create table databases (id text)",
        "alter table collections drop column topic",
        "alter table segment_metadata add column bool_value integer",
        "alter table collections add column config_json_str text",
        "create table embeddings_queue_config (id integer primary key, config_json_str text)",
        "insert into migrations values ('metadb', 5)",
        "alter table collections add column schema_str text",
        "create table embedding_metadata_array (id integer)",
    ];

    fn deduced(connection: &Connection) -> String {
        let schema = Schema::inspect(connection).unwrap();
        let VersionRange { min, max } = deduce(connection, &schema).unwrap();
        format!("{min} – {}", max.unwrap_or("?"))
    }

    #[test]
    fn each_migration_raises_the_version() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "create table collections (id text, topic text);
                 create table segment_metadata (segment_id text);
                 create table embedding_metadata (id integer);
                 create table migrations (dir text, version integer);",
            )
            .unwrap();
        let mut versions = vec![deduced(&connection)];
        for migration in MIGRATIONS {
            connection.execute_batch(migration).unwrap();
            versions.push(deduced(&connection));
        }
        for unknown in ["('metadb', 7)", "('metadb', null)", "('other', 1)"] {
            connection.execute_batch(&format!("insert into migrations values {unknown}")).unwrap();
            versions.push(deduced(&connection));
            connection
                .execute_batch(&format!("delete from migrations where (dir, version) is {unknown}"))
                .unwrap();
        }
        connection.execute_batch("drop table migrations").unwrap();
        versions.push(deduced(&connection));
        expect![[r#"
            0.4.0 – 0.4.3
            0.4.4 – 0.4.5
            0.4.6 – 0.4.14
            0.4.15 – 0.4.24
            0.5.0 – 0.5.0
            0.5.1 – 0.5.3
            0.5.4 – 0.5.5
            0.5.6 – 0.6.3
            1.0.0 – 1.2.2
            1.3.0 – 1.4.1
            1.5.0 – 1.5.9
            1.5.0 – ?
            1.5.0 – ?
            1.5.0 – ?
            1.5.0 – 1.5.9"#]]
        .assert_eq(&versions.join("\n"));
    }
}
