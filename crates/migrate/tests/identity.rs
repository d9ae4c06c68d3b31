//! Identity of records: id, time and references.

use std::{fs, path::Path};

use migrate::{Defaults, Outcome};
use records::{DistanceSpace, MetadataValue, Service, stored_id};
use serde_json::Value;
use sqlx::Row as _;
use store::postgres::Table;
use test_support::{fixture, folder_digest, sample};

use crate::{
    copied,
    directory::{CREATED_AT, Directory, Entry, vector},
    migrate, one, prepared, sample_name, verified,
};

#[tokio::test]
async fn sample_of_each_service_arrives_record_by_record() {
    let (test_database, database) = prepared().await;
    let expected =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample/expected.json"));
    let expected: Value =
        serde_json::from_str(&expected.expect("the sample's description reads")).expect("it is JSON");
    for service in Service::ALL {
        let (table, expected) = (Table::of(service), &expected[service.as_str()]);
        let folder = sample(sample_name(service));
        let before = folder_digest(folder.path());
        let report = migrate(&database, folder.path(), &table).await;
        assert!(folder_digest(folder.path()) == before, "{service}: the source is untouched");

        assert_eq!(report.outcome(), Outcome::Verified, "{service}");
        let count = expected["count"].as_u64().expect("a count");
        let (copied, verified) = (copied(&report), verified(&report));
        assert_eq!((copied.source_records, copied.written), (count, count), "{service}");
        assert_eq!((verified.matched, verified.rows), (count, count), "{service}");
        assert_eq!(verified.digest_source, verified.digest_target, "{service}");
        let without = |key: &str| expected[key].as_array().map_or(0, |ids| ids.len() as u64);
        let count_of = |column: &str| match column {
            "theme" | "metric_type" => without("without_category"),
            "model_id" => without("without_model_id"),
            _ => 0,
        };
        let columns = table.columns.iter().map(|column| (column.name.clone(), count_of(&column.name)));
        let defaults = Defaults { columns: columns.collect(), created_at: 0, unread_timestamps: 0 };
        assert_eq!(copied.defaults, defaults, "{service}");

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
async fn canonical_uuid_is_kept_and_any_other_id_gets_a_uuid_and_is_stored_verbatim() {
    let (test_database, database) = prepared().await;
    let longest = "\u{1F600}".repeat(3_000);
    let ids = [
        "67e55044-10b1-426f-9247-bb680e5fe0c8",
        "67E55044-10B1-426F-9247-BB680E5FE0C9",
        "chatcmpl-8xyz",
        " msg_1\n",
        "e\u{301}",
        "\u{e9}",
        &longest,
    ];
    let entries: Vec<Entry> = (0..).zip(ids).map(|(seed, id)| Entry::new(id, vector(seed, 384))).collect();
    let directory = Directory::with("queries", DistanceSpace::Cosine, &entries);
    let report = migrate(&database, directory.path(), &Table::of(Service::Query)).await;
    assert_eq!((report.outcome(), copied(&report).written), (Outcome::Verified, 7));
    let mut connection = test_database.connection().await;
    for id in ids {
        // Lookup by primary key: a b-tree on source_id would reject the longest id.
        let found: Option<String> = sqlx::query_scalar("select source_id from queries where id = $1")
            .bind(stored_id(id))
            .fetch_optional(&mut connection)
            .await
            .expect("the row reads");
        assert_eq!(found.as_deref(), Some(id));
    }
    assert_eq!(stored_id(ids[0]).to_string(), ids[0]);
}

#[tokio::test]
async fn rows_created_in_postgres_have_no_source_id() {
    let (test_database, database) = prepared().await;
    database.prepare_schema().await.expect("the schema is created");
    test_database.execute("insert into queries (query_text, theme) values ('mine', 'own')").await;
    let folder = sample(sample_name(Service::Query));
    migrate(&database, folder.path(), &Table::of(Service::Query)).await;
    let of_row = "from queries where theme = 'own' and source_id is null and migration_run is null";
    assert_eq!(one::<i64>(&test_database, &format!("select count(*) {of_row}")).await, 1);
    assert_eq!(one::<i64>(&test_database, "select count(*) from queries where source_id is null").await, 1);
}

#[tokio::test]
async fn references_of_evaluation_results_keep_resolving() {
    let (test_database, database) = prepared().await;
    database.prepare_schema().await.expect("the schema is created");
    let (query, prompt) = ("3f231762-1288-55bc-9925-9eeb8ff7544c", "6c6f0a40-2f6a-5233-b93d-1da9ed14c747");
    test_database
        .execute(&format!(
            "insert into evaluation_results (id, query_id, evaluation_prompt_id, score)
            values ('r', '{query}', '{prompt}', 7)"
        ))
        .await;
    for service in [Service::Query, Service::Evaluation] {
        let folder = sample(sample_name(service));
        migrate(&database, folder.path(), &Table::of(service)).await;
    }
    let joined = "select count(*) from evaluation_results r
        join queries q on q.id::text = r.query_id
        join evaluation_metrics m on m.id::text = r.evaluation_prompt_id";
    assert_eq!(one::<i64>(&test_database, joined).await, 1);
}

#[tokio::test]
async fn time_is_that_of_the_record_or_of_chroma_and_never_of_the_migration() {
    let (test_database, database) = prepared().await;
    let time = |text: &str| MetadataValue::Text(text.to_owned());
    let entries = [
        Entry::new("own", vector(1, 384)).with("timestamp", time("2025-01-11T00:00:00.000137")),
        Entry::new("chroma's", vector(2, 384)),
        Entry::new("unreadable", vector(3, 384)).with("timestamp", time("yesterday")),
        Entry::new("none", vector(4, 384)),
    ];
    let directory = Directory::with("queries", DistanceSpace::Cosine, &entries);
    directory.sql("update embeddings set created_at = 'lost' where embedding_id = 'none'");
    let report = migrate(&database, directory.path(), &Table::of(Service::Query)).await;
    assert_eq!(report.outcome(), Outcome::Verified);
    assert_eq!(copied(&report).defaults.created_at, 1);
    let times: Vec<String> = one(
        &test_database,
        r#"select array_agg(created_at::text order by source_id collate "C") from queries"#,
    )
    .await;
    assert_eq!(times, [CREATED_AT, "1970-01-01 00:00:00", "2025-01-11 00:00:00.000137", CREATED_AT]);
}

#[tokio::test]
async fn real_panopticon_directory_arrives_with_its_original_times() {
    let Some(folder) = fixture("panopticon-query-storage") else { return };
    let (test_database, database) = prepared().await;
    let path = folder.path().join("query_storage");
    let report = migrate(&database, &path, &Table::of(Service::Query)).await;
    assert_eq!((report.outcome(), copied(&report).written), (Outcome::Verified, 2));
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
