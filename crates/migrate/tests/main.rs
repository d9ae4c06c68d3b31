//! Migrations of real Chroma directories into real PostgreSQL. The sample's directories were written by Chroma;
//! where a test needs one that is odd, it changes a copy.

mod exact;
mod troubled;

use std::path::Path;

use migrate::{CollectionReport, Error, Source};
use records::Service;
use store::postgres::Database;
use test_support::TestDatabase;

/// A database with the current schema.
async fn prepared() -> (TestDatabase, Database) {
    let test_database = TestDatabase::create().await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    database.prepare_schema().await.expect("the schema is created");
    (test_database, database)
}

async fn try_migrate(database: &Database, service: Service, path: &Path) -> Result<CollectionReport, Error> {
    migrate::migrate(database, service, Source::open(path, service)?, &|_, _, _| {}).await
}

async fn migrate(database: &Database, service: Service, path: &Path) -> CollectionReport {
    try_migrate(database, service, path).await.expect("the migration runs")
}

fn sample_name(service: Service) -> &'static str {
    match service {
        Service::Query => "query_storage_data",
        Service::Evaluation => "evaluation_storage_data",
        Service::Judge => "judge_service_data",
    }
}
