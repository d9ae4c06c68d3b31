//! Which relations a database has: one created by an older version lacks newer tables of ours until its schema is
//! updated.

use sqlx::PgConnection;

use super::{Database, unnamed::on};
use crate::{Error, postgres::error::StatementContext as _};

impl Database {
    /// The schema of the relation that `name` means in the search path, in which PostgreSQL's catalogs are first. `None`
    /// if there is none.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn schema_of(&self, name: &str) -> Result<Option<String>, Error> {
        sqlx::query_scalar!(
            r#"
            select nspname::text as "schema!"
            from pg_class
            join pg_namespace on pg_namespace.oid = relnamespace
            where pg_class.oid = to_regclass(quote_ident($1))
            "#,
            name
        )
        .fetch_optional(self)
        .await
        .during("look for a relation")
    }
}

/// Whether there is a table `name`.
pub(super) async fn has_table(connection: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select to_regclass(quote_ident($1)) is not null as "exists!""#, name)
        .fetch_one(on(connection))
        .await
}
