//! `inspect` and `dump` of a running Chroma server agree with those of its directory.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;
use test_support::{ChromaServer, sample};

use crate::{Run, panopticon, run};

fn panopticon_on(command: &str, source: &str, arguments: &[&str]) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(panopticon(folder.path(), &[command]).arg(source).args(arguments))
}

/// Lines of a dump by id, without `origin`, which only a directory has.
fn records(dump: &Run) -> BTreeMap<String, Value> {
    let line = |line: &str| {
        let mut record: Value = serde_json::from_str(line).expect("a line of JSON");
        let object = record.as_object_mut().expect("an object");
        object.remove("origin");
        if object["space"] == "cosine" {
            // Rounded by the server.
            object.remove("embedding");
        }
        (record["id"].as_str().expect("an id").to_owned(), record)
    };
    dump.stdout.lines().map(line).collect()
}

#[test]
fn server_and_directory_dump_the_same_records() {
    let folder = sample("query_storage_data");
    // The server may change its directory.
    let served = sample("query_storage_data");
    let server = ChromaServer::start(served.path());
    let path = |path: &Path| path.display().to_string();
    let from_directory = panopticon_on("dump", &path(folder.path()), &[]);
    let from_server = panopticon_on("dump", &server.url(), &["--tenant", "default_tenant"]);
    assert_eq!((from_server.code, from_server.stderr.as_str()), (0, ""));
    let records_of_server = records(&from_server);
    assert!(records_of_server.len() > 50, "{}", records_of_server.len());
    assert_eq!(records_of_server, records(&from_directory));
}

#[test]
fn server_is_inspected_with_a_warning_that_tenants_are_not_listed() {
    let served = sample("query_storage_data");
    let server = ChromaServer::start(served.path());
    let inspected = panopticon_on("inspect", &server.url(), &["--json"]);
    assert_eq!(inspected.code, 0, "{inspected:?}");
    let report: Value = serde_json::from_str(&inspected.stdout).expect("one JSON object");
    assert_eq!(report["kind"], "server");
    assert_eq!(report["warnings"][0]["code"], "listing_limited");
    let collection = &report["collections"][0];
    assert_eq!((&collection["name"], &collection["missing"]), (&"queries".into(), &0.into()));
    assert_eq!(collection["records"], collection["vectors"]["hnsw"]);
    let unknown = panopticon_on("dump", &server.url(), &["--tenant", "nobody"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""), "{unknown:?}");
    assert!(unknown.stderr.contains("tenant `nobody`"), "{unknown:?}");
}
