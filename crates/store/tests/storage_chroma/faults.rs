//! Servers that fail, scripted in front of a real one.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use records::Service;
use serde_json::{Value, json};
use store::{
    chroma::{ChromaStorage, ServerOptions},
    storage::{Atomicity, Insertion, NewRecord, Selection, Start, Storage as _, StorageError},
};
use test_support::{ChromaServer, HttpAnswer, HttpRequest, HttpStub};

use super::{Fixture, ids, record, store_all};
use crate::{at_angle, nearest_to};

/// The action of a script on a request, after the server's response if it is forwarded.
enum Fault {
    None,
    /// Responds instead of the server.
    Answer(HttpAnswer),
    /// Forwards the request and cuts the connection.
    LoseAnswer,
}

/// A storage whose server is behind a script, and that takes ten records in a request.
async fn behind(
    server: &Arc<ChromaServer>,
    script: impl Fn(&HttpRequest) -> Fault + Send + Sync + 'static,
) -> (HttpStub, ChromaStorage) {
    let server = Arc::clone(server);
    let stub = HttpStub::start(move |request| {
        if request.path.ends_with("/pre-flight-checks") {
            return Some(HttpAnswer::json(200, r#"{"max_batch_size":10}"#));
        }
        match script(request) {
            Fault::None => Some(server.send(request)),
            Fault::Answer(answer) => Some(answer),
            Fault::LoseAnswer => {
                server.send(request);
                None
            }
        }
    });
    let storage = ChromaStorage::open(Service::Query, &ServerOptions::new(stub.url())).await;
    (stub, storage.expect("the storage opens"))
}

fn records(count: u32) -> Vec<NewRecord> {
    (0..count).map(|number| record(number, json!({}))).collect()
}

fn is(verb: &str, request: &HttpRequest) -> bool {
    request.path.ends_with(&format!("/{verb}"))
}

#[tokio::test]
async fn batch_that_fails_midway_is_rolled_back() {
    let Fixture { server, storage: direct, _directory } = Fixture::new(Service::Query).await;
    store_all(&direct, &records(1)).await;
    let server = Arc::new(server);
    let additions = AtomicU32::new(0);
    let (_stub, storage) = behind(&server, move |request| {
        let is_third = is("add", request) && additions.fetch_add(1, Ordering::Relaxed) == 2;
        if is_third { Fault::Answer(HttpAnswer::json(500, r#"{"error":"disk full"}"#)) } else { Fault::None }
    })
    .await;
    let error = storage.insert(&records(35), Atomicity::AllOrNothing).await.expect_err("the third fails");
    assert!(matches!(error, StorageError::Failed { .. }), "{error:?}");
    let left = direct.list(&Selection::default(), Start::Offset(0), 100).await.expect("a list");
    assert_eq!(ids(&left), ["r000"], "what was there before, and nothing else");
    store_all(&storage, &records(35)[1..]).await;
    assert_eq!(direct.count(&Selection::default()).await.expect("a count"), 35);
}

#[tokio::test]
async fn write_whose_response_is_lost_is_applied_once() {
    let Fixture { server, storage: direct, _directory } = Fixture::new(Service::Query).await;
    let server = Arc::new(server);
    let requests = AtomicU32::new(0);
    let (_stub, storage) = behind(&server, move |request| {
        let writes = ["add", "update", "delete"].iter().any(|verb| is(verb, request));
        let is_lost = writes && requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        if is_lost { Fault::LoseAnswer } else { Fault::None }
    })
    .await;
    store_all(&storage, &records(5)).await;
    let change = store::storage::Change { category: Some("biology".into()), ..Default::default() };
    let changed = storage.update("r001", &change).await.expect("it is changed").expect("it is there");
    assert_eq!(changed.metadata["theme"], "biology");
    assert_eq!(storage.delete(&["r002".into()]).await.expect("it is deleted"), ["r002"]);
    assert_eq!(direct.count(&Selection::default()).await.expect("a count"), 4);
}

#[tokio::test]
async fn transient_errors_are_distinguished_from_others() {
    let Fixture { server, storage: _, _directory } = Fixture::new(Service::Query).await;
    let server = Arc::new(server);
    for (status, is_passing) in [(503, true), (429, true), (500, false), (404, false), (401, false)] {
        let (_stub, storage) = behind(&server, move |request| match is("get", request) {
            // The probe at the opening passes.
            true if !request.text().contains("$contains") && !request.text().contains("embeddings") => {
                Fault::Answer(HttpAnswer::json(status, r#"{"error":"x"}"#))
            }
            _ => Fault::None,
        })
        .await;
        let error = storage.get(&["a".into()]).await.expect_err("the request fails");
        assert_eq!(matches!(error, StorageError::Unavailable { .. }), is_passing, "{status}: {error:?}");
    }
}

#[tokio::test]
async fn records_deleted_during_a_list_hide_no_others() {
    let Fixture { server, storage: direct, _directory } = Fixture::new(Service::Query).await;
    for batch in records(1_500).chunks(500) {
        store_all(&direct, batch).await;
    }
    let server = Arc::new(server);
    let (deleting, pages) = (Arc::clone(&server), AtomicU32::new(0));
    let (_stub, storage) = behind(&server, move |request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let is_page = is("get", request) && body["ids"].is_null() && body["limit"] != 1;
        // Before the second page: those after it move up by ten.
        if is_page && pages.fetch_add(1, Ordering::Relaxed) == 1 {
            let ids: Vec<String> = (0..10).map(|number| format!("r{number:03}")).collect();
            let path = request.path.replace("/get", "/delete");
            deleting.post(&path, &json!({ "ids": ids }).to_string());
        }
        Fault::None
    })
    .await;
    let listed = storage.list(&Selection::default(), Start::Offset(0), 2_000).await.expect("a list");
    assert_eq!(listed.len(), 1_490);
}

#[tokio::test]
async fn record_stored_first_by_another_process_is_kept() {
    let Fixture { server, storage: _, _directory } = Fixture::new(Service::Query).await;
    let server = Arc::new(server);
    let (other, additions) = (Arc::clone(&server), AtomicU32::new(0));
    let (_stub, storage) = behind(&server, move |request| {
        // Another process adds r001 between our read and our write.
        if is("add", request) && additions.fetch_add(1, Ordering::Relaxed) == 0 {
            let mut body: Value = serde_json::from_slice(&request.body).expect("JSON");
            for list in ["ids", "embeddings", "documents", "metadatas"] {
                let one = body[list][1].take();
                body[list] = json!([one]);
            }
            body["documents"] = json!(["another text"]);
            other.post(&request.path, &body.to_string());
        }
        Fault::None
    })
    .await;
    let insertions = storage.insert(&records(3), Atomicity::AllOrNothing).await.expect("an answer");
    assert_eq!(insertions, [Insertion::Withheld, Insertion::Conflict, Insertion::Withheld]);
    let left = storage.list(&Selection::default(), Start::Offset(0), 9).await.expect("a list");
    assert_eq!(left.iter().map(|record| record.text.as_str()).collect::<Vec<_>>(), ["another text"]);
}

#[tokio::test]
async fn search_waits_for_an_index_that_is_being_created() {
    let Fixture { server, storage: direct, _directory } = Fixture::new(Service::Query).await;
    store_all(&direct, &records(3)).await;
    let server = Arc::new(server);
    // Each kind of request that reads vectors fails once, as Chroma 1.5.9 fails while the first record is written.
    let (queries, reads) = (AtomicU32::new(0), AtomicU32::new(0));
    let (_stub, storage) = behind(&server, move |request| {
        let is_first = match () {
            () if is("query", request) => queries.fetch_add(1, Ordering::Relaxed) == 0,
            () if is("get", request) && request.text().contains("embeddings") => {
                reads.fetch_add(1, Ordering::Relaxed) == 0
            }
            () => false,
        };
        if !is_first {
            return Fault::None;
        }
        let body = json!({ "error": "InternalError", "message":
            "Error executing plan: Internal error: Error creating hnsw segment reader: Nothing found on disk" });
        Fault::Answer(HttpAnswer::json(500, &body.to_string()))
    })
    .await;
    let hits = storage.search(&nearest_to(at_angle(0.0), Selection::default(), 3)).await.expect("an answer");
    assert_eq!(hits.len(), 3);
}
