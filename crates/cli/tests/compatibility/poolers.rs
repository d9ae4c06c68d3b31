//! PgBouncer between us and the server.

use serde_json::json;
use test_support::{PgBouncer, TestDatabase, sample};

use super::{json, name, run_on_url};
use crate::run_on;

#[tokio::test]
async fn everything_works_through_pgbouncer_in_transaction_mode() {
    let database = TestDatabase::create().await;
    // One holds the lock, and one monitors the index that the third builds. Copying connections take turns.
    let Some(pooler) = PgBouncer::start(&database.url(), 3).await else { return };
    let folder = sample("query_storage_data");
    let source = name(folder.path());
    let migrate = ["migrate", "query", "--from", source, "--batch-rows", "5", "--jobs", "4", "--json"];
    let first = run_on_url(pooler.url(), &migrate).await;
    assert_eq!(first.code, 0, "{first:?}\n{}", pooler.log());
    let again = run_on_url(pooler.url(), &migrate).await;
    assert_eq!(json(&again)["collections"][0]["written"], 0, "{again:?}");

    let verified = run_on_url(pooler.url(), &["verify", "query", "--from", source]).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    let found = run_on_url(pooler.url(), &["search", "query", "fusion power", "--json"]).await;
    assert_eq!((found.code, json(&found).as_array().map(Vec::len)), (0, Some(5)), "{found:?}");
    let examined = json(&run_on_url(pooler.url(), &["doctor", "--json"]).await);
    let queries = &examined["tables"][2];
    let rows = queries["embeddings"]["rows"].as_u64().expect("rows were examined");
    let recognised = json!({"compared": rows.min(32), "foreign": 0});
    assert_eq!((&queries["table"], &queries["recognised"]), (&json!("queries"), &recognised), "{examined}");
    let other = ["migrate", "collection", "queries", "--from", source, "--table", "other"];
    let other = run_on_url(pooler.url(), &other).await;
    assert_eq!(other.code, 0, "{other:?}");

    let run_id = json(&first)["run_id"].as_str().expect("a run has an id").to_owned();
    let undone = run_on_url(pooler.url(), &["migrate", "--undo", &run_id, "--json"]).await;
    assert_eq!((undone.code, &json(&undone)["status"]), (0, &"undone".into()), "{undone:?}");
    let found = run_on(&database, &["search", "query", "fusion power", "--json"]).await;
    assert_eq!((found.code, found.stdout.trim()), (0, "[]"), "{found:?}");
}
