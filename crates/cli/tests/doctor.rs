//! `panopticon doctor`: its text, and what scripts may rely on.

use provision::Durability;
use serde_json::Value;
use test_support::{PostgresServer, TestDatabase};

use crate::{json, panopticon, run, run_on, run_with};

#[tokio::test]
async fn empty_database_is_healthy_and_remains_empty() {
    let server = PostgresServer::private(Durability::Full, &[("random_page_cost", "1.1")]).await;
    let url = server.create_database("empty").await;
    let ended = run_with(&["doctor"], &[("DATABASE_URL", &url)]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    assert!(ended.stdout.contains("not created yet: evaluation_metrics, llm_outputs, queries"), "{ended:?}");
    assert!(
        ended.stdout.trim_end().lines().last().expect("it prints").starts_with("Nothing is wrong"),
        "{ended:?}"
    );
    let ended = run_with(&["doctor", "--json"], &[("DATABASE_URL", &url)]).await;
    let examined = json(&ended);
    assert_eq!(
        (&examined["server"]["pgvector"], &examined["tables"]),
        (&Value::Null, &Value::Array(Vec::new()))
    );
}

#[tokio::test]
async fn findings_have_a_code_a_remedy_and_an_exit_code() {
    let test_database = TestDatabase::prepared().await;
    test_database
        .execute("insert into queries (query_text, theme) values ('a text without a vector', 'none')")
        .await;
    let ended = run_on(&test_database, &["doctor"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (6, ""), "{ended:?}");
    let select = "  sql: select id, \"query_text\" from \"queries\" where embedding is null;";
    assert!(ended.stdout.lines().any(|line| line == select), "{ended:?}");
    assert!(
        ended.stdout.lines().all(|line| line.contains("sql: ") || line.chars().count() <= 80),
        "{ended:?}"
    );

    let ended = run_on(&test_database, &["doctor", "--json"]).await;
    assert_eq!(ended.code, 6, "{ended:?}");
    let examined = json(&ended);
    let findings = examined["findings"].as_array().expect("a list");
    let missing =
        findings.iter().find(|finding| finding["code"] == "embeddings_missing").expect("it is found");
    assert_eq!((&missing["severity"], &missing["table"]), (&Value::from("warning"), &Value::from("queries")));
    assert!(missing["remedy"]["select"].is_string() && missing["remedy"]["advice"].is_string(), "{missing}");
    let queries = &examined["tables"][2];
    assert_eq!(
        (&queries["table"], &queries["embeddings"]["missing"]),
        (&Value::from("queries"), &Value::from(1))
    );
    assert_eq!(queries["searches"], Value::Null, "there is no vector to search for");
}

#[test]
fn without_a_database_none_is_created() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data_dir = folder.path().join("data");
    let ended = run(panopticon(folder.path(), &["doctor"]).env("PANOPTICON_DATA_DIR", &data_dir));
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("there is no database to examine yet"), "{ended:?}");
    assert!(!data_dir.exists());
}
