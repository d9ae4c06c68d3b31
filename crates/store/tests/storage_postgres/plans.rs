//! Each index of the services serves the statement that it is there for, at 100,000 rows.
//!
//! The statements are the golden ones, which `store`'s own tests hold the code to.

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
insert into evaluation_results (id, theme, model_id, evaluation_prompt_id, score, timestamp)
select gen_random_uuid(), 'theme ' || n % 100, 'model ' || n % 100, 'prompt ' || n % 100, n % 11,
    timestamp '2026-01-31 12:00' - n * interval '1 minute'
from generate_series(1, 100000) n;
analyze;
"#;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../src/postgres/ddl/golden/", $name, ".sql"))
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
    let rows = bind(explain).fetch_all(connection).await.expect("the statement is planned");
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
    // One that no row has: of a rare one, chance decides whether the planner's sample has it, and takes it for frequent.
    let source = |q: Query<'static, Postgres, PgArguments>| q.bind(r#"{"source": "no source"}"#).bind(10_i64);
    check(connection, golden!("list_metadata"), source, "queries_panopticon_metadata").await;
    let words = |q: Query<'static, Postgres, PgArguments>| q.bind("bending gravity").bind(10_i64);
    check(connection, golden!("ranked_by_words"), words, "queries_panopticon_words").await;
    let model = |q: Query<'static, Postgres, PgArguments>| q.bind("model 7").bind(10_i64);
    let plan = check(connection, golden!("list_model"), model, "llm_outputs_panopticon_model").await;
    is_unsorted(&plan);
}

#[tokio::test]
async fn each_index_of_the_results_serves_their_listing() {
    let (test_database, database, _) = storage(Service::Query).await;
    test_database.execute(ROWS).await;
    database.ensure_service_indexes(Service::Judge).await.expect("the indexes are built");
    let mut connection = test_database.connection().await;
    let list = include_str!("../../src/postgres/evaluation_results/list.sql");
    let count = include_str!("../../src/postgres/evaluation_results/count.sql");
    for (texts, index) in [
        ([None, None, None], "evaluation_results_panopticon_newest"),
        ([Some("theme 7"), None, None], "evaluation_results_panopticon_theme"),
        ([None, Some("model 7"), None], "evaluation_results_panopticon_model"),
        ([None, None, Some("prompt 7")], "evaluation_results_panopticon_prompt"),
    ] {
        let selected = move |q: Query<'static, Postgres, PgArguments>| {
            let q = texts.into_iter().fold(q, |q, text| q.bind(text));
            let q = q.bind(None::<f64>).bind(None::<f64>);
            q.bind(None::<time::PrimitiveDateTime>).bind(None::<time::PrimitiveDateTime>)
        };
        let page = move |q| selected(q).bind(10_i64).bind(0_i64);
        let plan = check(&mut connection, list, page, index).await;
        assert!(!plan.contains("Sort"), "{plan}");
        if texts != [None, None, None] {
            check(&mut connection, count, selected, index).await;
        }
    }
}
