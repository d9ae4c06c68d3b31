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

const SET_STORAGE: &str = "set storage";
const FEATURE_NOT_SUPPORTED: &str = "0A000";

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
pub(crate) async fn run(connection: &mut PgConnection, migrator: &'static Migrator) -> Result<(), Error> {
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
        for statement in statements(migration.sql.as_str()) {
            apply(connection, statement).await.map_err(concise).map_err(|source| match missing_privilege(
                &source,
            ) {
                Some(remedy) => Error::Privilege { operation: "bring the schema up to date", remedy, source },
                None => Error::Migrate { source: MigrateError::ExecuteMigration(source, migration.version) },
            })?;
        }
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

/// Executes one statement: Citus sends the whole text of a message to its workers. It refuses to set the storage of columns
/// of distributed tables, which only makes searches slower.
async fn apply(connection: &mut PgConnection, statement: &'static str) -> sqlx::Result<()> {
    if !statement.contains(SET_STORAGE) {
        sqlx::raw_sql(statement).execute(connection).await?;
        return Ok(());
    }
    sqlx::raw_sql("savepoint set_storage").execute(&mut *connection).await?;
    match sqlx::raw_sql(statement).execute(&mut *connection).await {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(FEATURE_NOT_SUPPORTED) => {
            log::warn!("vectors are not kept in rows, because a table is distributed: {}", error.message());
            sqlx::raw_sql("rollback to savepoint set_storage").execute(connection).await?;
            Ok(())
        }
        executed => executed.map(drop),
    }
}

/// The statements of a migration, with the comments before them. What is in quotes or between `$$` is not split.
fn statements(sql: &'static str) -> Vec<&'static str> {
    let (mut statements, mut begin, mut place) = (Vec::new(), 0, 0);
    while let Some(found) = sql[place..].find([';', '\'', '$', '-']) {
        let at = place + found;
        let rest = &sql[at..];
        let end = |opening: &str, closing: &str| {
            let body = rest.strip_prefix(opening)?;
            Some(body.find(closing).map_or(sql.len(), |end| at + opening.len() + end + closing.len()))
        };
        place = end("'", "'").or_else(|| end("$$", "$$")).or_else(|| end("--", "\n")).unwrap_or(at + 1);
        if rest.starts_with(';') {
            statements.push(sql[begin..at].trim());
            begin = place;
        }
    }
    statements.push(sql[begin..].trim());
    statements.retain(|statement| {
        statement.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"))
    });
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_split_into_their_statements() {
        let text =
            "-- a; b\ncreate table a (b text default 'c;d');\n\ndo $$ begin x; end $$;\n-- it's the end;\n";
        assert_eq!(
            statements(text),
            ["-- a; b\ncreate table a (b text default 'c;d')", "do $$ begin x; end $$"]
        );
        for migration in SERVICES.iter().chain(BOOKKEEPING.iter()) {
            let statements = statements(migration.sql.as_str());
            assert!(!statements.is_empty(), "{}", migration.version);
            for statement in statements {
                let pairs = |sign: &str| statement.matches(sign).count() % 2 == 0;
                assert!(pairs("$$"), "{statement}");
                let first =
                    statement.lines().find(|line| !line.trim_start().starts_with("--") && !line.is_empty());
                let word = first.and_then(|line| line.split_whitespace().next());
                assert!(
                    word.is_some_and(|word| ["create", "alter", "do", "drop", "insert", "update", "delete"]
                        .contains(&word)),
                    "{statement}"
                );
            }
        }
    }
}
