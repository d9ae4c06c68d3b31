//! The contents of a database, table by table, in one snapshot that other programs can read too; and databases of a server as
//! wholes.

use sqlx::Row as _;

use super::{Database, checkout::Transaction, own_tables::VERSIONS_TABLE, sql, unnamed::on};
use crate::{Error, postgres::error::StatementContext as _};

/// A snapshot of a database, which lasts until this value is dropped.
#[derive(Debug)]
pub struct Snapshot {
    transaction: Transaction,
    name: String,
}

/// A table with rows of its own: no view, no part of an extension, nothing temporary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredTable {
    /// The schema.
    pub schema: String,
    /// The name.
    pub name: String,
}

/// The contents of a table. Equal contents have equal digests, in whatever order the rows are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableContents {
    /// The number of rows.
    pub rows: u64,
    /// The sum of the rows' 64-bit hashes, in decimal digits.
    pub digest: String,
}

impl Snapshot {
    /// The name by which other transactions of the same server can take the same snapshot (`pg_dump --snapshot`).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tables, in a fixed order.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn tables(&mut self) -> Result<Vec<StoredTable>, Error> {
        sqlx::query_as!(
            StoredTable,
            r#"
            select namespace.nspname::text as "schema!", relation.relname::text as "name!"
            from pg_class relation
            join pg_namespace namespace on namespace.oid = relation.relnamespace
            where relation.relkind = 'r'
                and relation.relpersistence <> 't'
                and namespace.nspname not like 'pg\_%'
                and namespace.nspname <> 'information_schema'
                and not exists (
                    select from pg_depend dependency
                    where dependency.classid = 'pg_class'::regclass
                        and dependency.objid = relation.oid
                        and dependency.deptype = 'e'
                )
            order by 1, 2
            "#
        )
        .fetch_all(on(&mut self.transaction))
        .await
        .during("list the tables of the database")
    }

    /// The schema of pgvector; `None` without it.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn pgvector_schema(&mut self) -> Result<Option<String>, Error> {
        sqlx::query_scalar!(
            r#"
            select namespace.nspname::text as "schema!"
            from pg_extension extension
            join pg_namespace namespace on namespace.oid = extension.extnamespace
            where extension.extname = 'vector'
            "#
        )
        .fetch_optional(on(&mut self.transaction))
        .await
        .during("look for pgvector")
    }

    /// The contents of `table`; reads all of it.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn contents(&mut self, table: &StoredTable) -> Result<TableContents, Error> {
        const OPERATION: &str = "read the contents of a table";
        let row = sqlx::query(sql::table_contents(&table.schema, &table.name))
            .fetch_one(on(&mut self.transaction))
            .await
            .during(OPERATION)?;
        let rows: i64 = row.try_get("rows").during(OPERATION)?;
        let digest = row.try_get("digest").during(OPERATION)?;
        Ok(TableContents { rows: u64::try_from(rows).expect("a count is not negative"), digest })
    }

    /// The tables that have a row, except that of the schema's versions.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub async fn filled_tables(&mut self) -> Result<Vec<StoredTable>, Error> {
        let mut filled = Vec::new();
        for table in self.tables().await? {
            let has_rows: bool = sqlx::query_scalar(sql::table_has_rows(&table.schema, &table.name))
                .fetch_one(on(&mut self.transaction))
                .await
                .during("look for rows of a table")?;
            if has_rows && table.name != VERSIONS_TABLE {
                filled.push(table);
            }
        }
        Ok(filled)
    }

    /// Ends the snapshot.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn end(self) -> Result<(), Error> {
        self.transaction.commit().await.during("end a snapshot")
    }
}

impl Database {
    /// Takes a snapshot of this database.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let mut transaction = self.begin_snapshot().await?;
        let name = sqlx::query_scalar!(r#"select pg_export_snapshot() as "name!""#)
            .fetch_one(on(&mut transaction))
            .await
            .during("take a snapshot")?;
        Ok(Snapshot { transaction, name })
    }

    /// Databases of the server that users have created, except this one: not its templates, nor `postgres`.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn other_databases(&self) -> Result<Vec<String>, Error> {
        self.in_transaction(async |connection| {
            sqlx::query_scalar!(
                r#"
                select datname::text as "name!" from pg_database
                where not datistemplate and datname not in ('postgres', current_database())
                order by 1
                "#
            )
            .fetch_all(on(connection))
            .await
            .during("list the databases of the server")
        })
        .await
    }

    /// How many clients use the database `name` of this server, except those of
    /// [`application_name`](super::DatabaseOptions::application_name) `ours`: the server may not have noticed yet that one
    /// has closed its connection.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn clients_of(&self, name: &str, ours: &str) -> Result<u64, Error> {
        let clients = self
            .in_transaction(async |connection| {
                sqlx::query_scalar!(
                    r#"
                    select count(*) as "clients!" from pg_stat_activity
                    where datname = $1
                        and backend_type = 'client backend'
                        and application_name is distinct from $2
                    "#,
                    name,
                    ours
                )
                .fetch_one(on(connection))
                .await
                .during("look for clients of a database")
            })
            .await?;
        Ok(u64::try_from(clients).expect("a count is not negative"))
    }

    /// Gives the database `replacement` the name `current`, whose database, if there is one, gets the name `former`: both
    /// or neither. Nobody may be connected to one of them, and this may be neither.
    ///
    /// # Errors
    /// When somebody is.
    pub async fn exchange_databases(
        &self,
        replacement: &str,
        current: &str,
        former: &str,
    ) -> Result<(), Error> {
        self.in_transaction(async |connection| {
            let exists = sqlx::query_scalar!(
                r#"select exists(select from pg_database where datname = $1) as "exists!""#,
                current
            )
            .fetch_one(on(connection))
            .await
            .during("look for a database")?;
            let renamed = exists.then_some((current, former)).into_iter().chain([(replacement, current)]);
            for (from, to) in renamed {
                sqlx::query(sql::databases::rename_database(from, to))
                    .execute(on(connection))
                    .await
                    .during("rename a database")?;
            }
            Ok(())
        })
        .await
    }

    /// Extensions that may be created by the owner of a database, who is not a superuser.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn trusted_extensions(&self) -> Result<Vec<String>, Error> {
        self.in_transaction(async |connection| {
            sqlx::query_scalar!(
                r#"
                select version.name::text as "name!"
                from pg_available_extension_versions version
                join pg_available_extensions extension
                    on extension.name = version.name and extension.default_version = version.version
                where version.trusted or not version.superuser
                order by 1
                "#
            )
            .fetch_all(on(connection))
            .await
            .during("list the extensions of the server")
        })
        .await
    }

    /// Creates the database `name` on the same server, without what new databases usually have, such as pgvector.
    ///
    /// # Errors
    /// When there is one, or the role may not create databases.
    pub async fn create_bare_database(&self, name: &str) -> Result<(), Error> {
        self.run_alone("create a database", vec![sql::databases::create_bare_database(name)]).await
    }

    /// Creates pgvector in `schema`, which must exist.
    ///
    /// # Errors
    /// When this role may not, or the database has it.
    pub async fn create_pgvector(&self, schema: &str) -> Result<(), Error> {
        self.run_alone("create pgvector", vec![sql::databases::create_pgvector(schema)]).await
    }

    /// Drops the database `name` of this server, if there is one, and ends the sessions of its clients.
    ///
    /// # Errors
    /// When this role may not. Only a superuser may always: autovacuum, which may work on it, is one.
    pub async fn drop_database(&self, name: &str) -> Result<(), Error> {
        self.run_alone("drop a database", vec![sql::databases::drop_database(name)]).await
    }
}
