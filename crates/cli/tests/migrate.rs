//! `migrate` and `search`, on the real directory and on the sample.

use serde_json::Value;
use test_support::{TestDatabase, fixture, sample};

use crate::{Run, run_on};

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

#[tokio::test]
async fn real_directory_is_migrated_verified_and_searched() {
    let Some(folder) = fixture("panopticon-query-storage") else { return };
    let source = folder.path().join("query_storage").display().to_string();
    let database = TestDatabase::create().await;
    let first = run_on(&database, &["migrate", "query", "--from", &source]).await;
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.stdout.contains("2 written") && first.stdout.contains("verified"), "{first:?}");

    let second = run_on(&database, &["migrate", "queries", "--from", &source, "--json"]).await;
    assert_eq!(second.code, 0, "{second:?}");
    let report = json(&second);
    assert_eq!(report["status"], "verified");
    assert_eq!(report["source"], source.as_str());
    let collection = &report["collections"][0];
    assert_eq!((&collection["written"], &collection["unchanged"]), (&Value::from(0), &Value::from(2)));
    assert_eq!(collection["digest_source"], collection["digest_target"]);

    let found = run_on(&database, &["search", "query", "fusion power", "--json"]).await;
    assert_eq!(found.code, 0, "{found:?}");
    let hits = json(&found);
    assert_eq!(hits.as_array().map(Vec::len), Some(2));
    assert_eq!(hits[0]["id"], "c594437a-984c-4c2a-8f06-97976aa9f390");
    assert_eq!(hits[0]["query"], "Describe how nuclear fusion works and its potential as an energy source.");
    assert_eq!(hits[0]["metadata"]["timestamp"], "2025-03-27T12:49:03.306074");
    assert!(hits[0]["distance"].as_f64() < hits[1]["distance"].as_f64());
    let none = run_on(&database, &["search", "metrics", "fusion power", "--json"]).await;
    assert_eq!((none.code, none.stdout.trim()), (0, "[]"), "{none:?}");
}

#[tokio::test]
async fn all_three_services_come_from_the_directories_that_the_environment_names() {
    let folders = ["query_storage_data", "evaluation_storage_data", "judge_service_data"].map(sample);
    let [query, evaluation, judge] = folders.each_ref().map(|folder| folder.path().display().to_string());
    let settings = tempfile::tempdir().expect("a temporary folder");
    let database = TestDatabase::create().await;
    let dot_env = format!(
        "DATABASE_URL={}\nCHROMA_PERSIST_DIRECTORY={query}\nEVALUATION_PERSIST_DIRECTORY={evaluation}\nJUDGE_PERSIST_DIRECTORY={judge}\n",
        database.url()
    );
    std::fs::write(settings.path().join(".env"), dot_env).expect("the file is written");
    let mut command = crate::panopticon(settings.path(), &["migrate", "all", "--json"]);
    let ended =
        tokio::task::spawn_blocking(move || crate::run(&mut command)).await.expect("it does not panic");
    assert_eq!(ended.code, 0, "{ended:?}");
    let report = json(&ended);
    let tables: Vec<&str> =
        report["collections"].as_array().into_iter().flatten().filter_map(|c| c["table"].as_str()).collect();
    assert_eq!(tables, ["queries", "evaluation_metrics", "llm_outputs"]);

    let arguments = ["search", "outputs", "the sun", "--model-id", "unknown", "--json"];
    let found = json(&run_on(&database, &arguments).await);
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found[0]["id"], "msg_011037f31673d059d1abab88", "an output without model was not dropped");
    let text = run_on(&database, &["search", "judge", "the sun", "--limit", "3"]).await;
    assert_eq!(text.stdout.lines().count(), 3, "{text:?}");
}

#[tokio::test]
async fn exit_codes_tell_rejects_conflicts_and_locks_apart() {
    let folder = sample("query_storage_data");
    let source = folder.path().display().to_string();
    let database = TestDatabase::create().await;
    assert_eq!(run_on(&database, &["migrate", "query", "--from", &source]).await.code, 0);

    let chroma = rusqlite::Connection::open(folder.path().join("chroma.sqlite3")).expect("the copy opens");
    chroma
        .execute("delete from embedding_metadata where key = 'chroma:document' and id = 5", [])
        .expect("the copy changes");
    drop(chroma);
    let rejected = run_on(&database, &["migrate", "query", "--from", &source]).await;
    assert_eq!(rejected.code, 3, "{rejected:?}");
    assert!(rejected.stdout.contains("missing_document"), "{rejected:?}");

    database
        .execute("update queries set theme = 'edited' where id = '3f231762-1288-55bc-9925-9eeb8ff7544c'")
        .await;
    let conflict = run_on(&database, &["migrate", "query", "--from", &source, "--json"]).await;
    assert_eq!(conflict.code, 5, "{conflict:?}");
    assert_eq!(json(&conflict)["status"], "conflicts");

    let store = store::postgres::Database::connect(&database.url()).await.expect("the database answers");
    let table = store::postgres::ServiceTable::of(records::Service::Query);
    let holder = store.begin_copy(table).await.expect("the table is free");
    let locked = run_on(&database, &["migrate", "query", "--from", &source, "--json"]).await;
    assert_eq!(locked.code, 5, "{locked:?}");
    assert_eq!(json(&locked)["status"], "failed", "a failure prints its object too");
    assert!(locked.stderr.contains("another migration holds table `queries`"), "{locked:?}");
    drop(holder);
}

#[tokio::test]
async fn wrong_sources_and_filters_are_usage_errors_that_name_the_remedy() {
    let database = TestDatabase::create().await;
    let empty = tempfile::tempdir().expect("a temporary folder");
    let nothing_there = empty.path().display().to_string();
    for (arguments, expected) in [
        (vec!["migrate", "query"], "set CHROMA_PERSIST_DIRECTORY"),
        (vec!["migrate", "query", "--from", &nothing_there], "chroma.sqlite3"),
        (vec!["migrate", "all", "--from", &nothing_there], "one by one"),
        (vec!["migrate", "everything"], "possible values"),
        (vec!["search", "query", "x", "--model-id", "gpt-4"], "--model-id does not apply to query"),
        (vec!["search", "metrics", "x", "--theme", "law"], "--theme does not apply to evaluation"),
        (vec!["search", "query", "x", "--limit", "0"], "1..=100"),
        (vec!["search", "prompts", "x"], "unknown service `prompts`"),
        (vec!["search", "query", "x"], "run `panopticon migrate` first"),
    ] {
        let ended = run_on(&database, &arguments).await;
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(expected), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}
