//! Servers of 0.4, 0.5 and 0.6, replayed from recordings of real ones (`testdata/README.md`).

use std::{collections::HashMap, path::Path};

use chroma::Warning;
use store::chroma::{Api, ChromaServer, ServerOptions};
use test_support::{HttpAnswer, HttpStub, fixture};

use super::same_as_directory::{Records, check_vectors, from_directory, read_collection};

const COLLECTIONS: [&str; 7] =
    ["cos_zero", "empty_never", "f32_values", "ip_partial", "meta_types", "readd_l2", "uris"];

/// Replays the recorded responses.
fn replay(version: &str) -> HttpStub {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(format!("chroma-{version}.jsonl"));
    let recording = std::fs::read_to_string(path).expect("the recording reads");
    let answers: HashMap<_, _> = recording
        .lines()
        .map(|line| {
            let exchange: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
            let text = |name: &str| exchange[name].as_str().expect("a string").to_owned();
            let status = exchange["status"].as_u64().and_then(|status| status.try_into().ok());
            let answer = HttpAnswer::json(status.expect("a status"), &text("answer"));
            ((text("method"), text("path"), text("body")), answer)
        })
        .collect();
    HttpStub::start(move |request| {
        let key = (request.method.clone(), request.path.clone(), request.text());
        Some(answers.get(&key).cloned().unwrap_or_else(|| HttpAnswer::json(404, "not recorded")))
    })
}

/// Reads the recorded collections and returns their problems. The rest is compared with the directory that the server
/// served, if the shared fixtures exist.
async fn check(version: &str, api: Api) -> Vec<String> {
    let stub = replay(version);
    let mut options = ServerOptions::new(stub.url());
    options.tenant = Some("default_tenant".to_owned());
    options.page_records = 20;
    let server = ChromaServer::connect(&options).await.expect("the server answers");
    assert_eq!((server.version(), server.api()), (version, api));
    let directory = fixture(version).map(|folder| from_directory(&folder.path().join("basic")));

    let is_recorded =
        |name: &str, database: &str| COLLECTIONS.contains(&name) && database == "default_database";
    let collections = server.collections().await.expect("the collections list");
    let collections: Vec<_> = collections.iter().filter(|c| is_recorded(&c.name, &c.database)).collect();
    assert!(collections.iter().map(|collection| &collection.name).eq(&COLLECTIONS));
    let mut oddities: Vec<String> =
        server.warnings().iter().map(|warning| warning.code.to_string()).collect();
    for collection in collections {
        let (records, report) = read_collection(&server, collection).await;
        assert!(report.complete);
        let warning = |warning: &Warning| format!("{}: {warning}", collection.name);
        oddities.extend(collection.warnings.iter().chain(&report.warnings).map(warning));
        let problems =
            records.values().flat_map(|record| record.problems.iter().map(move |p| (&record.id, p)));
        for (id, problem) in problems {
            let original = problem.original.escape_ascii();
            oddities
                .push(format!("{} {id}: {:?} {:?} {original}", collection.name, problem.field, problem.kind));
        }
        let Some(directory) = &directory else { continue };
        let same = directory.iter().find(|(other, _)| other.id == collection.id);
        let (other, expected) = same.expect("the directory has the collection");
        assert_eq!(
            (collection.space, &collection.metadata),
            (other.space, &other.metadata),
            "{}",
            collection.name
        );
        check_records(&records, expected, collection);
    }
    oddities
}

/// Equal but for what the server is known not to return: the infinite number of one record, which costs 0.4 all of
/// its metadata, and two vectors that the index of 0.4 has lost.
fn check_records(records: &Records, expected: &Records, collection: &chroma::Collection) {
    let name = &collection.name;
    assert!(records.keys().eq(expected.keys()), "{name}: the same ids");
    for (id, record) in records {
        let expected = &expected[id];
        assert_eq!((&record.document, &record.uri), (&expected.document, &expected.uri), "{name} {id}");
        if id != "inf" {
            assert_eq!(record.metadata, expected.metadata, "{name} {id}");
        }
        if matches!(record.vector, chroma::Vector::Present { .. }) {
            check_vectors(&record.vector, &expected.vector, collection.space, &format!("{name} {id}"));
        }
    }
}

#[tokio::test]
async fn chroma_0_4_24_by_api_v1() {
    expect_test::expect![[r#"
        [
            "listing_limited",
            "meta_types: record_problem: 1 records have values that their fields cannot represent: `inf`",
            "meta_types inf: AllMetadata NotReturned ValueError(\\'Out of range float values are not JSON compliant\\')",
            "readd_l2: vector_missing: 2 records have no vector: `id1`, `id205`",
        ]
    "#]]
    .assert_debug_eq(&check("0.4.24", Api::V1).await);
}

#[tokio::test]
async fn chroma_0_5_23() {
    expect_test::expect![[r#"
        [
            "listing_limited",
            "meta_types: metadata_value_lost: 1 records have metadata values that JSON cannot carry (an infinity), sent as null: `inf`",
            "meta_types: record_problem: 1 records have values that their fields cannot represent: `inf`",
            "meta_types inf: Metadata(\"v\") NotRepresentable null",
        ]
    "#]]
    .assert_debug_eq(&check("0.5.23", Api::V2).await);
}

#[tokio::test]
async fn chroma_0_6_3() {
    expect_test::expect![[r#"
        [
            "meta_types: metadata_value_lost: 1 records have metadata values that JSON cannot carry (an infinity), sent as null: `inf`",
            "meta_types: record_problem: 1 records have values that their fields cannot represent: `inf`",
            "meta_types inf: Metadata(\"v\") NotRepresentable null",
        ]
    "#]]
    .assert_debug_eq(&check("0.6.3", Api::V2).await);
}
