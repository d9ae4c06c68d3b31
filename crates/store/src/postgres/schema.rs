//! Creates the services' tables or adopts those that the old services made, and refuses what does not fit.

use records::Service;
use sqlx::{Connection as _, PgConnection, migrate::Migrator};

use super::{Database, ServiceTable};
use crate::{Error, error::StatementContext as _};

static MIGRATIONS: Migrator = sqlx::migrate!("src/postgres/migrations");

/// Oldest server that Panopticon supports, as `server_version_num` counts.
const OLDEST_SERVER: i32 = 140_000;
/// Oldest pgvector: the first with everything that our indexes and types need.
const OLDEST_PGVECTOR: (u32, u32) = (0, 7);
/// First pgvector that goes on scanning when a filter leaves too few rows.
const ITERATIVE_SCAN_PGVECTOR: (u32, u32) = (0, 8);
/// Any number that no other program is likely to lock; it reads "panoptic" in ASCII.
const MIGRATION_LOCK: i64 = 0x7061_6e6f_7074_6963;

impl Database {
    /// Makes the schema current: creates extension and tables where they are missing, adopts those that exist.
    ///
    /// # Errors
    /// When server or extension are missing or too old, privileges are missing, or a table of ours has other columns.
    pub async fn prepare_schema(&self) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await.during("get a connection")?;
        self.check_server(&mut connection).await?;
        // One transaction: either the whole schema is current afterwards, or nothing has changed.
        let mut transaction = connection.begin().await.during("begin a transaction")?;
        sqlx::query!("select pg_advisory_xact_lock($1)", MIGRATION_LOCK)
            .execute(&mut *transaction)
            .await
            .during("lock the schema")?;
        self.create_extension(&mut transaction).await?;
        // Its own lock is a session's, which a pooler in transaction mode does not keep; ours serves.
        let mut migrator = Migrator { locking: false, ..Migrator::DEFAULT };
        migrator.migrations = MIGRATIONS.migrations.clone();
        migrator.run(&mut *transaction).await.map_err(|source| Error::Migrate { source })?;
        for service in Service::ALL {
            check_table(&mut transaction, ServiceTable::of(service)).await?;
        }
        transaction.commit().await.during("commit the schema")
    }

    /// Checks that `table` is there and fits, and changes nothing.
    ///
    /// # Errors
    /// When it is not, or does not.
    pub async fn check_table(&self, table: &'static ServiceTable) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await.during("get a connection")?;
        check_table(&mut connection, table).await
    }

    async fn check_server(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let server = sqlx::query!(
            r#"select current_setting('server_version_num')::int as "number!", current_setting('server_version') as "name!""#
        )
        .fetch_one(connection)
        .await
        .during("read the server's version")?;
        if server.number < OLDEST_SERVER {
            return Err(Error::ServerVersion { address: self.address().to_owned(), found: server.name });
        }
        Ok(())
    }

    async fn create_extension(&self, connection: &mut PgConnection) -> Result<(), Error> {
        if pgvector_version(connection).await?.is_none() {
            let available = sqlx::query_scalar!(
                r#"select exists (select from pg_available_extensions where name = 'vector') as "exists!""#
            )
            .fetch_one(&mut *connection)
            .await
            .during("look for pgvector")?;
            if !available {
                return Err(Error::ExtensionUnavailable { address: self.address().to_owned() });
            }
            sqlx::query!("create extension vector")
                .execute(&mut *connection)
                .await
                .map_err(|source| Error::CreateExtension { source })?;
        }
        let found = pgvector_version(connection).await?.expect("the extension was created above");
        if parse_version(&found) < OLDEST_PGVECTOR {
            return Err(Error::ExtensionVersion { found });
        }
        Ok(())
    }
}

/// Whether this database's pgvector can go on scanning an index when a filter leaves too few rows.
pub(crate) async fn has_iterative_scan(connection: &mut PgConnection) -> Result<bool, Error> {
    let version = pgvector_version(connection).await?;
    Ok(version.is_some_and(|version| parse_version(&version) >= ITERATIVE_SCAN_PGVECTOR))
}

async fn pgvector_version(connection: &mut PgConnection) -> Result<Option<String>, Error> {
    sqlx::query_scalar!("select extversion from pg_extension where extname = 'vector'")
        .fetch_optional(connection)
        .await
        .during("read pgvector's version")
}

/// Major and minor number; what does not parse counts as 0, the oldest.
fn parse_version(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

async fn check_table(connection: &mut PgConnection, table: &'static ServiceTable) -> Result<(), Error> {
    let found = sqlx::query!(
        r#"
        select attname as "name!", format_type(atttypid, atttypmod) as "column_type!"
        from pg_attribute
        where attrelid = to_regclass(quote_ident($1))
            and attnum > 0
            and not attisdropped
        "#,
        table.name
    )
    .fetch_all(connection)
    .await
    .during("read the columns of a table")?;
    if found.is_empty() {
        return Err(Error::NoTable { table: table.name });
    }
    let mut problems = Vec::new();
    for (name, expected) in expected_columns(table) {
        match found.iter().find(|column| column.name == name) {
            None => problems.push(format!("column `{name}` of type {expected} is missing")),
            // The type carries its schema where that is not on the search path (`extensions.vector(384)`).
            Some(column) if column.column_type.rsplit('.').next() != Some(expected) => {
                problems.push(format!("column `{name}` is {}, expected {expected}", column.column_type));
            }
            Some(_) => {}
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Schema { table: table.name, problems }) }
}

fn expected_columns(table: &ServiceTable) -> Vec<(&'static str, &'static str)> {
    let mut columns = vec![("id", "uuid"), (table.text_column, "text"), (table.category_column, "text")];
    columns.extend(table.attribute_columns.iter().map(|name| (*name, "text")));
    columns.extend([
        ("embedding", "vector(384)"),
        ("metadata", "jsonb"),
        ("created_at", "timestamp without time zone"),
        ("source_id", "text"),
        ("uri", "text"),
    ]);
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(parse_version("0.10.0") > parse_version("0.8.6"));
        assert!(parse_version("0.6.2") < OLDEST_PGVECTOR);
        assert_eq!(parse_version("unreadable"), (0, 0));
    }
}
