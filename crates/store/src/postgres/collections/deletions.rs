//! What Chroma clients have deleted of migrated collections, so that a later migration does not restore it.

use std::collections::HashSet;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Error,
    postgres::{
        Database, Table,
        jobs::{Job, now},
        relations::has_table,
        unnamed::on,
    },
};

const RECORDS: &str = "chroma_deleted_records";
const COLLECTIONS: &str = "chroma_deleted_collections";

impl Database {
    /// Those of `collections` that clients have deleted here since they were migrated.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn deleted_collections(&self, collections: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
        const OPERATION: &str = "read which collections were deleted here";
        self.if_table_exists(COLLECTIONS, OPERATION, async |connection| {
            deleted_collections(connection, collections).await
        })
        .await
    }

    /// Forgets which collections were deleted that `run`, which is undone, has registered.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn forget_deleted_collections(&self, run: Uuid) -> Result<(), Error> {
        const OPERATION: &str = "forget which collections were deleted here";
        self.if_table_exists(COLLECTIONS, OPERATION, async |connection| {
            sqlx::query!("delete from chroma_deleted_collections where migration_run = $1", run)
                .execute(on(connection))
                .await?;
            Ok(())
        })
        .await
    }

    /// The ids of rows of `table` that `runs` wrote and clients have deleted.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn deleted_records(&self, table: &Table, runs: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        const OPERATION: &str = "read which records were deleted here";
        let deleted = self.if_table_exists(RECORDS, OPERATION, async |connection| {
            sqlx::query_scalar!(
                "select id from chroma_deleted_records where table_name = $1 and migration_run = any($2)",
                table.name,
                runs
            )
            .fetch_all(on(connection))
            .await
        });
        deleted.await
    }
}

pub(super) async fn deleted_collections(
    connection: &mut PgConnection,
    collections: &[Uuid],
) -> sqlx::Result<HashSet<Uuid>> {
    let deleted =
        sqlx::query_scalar!("select id from chroma_deleted_collections where id = any($1)", collections);
    Ok(deleted.fetch_all(on(connection)).await?.into_iter().collect())
}

/// Records that a migrated collection was deleted, with `table`.
pub(super) async fn note_collection(
    connection: &mut PgConnection,
    (id, run): (Uuid, Option<Uuid>),
    table: Option<&Table>,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        insert into chroma_deleted_collections (id, migration_run, deleted_at) values ($1, $2, $3)
        on conflict do nothing
        "#,
        id,
        run,
        now()
    )
    .execute(on(connection))
    .await?;
    // Another collection may get a table of this name.
    if let Some(table) = table.filter(|table| table.shared.is_none()) {
        sqlx::query!("delete from chroma_deleted_records where table_name = $1", table.name)
            .execute(on(connection))
            .await?;
    }
    Ok(())
}

/// Forgets what was deleted of `collections`: they are copied again.
pub(super) async fn forget(connection: &mut PgConnection, collections: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!("delete from chroma_deleted_collections where id = any($1)", collections)
        .execute(on(connection))
        .await?;
    sqlx::query!(
        r#"
        delete from chroma_deleted_records
        where migration_run in (select run_id from migration_jobs where collection_id = any($1))
        "#,
        collections
    )
    .execute(on(connection))
    .await?;
    Ok(())
}

/// Forgets everything that was deleted.
pub(super) async fn forget_all(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("delete from chroma_deleted_records").execute(on(connection)).await?;
    sqlx::query!("delete from chroma_deleted_collections").execute(on(connection)).await?;
    Ok(())
}

/// Forgets which rows of `job`, which is undone, were deleted.
pub(crate) async fn forget_records(connection: &mut PgConnection, job: &Job) -> sqlx::Result<()> {
    if has_table(connection, RECORDS).await? {
        sqlx::query!(
            "delete from chroma_deleted_records where table_name = $1 and migration_run = $2",
            job.table_name,
            job.run_id
        )
        .execute(on(connection))
        .await?;
    }
    Ok(())
}
