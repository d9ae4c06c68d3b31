//! Migrations of real Chroma directories into real PostgreSQL, with a database per test. Chroma wrote the sample's
//! directories; tests that need special data modify a copy, or write a directory in Chroma's schema.
//!
//! Faults of the old migration scripts, and the tests that rule them out:
//!
//! - records beyond 1,000 or 10,000 were not copied: `indexes::index_is_built_once_…` migrates 12,000;
//! - records without theme, metric type, model or query were dropped: `content::record_without_the_service_keys_…`;
//! - new ids, dangling references, the time of the migration as creation time, ids of providers: `identity`;
//! - all texts were embedded again: `embedding`;
//! - one row and one commit at a time: `observing` counts the commits;
//! - a second run duplicated the data, and a crash could not be resumed: `rerun`, `resuming`; nothing was compared:
//!   `proof`;
//! - an IVFFLAT index on the empty table, with one probe: `indexes`.

mod collections;
mod conflicts;
mod content;
mod described;
mod directory;
mod embedding;
mod faults;
mod fixtures;
mod identity;
mod indexes;
mod observing;
#[path = "../../chroma/tests/parquet_files.rs"]
mod parquet_files;
mod proof;
mod rejects;
mod rerun;
mod resuming;
mod served;
mod server;
mod spooling;
mod undoing;
mod whole;

use std::{path::Path, sync::Arc};

use migrate::{
    CollectionReport, CopyReport, Error, MigrateOptions, Observer, RejectedRecords, Report, SourceCollection,
    Transfer, Verification, VerifyOptions,
};
use records::{DistanceSpace, Service};
use sqlx::{AssertSqlSafe, Decode, Postgres, Type};
use store::{
    chroma::Source,
    postgres::{Database, Presence, Table},
};
use test_support::TestDatabase;

/// A database with the schema, and without a record.
async fn prepared() -> (TestDatabase, Database) {
    connected(TestDatabase::prepared().await).await
}

/// An empty database, without even the extension.
async fn empty() -> (TestDatabase, Database) {
    connected(TestDatabase::create().await).await
}

async fn connected(test_database: TestDatabase) -> (TestDatabase, Database) {
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    (test_database, database)
}

/// The options of the command line's `--on-reject quarantine`.
fn quarantining() -> MigrateOptions {
    MigrateOptions { rejected_records: RejectedRecords::Quarantine, ..MigrateOptions::default() }
}

/// The options of the command line's `--index`.
fn indexed(index_type: upkeep::IndexType) -> MigrateOptions {
    let index_policy = upkeep::Policy { index_type, ..upkeep::Policy::default() };
    MigrateOptions { index_policy, ..MigrateOptions::default() }
}

fn silent() -> Observer {
    Arc::new(|_| {})
}

/// The table that `migrate collection` creates by default.
fn table(name: &str, space: DistanceSpace, dimension: usize) -> Table {
    Table {
        name: name.to_owned(),
        text_column: "document".to_owned(),
        text: Presence::Optional,
        columns: Vec::new(),
        dimension,
        space,
        shared: None,
    }
}

/// The directory's collection with the table's name.
fn transfer(path: &Path, table: &Table) -> Transfer {
    transfer_of(path, &table.name, table)
}

fn transfer_of(path: &Path, collection: &str, table: &Table) -> Transfer {
    let source = Source::open(path).expect("the directory opens");
    let collection = source.collections().iter().find(|found| found.name == collection).cloned();
    let collection = collection.expect("the directory has the collection");
    Transfer { source: SourceCollection::new(source, collection), table: table.clone() }
}

fn sample_name(service: Service) -> &'static str {
    match service {
        Service::Query => "query_storage_data",
        Service::Evaluation => "evaluation_storage_data",
        Service::Judge => "judge_service_data",
    }
}

async fn try_migrate(
    database: &Database,
    path: &Path,
    table: &Table,
    options: &MigrateOptions,
) -> Result<CollectionReport, Error> {
    let report = migrate::migrate(database, vec![transfer(path, table)], options, &silent()).await?;
    Ok(only(report))
}

async fn migrate_with(
    database: &Database,
    path: &Path,
    table: &Table,
    options: &MigrateOptions,
) -> CollectionReport {
    try_migrate(database, path, table, options).await.expect("the migration runs")
}

async fn migrate(database: &Database, path: &Path, table: &Table) -> CollectionReport {
    migrate_with(database, path, table, &MigrateOptions::default()).await
}

async fn verify(database: &Database, path: &Path, table: &Table) -> CollectionReport {
    let transfers = vec![transfer(path, table)];
    let report = migrate::verify(database, transfers, VerifyOptions::default(), &silent()).await;
    only(report.expect("the comparison runs"))
}

fn only(report: Report) -> CollectionReport {
    let mut collections = report.collections.into_iter();
    let first = collections.next().expect("a collection was given");
    assert!(collections.next().is_none(), "one collection was given");
    first
}

fn copied(report: &CollectionReport) -> &CopyReport {
    report.copied.as_ref().expect("there was a copy")
}

fn verified(report: &CollectionReport) -> &Verification {
    report.verification.as_ref().expect("there was a comparison")
}

/// The single value that a statement returns.
async fn one<T>(test_database: &TestDatabase, sql: &str) -> T
where
    T: for<'r> Decode<'r, Postgres> + Type<Postgres> + Send + Unpin,
{
    let mut connection = test_database.connection().await;
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.expect(sql)
}

/// The state of all tables, with the position and transaction of each row, to detect any change.
async fn whole_state(test_database: &TestDatabase) -> String {
    let tables: Vec<String> = one(
        test_database,
        "select coalesce(array_agg(quote_ident(relname) order by relname), '{}') from pg_class
        where relnamespace = 'public'::regnamespace and relkind = 'r'",
    )
    .await;
    let mut state = String::new();
    for table in tables {
        let rows: String = one(
            test_database,
            &format!(
                "select coalesce(string_agg(ctid::text || xmin::text, ' ' order by ctid), '') from {table}"
            ),
        )
        .await;
        state.push_str(&format!("{table}: {rows}\n"));
    }
    state
}
