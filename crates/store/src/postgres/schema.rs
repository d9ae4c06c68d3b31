//! Creates our tables or adopts existing ones, and rejects those that do not match.

use std::collections::HashSet;

use records::Service;
use sqlx::{PgConnection, migrate::Migrator};

use super::{
    Access, Database, Table,
    checkout::Transaction,
    concise_error::concise,
    constraints::{self, Needs},
    groups::{self, Group},
    jobs::{self, Job},
    own_tables,
    schema_migrations::{self, BOOKKEEPING, SERVICES},
    sql,
    table::BOOKKEEPING_COLUMNS,
    unnamed::on,
    versions::{self, parse_version},
};
use crate::{Error, postgres::error::StatementContext as _};

/// A number that no other program is likely to lock: "panoptic" in ASCII.
const MIGRATION_LOCK: i64 = 0x7061_6e6f_7074_6963;

/// The facts about a database that are checked before it is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerDescription {
    /// PostgreSQL's version, such as `18.6`.
    pub postgresql: String,
    /// pgvector's version; `None` while the extension is not created.
    pub pgvector: Option<String>,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// The state of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableState {
    /// It does not exist.
    Absent,
    /// It matches, and no migration has written to it.
    WithoutBookkeeping,
    /// It matches.
    Ready,
}

impl Database {
    /// Brings the services' schema up to date: creates the extension and missing tables, and adopts existing ones. On a
    /// server that rejects writes, checks that it is up to date.
    ///
    /// # Errors
    /// When the server is too old, the extension is missing or too old, privileges are missing, or a table of ours
    /// has other columns.
    pub async fn prepare_schema(&self) -> Result<(), Error> {
        if !self.accepts_writes().await {
            return self.check_prepared().await;
        }
        let tables = Service::ALL.map(Table::of);
        let migrators = [&SERVICES, &BOOKKEEPING];
        let mut transaction = self.begin_schema_change(&migrators).await?;
        prepare(&mut transaction, &migrators).await?;
        for table in &tables {
            check_columns(&mut transaction, table).await?;
        }
        own_tables::check_made(&mut transaction, &migrators).await?;
        transaction.commit().await.during("commit the schema")
    }

    /// Brings only the bookkeeping tables of migrations and index maintenance up to date.
    ///
    /// # Errors
    /// As for [`prepare_schema`](Self::prepare_schema).
    pub async fn prepare_bookkeeping(&self) -> Result<(), Error> {
        if !self.accepts_writes().await {
            return self.check_prepared().await;
        }
        let mut transaction = self.begin_schema_change(&[&BOOKKEEPING]).await?;
        prepare(&mut transaction, &[&BOOKKEEPING]).await?;
        transaction.commit().await.during("commit the schema")
    }

    /// Checks that the schema is that of this program, where it cannot be brought up to date.
    async fn check_prepared(&self) -> Result<(), Error> {
        let found = self
            .in_transaction(async |connection| {
                schema_migrations::applied_version(connection).await.during("read the schema's version")
            })
            .await?;
        let known = schema_migrations::schema_version();
        if found == Some(known) {
            return Ok(());
        }
        Err(Error::OutdatedStandby { database: self.address().to_owned(), found, known })
    }

    /// Creates everything that `jobs` need and records them, in one transaction: the services' schema if one of them
    /// needs it, missing tables, and the migration's columns. Sets in each job whether it created its table.
    ///
    /// # Errors
    /// As for [`prepare_schema`](Self::prepare_schema).
    pub async fn begin_jobs(&self, jobs: &mut [(&Table, &mut Job)]) -> Result<(), Error> {
        self.begin_jobs_of(jobs, None).await
    }

    /// The same for a `group`, which is recorded too.
    ///
    /// # Errors
    /// As for [`prepare_schema`](Self::prepare_schema).
    pub async fn begin_group_jobs(
        &self,
        jobs: &mut [(&Table, &mut Job)],
        group: &Group,
    ) -> Result<(), Error> {
        self.begin_jobs_of(jobs, Some(group)).await
    }

    async fn begin_jobs_of(
        &self,
        jobs: &mut [(&Table, &mut Job)],
        group: Option<&Group>,
    ) -> Result<(), Error> {
        let mut transaction = self.begin_tables(jobs.iter().any(|(table, _)| is_service(table))).await?;
        if let Some(group) = group {
            groups::add_jobs(&mut transaction, group, jobs).await?;
        }
        let mut created = create_tables(&mut transaction, jobs.iter().map(|(table, _)| *table)).await?;
        for (table, job) in &mut *jobs {
            // Another job into the same table did not create it, and must find it as it needs it.
            job.created_table = created.remove(&table.name) || make_ready(&mut transaction, table).await?;
        }
        let jobs: Vec<&Job> = jobs.iter().map(|(_, job)| &**job).collect();
        jobs::add(&mut transaction, &jobs).await?;
        transaction.commit().await.during("commit the schema")
    }

    /// Creates the table of an unfinished migration again if it is gone, as after a Chroma client has deleted the
    /// collection.
    ///
    /// # Errors
    /// As for [`prepare_schema`](Self::prepare_schema).
    pub async fn restore_table(&self, table: &Table) -> Result<(), Error> {
        let mut transaction = self.begin_tables(is_service(table)).await?;
        make_ready(&mut transaction, table).await?;
        transaction.commit().await.during("commit the schema")
    }

    /// Begins to create tables, with what they need: the services' schema if one of them is theirs.
    async fn begin_tables(&self, has_service: bool) -> Result<Transaction, Error> {
        let migrators: &[&Migrator] = if has_service { &[&SERVICES, &BOOKKEEPING] } else { &[&BOOKKEEPING] };
        let mut transaction = self.begin_schema_change(migrators).await?;
        prepare(&mut transaction, migrators).await?;
        Ok(transaction)
    }

    /// Checks the server and the extension without changing anything.
    ///
    /// # Errors
    /// When one of them is missing or too old.
    pub async fn describe(&self) -> Result<ServerDescription, Error> {
        self.check_session()?;
        self.in_transaction(async |connection| {
            let postgresql = self.check_server(connection).await?;
            let pgvector = pgvector_version(connection).await?;
            let mut warnings = Vec::new();
            match &pgvector {
                Some(found) => {
                    check_pgvector(found)?;
                    if parse_version(found) < versions::FIXED_PGVECTOR {
                        warnings.push(format!(
                            "pgvector {found} lacks fixes of index maintenance that 0.8.4 has: upgrade the package, then run `alter extension vector update`"
                        ));
                    }
                }
                None => self.check_available(connection).await?,
            }
            Ok(ServerDescription { postgresql, pgvector, warnings })
        })
        .await
    }

    /// Checks whether `table` exists and matches, without changing anything.
    ///
    /// # Errors
    /// When it exists and does not match.
    pub async fn table_state(&self, table: &Table) -> Result<TableState, Error> {
        self.in_transaction(async |connection| check_table(connection, table, Access::Read).await).await
    }

    /// Checks that `table` exists and matches, without changing anything.
    ///
    /// # Errors
    /// When it does not exist or does not match.
    pub async fn check_table(&self, table: &Table) -> Result<(), Error> {
        self.in_transaction(async |connection| require_table(connection, table).await).await
    }

    async fn begin_schema_change(&self, migrators: &[&'static Migrator]) -> Result<Transaction, Error> {
        let mut transaction = self.begin().await?;
        self.check_server(&mut transaction).await?;
        sqlx::query!("select pg_advisory_xact_lock($1)", MIGRATION_LOCK)
            .fetch_one(on(&mut transaction))
            .await
            .during("lock the schema")?;
        self.look_again(&mut transaction).await?;
        own_tables::check_foreign(&mut transaction, migrators).await?;
        self.create_extension(&mut transaction).await?;
        Ok(transaction)
    }

    async fn check_server(&self, connection: &mut PgConnection) -> Result<String, Error> {
        let server = sqlx::query!(
            r#"select current_setting('server_version_num')::int as "number!", current_setting('server_version') as "name!""#
        )
        .fetch_one(on(connection))
        .await
        .during("read the server's version")?;
        if server.number < versions::OLDEST_SERVER {
            return Err(Error::ServerVersion { address: self.address().to_owned(), found: server.name });
        }
        // Distributions append their package versions.
        Ok(server.name.split(' ').next().expect("splitting gives at least one part").to_owned())
    }

    async fn check_available(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let available =
            sqlx::query_scalar!("select default_version from pg_available_extensions where name = 'vector'")
                .fetch_optional(on(connection))
                .await
                .during("look for pgvector")?;
        match available {
            // A package without a default version cannot be checked.
            Some(version) => version.map_or(Ok(()), |version| check_pgvector(&version)),
            None => Err(Error::ExtensionUnavailable { address: self.address().to_owned() }),
        }
    }

    async fn create_extension(&self, connection: &mut PgConnection) -> Result<(), Error> {
        if pgvector_version(connection).await?.is_none() {
            self.check_available(connection).await?;
            sqlx::query!("create extension if not exists vector")
                .execute(on(connection))
                .await
                .map_err(|source| Error::CreateExtension { source: concise(source) })?;
        }
        let found = pgvector_version(connection).await?.expect("the extension was created above");
        check_pgvector(&found)
    }
}

/// Creates those of `tables` whose names are free, in one message, and returns their names. Tables that several jobs share
/// are left to [`make_ready`].
async fn create_tables<'t>(
    transaction: &mut Transaction,
    tables: impl Iterator<Item = &'t Table>,
) -> Result<HashSet<String>, Error> {
    let own: Vec<&Table> = tables.filter(|table| table.shared.is_none()).collect();
    let names: Vec<String> = own.iter().map(|table| table.name.clone()).collect();
    let taken = groups::taken_names(transaction, &names).await?;
    let mut created = HashSet::new();
    let mut statements = Vec::new();
    for table in own.into_iter().filter(|table| !taken.contains(&table.name)) {
        refuse_own_name(table)?;
        if created.insert(table.name.clone()) {
            statements.extend([sql::create_table(table), sql::keep_vectors_in_rows(table)]);
        }
    }
    if !statements.is_empty() {
        let all = sql::in_one_message(&statements);
        sqlx::raw_sql(all).execute(&mut **transaction).await.during("create tables")?;
    }
    Ok(created)
}

/// Creates the table or its columns for migrations, where they are missing. Returns whether it created the table.
async fn make_ready(transaction: &mut Transaction, table: &Table) -> Result<bool, Error> {
    let state = check_table(transaction, table, Access::Write).await?;
    match state {
        TableState::Absent => {
            execute(transaction, sql::create_table(table), "create the table").await?;
            let statement = sql::keep_vectors_in_rows(table);
            execute(transaction, statement, "set where vectors are kept").await?;
            if let Some(shared) = &table.shared {
                sqlx::raw_sql(sql::index_collections(table, &shared.column))
                    .execute(&mut **transaction)
                    .await
                    .during("index the collections of the table")?;
            }
        }
        TableState::WithoutBookkeeping => {
            let statement = sql::add_bookkeeping_columns(table);
            execute(transaction, statement, "add columns to the table").await?;
        }
        TableState::Ready => {}
    }
    Ok(state == TableState::Absent)
}

/// Whether `table` belongs to a service.
fn is_service(table: &Table) -> bool {
    Service::ALL.iter().any(|service| Table::of(*service) == *table)
}

async fn prepare(connection: &mut PgConnection, migrators: &[&'static Migrator]) -> Result<(), Error> {
    for migrator in migrators {
        schema_migrations::run(connection, migrator).await?;
    }
    Ok(())
}

async fn execute(
    connection: &mut PgConnection,
    statement: sql::Sql,
    operation: &'static str,
) -> Result<(), Error> {
    sqlx::query(statement).execute(on(connection)).await.during(operation)?;
    Ok(())
}

/// Whether the pgvector of this database supports iterative index scans.
pub(crate) async fn has_iterative_scan(connection: &mut PgConnection) -> Result<bool, Error> {
    let version = pgvector_version(connection).await?;
    Ok(version.is_some_and(|version| parse_version(&version) >= versions::ITERATIVE_SCAN_PGVECTOR))
}

pub(crate) async fn pgvector_version(connection: &mut PgConnection) -> Result<Option<String>, Error> {
    sqlx::query_scalar!("select extversion from pg_extension where extname = 'vector'")
        .fetch_optional(on(connection))
        .await
        .during("read pgvector's version")
}

fn check_pgvector(found: &str) -> Result<(), Error> {
    if versions::is_too_old(found) {
        return Err(Error::ExtensionVersion { found: found.to_owned() });
    }
    Ok(())
}

/// Checks that `table` exists and matches.
pub(crate) async fn require_table(connection: &mut PgConnection, table: &Table) -> Result<(), Error> {
    match check_table(connection, table, Access::Read).await? {
        TableState::Absent => Err(Error::NoTable { table: table.name.clone() }),
        TableState::WithoutBookkeeping => Err(Error::NotAdopted { table: table.name.clone() }),
        TableState::Ready => Ok(()),
    }
}

/// Rejects a table with the name of a relation of ours, unless it is that of a service.
fn refuse_own_name(table: &Table) -> Result<(), Error> {
    if !is_service(table) && own_tables::is_own_relation(&table.name) {
        return Err(Error::OwnTable { table: table.name.clone() });
    }
    Ok(())
}

async fn check_table(
    connection: &mut PgConnection,
    table: &Table,
    access: Access,
) -> Result<TableState, Error> {
    refuse_own_name(table)?;
    let relation = sqlx::query!(
        r#"select oid as "oid!", relkind::text as "kind!" from pg_class where oid = to_regclass(quote_ident($1))"#,
        table.name
    )
    .fetch_optional(on(connection))
    .await
    .during("read the kind of a relation")?;
    let other_kind = match &relation {
        Some(relation) => own_tables::other_kind(&relation.kind),
        None => own_tables::other_type(connection, &table.name).await?,
    };
    if let Some(kind) = other_kind {
        let problems = vec![format!("it is {kind}, and Panopticon needs a table")];
        return Err(Error::Schema { table: table.name.clone(), problems });
    }
    let Some(relation) = relation else { return Ok(TableState::Absent) };
    let found = columns(connection, &table.name).await?;
    check_columns(connection, table).await?;
    // A table that is only read may have additional columns of any kind.
    let known = match access {
        Access::Read => Vec::new(),
        Access::Write => table.all_columns().into_iter().map(str::to_owned).collect(),
    };
    let needs = Needs { key: vec!["id".to_owned()], known, ..Needs::default() };
    constraints::check(connection, (&table.name, relation.oid), &needs).await?;
    let has = |name: &str| found.iter().any(|(column, _)| column == name);
    let is_ready = BOOKKEEPING_COLUMNS.iter().all(|(name, _)| has(name));
    Ok(if is_ready { TableState::Ready } else { TableState::WithoutBookkeeping })
}

async fn check_columns(connection: &mut PgConnection, table: &Table) -> Result<(), Error> {
    let found = columns(connection, &table.name).await?;
    let is_service = Service::ALL.iter().any(|service| Table::of(*service).name == table.name);
    let mut problems = Vec::new();
    let bookkeeping = BOOKKEEPING_COLUMNS.map(|(name, column_type)| (name, column_type.to_owned()));
    for (name, expected) in table.column_types().into_iter().chain(bookkeeping) {
        match found.iter().find(|(column, _)| column == name) {
            // These columns are added if they are missing, by a schema migration or when the table is first used.
            None if BOOKKEEPING_COLUMNS.iter().any(|(column, _)| *column == name) => {}
            None if is_service && matches!(name, "source_id" | "uri") => {}
            None => problems.push(format!("column `{name}` of type {expected} is missing")),
            // The type has its schema as a prefix if that is not on the search path (`extensions.vector(384)`).
            Some((_, column_type)) if column_type.rsplit('.').next() != Some(&expected) => {
                problems.push(format!("column `{name}` is {column_type}, expected {expected}"));
            }
            Some(_) => {}
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Schema { table: table.name.clone(), problems }) }
}

/// Names and types of the columns of a table; none when there is no such table.
async fn columns(connection: &mut PgConnection, table: &str) -> Result<Vec<(String, String)>, Error> {
    let found = sqlx::query!(
        r#"
        select attname as "name!", format_type(atttypid, atttypmod) as "column_type!"
        from pg_attribute
        where attrelid = to_regclass(quote_ident($1))
            and attnum > 0
            and not attisdropped
        "#,
        table
    )
    .fetch_all(on(connection))
    .await
    .during("read the columns of a table")?;
    Ok(found.into_iter().map(|column| (column.name, column.column_type)).collect())
}
