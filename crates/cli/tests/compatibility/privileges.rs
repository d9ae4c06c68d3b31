//! Low-privilege roles.

use provision::Durability;
use test_support::{PostgresServer, sample};
use url::Url;

use super::{name, run_on_url};

/// Creates a database and a role whose only privilege is to connect; returns the role's URL.
async fn database_for_role(server: &PostgresServer, database: &str, setup: &str) -> String {
    let url = server.create_database(database).await;
    let role = format!("{database}_role");
    server.execute(&format!("create role {role} login password 'of-the-role'")).await;
    execute_in(&url, &setup.replace("ROLE", &role)).await;
    let mut url = Url::parse(&url).expect("the server's URL is one");
    url.set_username(&role).expect("a role is a user");
    url.set_password(Some("of-the-role")).expect("it may have a password");
    url.into()
}

async fn execute_in(url: &str, sql: &str) {
    use sqlx::{AssertSqlSafe, Connection as _};
    let mut connection = sqlx::PgConnection::connect(url).await.expect("the server answers");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("the statements run");
}

#[tokio::test]
async fn role_that_owns_its_schema_and_nothing_else_migrates_undoes_and_searches() {
    let server = PostgresServer::private(Durability::None, &[]).await;
    let setup = "create extension vector; revoke all on schema public from public;
        grant usage on schema public to ROLE; create schema own authorization ROLE;
        alter role ROLE set search_path = own, public";
    let url = database_for_role(&server, "owner", setup).await;
    let folder = sample("query_storage_data");
    let source = name(folder.path());
    let migrated = run_on_url(&url, &["migrate", "query", "--from", source, "--json"]).await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    let report: serde_json::Value = serde_json::from_str(&migrated.stdout).expect("one JSON object");
    let verified = run_on_url(&url, &["verify", "query", "--from", source]).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    let found = run_on_url(&url, &["search", "query", "fusion power"]).await;
    assert_eq!(found.code, 0, "{found:?}");
    let run_id = report["run_id"].as_str().expect("a run has an id");
    let undone = run_on_url(&url, &["migrate", "--undo", run_id]).await;
    assert_eq!(undone.code, 0, "{undone:?}");
}

#[tokio::test]
async fn rows_that_a_policy_hides_are_not_called_missing() {
    let server = PostgresServer::private(Durability::None, &[]).await;
    let setup = "create schema extensions; create extension vector schema extensions;
        grant usage on schema extensions to ROLE; create schema own authorization ROLE;
        alter role ROLE set search_path = own";
    let url = database_for_role(&server, "policy", setup).await;
    let folder = sample("query_storage_data");
    let source = name(folder.path());
    let migrated = run_on_url(&url, &["migrate", "query", "--from", source, "--json"]).await;
    assert_eq!(migrated.code, 0, "pgvector is found outside the role's search path: {migrated:?}");
    let report: serde_json::Value = serde_json::from_str(&migrated.stdout).expect("one JSON object");
    let run_id = report["run_id"].as_str().expect("a run has an id");
    let healthy = run_on_url(&url, &["doctor"]).await;
    assert!(healthy.stdout.contains("pgvector_not_searched"), "{healthy:?}");
    execute_in(
        &server.url_of("policy"),
        "alter table own.queries enable row level security, force row level security;
        create policy hidden on own.queries using (theme <> 'energy') with check (true)",
    )
    .await;
    for command in [
        &["verify", "query", "--from", source][..],
        &["migrate", "query", "--from", source],
        &["migrate", "--undo", run_id],
    ] {
        let refused = run_on_url(&url, command).await;
        assert_eq!(refused.code, 2, "{command:?}: {refused:?}");
        assert!(
            refused.stderr.contains("row-level security") && refused.stderr.contains("bypassrls"),
            "{refused:?}"
        );
    }
    let found = run_on_url(&url, &["doctor"]).await;
    assert_eq!(found.code, 6, "{found:?}");
    assert!(found.stdout.contains("rows_hidden"), "{found:?}");
}

#[tokio::test]
async fn foreign_table_with_a_reserved_name_ends_serve_with_one_line() {
    let server = PostgresServer::private(Durability::None, &[]).await;
    let setup = "create extension vector; create table models (id serial primary key, name text);
        grant create on schema public to ROLE";
    let url = database_for_role(&server, "foreign_models", setup).await;
    let environment = ["QUERY_PORT", "EVALUATION_PORT", "JUDGE_PORT", "GATEWAY_PORT"].map(|name| (name, "0"));
    let environment: Vec<_> = environment.into_iter().chain([("DATABASE_URL", &*url)]).collect();
    let ended = crate::run_with(&["serve"], &environment).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    let errors: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("error")).collect();
    assert!(
        matches!(errors[..], [error] if error.contains("`models`") && error.contains("provider")),
        "{ended:?}"
    );
}

#[tokio::test]
async fn missing_privileges_are_named_with_their_remedy() {
    let server = PostgresServer::private(Durability::None, &[]).await;
    let folder = sample("query_storage_data");
    let source = name(folder.path());
    let tables = "create extension vector;
        create table queries (id uuid primary key, query_text text not null, embedding vector(384),
            theme text not null, metadata jsonb, created_at timestamp not null);
        create table evaluation_metrics (id uuid primary key, prompt text not null, embedding vector(384),
            metric_type text not null, metadata jsonb, created_at timestamp not null);
        create table llm_outputs (id uuid primary key, output_text text not null, embedding vector(384),
            model_id text not null, query text not null, theme text not null, metadata jsonb,
            created_at timestamp not null);
        create table evaluation_results (id varchar primary key);";
    let cases = [
        ("no_extension", "grant create on schema public to ROLE".to_owned(), "create extension vector"),
        (
            "no_create",
            "create extension vector; revoke create on schema public from public".to_owned(),
            "grant usage, create on schema public to",
        ),
        (
            "no_schema",
            "create extension vector; revoke all on schema public from public".to_owned(),
            "grant usage on schema",
        ),
        ("foreign_table", format!("{tables} grant create on schema public to ROLE"), "grant select"),
        (
            "foreign_owner",
            format!(
                "{tables} grant create on schema public to ROLE; grant all on all tables in schema public to ROLE"
            ),
            "owner to",
        ),
    ];
    for (database, setup, remedy) in cases {
        let url = database_for_role(&server, database, &setup).await;
        let refused = run_on_url(&url, &["migrate", "query", "--from", source]).await;
        assert_eq!(refused.code, 2, "{database}: {refused:?}");
        assert!(refused.stderr.contains(remedy), "{database}: {refused:?}");
        assert!(refused.stderr.contains("run again"), "{database}: {refused:?}");
    }
}

#[tokio::test]
async fn index_commands_name_the_role_and_the_statement_that_it_lacks() {
    let server = PostgresServer::private(Durability::None, &[]).await;
    let setup = "create extension vector; grant usage on schema public to ROLE";
    let url = database_for_role(&server, "indexes", setup).await;
    let folder = sample("query_storage_data");
    let source = name(folder.path());
    let migrated = run_on_url(&server.url_of("indexes"), &["migrate", "query", "--from", source]).await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    for (granted, lacking) in [
        ("select 1", "migration_"),
        (
            "grant select on all tables in schema public to indexes_role; revoke all on queries from indexes_role",
            "queries",
        ),
    ] {
        execute_in(&server.url_of("indexes"), granted).await;
        for command in [&["index", "status"][..], &["index", "plan", "--table", "queries"]] {
            let refused = run_on_url(&url, command).await;
            assert_eq!(refused.code, 2, "{command:?}: {refused:?}");
            let grant = refused.stderr.contains("grant select on \"")
                && refused.stderr.contains("to \"indexes_role\"");
            assert!(
                grant && refused.stderr.contains(lacking) && !refused.stderr.contains("<this role>"),
                "{refused:?}"
            );
        }
    }
}
