//! Each index of the services is used by its statement, at 100,000 rows.
//!
//! The statements are the golden files, which `store`'s unit tests compare with the code.

use records::Service;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, postgres::PgArguments, query::Query};
use time::Duration;
use uuid::Uuid;

use super::{NOON, storage};

/// A hundred themes and models, a thousand sources; one text in a hundred has a word that the others lack.
const ROWS: &str = r#"
insert into queries (id, query_text, theme, metadata, created_at)
select gen_random_uuid(), 'why does ' || case when n % 100 = 0 then 'gravity' else 'light' end || ' bend ' || n,
    'theme ' || n % 100,
    jsonb_build_object('theme', 'theme ' || n % 100, 'source', 'source ' || n % 1000, 'n', n),
    timestamp '2026-01-31 12:00' - n * interval '1 minute'
from generate_series(1, 100000) n;
insert into llm_outputs (id, output_text, theme, model_id, query, created_at)
select gen_random_uuid(), 'text', 'theme', 'model ' || n % 100, 'query', timestamp '2026-01-31 12:00' - n * interval '1 minute'
from generate_series(1, 100000) n;
insert into evaluation_results (id, theme, model_id, evaluation_prompt_id, score, timestamp, result_metadata)
select gen_random_uuid(), 'theme ' || n % 100, 'model ' || n % 100, 'prompt ' || n % 100, n % 11,
    timestamp '2026-01-31 12:00' - n * interval '1 minute',
    json_build_object('run_id', '00000000-0000-0000-0000-' || lpad((n % 100)::text, 12, '0'), 'fingerprint', 'f' || n,
        'output_id', 'output ' || n % 1000)
from generate_series(1, 100000) n;
analyze;
"#;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../src/postgres/sql/golden/", $name, ".sql"))
    };
}

/// Explains `statement`, and checks that its plan uses `index` and sorts nothing but what `sorts` allows.
async fn check(
    connection: &mut PgConnection,
    statement: &str,
    bind: impl Fn(Query<'static, Postgres, PgArguments>) -> Query<'static, Postgres, PgArguments>,
    index: &str,
) -> String {
    let explain = sqlx::query(AssertSqlSafe(format!("explain {statement}"))).persistent(false);
    let mut explain = bind(explain);
    if statement.contains("bytes <=") {
        explain = explain.bind(i64::MAX);
    }
    let rows = explain.fetch_all(connection).await.expect("the statement is planned");
    let lines: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, 0)).collect();
    let plan = lines.join("\n");
    assert!(plan.contains(index), "{index} is not used:\n{statement}\n{plan}");
    plan
}

#[tokio::test]
async fn each_index_serves_its_statement() {
    let (test_database, database, _) = storage(Service::Query).await;
    test_database.execute(ROWS).await;
    for service in [Service::Query, Service::Judge] {
        database.ensure_service_indexes(service).await.expect("the indexes are built");
    }
    let mut connection = test_database.connection().await;
    let connection = &mut connection;
    let is_unsorted = |plan: &str| assert!(!plan.contains("Sort"), "{plan}");

    let plan =
        check(connection, golden!("list_newest"), |q| q.bind(10_i64), "queries_panopticon_newest").await;
    is_unsorted(&plan);
    let later = NOON - Duration::minutes(50_000);
    let after = |q: Query<'static, Postgres, PgArguments>| q.bind(later).bind(Uuid::max()).bind(10_i64);
    let plan = check(connection, golden!("list_after"), after, "queries_panopticon_newest").await;
    is_unsorted(&plan);
    let category = |q: Query<'static, Postgres, PgArguments>| q.bind("theme 7").bind(10_i64);
    let plan = check(connection, golden!("list_category"), category, "queries_panopticon_category").await;
    is_unsorted(&plan);
    let after_in_category = |q: Query<'static, Postgres, PgArguments>| {
        q.bind("theme 7").bind(later).bind(Uuid::max()).bind(10_i64)
    };
    let plan =
        check(connection, golden!("list_category_after"), after_in_category, "queries_panopticon_category")
            .await;
    is_unsorted(&plan);
    let one = |q: Query<'static, Postgres, PgArguments>| q.bind("theme 7");
    check(connection, golden!("count_records"), one, "queries_panopticon_category").await;
    // A value that no row has: a rare value may be in the planner's sample by chance and count as frequent.
    let source = |q: Query<'static, Postgres, PgArguments>| q.bind(r#"{"source": "no source"}"#).bind(10_i64);
    check(connection, golden!("list_metadata"), source, "queries_panopticon_metadata").await;
    let sources = |q: Query<'static, Postgres, PgArguments>| {
        q.bind(vec![r#"{"source": "no source"}"#, r#"{"source": "none"}"#]).bind(10_i64)
    };
    check(connection, golden!("list_metadata_one_of"), sources, "queries_panopticon_metadata").await;
    let themes = |q: Query<'static, Postgres, PgArguments>| {
        let objects = vec![r#"{"theme": "no theme"}"#, r#"{"theme": "none"}"#];
        let texts = vec!["no theme", "none"];
        q.bind(objects).bind(texts.clone()).bind(texts).bind("theme").bind(10_i64)
    };
    let plan = check(connection, golden!("list_theme_one_of"), themes, "queries_panopticon_category").await;
    assert!(plan.contains("queries_panopticon_metadata"), "{plan}");
    let words = |q: Query<'static, Postgres, PgArguments>| q.bind("bending gravity").bind(10_i64);
    check(connection, golden!("ranked_by_words"), words, "queries_panopticon_words").await;
    let model = |q: Query<'static, Postgres, PgArguments>| q.bind("model 7").bind(10_i64);
    let plan = check(connection, golden!("list_model"), model, "llm_outputs_panopticon_model").await;
    is_unsorted(&plan);
}

#[tokio::test]
async fn each_index_of_the_results_serves_its_statement() {
    let (test_database, database, _) = storage(Service::Query).await;
    test_database.execute(ROWS).await;
    database.ensure_service_indexes(Service::Judge).await.expect("the indexes are built");
    let mut connection = test_database.connection().await;
    let connection = &mut connection;
    let is_unsorted = |plan: &str| assert!(!plan.contains("Sort"), "{plan}");

    let plan = check(
        connection,
        golden!("list_results"),
        |q| q.bind(10_i64),
        "evaluation_results_panopticon_newest",
    );
    is_unsorted(&plan.await);
    let later = NOON - Duration::minutes(50_000);
    let after = |q: Query<'static, Postgres, PgArguments>| q.bind(later).bind("r").bind(10_i64);
    let plan =
        check(connection, golden!("list_results_after"), after, "evaluation_results_panopticon_newest").await;
    assert!(plan.contains("Index Cond"), "{plan}");
    is_unsorted(&plan);
    let timeless =
        check(connection, golden!("list_results_timeless"), |q| q.bind(10_i64), "results_panopticon_newest");
    assert!(timeless.await.contains("Index Cond"));
    let run = "00000000-0000-0000-0000-000000000007";
    for (statement, value, index) in [
        (golden!("list_results_of_theme"), "theme 7", "evaluation_results_panopticon_theme"),
        (golden!("list_results_of_model"), "model 7", "evaluation_results_panopticon_model"),
        (golden!("list_results_of_metric"), "prompt 7", "evaluation_results_panopticon_prompt"),
        (golden!("list_results_of_run"), run, "evaluation_results_panopticon_run"),
    ] {
        let one = |q: Query<'static, Postgres, PgArguments>| q.bind(value).bind(10_i64);
        is_unsorted(&check(connection, statement, one, index).await);
    }
    let theme = |q: Query<'static, Postgres, PgArguments>| q.bind("theme 7");
    check(connection, golden!("count_results"), theme, "evaluation_results_panopticon_theme").await;
    let of_run = |q: Query<'static, Postgres, PgArguments>| q.bind(run);
    check(connection, golden!("read_judgements"), of_run, "evaluation_results_panopticon_run").await;
    // A value that no row has, as above.
    let output =
        |q: Query<'static, Postgres, PgArguments>| q.bind(r#"{"output_id": "no output"}"#).bind(10_i64);
    let index = "evaluation_results_panopticon_metadata";
    check(connection, golden!("list_results_of_metadata"), output, index).await;
    let fingerprints =
        |q: Query<'static, Postgres, PgArguments>| q.bind(vec!["f7".to_owned(), "f8".to_owned()]);
    let look_up = "select id from evaluation_results where panopticon_metadata(result_metadata) ->> 'fingerprint' = any($1)";
    check(connection, look_up, fingerprints, "evaluation_results_panopticon_fingerprint").await;
}
