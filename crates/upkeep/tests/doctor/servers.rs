//! Misconfigured servers, low-privilege roles, and empty databases.

use std::{sync::Arc, time::Duration};

use provision::Durability;
use store::postgres::{Database, EmbeddingHealth, vector_index::PlanRecord};
use test_support::{PostgresServer, TestDatabase};
use upkeep::{
    Policy,
    doctor::{Embed, Finding, NotExamined, Remedy, Severity, diagnose, examine},
};
use url::Url;

use super::{codes, fill_healthy, found, mend, model_of, one, severities};
use crate::{prepared, queries};

/// A model for tables without rows.
fn no_model() -> Embed {
    Arc::new(|texts: &[&str]| {
        assert_eq!(texts.len(), 0);
        Ok(Vec::new())
    })
}

async fn diagnosed(database: &Database) -> Vec<Finding> {
    diagnose(&examine(database, Some(&no_model())).await.expect("the server answers"), &Policy::default())
}

#[tokio::test]
async fn healthy_server_has_only_an_outdated_pgvector_and_an_empty_one_stays_empty() {
    let server = PostgresServer::private(Durability::Full, &[("random_page_cost", "1.1")]).await;
    let database = Database::connect(&server.url()).await.expect("the server answers");
    let examination = examine(&database, Some(&no_model())).await.expect("the server answers");
    assert!(examination.tables.is_empty());
    assert_eq!(examination.absent, ["evaluation_metrics", "llm_outputs", "queries"]);
    assert_eq!((examination.server.pgvector, examination.server.pgvector_package.is_some()), (None, true));
    let findings = diagnosed(&database).await;
    assert_eq!(severities(&findings), [(Severity::Note, "pgvector_outdated")]);

    database.prepare_schema().await.expect("the schema is created");
    let findings = diagnosed(&database).await;
    assert_eq!(severities(&findings), [(Severity::Note, "pgvector_outdated")]);
    let examination = examine(&database, Some(&no_model())).await.expect("the server answers");
    assert_eq!((examination.tables.len(), examination.absent.len()), (3, 0));
    assert_eq!(examination.tables[0].searches, Ok(None), "there is nothing to search for");
}

#[tokio::test]
async fn server_with_default_settings_is_found() {
    let settings =
        [("autovacuum", "off"), ("random_page_cost", "4"), ("max_parallel_maintenance_workers", "0")];
    let server = PostgresServer::private(Durability::None, &settings).await;
    let database = Database::connect(&server.url()).await.expect("the server answers");
    let findings = diagnosed(&database).await;
    assert_eq!(
        codes(&findings),
        [
            "no_crash_safety",
            "no_crash_safety",
            "autovacuum_off",
            "pgvector_outdated",
            "no_parallel_builds",
            "random_page_cost_high"
        ]
    );
    assert_eq!(
        one(&findings, "autovacuum_off").remedy,
        Remedy::Advice("start the server without `autovacuum` on its command line, or with on".to_owned())
    );
}

#[tokio::test]
async fn settings_are_fixed_where_they_were_set() {
    let (test_database, _) = prepared().await;
    let database_name = Url::parse(&test_database.url()).expect("a URL").path()[1..].to_owned();
    let memory = "set maintenance_work_mem = '1MB'";
    let places = [
        (
            format!("alter database {database_name} {memory}"),
            format!("alter database \"{database_name}\" reset"),
        ),
        (
            format!("alter role current_user in database {database_name} {memory}"),
            format!("in database \"{database_name}\" reset maintenance_work_mem"),
        ),
    ];
    for (setting, remedy) in places {
        test_database.execute(&setting).await;
        let database = Database::connect(&test_database.url()).await.expect("the database answers");
        let findings = found(&database, &no_model()).await;
        assert_eq!(severities(&findings), [(Severity::Warning, "maintenance_memory_small")]);
        assert!(findings[0].what.starts_with("`maintenance_work_mem` is 1MB"), "{findings:?}");
        let Remedy::Sql(statements) = &findings[0].remedy else { panic!("{findings:?}") };
        assert!(statements[0].contains(&remedy), "{statements:?}");
        mend(&test_database, &findings[0]).await;
        let database = Database::connect(&test_database.url()).await.expect("the database answers");
        assert_eq!(codes(&found(&database, &no_model()).await), [""; 0]);
    }
}

#[tokio::test]
async fn table_of_another_program_is_named_and_the_others_are_examined() {
    let test_database = TestDatabase::create().await;
    test_database
        .execute("create extension vector; create table queries (id uuid primary key, embedding vector(768))")
        .await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    let examination = examine(&database, Some(&no_model())).await.expect("the server answers");
    assert_eq!(examination.tables[0].embeddings, Err(NotExamined::Misfit));
    let findings = found(&database, &no_model()).await;
    assert_eq!(severities(&findings), [(Severity::Error, "table_misfit")]);
    assert!(
        findings[0].what.contains("column `embedding` is vector(768), expected vector(384)"),
        "{findings:?}"
    );
}

#[tokio::test]
async fn missing_privileges_are_reported_with_fixes() {
    let server = PostgresServer::private(Durability::None, &[("random_page_cost", "1.1")]).await;
    let owner = Database::connect(&server.url()).await.expect("the server answers");
    owner.prepare_schema().await.expect("the schema is created");
    server.execute("create role guest login password 'of-the-guest'").await;
    let mut url = Url::parse(&server.url()).expect("the server's URL is one");
    url.set_username("guest").expect("a role is a user");
    url.set_password(Some("of-the-guest")).expect("it may have a password");
    let guest = Database::connect(url.as_str()).await.expect("the server answers");

    let not_seen = async || -> Vec<Finding> {
        diagnosed(&guest).await.into_iter().filter(|finding| finding.code == "not_seen").collect()
    };
    let first = not_seen().await;
    let subjects: Vec<Option<&str>> = first.iter().map(|finding| finding.table.as_deref()).collect();
    let tables =
        [Some("evaluation_metrics"), Some("llm_outputs"), Some("queries"), Some("evaluation_results")];
    // Sessions and tables of other collections; then bookkeeping tables.
    assert_eq!(subjects, [&[None, None], &tables[..], &[None]].concat(), "{first:?}");
    let everything = "its vector indexes, the recall of searches, the recall of earlier searches, its \
        embeddings, its invalid values, whether its vectors";
    assert!(first[4].what.contains(everything), "{first:?}");
    for finding in &first {
        let Remedy::Sql(statements) = &finding.remedy else { panic!("{finding:?}") };
        for statement in statements {
            server.execute(statement).await;
        }
    }
    assert_eq!(not_seen().await, []);
    let privileges = "select * from information_schema.role_table_grants where grantee = 'guest' and privilege_type <> 'SELECT'";
    server.execute(&format!("do $$ begin assert not exists ({privileges}); end $$")).await;
}

#[tokio::test]
async fn examination_is_read_only_and_bounded_in_time() {
    let (test_database, database) = prepared().await;
    fill_healthy(&test_database, 2_000).await;
    let patient = database.read_only(Duration::from_secs(60));
    let record = PlanRecord { observed: serde_json::json!({}), plan: serde_json::json!({}), writes: 0 };
    let refused = patient.begin_plan(&queries(), &record).await.expect_err("it writes");
    let store::Error::ReadOnlyServer { source, .. } = &refused else { panic!("{refused:?}") };
    let code = source.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    assert_eq!(code.as_deref(), Some("25006"), "{refused:?}");
    let hasty = database.read_only(Duration::from_millis(1));
    let late = hasty.embedding_health(&queries(), 1.0).await.expect_err("it takes longer");
    assert!(late.is_timeout() && !refused.is_timeout(), "{late:?}");

    // A sample is marked as such. Each of about 400 pages is read with probability 1/4: the probability of fewer than
    // a twentieth or more than three quarters of them is below 1e-20.
    let EmbeddingHealth { rows, share, .. } =
        patient.embedding_health(&queries(), 0.25).await.expect("the table is there");
    assert!(share == 0.25 && (100..1_500).contains(&rows), "{rows}");
    let model = model_of(&test_database).await;
    assert_eq!(codes(&found(&database, &model).await), [""; 0]);
}
