//! Storing, changing and deleting records, one by one and in batches.

use futures_util::TryStreamExt as _;
use records::Service;
use serde_json::{Value, json};
use store::storage::{
    Atomicity, Change, Cursor, Insertion, NewRecord, Selection, Start, Storage as _, StorageError,
};

use super::{Fixture, ids, open, output, record, store_all};

#[tokio::test]
async fn record_is_shown_as_it_was_given() {
    let Fixture { storage, .. } = &Fixture::new(Service::Query).await;
    let metadata = json!({
        "text": "é \u{1f600} \"q\" \u{1}", "int": 9_007_199_254_740_993_i64, "float": 1.0, "huge": 1e16, "true": true,
        "null": null, "object": {"a": {"b": null}}, "list": ["x", "y"], "floats": [1.0, 2.5], "empty": [],
        "mixed": [1, "x", 2.0, null], "nested": [[1]], "unsigned": u64::MAX, "": 1, "#hash": 2, "$dollar": 3,
        "chroma:document": "mine", "tiny": 5e-324,
    });
    let new = record(1, metadata);
    store_all(storage, std::slice::from_ref(&new)).await;
    let shown = storage.get(std::slice::from_ref(&new.id)).await.expect("the record is read");
    assert_eq!(shown, [new.to_record(Service::Query)]);
}

#[tokio::test]
async fn numbers_of_any_length_are_returned_exactly() {
    let Fixture { storage, .. } = &Fixture::new(Service::Query).await;
    // Every one of these is a double; Chroma 1.5.9 reads one in seven as another.
    let (mut bits, mut numbers) = (1_u64, vec![3.494_239_632_500_895e78, 123_456_789.123_456_79]);
    while numbers.len() < 1_000 {
        bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let fraction = (bits >> 11) as f64 / (1_u64 << 53) as f64;
        numbers.extend([fraction, fraction * 1e9, (fraction * 1e4).round() / 1e2]);
        numbers.extend(Some(f64::from_bits(bits)).filter(|number| number.is_finite()));
    }
    let records: Vec<NewRecord> = (0..)
        .zip(numbers.chunks(50))
        .map(|(number, chunk)| {
            let keys = chunk.iter().enumerate();
            let mut metadata: serde_json::Map<_, _> =
                keys.map(|(index, number)| (format!("key {index}"), json!(number))).collect();
            metadata.insert("list".to_owned(), json!([0.5, chunk[0]]));
            record(number, Value::Object(metadata))
        })
        .collect();
    store_all(storage, &records).await;
    let shown = storage.list(&Selection::default(), Start::Offset(0), 100).await.expect("a list");
    let given: Vec<_> = records.iter().rev().map(|record| record.to_record(Service::Query)).collect();
    assert_eq!(shown, given);
}

#[tokio::test]
async fn batch_with_a_conflict_is_not_stored_at_all_or_without_it() {
    let Fixture { storage, .. } = &Fixture::new(Service::Judge).await;
    store_all(storage, &[output(1)]).await;
    let other = NewRecord { text: "another text".to_owned(), ..output(1) };
    let twice = NewRecord { text: "twice".to_owned(), ..output(3) };
    let batch = [output(1), other, output(2), output(3), output(3), twice];
    let known = |number| output(number).to_record(Service::Judge);
    let insertions = storage.insert(&batch, Atomicity::AllOrNothing).await.expect("the answer comes");
    let withheld = || Insertion::Withheld;
    assert_eq!(
        insertions,
        [
            Insertion::Unchanged(known(1)),
            Insertion::Conflict,
            withheld(),
            withheld(),
            withheld(),
            Insertion::Conflict
        ]
    );
    assert_eq!(storage.count(&Selection::default()).await.expect("the count comes"), 1);

    let insertions = storage.insert(&batch, Atomicity::Each).await.expect("the answer comes");
    assert_eq!(
        insertions,
        [
            Insertion::Unchanged(known(1)),
            Insertion::Conflict,
            Insertion::Stored(known(2)),
            Insertion::Stored(known(3)),
            Insertion::Unchanged(known(3)),
            Insertion::Conflict
        ]
    );
    assert_eq!(storage.count(&Selection::default()).await.expect("the count comes"), 3);
}

#[tokio::test]
async fn one_of_two_writers_of_an_id_stores_it() {
    let fixture = Fixture::new(Service::Query).await;
    // Two storages, since the lock of one would serialize the writers.
    let storages = [open(&fixture.server, Service::Query).await, open(&fixture.server, Service::Query).await];
    for round in 0..20 {
        let [mine, other] = ["mine", "other"].map(|text| {
            let batch: Vec<NewRecord> = (0..20)
                .map(|number| NewRecord { text: text.to_owned(), ..record(100 * round + number, json!({})) })
                .collect();
            batch
        });
        let (mine, other) = tokio::join!(
            storages[0].insert(&mine, Atomicity::Each),
            storages[1].insert(&other, Atomicity::Each)
        );
        let (mine, other) = (mine.expect("an answer"), other.expect("an answer"));
        for (mine, other) in mine.iter().zip(&other) {
            let outcomes = [mine, other].map(|one| matches!(one, Insertion::Stored(_)));
            assert!(outcomes[0] != outcomes[1], "{mine:?} {other:?}");
        }
    }
}

#[tokio::test]
async fn update_replaces_all_metadata_but_the_services_own() {
    let Fixture { storage, .. } = &Fixture::new(Service::Query).await;
    let metadata = json!({"a": 1, "b": "x", "null": null, "list": [1, 2]});
    store_all(storage, &[record(1, metadata), record(2, json!({}))]).await;
    let update = async |change: Change| {
        let updated = storage.update("r001", &change).await.expect("the record is updated");
        let updated = updated.expect("the record is there");
        let read = storage.get(&["r001".to_owned()]).await.expect("it is read");
        assert_eq!(read, std::slice::from_ref(&updated));
        updated
    };
    let Value::Object(metadata) = json!({"a": 1.0, "null": {"x": null}}) else { unreachable!("an object") };
    let changed = update(Change { metadata: Some(metadata), ..Change::default() }).await;
    assert_eq!(
        Value::Object(changed.metadata),
        json!({"a": 1.0, "null": {"x": null}, "theme": "physics", "timestamp": "2026-01-31T12:01:00.000000"})
    );
    let changed = update(Change { category: Some("biology".to_owned()), ..Change::default() }).await;
    assert_eq!(changed.metadata["theme"], "biology");
    assert_eq!(changed.metadata["null"], json!({"x": null}));
    let changed = update(Change { metadata: Some(serde_json::Map::new()), ..Change::default() }).await;
    assert_eq!(changed.metadata.len(), 2, "{:?}", changed.metadata);

    let other = storage.get(&["r002".to_owned()]).await.expect("it is read");
    assert_eq!(other, [record(2, json!({})).to_record(Service::Query)]);
    assert_eq!(storage.update("none", &Change::default()).await.expect("an answer"), None);
}

#[tokio::test]
async fn lists_are_newest_first_and_cursors_outlive_their_record() {
    let Fixture { storage, .. } = &Fixture::new(Service::Query).await;
    let records: Vec<NewRecord> = (0..25).map(|number| record(number, json!({}))).collect();
    store_all(storage, &records).await;
    let all = Selection::default();
    let first = storage.list(&all, Start::Offset(0), 10).await.expect("a page");
    assert_eq!(ids(&first), (15..25).rev().map(|number| format!("r{number:03}")).collect::<Vec<_>>());
    let last = Cursor::after(&first[9]);
    assert_eq!(storage.delete(&["r015".into(), "x".into(), "r015".into()]).await.expect("deleted"), ["r015"]);
    let second = storage.list(&all, Start::After(last), 10).await.expect("a page");
    assert_eq!(ids(&second), (5..15).rev().map(|number| format!("r{number:03}")).collect::<Vec<_>>());
    let exported: Vec<_> = storage.export(all).try_concat().await.expect("all records");
    assert_eq!(exported.len(), 24);
    assert!(exported.is_sorted_by_key(|record| std::cmp::Reverse(record.created_at)));
}

#[tokio::test]
async fn unreachable_server_is_reported_as_unavailable() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let server = test_support::ChromaServer::start(directory.path());
    let storage = open(&server, Service::Query).await;
    drop(server);
    let insertion = storage.insert(&[record(1, json!({}))], Atomicity::AllOrNothing).await;
    assert!(matches!(insertion, Err(StorageError::Unavailable { .. })), "{insertion:?}");
    assert!(matches!(storage.check().await, Err(StorageError::Unavailable { .. })));
}
