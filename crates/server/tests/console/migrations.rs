//! The pages of migrations.

use std::{path::Path, sync::Arc};

use migrate::{MigrateOptions, SourceCollection, Transfer};
use records::Service;
use reqwest::Method;
use serde_json::{Value, json};
use server::{MigrationSources, ServerConfig};
use store::{chroma::Source, postgres::Table};

use super::Browser;
use crate::served::Served;

const PATH: &str = "/console/migrations";

/// Migrates the sample's queries, and returns the run.
async fn migrated(served: &Served) -> String {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample/query_storage_data");
    let open = move || {
        let source = Source::open(&sample).expect("the sample opens");
        let is_meant = |one: &&chroma::Collection| one.name == Service::Query.collection();
        let collection = source.collections().iter().find(is_meant).expect("it is there").clone();
        SourceCollection::new(source, collection)
    };
    let source = tokio::task::spawn_blocking(open).await.expect("it ends");
    let transfer = Transfer { source, table: Table::of(Service::Query) };
    let observer: migrate::Observer = Arc::new(|_| {});
    let options = MigrateOptions::default();
    let report = migrate::migrate(&served.database, vec![transfer], &options, &observer);
    Box::pin(report).await.expect("it is migrated").run_id.to_string()
}

/// The newest job, once it has ended.
async fn job(served: &Served) -> Value {
    let ended = |answer: &crate::served::Answer| {
        let state = answer.json()["jobs"][0]["stage"]["state"].clone();
        state.is_string() && state != "waiting" && state != "running"
    };
    served.wait_until(&format!("{PATH}?format=json"), ended).await.json()["jobs"][0].clone()
}

#[tokio::test]
async fn migrations_are_shown_verified_and_undone() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    assert!(browser.get(PATH).await.text.contains("There was no migration"));
    let run = migrated(&served).await;
    let listed = browser.data(PATH).await;
    let item = &listed["items"][0];
    assert_eq!(
        (&item["run_id"], &item["status"], &item["written"]),
        (&json!(run), &json!("complete"), &json!(61))
    );
    assert_eq!((&item["manifest"]["status"], &item["manifest"]["matched"]), (&json!("verified"), &json!(61)));
    let path = format!("{PATH}/run?id={run}");
    let page = browser.get(&path).await.text;
    let digest = item["manifest"]["digest_source"].as_str().expect("a digest");
    assert!(
        page.contains(digest) && page.contains("61 records match") && page.contains("None is stored"),
        "{page}"
    );
    assert!(page.contains("class=\"good\"><bdi>verified"), "{page}");

    let forged = [("run".to_owned(), run.clone())];
    for action in ["verify", "undo"] {
        assert_eq!(browser.post(&format!("{PATH}/{action}"), &forged).await.status, 403);
        let other = "00000000-0000-4000-8000-000000000000";
        let refused = browser.submit((&path, &format!("{PATH}/{action}")), &[("run", other)]).await;
        assert_eq!(refused.status, 404, "{}", refused.text);
    }
    let verify = format!("{PATH}/verify");
    let begun = browser.submit((&path, &verify), &[]).await;
    assert_eq!((begun.status, begun.header("location")), (303, path.as_str()), "{}", begun.text);
    let verified = job(&served).await;
    let said = verified["stage"]["result"].as_str().expect("it is done").to_owned();
    assert!(said.starts_with("`queries`: 61 of 61 records match, 0 missing"), "{verified}");
    served
        .execute(
            "update queries set query_text = 'edited' where id = (select min(id::text)::uuid from queries)",
        )
        .await;
    assert_eq!(browser.submit((&path, &verify), &[]).await.status, 303);
    let differs = job(&served).await;
    let reason = differs["stage"]["reason"].as_str().expect("it has failed");
    assert!(reason.contains("60 of 61 records match") && reason.contains("1 different"), "{differs}");

    let undo = format!("{PATH}/undo");
    assert_eq!(browser.submit((&path, &undo), &[]).await.status, 303);
    let kept = job(&served).await;
    let reason = kept["stage"]["reason"].as_str().expect("a row is kept");
    assert!(reason.contains("60 rows removed") && reason.contains("1 kept, because edited"), "{kept}");
    assert_eq!(browser.data("/console/queries").await["count"], 1);
    assert_eq!(browser.submit((&path, &undo), &[("overwrite", "true")]).await.status, 303);
    assert_eq!(job(&served).await["stage"]["state"], "done");
    let undone = browser.data(&path).await;
    assert_eq!(undone["collections"][0]["status"], "undone");
    assert_eq!(browser.data("/console/queries").await["count"], 0);
    assert!(!browser.get(&path).await.text.contains("Undo this run"));
    let events = served.send(Method::GET, &format!("{PATH}/events"), &[], None).await;
    assert_eq!(events.text, "event: progress\ndata:\n\n", "it ends with the jobs");
}

/// Allows the folder of the sample.
fn allowing(folder: &Path) -> ServerConfig {
    let migration_sources = MigrationSources::parse(&folder.display().to_string()).expect("a path");
    ServerConfig { migration_sources, ..ServerConfig::default() }
}

#[tokio::test]
async fn migration_is_started_by_a_form_from_allowed_folders_only() {
    let sample = test_support::sample("query_storage_data");
    let folder = sample.path();
    let other = test_support::sample("judge_service_data");
    let other = other.path().display().to_string();
    let served = Served::start_with(allowing(folder)).await;
    let mut browser = Browser::new(&served);
    let page = browser.get(PATH).await.text;
    assert!(page.contains("Start a migration") && page.contains(&folder.display().to_string()), "{page}");
    let start = format!("{PATH}/start");
    let source = sample.path().display().to_string();
    for outside in ["/", "/etc", "/nowhere", "sample", "http://localhost:1", &format!("{source}/.."), &other]
    {
        let fields = [("source", outside), ("what", "services")];
        let refused = browser.submit((PATH, &start), &fields).await;
        assert_eq!(refused.status, 422, "{outside:?}: {}", refused.text);
        assert!(refused.text.contains("it is not a directory in one of the folders"), "{}", refused.text);
    }
    assert_eq!(browser.data(PATH).await["jobs"], json!([]));
    let fields = [("source", source.as_str()), ("what", "services")];
    let begun = browser.submit((PATH, &start), &fields).await;
    assert_eq!((begun.status, begun.header("location")), (303, PATH), "{}", begun.text);
    let done = job(&served).await;
    assert_eq!(done["stage"]["state"], "done", "{done}");
    assert_eq!(done["stage"]["result"], "`queries`: 61 written, 0 updated, 0 unchanged; verified");
    let item = browser.data(PATH).await["items"][0].clone();
    assert_eq!((&item["written"], &item["manifest"]["status"]), (&json!(61), &json!("verified")));
    assert_eq!(browser.data("/console/queries").await["count"], 61);

    // Every collection, into a table of its own: the services' names are taken.
    let fields = [("source", source.as_str()), ("what", "collections"), ("on_reject", "quarantine")];
    assert_eq!(browser.submit((PATH, &start), &fields).await.status, 303);
    let done = job(&served).await;
    assert_eq!(done["stage"]["state"], "done", "{done}");
    let tables: Vec<Value> = browser.data(PATH).await["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| item["table"].clone())
        .collect();
    assert!(tables.len() == 2 && tables[0] != "queries" && tables[1] == "queries", "{tables:?}");
}

#[tokio::test]
async fn no_migration_is_started_without_the_setting() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    let page = browser.get(PATH).await.text;
    assert!(page.contains("No folder and no server is allowed"), "{page}");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample/query_storage_data");
    let fields = [("source", source.to_str().expect("a path")), ("what", "services")];
    let page = "/console/queries/new";
    let refused = browser.submit((page, &format!("{PATH}/start")), &fields).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
}

#[tokio::test]
async fn rejected_records_are_shown_harmlessly_with_their_reasons() {
    let served = Served::start().await;
    let run = migrated(&served).await;
    served
        .execute(&format!(
            "insert into migration_rejects
            select '{run}', 'default_tenant', 'default_database', 'queries', convert_to('id <b>' || lpad(n::text, 3, '0'), 'UTF8'),
                case n % 2 when 0 then 'nul' else 'no_vector' end, '\\xff3c7363726970743e'::bytea || convert_to(repeat('x', 9000), 'UTF8'), now()
            from generate_series(1, 150) n"
        ))
        .await;
    let mut browser = Browser::new(&served);
    let path = format!("{PATH}/run?id={run}");
    let shown = browser.data(&path).await;
    let reasons: Vec<[&Value; 2]> = shown["rejects_by_reason"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| [&one["reason"], &one["count"]])
        .collect();
    assert_eq!(json!(reasons), json!([["no_vector", 75], ["nul", 75]]));
    assert_eq!(shown["rejects"].as_array().map(Vec::len), Some(100));
    let first = &shown["rejects"][0];
    assert_eq!((&first["source_id"], &first["record_bytes"]), (&json!("id <b>001"), &json!(9009)));
    let page = browser.get(&path).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("50 records more"), "{}", page.text.len());
    assert!(!page.text.contains("<script>") && !page.text.contains("<b>") && page.text.len() < 600_000);
    for missing in ["id=none", "id=00000000-0000-4000-8000-000000000000"] {
        assert_eq!(browser.get(&format!("{PATH}/run?{missing}")).await.status, 404);
    }
}

#[tokio::test]
async fn migrations_are_listed_by_pages_and_with_impossible_rows() {
    let served = Served::start().await;
    migrated(&served).await;
    served
        .execute(
            "insert into migration_jobs select gen_random_uuid(), gen_random_uuid(), collection_id, tenant, database, collection, source, 't' || n, definition,
                'complete', holder, false, -1, 0, 0, null, timestamp '2026-01-01' + n * interval '1 day', now()
            from migration_jobs, generate_series(1, 25) n",
        )
        .await;
    let mut browser = Browser::new(&served);
    let (mut path, mut seen) = (format!("{PATH}?limit=10"), Vec::new());
    loop {
        let page = browser.data(&path).await;
        seen.extend(page["items"].as_array().expect("a list").iter().map(|item| item["table"].to_string()));
        assert_eq!(browser.get(&path).await.status, 200);
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("{PATH}?limit=10&cursor={cursor}"),
            None => break,
        }
    }
    let mut distinct = seen.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((seen.len(), distinct.len()), (26, 26));
    assert_eq!(browser.get(&format!("{PATH}?cursor=x")).await.status, 422);
}
