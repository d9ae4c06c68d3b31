//! Collections that change while they are read: no record that exists throughout is missed.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use chroma::WarningCode;

use super::{Fixture, HttpRequest, add, ids, read, record_id, warnings};

#[tokio::test]
async fn records_that_moved_to_a_page_already_read_are_read() {
    let fixture = Fixture::with_records(20);
    let (records, report) = read(&fixture.server.url(), 5, |record| {
        if record.id == "r004" {
            fixture.delete(&["r000", "r001", "r002"]);
        }
    })
    .await
    .expect("the collection reads");
    assert_eq!(ids(&records).len(), 20, "{:?}", ids(&records));
    expect_test::expect![[r#"
        [
            "source_changed: the collection changed while it was read: 3 records that were read are gone (`r000`, `r001`, `r002`); 1 pages had shifted and were requested again; every record that existed throughout was read, and updated ones in the state at some moment during the read",
        ]
    "#]]
    .assert_debug_eq(&warnings(&report));
}

#[tokio::test]
async fn records_whose_neighbours_were_deleted_and_added_again_are_read() {
    let fixture = Fixture::with_records(6);
    let (records, report) = read(&fixture.server.url(), 3, |record| {
        if record.id == "r002" {
            // `r002` comes to stand at its old offset, now behind `r003`, which no page has had.
            fixture.delete(&["r000", "r002", "r004", "r005"]);
            fixture.add(&[record_id(2)]);
        }
    })
    .await
    .expect("the collection reads");
    assert_eq!(ids(&records), ["r000", "r001", "r002", "r003"]);
    let [warning] = &*report.warnings else { panic!("expected one warning, found {:?}", report.warnings) };
    assert_eq!(warning.code, WarningCode::SourceChanged);
    assert!(warning.message.contains("1 records were added while it was read"), "{warning}");
}

#[tokio::test]
async fn records_added_at_the_end_are_read_and_reported_as_late() {
    let fixture = Fixture::with_records(6);
    let (records, report) = read(&fixture.server.url(), 100, |record| {
        if record.id == "r005" {
            fixture.add(&[record_id(6), record_id(7)]);
        }
    })
    .await
    .expect("the collection reads");
    assert_eq!(ids(&records).len(), 8);
    assert!(report.complete);
    assert_eq!(report.warnings.len(), 1);
}

#[tokio::test]
async fn deleting_all_records_while_they_are_read_ends_the_read() {
    let fixture = Fixture::with_records(12);
    let all: Vec<String> = (0..12).map(record_id).collect();
    let (records, report) = read(&fixture.server.url(), 4, |record| {
        if record.id == "r003" {
            fixture.delete(&all.iter().map(String::as_str).collect::<Vec<_>>());
        }
    })
    .await
    .expect("the collection reads");
    assert_eq!(ids(&records), ["r000", "r001", "r002", "r003"]);
    assert!(warnings(&report)[0].contains("4 records that were read are gone"), "{:?}", report.warnings);
}

#[test]
fn no_record_that_exists_throughout_is_missed_during_concurrent_writes() {
    const RECORDS: usize = 400;
    let fixture = Fixture::with_records(RECORDS);
    // Five of each ten records are deleted at once, in page order, while others are added.
    let kept: HashSet<String> = (0..RECORDS).filter(|number| number % 10 >= 5).map(record_id).collect();
    let is_read = AtomicBool::new(false);
    let port: u16 =
        fixture.server.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let collection = fixture.collection.clone();
    let found = thread::scope(|scope| {
        scope.spawn(|| {
            let post = |verb: &str, body: &str| {
                let answer = HttpRequest::new("POST", &format!("{collection}/{verb}"), body).send(port);
                assert!(answer.is_ok_and(|answer| answer.status < 300), "{verb} succeeds");
            };
            for ten in (0..RECORDS).step_by(10) {
                if is_read.load(Ordering::Relaxed) {
                    break;
                }
                let gone: Vec<String> = (ten..ten + 5).map(record_id).collect();
                post("delete", &serde_json::json!({ "ids": gone }).to_string());
                add(&[format!("new{ten}")], post);
                // Some are added again under their old ids.
                add(&gone[..2], post);
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let found = runtime.block_on(read(&fixture.server.url(), 7, |_| {}));
        is_read.store(true, Ordering::Relaxed);
        found
    });
    let (records, report) = found.expect("the collection reads");
    let read: HashSet<String> = records.iter().map(|record| record.id.clone()).collect();
    assert_eq!(read.len(), records.len(), "no id twice");
    let lacking: Vec<_> = kept.difference(&read).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
    assert!(report.warnings.iter().any(|warning| warning.code == WarningCode::SourceChanged), "{report:?}");
}

#[tokio::test]
async fn unchanged_collection_reads_without_a_warning_for_any_page_size() {
    let fixture = Fixture::with_records(25);
    for page_records in [2, 3, 24, 25, 26, 1000] {
        let (records, report) =
            read(&fixture.server.url(), page_records, |_| {}).await.expect("the collection reads");
        assert_eq!(records.len(), 25, "pages of {page_records}");
        assert!(report.complete && report.warnings.is_empty(), "{report:?}");
    }
}
