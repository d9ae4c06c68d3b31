//! Schema: created on an empty database, adopted from the old services, rejected if incompatible.

use records::Service;
use sqlx::Row as _;
use store::{
    Error,
    postgres::{Database, PostgresStorage, RegisteredModel, Table},
    storage::{Atomicity, Selection, Storage as _},
};
use test_support::TestDatabase;

use crate::{at_angle, begin, nearest_to, prepared, try_begin};

/// The schema of the old services, with a row in each table and their index on the empty table.
pub(crate) const OLD_SCHEMA: &str = r#"
create extension vector;
create table queries (
    id uuid not null primary key, query_text text not null, embedding vector(384), theme text not null,
    metadata jsonb, created_at timestamp without time zone not null default now()
);
create index queries_embedding_idx on queries using ivfflat (embedding vector_cosine_ops) with (lists = 100);
create table evaluation_metrics (
    id uuid not null primary key, prompt text not null, embedding vector(384), metric_type text not null,
    metadata jsonb, created_at timestamp without time zone not null default now()
);
create table llm_outputs (
    id uuid not null primary key, output_text text not null, embedding vector(384), model_id text not null,
    query text not null, theme text not null, metadata jsonb,
    created_at timestamp without time zone not null default now()
);
create table evaluation_results (
    id varchar primary key, query_id varchar, query_text text, output_text text, model_id varchar, theme varchar,
    evaluation_prompt_id varchar, evaluation_prompt text, score float, judge_model varchar, timestamp timestamp,
    result_metadata json
);
insert into queries values (
    'a0000000-0000-4000-8000-000000000001', 'an old query', array_fill(0.5, array[384])::vector, 'history',
    '{"theme": "history", "nested": {"kept": true}}', '2024-02-03 04:05:06.789'
);
insert into evaluation_metrics values (
    'a0000000-0000-4000-8000-000000000002', 'an old metric', null, 'clarity', null, '2024-02-03 04:05:06'
);
insert into llm_outputs values (
    'a0000000-0000-4000-8000-000000000003', 'an old output', null, 'gpt-4', 'an old query', 'history', '[1]',
    '2024-02-03 04:05:06'
);
insert into evaluation_results (id, query_id, score)
values ('r1', 'a0000000-0000-4000-8000-000000000001', 7.5);
"#;

#[tokio::test]
async fn old_services_database_is_adopted_without_a_lost_row() {
    let test_database = TestDatabase::create().await;
    test_database.execute(OLD_SCHEMA).await;
    let everything = "select (select to_jsonb(q) - 'source_id' - 'uri' - 'migration_run' - 'migration_digest' from queries q)::text
            || (select to_jsonb(m) - 'source_id' - 'uri' - 'migration_run' - 'migration_digest' from evaluation_metrics m)::text
            || (select to_jsonb(o) - 'source_id' - 'uri' - 'migration_run' - 'migration_digest' from llm_outputs o)::text
            || (select to_jsonb(r) from evaluation_results r)::text";
    let mut connection = test_database.connection().await;
    let before: String =
        sqlx::query_scalar(everything).fetch_one(&mut connection).await.expect("the rows read");

    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    database.prepare_schema().await.expect("the schema is adopted");
    database.prepare_schema().await.expect("adopting twice changes nothing");

    let after: String =
        sqlx::query_scalar(everything).fetch_one(&mut connection).await.expect("the rows read");
    assert_eq!(before, after);
    let added = sqlx::query("select source_id, uri from queries").fetch_one(&mut connection).await;
    let added = added.expect("the columns are there");
    assert_eq!(added.get::<Option<String>, _>("source_id"), None);
    assert_eq!(added.get::<Option<String>, _>("uri"), None);
    let indexes: i64 =
        sqlx::query_scalar("select count(*) from pg_indexes where indexname = 'queries_embedding_idx'")
            .fetch_one(&mut connection)
            .await
            .expect("the catalog reads");
    assert_eq!(indexes, 1, "the old index stays");

    let search = &nearest_to(at_angle(0.0), Selection::default(), 5);
    let queries = PostgresStorage::new(database.clone(), Service::Query);
    let hits = queries.search(search).await.expect("the search runs");
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].record.id, "a0000000-0000-4000-8000-000000000001");
    assert_eq!(hits[0].record.metadata["nested"]["kept"], true, "metadata of any shape is shown as it is");
    assert_eq!(hits[0].record.metadata["timestamp"], "2024-02-03T04:05:06.789000");
    let outputs = PostgresStorage::new(database.clone(), Service::Judge);
    let outputs = outputs.search(search).await.expect("the search runs");
    assert!(outputs.is_empty(), "a row without embedding has no distance");
}

#[tokio::test]
async fn vectors_stay_in_their_rows() {
    let test_database = TestDatabase::create().await;
    test_database.execute(OLD_SCHEMA).await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    database.prepare_schema().await.expect("the schema is adopted");
    let articles = Table { name: "articles".to_owned(), ..Table::of(Service::Query) };
    begin(&database, &articles).await;
    let mut connection = test_database.connection().await;
    let kept: Vec<String> = sqlx::query_scalar(
        "select attrelid::regclass::text from pg_attribute where attname = 'embedding' and attstorage = 'm'
            and attrelid in (select oid from pg_class where relkind = 'r') order by 1",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the catalog reads");
    assert_eq!(kept, ["articles", "evaluation_metrics", "llm_outputs", "queries"]);
}

#[tokio::test]
async fn table_with_other_columns_is_refused_by_name() {
    let test_database = TestDatabase::create().await;
    test_database
        .execute(
            "create extension vector; create table queries (id uuid primary key, embedding vector(768), theme varchar);
            create table llm_outputs (id uuid primary key, embedding float8)",
        )
        .await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    let error = database.prepare_schema().await.expect_err("the table does not fit");
    let Error::Schema { table, problems } = &error else { panic!("{error}") };
    assert_eq!(*table, "queries");
    let expected = [
        "column `query_text` of type text is missing",
        "column `theme` is character varying, expected text",
        "column `metadata` of type jsonb is missing",
        "column `created_at` of type timestamp without time zone is missing",
        "column `embedding` is vector(768), expected vector(384)",
    ];
    assert_eq!(problems, &expected);
    let mut connection = test_database.connection().await;
    let others: i64 =
        sqlx::query_scalar("select count(*) from pg_tables where tablename = 'evaluation_metrics'")
            .fetch_one(&mut connection)
            .await
            .expect("the catalog reads");
    assert_eq!(others, 0, "a refused schema change leaves nothing behind");
}

#[tokio::test]
async fn processes_that_prepare_the_schema_at_once_both_succeed() {
    let test_database = TestDatabase::create().await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    let (one, other) = tokio::join!(database.prepare_schema(), database.prepare_schema());
    one.expect("the first succeeds");
    other.expect("the second waits and succeeds");
}

#[tokio::test]
async fn role_that_may_not_create_the_extension_gets_an_error_with_the_fix() {
    let test_database = TestDatabase::create().await;
    let role = format!("role_{}", uuid::Uuid::new_v4().simple());
    test_database
        .execute(&format!("create role {role} login password 'pw'; grant create on schema public to {role}"))
        .await;
    let url = with_user(&test_database.url(), &role);
    let database = Database::connect(&url).await.expect("the database answers");
    let error = database.prepare_schema().await.expect_err("the extension is missing");
    assert!(matches!(error, Error::CreateExtension { .. }), "{error}");
    test_database.execute("create extension vector").await;
    database.prepare_schema().await.expect("an ordinary role that owns its tables suffices");
    database.close().await;
    test_database.execute(&format!("drop owned by {role}; drop role {role}")).await;
}

pub(crate) fn with_user(url: &str, role: &str) -> String {
    let (_, rest) = url.split_once('@').expect("the URL has a user");
    format!("postgresql://{role}:pw@{rest}")
}

#[tokio::test]
async fn search_without_tables_names_the_command_to_run() {
    let test_database = TestDatabase::create().await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    let error = database.check_table(&Table::of(Service::Query)).await.expect_err("there is no table");
    assert!(matches!(&error, Error::NoTable { table } if table == "queries"), "{error}");
    drop(prepared().await);
}

#[tokio::test]
async fn unreachable_and_refusing_servers_are_named_without_their_password() {
    let nobody_listens =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number");
    let url = format!("postgresql://u:secret@{nobody_listens}/d");
    let error = Database::connect(&url).await.expect_err("nobody answers");
    let chain = format!("{error}: {:?}", std::error::Error::source(&error));
    assert!(chain.contains(&nobody_listens.to_string()) && chain.contains("refused"), "{chain}");
    assert!(!chain.contains("secret"), "{chain}");
}

/// The statements that an error names as its remedy.
fn remedies(error: &Error) -> Vec<String> {
    let Error::Schema { problems, .. } = error else { panic!("{error}") };
    let remedy = |problem: &String| {
        let (_, statement) = problem.split_once("run `").expect("it names what to run");
        statement.strip_suffix('`').expect("nothing follows").to_owned()
    };
    problems.iter().map(remedy).collect()
}

#[tokio::test]
async fn tables_without_required_constraints_are_rejected_with_the_statements_that_add_them() {
    let test_database = TestDatabase::create().await;
    // As created from a dump without constraints, or by a program that writes data frames.
    let without_keys =
        OLD_SCHEMA.replace("not null primary key", "").replace("primary key", "").replace("not null", "");
    assert!(!without_keys.contains("primary key"));
    test_database.execute(&without_keys).await;
    test_database
        .execute(
            "create table models (
                id text, name text, provider text, is_judge_compatible boolean, created_at timestamp,
                owner text not null, team int not null default 1
            )",
        )
        .await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    let mut refused = Vec::new();
    while let Err(error) = database.prepare_schema().await {
        assert!(!error.to_string().contains('\n'), "{error}");
        let Error::Schema { table, .. } = &error else { panic!("{error}") };
        refused.push(table.clone());
        assert!(refused.len() < 10, "{error}");
        let mut connection = test_database.connection().await;
        let versions: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is null")
            .fetch_one(&mut connection)
            .await
            .expect("the catalog reads");
        assert!(versions, "nothing is made");
        for statement in remedies(&error) {
            test_database.execute(&statement).await;
        }
    }
    assert_eq!(refused, ["queries", "evaluation_metrics", "llm_outputs", "evaluation_results", "models"]);
    let model = RegisteredModel {
        id: "m".into(),
        name: "m".into(),
        provider: "openai".into(),
        is_judge_compatible: true,
    };
    database.register_model(&model).await.expect("the model is stored");
    let queries = PostgresStorage::new(database, Service::Query);
    queries.check().await.expect("the table fits");
    let new = crate::storage_postgres::new_record(Service::Query, "a", 10);
    queries.insert(&[new], Atomicity::AllOrNothing).await.expect("a record is stored");
}

#[tokio::test]
async fn required_unknown_column_without_a_default_is_rejected_for_writes() {
    let (test_database, database) = prepared().await;
    let table = Table { name: "mine".into(), ..Table::of(Service::Query) };
    begin(&database, &table).await;
    test_database.execute("alter table mine add column note text not null").await;
    database.check_table(&table).await.expect("rows can be read");
    let error = try_begin(&database, &table).await.expect_err("none can be written");
    for statement in remedies(&error) {
        test_database.execute(&statement).await;
    }
    begin(&database, &table).await;
    test_database.execute("alter table mine drop constraint mine_pkey").await;
    let error = database.check_table(&table).await.expect_err("a row has no key");
    assert_eq!(remedies(&error), [r#"alter table "mine" add primary key ("id")"#]);
    // Another kind of key serves as well.
    test_database
        .execute(
            "create unique index on mine (id) include (query_text); alter table mine alter column id drop not null",
        )
        .await;
    let error = database.check_table(&table).await.expect_err("a row may have no id");
    assert_eq!(remedies(&error), [r#"alter table "mine" alter column "id" set not null"#]);
    test_database.execute("alter table mine alter column id set not null").await;
    begin(&database, &table).await;
}
