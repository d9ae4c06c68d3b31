//! Scripted servers with inconsistent responses: missing records are never reported as verified.

use std::sync::atomic::{AtomicUsize, Ordering};

use migrate::{CollectionReport, Discrepancy, Error, MigrateOptions, Outcome, SourceCollection, Transfer};
use records::{DistanceSpace, Metadata};
use serde_json::{Value, json};
use store::{
    chroma::{ServerOptions, Source},
    postgres::Database,
};
use test_support::{
    ChromaCollection, ChromaForm, ChromaRecord, ChromaServer, ChromaWriter, HttpAnswer, HttpRequest,
    HttpStub, TestDatabase,
};
use tokio::runtime::Handle;

use crate::{copied, one, only, prepared, silent, table, verified};

const RECORDS: usize = 9;

/// A server with one collection, `records`, that returns the first `listed(n)` records to the `n`th request.
fn serve(count: usize, listed: impl Fn(usize) -> usize + Send + Sync + 'static) -> HttpStub {
    let gets = AtomicUsize::new(0);
    HttpStub::start(move |request| {
        let path = request.path.split('?').next().expect("splitting gives one part at least");
        let (_, last) = path.rsplit_once('/').expect("a path has a slash");
        let answer = match last {
            "heartbeat" => json!({"nanosecond heartbeat": 1}),
            "version" => json!("1.0.0"),
            "collections" if request.path.contains("offset=0") => json!([{
                "id": "00000000-0000-0000-0000-000000000007", "name": "records", "metadata": null, "dimension": 3,
            }]),
            "databases" if request.path.contains("offset=0") => json!([{"name": "default_database"}]),
            "collections" | "databases" => json!([]),
            "count" => json!(count),
            "get" => records(request, listed(gets.fetch_add(1, Ordering::Relaxed))),
            _ => json!({"tenant": "default_tenant", "databases": [], "name": "x"}),
        };
        Some(HttpAnswer::json(200, &answer.to_string()))
    })
}

/// The response to a request for records, limited to the first `count`.
fn records(request: &HttpRequest, count: usize) -> Value {
    let body: Value = serde_json::from_slice(&request.body).expect("the body is JSON");
    let number = |name: &str| body[name].as_u64().expect("it is given") as usize;
    let is_asked = |n: &usize| body["ids"].as_array().is_none_or(|ids| ids.contains(&json!(format!("r{n}"))));
    let numbers: Vec<usize> =
        (0..count).filter(is_asked).skip(number("offset")).take(number("limit")).collect();
    let column = |name: &str, value: &dyn Fn(usize) -> Value| {
        let is_asked = body["include"].as_array().is_some_and(|columns| columns.contains(&json!(name)));
        is_asked.then(|| numbers.iter().map(|n| value(*n)).collect::<Vec<_>>())
    };
    json!({
        "ids": numbers.iter().map(|n| format!("r{n}")).collect::<Vec<_>>(),
        "embeddings": column("embeddings", &|n| json!([n, 1, 2])),
        "documents": column("documents", &|n| json!(format!("text {n}"))),
        "metadatas": column("metadatas", &|_| Value::Null),
        "uris": column("uris", &|_| Value::Null),
    })
}

async fn migrate(database: &Database, server: &HttpStub) -> Result<CollectionReport, Error> {
    let (options, runtime) = (ServerOptions::new(server.url()), Handle::current());
    let source = tokio::task::spawn_blocking(move || Source::connect(&options, runtime));
    let source = source.await.expect("it does not panic").expect("the server answers");
    let collection = source.collections()[0].clone();
    let source = SourceCollection::new(source, collection);
    let transfers = vec![Transfer { source, table: table("records", DistanceSpace::L2, 3) }];
    let report = migrate::migrate(database, transfers, &MigrateOptions::default(), &silent()).await;
    report.map(only)
}

async fn migrate_into_empty(server: &HttpStub) -> (CollectionReport, TestDatabase) {
    let (test_database, database) = prepared().await;
    (migrate(&database, server).await.expect("the migration runs"), test_database)
}

#[tokio::test]
async fn consistent_server_is_verified() {
    let (report, _test_database) = migrate_into_empty(&serve(RECORDS, |_| RECORDS)).await;
    assert_eq!((report.outcome(), verified(&report).matched), (Outcome::Verified, RECORDS as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_knows_no_times_leaves_those_that_the_directory_had() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut writer = ChromaWriter::create(folder.path());
    let record = |n: u8| ChromaRecord {
        id: n.to_string(),
        vector: vec![n.into(), 1.0, 2.0],
        document: Some(format!("text {n}")),
        metadata: Metadata::new(),
    };
    let collection = ChromaCollection::new("records", DistanceSpace::L2, ChromaForm::Log);
    writer.write(&collection, (0..5).map(record));
    writer.finish();
    let (test_database, database) = prepared().await;
    let records = table("records", DistanceSpace::L2, 3);
    crate::migrate(&database, folder.path(), &records).await;
    let times = "select array_agg(created_at::text order by id) from records";
    let before: Vec<String> = one(&test_database, times).await;
    let server = ChromaServer::start(folder.path());
    // One record is new, and one has changed.
    let options = ServerOptions::new(server.url());
    let collections = "/api/v2/tenants/default_tenant/databases/default_database/collections";
    let found = server.send(&HttpRequest::new("GET", &format!("{collections}/records"), "")).text();
    let found: Value = serde_json::from_str(&found).expect("it is JSON");
    let path = format!("{collections}/{}/upsert", found["id"].as_str().expect("an id"));
    server.post(&path, &json!({"ids": ["4", "5"], "embeddings": [[9, 9, 9], [8, 8, 8]]}).to_string());
    let source = tokio::task::spawn_blocking(move || Source::connect(&options, Handle::current()));
    let source = source.await.expect("it does not panic").expect("the server answers");
    let collection = source.collections()[0].clone();
    let transfers = vec![Transfer { source: SourceCollection::new(source, collection), table: records }];
    let report = migrate::migrate(&database, transfers, &MigrateOptions::default(), &silent()).await;
    let report = only(report.expect("the migration runs"));
    let done = copied(&report);
    assert_eq!((report.outcome(), done.written, done.updated, done.unchanged), (Outcome::Verified, 1, 1, 4));
    assert_eq!(done.defaults.created_at, 1, "of the new one");
    let times = "select array_agg(created_at::text order by id) from records where source_id <> '5'";
    assert_eq!(one::<Vec<String>>(&test_database, times).await, before);
}

#[tokio::test]
async fn records_counted_but_not_listed_are_not_verified() {
    let (report, _test_database) = migrate_into_empty(&serve(RECORDS, |_| 4)).await;
    assert_eq!(report.outcome(), Outcome::Different);
    assert_eq!(report.discrepancies(), [Discrepancy::Unread(5)]);
}

#[tokio::test]
async fn server_whose_lists_become_empty_is_not_verified() {
    // Slightly more requests than a migration of this collection makes: the last iterations are complete.
    for whole in 1..8 {
        let server = serve(RECORDS, move |n| if n < whole { RECORDS } else { 0 });
        let (_test_database, database) = prepared().await;
        // A lost position fails the migration.
        let Ok(report) = migrate(&database, &server).await else { continue };
        let is_whole = verified(&report).matched == RECORDS as u64 && report.discrepancies().is_empty();
        assert!(report.outcome() == Outcome::Different || is_whole, "{whole}: {report:?}");
    }
}

#[tokio::test]
async fn collection_counted_as_empty_is_still_read() {
    let (report, _test_database) = migrate_into_empty(&serve(0, |_| RECORDS)).await;
    assert_eq!((report.outcome(), verified(&report).matched), (Outcome::Verified, RECORDS as u64));
}
