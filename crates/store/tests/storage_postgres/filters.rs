//! Conditions mean what ChromaDB 1.5 means by them.

use records::Service;
use serde_json::json;

use super::{filtered, ids, storage, store_numbered};

#[tokio::test]
async fn metadata_are_compared_by_value() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    store_numbered(&storage, 3).await;
    assert_eq!(ids(&storage, &filtered(json!({"n": {"$gte": 1.0}}))).await, ["2", "1"]);
}
