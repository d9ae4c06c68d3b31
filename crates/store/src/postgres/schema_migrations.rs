//! Applies schema migrations like sqlx's migrator and with its table `_sqlx_migrations`, but with unnamed statements
//! inside the caller's transaction: the migrator prepares named statements, which poolers in transaction mode do not
//! support.

use std::time::Instant;

use sqlx::{
    PgConnection,
    migrate::{MigrateError, Migrator},
};

use super::{concise_error::concise, relations::has_table, unnamed::on};
use crate::{
    Error,
    postgres::error::{StatementContext as _, missing_privilege},
};

/// The tables of the services, which live and migrated data share.
pub(super) static SERVICES: Migrator = sqlx::migrate!("src/postgres/migrations/services");
/// The bookkeeping tables of migrations and index maintenance.
pub(super) static BOOKKEEPING: Migrator = sqlx::migrate!("src/postgres/migrations/bookkeeping");

/// The schema version of this program: that of its newest schema migration.
pub fn schema_version() -> i64 {
    let versions = SERVICES.iter().chain(BOOKKEEPING.iter()).map(|migration| migration.version);
    versions.max().expect("there are schema migrations")
}

/// The version of the schema in the database; `None` before the first migration, or if the role may not read it.
pub(super) async fn applied_version(connection: &mut PgConnection) -> sqlx::Result<Option<i64>> {
    // A table of the same name may be another's.
    let is_readable: bool = sqlx::query_scalar(
        "select exists (
            select from pg_attribute
            where attrelid = to_regclass('_sqlx_migrations') and attname = 'version'
                and atttypid = 'bigint'::regtype and not attisdropped
                and has_column_privilege(attrelid, attnum, 'select')
        )",
    )
    .fetch_one(on(connection))
    .await?;
    if !is_readable {
        return Ok(None);
    }
    sqlx::query_scalar("select max(version) from _sqlx_migrations").fetch_one(on(connection)).await
}

/// Applies the missing migrations of `migrator`, in order.
pub(crate) async fn run(connection: &mut PgConnection, migrator: &Migrator) -> Result<(), Error> {
    // Checked first, since `create table if not exists` needs the privilege to create tables even if the table
    // exists.
    let exists =
        has_table(connection, "_sqlx_migrations").await.during("look for the table of schema versions")?;
    if !exists {
        let statement = "create table _sqlx_migrations (
            version bigint primary key,
            description text not null,
            installed_on timestamptz not null default now(),
            success boolean not null,
            checksum bytea not null,
            execution_time bigint not null
        )";
        sqlx::query(statement).execute(on(connection)).await.during("create the table of schema versions")?;
    }
    for migration in migrator.iter() {
        let applied: Option<Vec<u8>> =
            sqlx::query_scalar("select checksum from _sqlx_migrations where version = $1")
                .bind(migration.version)
                .fetch_optional(on(connection))
                .await
                .during("read the schema's version")?;
        match applied {
            Some(checksum) if checksum == *migration.checksum => continue,
            Some(_) => {
                return Err(Error::Migrate { source: MigrateError::VersionMismatch(migration.version) });
            }
            None => {}
        }
        let started = Instant::now();
        sqlx::raw_sql(migration.sql.clone()).execute(&mut *connection).await.map_err(concise).map_err(
            |source| match missing_privilege(&source) {
                Some(remedy) => Error::Privilege { operation: "bring the schema up to date", remedy, source },
                None => Error::Migrate { source: MigrateError::ExecuteMigration(source, migration.version) },
            },
        )?;
        sqlx::query(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
            values ($1, $2, true, $3, $4)",
        )
        .bind(migration.version)
        .bind(&*migration.description)
        .bind(&*migration.checksum)
        .bind(i64::try_from(started.elapsed().as_nanos()).unwrap_or(i64::MAX))
        .execute(on(connection))
        .await
        .during("record the schema's version")?;
    }
    Ok(())
}
