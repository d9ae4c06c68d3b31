//! What the tables of a database are: one created by an older version lacks newer tables until its schema is updated, and
//! Citus may distribute tables.

use sqlx::PgConnection;

use super::unnamed::on;

/// Whether there is a table `name`.
pub(super) async fn has_table(connection: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select to_regclass(quote_ident($1)) is not null as "exists!""#, name)
        .fetch_one(on(connection))
        .await
}

/// Whether the rows of the table `name` have positions, as those of collections have that Chroma clients see.
pub(super) async fn has_positions(connection: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select
            from pg_attribute
            where attrelid = to_regclass(quote_ident($1)) and attname = 'position' and not attisdropped
        ) as "has_positions!"
        "#,
        name
    )
    .fetch_one(on(connection))
    .await
}

/// Whether Citus distributes the rows of the table `name` over shards.
pub(super) async fn is_distributed(connection: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    // Absent without Citus, so that no static statement can name it.
    if !has_table(connection, "pg_dist_partition").await? {
        return Ok(false);
    }
    sqlx::query_scalar(
        "select exists (select 1 from pg_dist_partition where logicalrelid = to_regclass(quote_ident($1)) and partmethod = 'h')",
    )
    .bind(name)
    .fetch_one(on(connection))
    .await
}
