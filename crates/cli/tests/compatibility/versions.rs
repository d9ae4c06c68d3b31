//! Servers, extensions and schemas of other versions.

use provision::Durability;
use test_support::{PostgresServer, PostgresVariant, TestDatabase, sample};

use super::{json, name, run_on_url};

#[tokio::test]
async fn postgres_16_with_pgvector_0_8_5_works() {
    let Some(server) = PostgresServer::start(PostgresVariant::Postgres16).await else { return };
    let folder = sample("judge_service_data");
    let source = name(folder.path());
    let migrated = run_on_url(&server.url(), &["migrate", "judge", "--from", source, "--json"]).await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    let versions = &json(&migrated)["versions"];
    assert_eq!(json(&migrated)["warnings"], serde_json::json!([]), "{migrated:?}");
    assert!(versions["postgresql"].as_str().is_some_and(|version| version.starts_with("16.")), "{versions}");
    let verified = run_on_url(&server.url(), &["verify", "judge", "--from", source, "--json"]).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    assert_eq!(json(&verified)["versions"]["pgvector"], "0.8.5", "{verified:?}");
    let found = run_on_url(&server.url(), &["search", "judge", "the sun", "--json"]).await;
    assert_eq!((found.code, json(&found).as_array().map(Vec::len)), (0, Some(5)), "{found:?}");
    let examined = json(&run_on_url(&server.url(), &["doctor", "--json"]).await);
    assert_eq!(examined["server"]["pgvector_package"], "0.8.5", "{examined}");
    assert_eq!(examined["tables"][1]["embeddings"]["missing"], 0, "{examined}");
}

#[tokio::test]
async fn pgvector_0_6_is_refused_with_its_version_and_the_remedy() {
    let variant = PostgresVariant::Pgvector06;
    let Some(server) = PostgresServer::start_with(variant, Durability::None, &[]).await else { return };
    let folder = sample("query_storage_data");
    let source = name(folder.path());
    let examined = json(&run_on_url(&server.url(), &["doctor", "--json"]).await);
    let findings = examined["findings"].as_array().expect("a list");
    assert!(findings.iter().any(|finding| finding["code"] == "pgvector_too_old"), "{examined}");
    for is_created in [false, true] {
        if is_created {
            server.execute("create extension vector").await;
        }
        for options in [&["--json"][..], &["--dry-run", "--json"]] {
            let mut arguments = vec!["migrate", "query", "--from", source];
            arguments.extend(options);
            let refused = run_on_url(&server.url(), &arguments).await;
            assert_eq!(refused.code, 2, "{refused:?}");
            for says in ["pgvector 0.6.2 is too old", "0.7 or newer", "alter extension vector update"] {
                assert!(refused.stderr.contains(says), "{says}: {refused:?}");
            }
        }
    }
}

#[tokio::test]
async fn server_without_tls_is_refused_if_the_url_requires_tls() {
    let server = PostgresServer::private(Durability::None, &[]).await;
    let folder = sample("query_storage_data");
    let arguments = ["migrate", "query", "--from", name(folder.path())];
    for mode in ["require", "verify-full"] {
        let refused = run_on_url(&format!("{}?sslmode={mode}", server.url()), &arguments).await;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("server does not support TLS"), "{refused:?}");
    }
    let preferred = run_on_url(&format!("{}?sslmode=prefer", server.url()), &arguments).await;
    assert_eq!(preferred.code, 0, "{preferred:?}");
}

#[tokio::test]
async fn database_of_a_newer_schema_is_refused_by_every_command_and_reported_by_doctor() {
    let database = TestDatabase::prepared().await;
    database
        .execute(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
            values (20990101000000, 'from the future', true, '', 0)",
        )
        .await;
    let before = "select md5(string_agg(relname || relfilenode, ' ' order by oid)) from pg_class";
    let relations = database.texts(before).await;
    let sample = sample("query_storage_data");
    let migrate = ["migrate", "query", "--from", name(sample.path())];
    let verify = ["verify", "query", "--from", name(sample.path())];
    for arguments in [
        &migrate[..],
        &verify,
        &["serve", "query", "--port", "0"],
        &["search", "query", "x"],
        &["index", "status"],
        &["maintain", "--once"],
    ] {
        let refused = run_on_url(&database.url(), arguments).await;
        assert_eq!(refused.code, 2, "{arguments:?}: {refused:?}");
        for says in ["schema version 20990101000000", "upgrade panopticon"] {
            assert!(refused.stderr.contains(says), "{arguments:?}: {refused:?}");
        }
    }
    assert_eq!(database.texts(before).await, relations, "nothing was changed");
    let examined = run_on_url(&database.url(), &["doctor", "--json"]).await;
    assert_eq!(examined.code, 6, "{examined:?}");
    let findings = json(&examined)["findings"].clone();
    let codes: Vec<&serde_json::Value> =
        findings.as_array().expect("a list").iter().map(|finding| &finding["code"]).collect();
    assert!(codes.contains(&&serde_json::json!("schema_newer")), "{findings}");
}
