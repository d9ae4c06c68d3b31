//! Collections that kept a service's records in ChromaDB, after their migration.

use records::{MetadataValue, Service};
use serde_json::{Value, json};
use store::{postgres::Table, storage::Storage as _};

use super::storage;
use crate::{at_angle, begin, record, write};

#[tokio::test]
async fn metadata_that_chroma_could_not_hold_are_shown_in_their_places() {
    let (_test_database, database, storage) = storage(Service::Query).await;
    let table = Table::of(Service::Query);
    let job = begin(&database, &table).await;
    let mut migrated = record(Service::Query, "chatcmpl-1", at_angle(0.1));
    let folded = r#"{"nothing":null,"deep":{"a":[1,"x"]}}"#;
    let metadata = migrated.metadata.as_mut().expect("the record has metadata");
    metadata.insert("panopticon:json".to_owned(), MetadataValue::Text(folded.to_owned()));
    write(&database, &table, &job, &[migrated]).await;
    let shown = storage.get(&["chatcmpl-1".to_owned()]).await.expect("it reads").remove(0);
    let mut metadata = shown.metadata;
    metadata.retain(|key, _| !matches!(key.as_str(), "theme" | "timestamp"));
    assert_eq!(Value::Object(metadata), json!({"n": 1, "nothing": null, "deep": {"a": [1, "x"]}}));
}
