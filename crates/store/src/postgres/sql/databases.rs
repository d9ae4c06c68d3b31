//! Databases of a server as wholes.

use super::{Sql, quoted, trusted};

/// Drops a database, even if there are connections to it.
pub(crate) fn drop_database(name: &str) -> Sql {
    trusted(format!("drop database if exists {} with (force)", quoted(name)))
}

/// Makes an empty database.
pub(crate) fn create_database(name: &str) -> Sql {
    trusted(format!("create database {}", quoted(name)))
}

/// Makes a database that has nothing but what belongs to PostgreSQL.
pub(crate) fn create_bare_database(name: &str) -> Sql {
    trusted(format!("create database {} template template0", quoted(name)))
}

/// Creates pgvector in a schema.
pub(crate) fn create_pgvector(schema: &str) -> Sql {
    trusted(format!("create extension vector schema {}", quoted(schema)))
}

/// Gives a database another name.
pub(crate) fn rename_database(from: &str, to: &str) -> Sql {
    trusted(format!("alter database {} rename to {}", quoted(from), quoted(to)))
}
