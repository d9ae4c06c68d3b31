//! Healthy directories: everything arrives, as it was.

use std::{fs, path::Path};

use migrate::{Defaults, Outcome};
use records::Service;
use serde_json::Value;
use sqlx::Row as _;
use store::postgres::ServiceTable;
use test_support::{fixture, folder_digest, sample};

use crate::{migrate, prepared, sample_name};

#[tokio::test]
async fn sample_of_each_service_arrives_record_by_record() {
    let (test_database, database) = prepared().await;
    let expected =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample/expected.json"));
    let expected: Value =
        serde_json::from_str(&expected.expect("the sample's description reads")).expect("it is JSON");
    for service in Service::ALL {
        let expected = &expected[service.as_str()];
        let folder = sample(sample_name(service));
        let before = folder_digest(folder.path());
        let report = migrate(&database, service, folder.path()).await;
        assert!(folder_digest(folder.path()) == before, "{service}: the source is untouched");

        assert_eq!(report.outcome(), Outcome::Verified, "{service}");
        let count = expected["count"].as_u64().expect("a count");
        assert_eq!((report.copied.source_records, report.copied.written), (count, count), "{service}");
        assert_eq!(report.verification.matched, count, "{service}");
        assert_eq!(report.verification.digest_source, report.verification.digest_target, "{service}");
        let without = |key: &str| expected[key].as_array().map_or(0, |ids| ids.len() as u64);
        let defaults = Defaults {
            category: without("without_category"),
            model_id: without("without_model_id"),
            query: 0,
            created_at: 0,
        };
        assert_eq!(report.copied.defaults, defaults, "{service}");

        let table = ServiceTable::of(service);
        let sql = format!(
            "select {} as text, metadata, to_char(created_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US') as time from {} where source_id = $1",
            table.text_column, table.name
        );
        let mut connection = test_database.connection().await;
        let records = expected["records"].as_array().expect("some whole records");
        assert!(!records.is_empty(), "{service}");
        for record in records {
            let id = record["id"].as_str().expect("an id");
            let row =
                sqlx::query(sqlx::AssertSqlSafe(sql.as_str())).bind(id).fetch_one(&mut connection).await;
            let row = row.expect(id);
            assert_eq!(row.get::<String, _>("text"), record["text"], "{id}");
            assert_eq!(row.get::<Value, _>("metadata"), record["metadata"], "{id}");
            assert_eq!(row.get::<String, _>("time"), record["metadata"]["timestamp"], "{id}");
        }
    }
}

#[tokio::test]
async fn second_run_changes_nothing_and_a_deleted_row_comes_back() {
    let (test_database, database) = prepared().await;
    let folder = sample(sample_name(Service::Judge));
    let first = migrate(&database, Service::Judge, folder.path()).await;
    let second = migrate(&database, Service::Judge, folder.path()).await;
    assert_eq!((second.copied.written, second.copied.unchanged), (0, first.copied.written));
    assert_eq!(second.outcome(), Outcome::Verified);
    assert_eq!(second.verification.digest_target, first.verification.digest_target);

    test_database.execute("delete from llm_outputs where source_id = 'msg_011037f31673d059d1abab88'").await;
    let third = migrate(&database, Service::Judge, folder.path()).await;
    assert_eq!((third.copied.written, third.copied.unchanged), (1, first.copied.written - 1));
    assert_eq!(third.verification.digest_target, first.verification.digest_target);
}

#[tokio::test]
async fn references_of_evaluation_results_keep_resolving() {
    let (test_database, database) = prepared().await;
    let query_id = "3f231762-1288-55bc-9925-9eeb8ff7544c";
    test_database
        .execute(&format!(
            "insert into evaluation_results (id, query_id, score) values ('r', '{query_id}', 7)"
        ))
        .await;
    let folder = sample(sample_name(Service::Query));
    migrate(&database, Service::Query, folder.path()).await;
    let joined: i64 = sqlx::query_scalar(
        "select count(*) from evaluation_results r join queries q on q.id::text = r.query_id",
    )
    .fetch_one(&mut test_database.connection().await)
    .await
    .expect("the join runs");
    assert_eq!(joined, 1);
}

#[tokio::test]
async fn real_panopticon_directory_arrives_with_its_original_times() {
    let Some(folder) = fixture("panopticon-query-storage") else { return };
    let (test_database, database) = prepared().await;
    let report = migrate(&database, Service::Query, &folder.path().join("query_storage")).await;
    assert_eq!((report.outcome(), report.copied.written), (Outcome::Verified, 2));
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "select id::text, created_at::text, metadata ->> 'difficulty' from queries where theme = 'science_explanation' order by created_at",
    )
    .fetch_all(&mut test_database.connection().await)
    .await
    .expect("the rows read");
    let expected = [
        ("2da1d153-453e-4914-90ee-3a4aba1a6fe2", "2025-03-27 12:48:45.923483", "medium"),
        ("c594437a-984c-4c2a-8f06-97976aa9f390", "2025-03-27 12:49:03.306074", "hard"),
    ];
    let expected = expected.map(|(id, time, level)| (id.to_owned(), time.to_owned(), level.to_owned()));
    assert_eq!(rows, expected);
}
