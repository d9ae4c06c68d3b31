//! Lists, counts, categories and exports.

use futures_util::TryStreamExt as _;
use records::Service;
use store::storage::{
    CategoryCount, Cursor, Effort, NewRecord, Record, Search, SearchMode, Selection, Start, Storage as _,
    StorageError,
};
use test_support::TestDatabase;
use uuid::Uuid;

use crate::at_angle;

use super::{NOON, in_category, new_record, storage, store, store_numbered};

#[tokio::test]
async fn pages_follow_each_other_newest_first_without_gap_or_repetition() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    // Many of one time, which the key tells apart.
    let records: Vec<NewRecord> = (0..50)
        .map(|n| NewRecord { created_at: NOON, ..new_record(Service::Query, &n.to_string(), n) })
        .collect();
    let mut expected = store(&storage, &records).await;
    expected.extend(store(&storage, &[new_record(Service::Query, "newer", 5)]).await);
    expected.sort_by_key(|record| (record.created_at, records::stored_id(&record.id)));
    expected.reverse();
    assert_eq!(expected[0].id, "newer");

    let (mut by_offset, mut by_cursor, mut start) = (Vec::new(), Vec::new(), Start::Offset(0));
    loop {
        let offset = Start::Offset(by_offset.len() as u64);
        by_offset.extend(storage.list(&Selection::default(), offset, 7).await.expect("the page reads"));
        let page = storage.list(&Selection::default(), start, 7).await.expect("the page reads");
        let Some(last) = page.last() else { break };
        start = Start::After(Cursor::after(last));
        by_cursor.extend(page);
    }
    assert_eq!(by_cursor, expected);
    assert_eq!(by_offset, expected);

    let far = storage.list(&Selection::default(), Start::Offset(u64::MAX), 7).await;
    assert_eq!(far.expect("the page reads"), []);
    // Those without a time, which the old services may have left, come before all others.
    let timeless = Start::After(Cursor { created_at: None, key: Uuid::nil() });
    let page = storage.list(&Selection::default(), timeless, 7).await.expect("the page reads");
    assert_eq!(page, expected[..7]);
    assert_eq!(storage.list(&Selection::default(), Start::Offset(0), 0).await.expect("it reads"), []);
}

#[tokio::test]
async fn cursor_stays_valid_when_its_record_is_deleted() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    let stored = store_numbered(&storage, 4).await;
    let cursor = Cursor::after(&stored[2]);
    storage.delete(&["2".to_owned()]).await.expect("it is deleted");
    let page = storage.list(&in_category("odd"), Start::After(cursor), 9).await.expect("the page reads");
    assert_eq!(page, [stored[1].clone()]);
}

#[tokio::test]
async fn categories_are_counted_in_the_order_of_their_code_points() {
    let (_test_database, _, storage) = storage(Service::Evaluation).await;
    assert_eq!(storage.categories().await.expect("they are counted"), []);
    let names = ["b", "B", "é", "a", "Z", "a", ""];
    let records: Vec<NewRecord> = (0..)
        .zip(names)
        .map(|(n, name)| NewRecord {
            category: name.into(),
            ..new_record(Service::Evaluation, &n.to_string(), n)
        })
        .collect();
    store(&storage, &records).await;
    let count = |category: &str, records| CategoryCount { category: Some(category.into()), records };
    let expected = [("", 1), ("B", 1), ("Z", 1), ("a", 2), ("b", 1), ("é", 1)];
    assert_eq!(storage.categories().await.expect("they are counted"), expected.map(|(c, n)| count(c, n)));
}

#[tokio::test]
async fn export_gives_every_selected_record_once_newest_first() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    let mut stored = store_numbered(&storage, 900).await;
    stored.reverse();
    let exported: Vec<Record> = storage.export(Selection::default()).try_concat().await.expect("it reads");
    assert_eq!(exported, stored);
    let odd: Vec<Record> = storage.export(in_category("odd")).try_concat().await.expect("it reads");
    stored.retain(|record| record.metadata["theme"] == "odd");
    assert_eq!(odd, stored);
    let nothing: Vec<Record> = storage.export(in_category("x")).try_concat().await.expect("it reads");
    assert_eq!(nothing, []);
}

/// The server processes of our connections.
async fn backends(test_database: &TestDatabase) -> Vec<String> {
    let statement = "select pid::text from pg_stat_activity where datname = current_database() and application_name = 'panopticon' order by pid";
    test_database.texts(statement).await
}

#[tokio::test]
async fn too_large_texts_are_not_read() {
    let (test_database, _, storage) = storage(Service::Query).await;
    let long = |n: u16| NewRecord {
        text: format!("{n} ").repeat(500_000),
        ..new_record(Service::Query, &n.to_string(), n)
    };
    let mut stored = store(&storage, &(10..30).map(long).collect::<Vec<_>>()).await;
    stored.reverse();
    let ids: Vec<String> = stored.iter().map(|record| record.id.clone()).collect();
    let all = Selection::default();
    let list = |limit| storage.list(&all, Start::Offset(0), limit);
    let search = async |selection: Selection, mode: SearchMode, limit| {
        storage.search(&Search { selection, mode, limit, min_similarity: None, effort: Effort::Fast }).await
    };
    let even = || in_category("even");
    let by_vector = || SearchMode::Vector(at_angle(0.1).into());
    let by_words = || SearchMode::Text("12".to_owned());
    // A large result within the limit is returned completely.
    assert_eq!(list(5).await.expect("it reads"), stored[..5]);
    for selection in [even(), all.clone()] {
        let hits = search(selection.clone(), by_vector(), 5).await.expect("it finds");
        assert!(hits.len() == 5 && hits.iter().all(|hit| stored.contains(&hit.record)));
        let hits = search(selection, by_words(), 5).await.expect("it finds");
        assert_eq!(hits[0].record.id, "12");
    }
    let before = backends(&test_database).await;
    let is_too_large = |error: Option<StorageError>| assert!(matches!(error, Some(StorageError::TooLarge)));
    for _ in 0..2 {
        is_too_large(list(20).await.err());
        is_too_large(storage.get(&ids).await.err());
        is_too_large(search(all.clone(), by_vector(), 20).await.err());
    }
    // A connection on which a text is under way could only be closed.
    let after = backends(&test_database).await;
    assert!(before.iter().all(|backend| after.contains(backend)), "of {before:?} remain {after:?}");
    let exported: Vec<Record> = storage.export(all.clone()).try_concat().await.expect("it reads");
    assert_eq!(exported, stored);
    // A single record is always returned.
    let largest = NewRecord { text: "x ".repeat(9 << 20), ..new_record(Service::Query, "largest", 99) };
    let largest = store(&storage, &[largest]).await;
    assert_eq!(list(1).await.expect("it reads"), largest);
    assert_eq!(storage.get(&["largest".to_owned()]).await.expect("it reads"), largest);
}
