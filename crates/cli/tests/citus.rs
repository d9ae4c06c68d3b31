//! Commands on a Citus cluster.

use serde_json::Value;
use test_support::{CitusDatabase, sample};

use crate::{Run, json, run_with};

/// Runs `arguments` for the queries of the sample.
async fn on_sample(citus: &CitusDatabase, arguments: &[&str]) -> Run {
    let (folder, url) = (sample("query_storage_data"), citus.url());
    let directory = folder.path().display().to_string();
    let environment = [("DATABASE_URL", url.as_str()), ("CHROMA_PERSIST_DIRECTORY", &directory)];
    run_with(arguments, &environment).await
}

async fn verified(citus: &CitusDatabase, verb: &str) -> Value {
    let ended = on_sample(citus, &[verb, "query", "--json"]).await;
    assert_eq!(ended.code, 0, "{verb}: {ended:?}");
    let report = json(&ended);
    assert_eq!((&report["status"], &report["verify"]["search_parity"]), (&"verified".into(), &1.0.into()));
    report
}

async fn rows(citus: &CitusDatabase) -> Vec<String> {
    citus.texts("select to_jsonb(row)::text from queries row order by id").await
}

#[tokio::test]
async fn migrated_table_is_distributed_and_collected_with_its_rows() {
    let Some(citus) = CitusDatabase::create().await else { return };
    verified(&citus, "migrate").await;
    let before = rows(&citus).await;
    assert!(!before.is_empty());
    let distribute = async |arguments: &[&str]| {
        let ended = on_sample(&citus, &[&["db", "distribute"], arguments].concat()).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.stdout
    };
    let printed = distribute(&["queries", "--dry-run"]).await;
    assert_eq!(printed, "queries: stored on the coordinator; would distribute it over 2 shards\n");
    for _ in 0..2 {
        assert_eq!(distribute(&["queries"]).await, "queries: distributed over 2 shards\n");
        assert_eq!(rows(&citus).await, before);
    }
    for verb in ["verify", "migrate"] {
        verified(&citus, verb).await;
        assert_eq!(rows(&citus).await, before);
    }
    assert_eq!(distribute(&["queries", "--undo"]).await, "queries: stored on the coordinator\n");
    assert_eq!(rows(&citus).await, before);
    let ended = on_sample(&citus, &["db", "distribute", "llm_output"]).await;
    assert!(ended.code == 2 && ended.stderr.contains("expected one of"), "{ended:?}");
    citus.remove().await;
}

#[tokio::test]
async fn records_are_migrated_into_a_distributed_table_and_undone() {
    let Some(citus) = CitusDatabase::create().await else { return };
    citus.distributed().await.close().await;
    let report = verified(&citus, "migrate").await;
    let run = report["run_id"].as_str().expect("a run").to_owned();
    let migrated = rows(&citus).await;
    assert_eq!(Some(migrated.len() as u64), report["collections"][0]["source_records"].as_u64(), "{report}");
    let ended = on_sample(&citus, &["migrate", "--undo", &run]).await;
    assert_eq!((ended.code, rows(&citus).await.len()), (0, 0), "{ended:?}");
    citus.remove().await;
}

#[tokio::test]
async fn server_without_citus_distributes_nothing() {
    let database = test_support::TestDatabase::prepared().await;
    let ended = crate::run_on(&database, &["db", "distribute"]).await;
    assert!(ended.code == 2 && ended.stderr.contains("the database has no Citus"), "{ended:?}");
}
