//! A directory read from the disk and the same directory read from the server that serves it.

use std::{collections::BTreeMap, ops::ControlFlow, path::Path};

use chroma::{Collection, PersistDirectory, ReadReport, Record, Vector};
use records::DistanceSpace;
use store::chroma::{ChromaServer, ServerOptions};
use test_support::fixture;

pub(super) type Records = BTreeMap<String, Record>;

pub(super) fn from_directory(path: &Path) -> Vec<(Collection, Records)> {
    let directory = PersistDirectory::open(path).expect("the directory opens");
    let read = |collection: &Collection| {
        let mut records = Records::new();
        let report = directory.read(collection, |record| {
            records.insert(record.id.clone(), record);
            ControlFlow::Continue(())
        });
        report.expect("the collection reads");
        records
    };
    directory.collections().iter().map(|collection| (collection.clone(), read(collection))).collect()
}

async fn from_server(url: &str, tenants: &[&str]) -> Vec<(Collection, Records)> {
    let mut read = Vec::new();
    for tenant in tenants {
        let mut options = ServerOptions::new(url);
        options.tenant = Some((*tenant).to_owned());
        let server = ChromaServer::connect(&options).await.expect("the server answers");
        for collection in server.collections().await.expect("the collections list") {
            let (records, report) = read_collection(&server, &collection).await;
            assert!(report.complete && report.warnings.is_empty(), "{report:?}");
            assert_eq!(report.records, server.count(&collection).await.expect("the server counts"));
            read.push((collection, records));
        }
    }
    read.sort_by(|(one, _), (other, _)| one.cmp_names(other));
    read
}

pub(super) async fn read_collection(server: &ChromaServer, collection: &Collection) -> (Records, ReadReport) {
    let mut records = Records::new();
    let report = server.read(collection, |record| {
        let earlier = records.insert(record.id.clone(), record);
        assert!(earlier.is_none(), "{earlier:?} is visited once");
        ControlFlow::Continue(())
    });
    let report = report.await.expect("the collection reads");
    (records, report)
}

/// Serves one copy of a fixture's folder, reads another, and expects the same of both. Returns how many collections
/// and records there are.
async fn check(archive: &str, folder: &str, tenants: &[&str]) -> Option<(usize, usize)> {
    let (served, read) = (fixture(archive)?, fixture(archive)?);
    let expected = from_directory(&read.path().join(folder));
    let server = test_support::ChromaServer::start(&served.path().join(folder));
    let found = from_server(&server.url(), tenants).await;
    assert_eq!(found.len(), expected.len());
    for ((collection, records), (expected_collection, expected_records)) in found.iter().zip(&expected) {
        let name = &collection.name;
        // A server completes what a directory says; `served` of the crate `migrate` tests what is made of them.
        let expected_collection =
            Collection { configured: collection.configured.clone(), ..expected_collection.clone() };
        assert_eq!(*collection, expected_collection);
        assert!(records.keys().eq(expected_records.keys()), "{name}: the same ids");
        for (id, record) in records {
            let expected = &expected_records[id];
            assert_eq!(record.document, expected.document, "{name} {id}");
            assert_eq!(record.uri, expected.uri, "{name} {id}");
            assert_eq!(record.metadata, expected.metadata, "{name} {id}");
            assert_eq!(record.problems, expected.problems, "{name} {id}");
            check_vectors(&record.vector, &expected.vector, collection.space, &format!("{name} {id}"));
        }
    }
    Some((found.len(), found.iter().map(|(_, records)| records.len()).sum()))
}

/// Equal bits; of cosine collections, which the server returns rounded, within 2 ulp (FORMAT §9).
pub(super) fn check_vectors(found: &Vector, expected: &Vector, space: DistanceSpace, subject: &str) {
    let (Vector::Present { embedding: found, .. }, Vector::Present { embedding: expected, .. }) =
        (found, expected)
    else {
        assert_eq!(found, expected, "{subject}");
        return;
    };
    let tolerance_ulp = if space == DistanceSpace::Cosine { 2 } else { 0 };
    assert_eq!(found.dimension(), expected.dimension(), "{subject}");
    for (found, expected) in found.as_slice().iter().zip(expected.as_slice()) {
        let same_sign = found.is_sign_negative() == expected.is_sign_negative();
        let close = same_sign && found.to_bits().abs_diff(expected.to_bits()) <= tolerance_ulp;
        let both_zero = space == DistanceSpace::Cosine && *found == 0.0 && *expected == 0.0;
        assert!(close || both_zero, "{subject}: {found} is {expected}");
    }
}

#[tokio::test]
async fn collections_of_our_own() {
    let read = check("small-1.5.9", "small", &["default_tenant"]).await;
    assert_eq!(read, Some((7, 75)));
}

#[tokio::test]
async fn every_scenario_of_1_5_9_in_three_databases_of_two_tenants() {
    if let Some(read) = check("1.5.9", "basic", &["default_tenant", "tenant-zwei"]).await {
        // Among them a document of 1 MiB, ids and metadata in several scripts, and vectors of denormal numbers.
        assert_eq!(read, (23, 496));
    }
}

#[tokio::test]
async fn log_that_was_never_applied() {
    check("1.5.9", "walahead", &["default_tenant"]).await;
}

#[tokio::test]
async fn collections_of_0_4_after_two_upgrades_keep_their_space() {
    // The server lists `l2` for the cosine collection.
    check("cross", "0.4.24_0.5.23_1.5.9", &["default_tenant"]).await;
}

#[tokio::test]
async fn collections_of_many_pages() {
    check("1.5.9-big", "big", &["default_tenant"]).await;
}
