//! Chroma servers as a source of records: real ones, scripted faults in front of them, and recorded old ones.

mod beside_directory;
mod changing;
mod dripping;
mod faults;
mod finding;
mod recorded;
mod same_as_directory;

use std::ops::ControlFlow;

use chroma::{ReadReport, Record};
use store::chroma::{ChromaServer, Error, ServerOptions};
use tempfile::TempDir;
use test_support::{HttpAnswer, HttpRequest};

/// The database that every server has.
pub(crate) const DATABASE: &str = "/api/v2/tenants/default_tenant/databases/default_database";

/// A real server with one collection, written through its API.
struct Fixture {
    server: test_support::ChromaServer,
    /// The path of the collection.
    collection: String,
    _directory: TempDir,
}

impl Fixture {
    /// A collection with the records `r000`, `r001` and so on.
    fn with_records(count: usize) -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let server = test_support::ChromaServer::start(directory.path());
        let answer = server.post(&format!("{DATABASE}/collections"), r#"{"name":"changing"}"#);
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("an answer in JSON");
        let id = answer["id"].as_str().expect("the collection has an id");
        let collection = format!("{DATABASE}/collections/{id}");
        let fixture = Self { server, collection, _directory: directory };
        fixture.add(&(0..count).map(record_id).collect::<Vec<_>>());
        fixture
    }

    fn add(&self, ids: &[String]) {
        add(ids, |path, json| drop(self.server.post(&format!("{}/{path}", self.collection), json)));
    }

    fn delete(&self, ids: &[&str]) {
        let body = serde_json::json!({ "ids": ids }).to_string();
        self.server.post(&format!("{}/delete", self.collection), &body);
    }
}

fn add(ids: &[String], post: impl FnOnce(&str, &str)) {
    if ids.is_empty() {
        return;
    }
    let vectors: Vec<_> = ids.iter().map(|id| [id.len() as f32, 0.5]).collect();
    let body = serde_json::json!({ "ids": ids, "embeddings": vectors, "documents": ids });
    post("add", &body.to_string());
}

fn record_id(number: usize) -> String {
    format!("r{number:03}")
}

/// Reads the only collection at `url` in pages of `page_records`; `visited` sees each record before the next page
/// is asked for.
async fn read(
    url: &str,
    page_records: u32,
    visited: impl FnMut(&Record),
) -> Result<(Vec<Record>, ReadReport), Error> {
    let mut options = ServerOptions::new(url);
    options.page_records = page_records;
    read_with(&options, visited).await
}

async fn read_with(
    options: &ServerOptions,
    mut visited: impl FnMut(&Record),
) -> Result<(Vec<Record>, ReadReport), Error> {
    let server = ChromaServer::connect(options).await?;
    let collections = server.collections().await?;
    let [collection] = &*collections else { panic!("expected one collection, found {collections:?}") };
    let mut records = Vec::new();
    let report = server
        .read(collection, |record| {
            visited(&record);
            records.push(record);
            ControlFlow::Continue(())
        })
        .await?;
    assert_eq!(report.records, records.len() as u64);
    Ok((records, report))
}

fn ids(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.id.as_str()).collect()
}

fn warnings(report: &ReadReport) -> Vec<String> {
    report.warnings.iter().map(ToString::to_string).collect()
}

/// Whether the request asks for records or ids.
fn is_get(request: &HttpRequest) -> bool {
    request.path.ends_with("/get")
}

fn quota_exceeded(usage: u64, limit: u64) -> HttpAnswer {
    let message = format!(
        "Quota exceeded: 'Limit value' exceeded quota limit for action 'Get': current usage of {usage} exceeds limit \
         of {limit}"
    );
    HttpAnswer::json(422, &serde_json::json!({ "error": "ChromaError", "message": message }).to_string())
}
