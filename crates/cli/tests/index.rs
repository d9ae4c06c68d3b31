//! `panopticon index`: its output, its actions, and recovery after a kill.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::PgConnection;
use test_support::TestDatabase;

use crate::{Run, json, panopticon, run_on, run_with};

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// A database with `rows` queries on ten axes: in an index of ten lists, each list has all nearest rows of its axis.
async fn with_queries(rows: u32) -> TestDatabase {
    let test_database = TestDatabase::prepared().await;
    test_database
        .execute(&format!(
            "insert into queries (query_text, theme, embedding)
            select 'row', 'theme', embedding
            from generate_series(1, {rows}) row
            join (
                select axis,
                    (select array_agg((place = axis)::int order by place) from generate_series(0, 383) place)::vector as embedding
                from generate_series(0, 9) axis
            ) axes on axis = row % 10"
        ))
        .await;
    test_database
}

async fn index(database: &TestDatabase, arguments: &[&str]) -> Run {
    run_on(database, &[&["index"], arguments].concat()).await
}

/// The object about `queries`.
fn of_queries(run: &Run) -> Value {
    assert_eq!(run.code, 0, "{run:?}");
    let answers = json(run);
    let of_queries = answers.as_array().expect("an array").iter().find(|one| one["table"] == "queries");
    of_queries.expect("the queries are among them").clone()
}

/// Names of the vector indexes, and whether they are valid.
async fn vector_indexes(connection: &mut PgConnection) -> Vec<(String, bool)> {
    sqlx::query_as(
        "select relname::text, indisvalid from pg_index join pg_class on pg_class.oid = indexrelid
        where indrelid = 'queries'::regclass and relname like '%vector%' order by 1",
    )
    .fetch_all(connection)
    .await
    .expect("the catalog reads")
}

#[tokio::test]
async fn plan_is_printed_and_applied_and_then_empty() {
    let database = with_queries(10_000).await;
    let mut connection = database.connection().await;
    let ivfflat = [("DATABASE_URL", database.url()), ("VECTOR_INDEX_TYPE", "ivfflat".to_owned())];
    let ivfflat = ivfflat.each_ref().map(|(name, value)| (*name, value.as_str()));
    let as_lists = async |arguments: &[&str]| run_with(&[&["index"], arguments].concat(), &ivfflat).await;

    let status = of_queries(&index(&database, &["status", "--json"]).await);
    assert_eq!((&status["rows"], &status["indexes"]), (&json!(10_000), &json!([])));
    assert_eq!(status["plan"]["wanted"]["type"], "hnsw");
    let plan = as_lists(&["plan", "--table", "queries"]).await;
    assert!(
        plan.stdout.contains("build index `queries_panopticon_vector_new`: ivfflat with 10 lists"),
        "{plan:?}"
    );
    let dry_run = as_lists(&["apply", "--table", "queries", "--dry-run"]).await;
    assert_eq!((dry_run.code, &dry_run.stdout), (0, &plan.stdout));
    assert_eq!(vector_indexes(&mut connection).await, []);

    let applied = as_lists(&["apply", "--json"]).await;
    assert!(applied.stderr.contains("building index"), "{applied:?}");
    let applied = of_queries(&applied);
    assert_eq!(applied["changes"].as_array().map(Vec::len), Some(2), "{applied}");
    let recall = applied["measured"][0]["recall_low"].as_f64().expect("it was measured");
    assert_eq!(recall, 1.0, "{applied}");
    let expected = [("queries_panopticon_vector".to_owned(), true)];
    assert_eq!(vector_indexes(&mut connection).await, expected);
    let again = as_lists(&["apply", "--table", "queries"]).await;
    assert!(again.stdout.ends_with("nothing to do\n"), "{again:?}");
    assert!(again.stderr.is_empty(), "{again:?}");

    let tuned = of_queries(&as_lists(&["tune", "--table", "queries", "--json"]).await);
    assert_eq!(tuned["measured"].as_array().map(Vec::len), applied["measured"].as_array().map(Vec::len));
    let status = as_lists(&["status"]).await;
    assert!(status.stdout.contains("queries: 10,000 rows of 384 dimensions by cosine"), "{status:?}");
    assert!(status.stdout.contains("    10 results: recall "), "{status:?}");

    let unknown = index(&database, &["plan", "--table", "nothing"]).await;
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.stderr.contains("it has evaluation_metrics, llm_outputs, queries"), "{unknown:?}");
}

#[tokio::test]
async fn invalid_index_settings_are_refused() {
    for (name, value, expected) in [
        ("VECTOR_INDEX_TYPE", "annoy", "expected `auto`, `ivfflat`, `hnsw` or `none`"),
        ("VECTOR_RECALL_TARGET", "98", "expected a number above 0 and up to 1"),
        ("VECTOR_RECALL_TARGET", "0", "expected a number above 0 and up to 1"),
        ("VECTOR_RECALL_TARGET", "NaN", "expected a number above 0 and up to 1"),
    ] {
        let ended = run_with(&["config"], &[(name, value)]).await;
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains(expected), "{ended:?}");
    }
}

#[tokio::test]
async fn second_apply_is_refused_and_a_killed_one_is_completed_by_the_next() {
    let database = with_queries(10_000).await;
    let mut connection = database.connection().await;
    // The build waits for this open transaction.
    let mut write = database.connection().await;
    let insert = "begin; insert into queries (query_text, theme) values ('row', 'not committed')";
    sqlx::raw_sql(insert).execute(&mut write).await.expect("a row is written");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut child = panopticon(folder.path(), &["index", "apply", "--table", "queries"])
        .env("DATABASE_URL", database.url())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let started = Instant::now();
    loop {
        let is_building: bool = sqlx::query_scalar(
            "select exists (select from pg_stat_progress_create_index
            where datname = current_database() and phase = 'waiting for writers before build')",
        )
        .fetch_one(&mut connection)
        .await
        .expect("the view reads");
        if is_building {
            break;
        }
        // Only bounds the wait: the view announces no change.
        assert!(started.elapsed() < PATIENCE, "the build does not start");
        tokio::time::sleep(POLL).await;
    }
    let second = index(&database, &["apply", "--table", "queries"]).await;
    assert_eq!(second.code, 5, "{second:?}");
    assert!(
        second.stderr.contains("the indexes of table `queries` are locked by another process"),
        "{second:?}"
    );
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    let left = vector_indexes(&mut connection).await;
    assert_eq!(left, [("queries_panopticon_vector_new".to_owned(), false)]);
    drop(write);

    let again = index(&database, &["apply", "--table", "queries"]).await;
    // 6: the graph over the copies of ten vectors may miss some.
    assert!(matches!(again.code, 0 | 6), "{again:?}");
    assert!(
        again.stdout.contains("the build of index `queries_panopticon_vector_new` never finished"),
        "{again:?}"
    );
    let expected = [("queries_panopticon_vector".to_owned(), true)];
    assert_eq!(vector_indexes(&mut connection).await, expected);
}

/// Rows that are missing from the index, as an interrupted maintenance of another program may leave them.
#[tokio::test]
async fn recall_below_the_target_is_a_warning_with_its_own_exit_code() {
    let database = with_queries(10_000).await;
    let ivfflat = [("DATABASE_URL", database.url()), ("VECTOR_INDEX_TYPE", "ivfflat".to_owned())];
    let ivfflat = ivfflat.each_ref().map(|(name, value)| (*name, value.as_str()));
    let applied = run_with(&["index", "apply", "--table", "queries"], &ivfflat).await;
    assert_eq!(applied.code, 0, "{applied:?}");
    // Rows on other axes, each of which is among the nearest of the others.
    database
        .execute(
            "update pg_index set indisready = false where indrelid = 'queries'::regclass
                and indexrelid = 'queries_panopticon_vector'::regclass;
            insert into queries (query_text, theme, embedding)
            select 'row', 'theme', embedding
            from generate_series(1, 10000) row
            join (
                select axis,
                    (select array_agg((place = axis)::int order by place) from generate_series(0, 383) place)::vector as embedding
                from generate_series(10, 19) axis
            ) axes on axis = 10 + row % 10;
            update pg_index set indisready = true where indexrelid = 'queries_panopticon_vector'::regclass",
        )
        .await;
    let tuned = run_with(&["index", "tune", "--table", "queries"], &ivfflat).await;
    assert_eq!(tuned.code, 6, "{tuned:?}");
    assert!(tuned.stdout.contains("below the target"), "{tuned:?}");
    assert!(
        tuned.stderr.contains("warning: searches of `queries`") && tuned.stderr.contains("doctor"),
        "{tuned:?}"
    );
}
