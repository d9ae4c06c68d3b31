//! What Chroma clients have deleted of migrated collections, so that a later migration does not restore it.

use std::collections::HashSet;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Error,
    postgres::{
        Database, Table,
        error::StatementContext as _,
        jobs::{Job, now},
        relations::has_table,
        unnamed::on,
    },
};

const DATABASES: &str = "chroma_deleted_databases";
const RECORDS: &str = "chroma_deleted_records";
pub(super) const COLLECTIONS: &str = "chroma_deleted_collections";

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

    /// Forgets which collections and databases were deleted that `run`, which is undone, has registered.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn forget_deleted_collections(&self, run: Uuid) -> Result<(), Error> {
        const OPERATION: &str = "forget which collections were deleted here";
        self.if_table_exists(DATABASES, OPERATION, async |connection| {
            sqlx::query!("delete from chroma_deleted_databases where migration_run = $1", run)
                .execute(on(connection))
                .await?;
            Ok(())
        })
        .await?;
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

/// Whether a client has deleted the collection `id` here, which was registered if it `was_served`: a reset leaves no note of what
/// it has deleted. If not, none can do so until the end of the transaction, so that its deletion finds all rows.
pub(crate) async fn is_deleted(
    connection: &mut PgConnection,
    id: Uuid,
    was_served: bool,
) -> Result<bool, Error> {
    const OPERATION: &str = "look for deleted collections";
    // Without these privileges, the collection is not registered.
    let may_lock = sqlx::query_scalar!(
        r#"
        select coalesce(
            has_table_privilege(to_regclass('chroma_collections'), 'select')
                and has_table_privilege(to_regclass('chroma_collections'), 'update')
                and has_table_privilege(to_regclass('chroma_deleted_collections'), 'select'),
            false
        ) as "may_lock!"
        "#
    );
    if !may_lock.fetch_one(on(connection)).await.during(OPERATION)? {
        return Ok(false);
    }
    let registered = sqlx::query_scalar!("select id from chroma_collections where id = $1 for key share", id);
    if registered.fetch_optional(on(connection)).await.during(OPERATION)?.is_some() {
        return Ok(false);
    }
    if was_served {
        return Ok(true);
    }
    // A statement of its own, which sees what the first one may have waited for.
    Ok(!deleted_collections(connection, &[id]).await.during(OPERATION)?.is_empty())
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

/// The runs that have registered what was deleted.
pub(super) async fn runs_of_deleted(connection: &mut PgConnection) -> sqlx::Result<Vec<Uuid>> {
    if !has_table(connection, DATABASES).await? {
        return Ok(Vec::new());
    }
    let runs = sqlx::query_scalar!(
        r#"
        select migration_run as "run!" from chroma_deleted_collections where migration_run is not null
        union
        select migration_run from chroma_deleted_databases
        "#
    );
    runs.fetch_all(on(connection)).await
}

/// Records that a database was deleted, if a migration has registered it.
pub(super) async fn note_database(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        insert into chroma_deleted_databases (tenant, name, migration_run, deleted_at)
        select tenant, name, migration_run, $2::timestamp
        from chroma_databases
        where id = $1 and migration_run is not null
        on conflict (tenant, name) do update
        set migration_run = excluded.migration_run, deleted_at = excluded.deleted_at
        "#,
        id,
        now()
    )
    .execute(on(connection))
    .await?;
    Ok(())
}

/// Those of `databases`, pairs of a tenant and a name, that clients have deleted here since they were migrated.
pub(super) async fn deleted_databases(
    connection: &mut PgConnection,
    databases: &[(String, String)],
) -> sqlx::Result<HashSet<(String, String)>> {
    let (tenants, names): (Vec<String>, Vec<String>) = databases.iter().cloned().unzip();
    let deleted = sqlx::query!(
        r#"
        select tenant, name
        from chroma_deleted_databases
        join unnest($1::text[], $2::text[]) as given (tenant, name) using (tenant, name)
        "#,
        &tenants,
        &names
    );
    let deleted = deleted.fetch_all(on(connection)).await?;
    Ok(deleted.into_iter().map(|row| (row.tenant, row.name)).collect())
}

/// Forgets which of `databases` were deleted: they are registered again.
pub(super) async fn forget_databases(
    connection: &mut PgConnection,
    databases: &[(String, String)],
) -> sqlx::Result<()> {
    let (tenants, names): (Vec<String>, Vec<String>) = databases.iter().cloned().unzip();
    sqlx::query!(
        r#"
        delete from chroma_deleted_databases deleted
        using unnest($1::text[], $2::text[]) as given (tenant, name)
        where deleted.tenant = given.tenant and deleted.name = given.name
        "#,
        &tenants,
        &names
    )
    .execute(on(connection))
    .await?;
    Ok(())
}

/// Forgets everything that was deleted.
pub(super) async fn forget_all(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("delete from chroma_deleted_databases").execute(on(connection)).await?;
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
