//! `migrate collections` and `verify collections`: all collections of a source in one run.

use std::path::Path;

use records::{DistanceSpace, Metadata};
use serde_json::{Value, json as value};
use test_support::{ChromaCollection, ChromaForm, ChromaRecord, ChromaServer, ChromaWriter, TestDatabase};

use crate::{Run, json, run_on};

/// As written by Open WebUI: a collection per file, repeated ids, and another dimension after a change of the model.
fn directory(folder: &Path) {
    let mut writer = ChromaWriter::create(folder);
    let long = "web-search-".to_owned() + &"a".repeat(64);
    for (number, name) in ["file-1", "file-2", "user-memory-1", &long].into_iter().enumerate() {
        let dimension = if name == "file-2" { 1_024 } else { 384 };
        let collection = ChromaCollection::new(name, DistanceSpace::Cosine, ChromaForm::Log);
        let record = |id: usize| ChromaRecord {
            id: format!("chunk {id}"),
            vector: (0..dimension).map(|place| ((id + number + place) % 13) as f32 - 5.5).collect(),
            document: Some(format!("chunk {id} of {name}")),
            metadata: Metadata::new(),
        };
        writer.write(&collection, (0..4).map(record));
    }
    writer.finish();
}

async fn migrate(database: &TestDatabase, from: &str, more: &[&str]) -> Run {
    run_on(database, &[&["migrate", "collections", "--from", from, "--json"], more].concat()).await
}

async fn one(database: &TestDatabase, sql: &'static str) -> String {
    sqlx::query_scalar(sql).fetch_one(&mut database.connection().await).await.expect("the statement runs")
}

fn statuses(report: &Value) -> Vec<&str> {
    let collections = report["collections"].as_array().into_iter().flatten();
    collections.filter_map(|collection| collection["status"].as_str()).collect()
}

#[tokio::test]
async fn one_command_migrates_a_directory_and_one_undoes_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    directory(folder.path());
    let from = folder.path().display().to_string();
    let database = TestDatabase::create().await;
    let planned = migrate(&database, &from, &["--dry-run"]).await;
    assert_eq!(planned.code, 0, "{planned:?}");
    assert_eq!(statuses(&json(&planned)), ["planned"; 4]);

    let some = migrate(&database, &from, &["--match", "file-*", "--match", "none"]).await;
    assert_eq!(some.code, 0, "{some:?}");
    let report = json(&some);
    assert_eq!(statuses(&report), ["verified"; 2]);
    assert_eq!((&report["verify"]["matched"], &report["source"]), (&value!(8), &value!(from)));
    let all = migrate(&database, &from, &[]).await;
    assert_eq!(all.code, 0, "{all:?}");
    let report = json(&all);
    let tables: Vec<&str> =
        report["collections"].as_array().into_iter().flatten().filter_map(|c| c["table"].as_str()).collect();
    assert_eq!(tables[..3], ["file-1", "file-2", "user-memory-1"]);
    assert!(tables[3].starts_with("web-search-aaa") && tables[3].len() == 63, "{tables:?}");
    let verified = run_on(&database, &["verify", "collections", "--from", &from]).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    let run = report["run_id"].as_str().expect("a run");
    let undone = run_on(&database, &["migrate", "--undo", run]).await;
    assert_eq!(undone.code, 0, "{undone:?}");
    let left = "select string_agg(tablename, ' ' order by tablename) from pg_tables where tablename like 'file%' or tablename like 'user%'";
    assert_eq!(one(&database, left).await, "file-1 file-2", "the tables of the other run remain");
    let examined = json(&run_on(&database, &["doctor", "--json"]).await);
    let absent = value!(["evaluation_metrics", "llm_outputs", "queries"]);
    assert_eq!(examined["absent_tables"], absent, "tables of a run that was undone are not expected");
}

#[tokio::test]
async fn table_of_a_served_collection_is_refused_with_what_to_do_instead() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    directory(folder.path());
    let from = folder.path().display().to_string();
    let database = TestDatabase::create().await;
    let copy = async |name: &str| {
        run_on(&database, &["migrate", "collection", name, "--from", &from, "--table", "files"]).await
    };
    assert_eq!(copy("file-1").await.code, 0);
    let refused = copy("user-memory-1").await;
    assert_eq!(refused.code, 5, "{refused:?}");
    for part in [
        "table `files` holds the records of collection `file-1`, which Chroma clients see",
        "use another table with --table, or copy both with `migrate collections --into TABLE --collection-column NAME`",
    ] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    let served = "select string_agg(name || ' ' || table_name, ',') from chroma_collections";
    assert_eq!(one(&database, served).await, "file-1 files");
}

#[tokio::test]
async fn verify_with_an_empty_collection_reports_that_nothing_was_changed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut writer = ChromaWriter::create(folder.path());
    let [empty, full] =
        ["empty", "full"].map(|name| ChromaCollection::new(name, DistanceSpace::Cosine, ChromaForm::Log));
    let record =
        ChromaRecord { id: "a".to_owned(), vector: vec![1.0; 8], document: None, metadata: Metadata::new() };
    writer.write(&empty, []);
    writer.write(&full, [record]);
    writer.finish();
    let from = folder.path().display().to_string();
    let database = TestDatabase::create().await;
    let migrated = run_on(&database, &["migrate", "collections", "--from", &from]).await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    let verified = run_on(&database, &["verify", "collections", "--from", &from]).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    assert!(verified.stdout.contains("empty"), "{verified:?}");
    assert!(verified.stdout.trim_end().ends_with("; nothing was changed"), "{verified:?}");
}

#[tokio::test]
async fn collection_without_records_is_reported_without_a_table_and_verify_and_undo_work() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut writer = ChromaWriter::create(folder.path());
    let collection = |name| ChromaCollection::new(name, DistanceSpace::Cosine, ChromaForm::Log);
    writer.write(&collection("empty"), []);
    writer.finish();
    let from = folder.path().display().to_string();
    let database = TestDatabase::create().await;
    let is_absent = "select (to_regclass('chunks') is null and to_regclass('empty') is null)::text";
    let into = ["--into", "chunks"];
    let whole = ["collections", "--from", &from, "--into", "chunks"];
    let one_of_it = ["collection", "empty", "--from", &from];
    let unseen = "no records, and no table was created";
    let seen = "no records; Chroma clients see it, and the first record creates its table";
    for what in [&whole[..], &one_of_it] {
        for (command, has) in [("migrate", seen), ("verify", unseen)] {
            let arguments = [&[command], what].concat();
            let shown = run_on(&database, &arguments).await;
            assert_eq!(shown.code, 0, "{arguments:?}: {shown:?}");
            let expected = format!("empty: {has}: nothing to migrate");
            assert!(shown.stdout.contains(&expected) && !shown.stdout.contains("chunks"), "{shown:?}");
            let report = run_on(&database, &[&arguments[..], &["--json"]].concat()).await;
            let report = json(&report);
            assert_eq!(statuses(&report), ["nothing_to_migrate"], "{report}");
            // Nothing is left for a second run to register.
            assert_eq!((&report["collections"][0]["table"], &report["run_id"]), (&Value::Null, &Value::Null));
        }
    }
    assert_eq!(one(&database, is_absent).await, "true");

    let more = tempfile::tempdir().expect("a temporary folder");
    let mut writer = ChromaWriter::create(more.path());
    let record = ChromaRecord {
        id: "a".to_owned(),
        vector: vec![1.0; 384],
        document: None,
        metadata: Metadata::new(),
    };
    writer.write(&collection("empty"), []);
    writer.write(&collection("full"), [record]);
    writer.finish();
    let from = more.path().display().to_string();
    let migrated = json(&migrate(&database, &from, &into).await);
    let tables: Vec<&Value> =
        migrated["collections"].as_array().into_iter().flatten().map(|report| &report["table"]).collect();
    assert_eq!(tables, [&value!("chunks"); 2], "the other collection has created it");
    let verified = run_on(&database, &["verify", "collections", "--from", &from, "--into", "chunks"]).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    let run = migrated["run_id"].as_str().expect("a run");
    let undone = run_on(&database, &["migrate", "--undo", run]).await;
    assert_eq!(undone.code, 0, "{undone:?}");
    assert_eq!(one(&database, is_absent).await, "true");
}

#[tokio::test]
async fn shared_table_has_the_collection_of_each_row_in_a_column() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    directory(folder.path());
    let from = folder.path().display().to_string();
    let database = TestDatabase::create().await;
    let into = ["--into", "chunks", "--collection-column", "of"];
    let ended = migrate(&database, &from, &into).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let rows = "select string_agg(of || ' ' || n, ', ' order by length(of), of) from (select of, count(*) as n from chunks group by 1) c";
    let long = "web-search-".to_owned() + &"a".repeat(64);
    assert_eq!(one(&database, rows).await, format!("file-1 4, user-memory-1 4, {long} 4"));
    assert_eq!(one(&database, "select min(of) || count(*) from chunks_1024").await, "file-24");
    let verify = [&["verify", "collections", "--from", &from, "--json"], &into[..]].concat();
    let verified = run_on(&database, &verify).await;
    assert_eq!((verified.code, &json(&verified)["verify"]["matched"]), (0, &value!(16)), "{verified:?}");
    let again = migrate(&database, &from, &into).await;
    assert_eq!((again.code, &json(&again)["collections"][0]["unchanged"]), (0, &value!(4)), "{again:?}");
}

#[tokio::test]
async fn wrong_usage_ends_in_exit_code_2_and_a_name_that_is_too_long_names_the_flag() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    directory(folder.path());
    let from = folder.path().display().to_string();
    let database = TestDatabase::create().await;
    let long = "web-search-".to_owned() + &"a".repeat(64);
    let too_long = "t".repeat(60);
    for (arguments, expected) in [
        (&["migrate", "collection", &long, "--from", &from][..], "found 75: name another with --table"),
        (&["migrate", "collections"], "--from"),
        (&["migrate", "collections", "docs", "--from", &from], "no NAME"),
        (&["migrate", "collections", "--from", &from, "--table", "t"], "--into"),
        (&["migrate", "collections", "--from", &from, "--match", "none-*"], "none of the 4 collections"),
        (&["migrate", "collections", "--from", &from, "--into", "runs"], "Panopticon's own"),
        (&["migrate", "collections", "--from", &from, "--into", &too_long], "--into"),
        (&["migrate", "collection", "file-1", "--from", &from, "--into", "x"], "`collections` only"),
    ] {
        let ended = run_on(&database, arguments).await;
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(expected), "{arguments:?}: {ended:?}");
    }
    let rejected = folder.path().join("chroma.sqlite3");
    let source = rusqlite::Connection::open(rejected).expect("it opens");
    source
        .execute("update embedding_metadata set string_value = 'a' || char(0) where id = 1", [])
        .expect("the copy changes");
    drop(source);
    let ended = migrate(&database, &from, &[]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert_eq!(statuses(&json(&ended)), ["rejected", "verified", "verified", "verified"]);
}

#[tokio::test]
async fn real_server_and_its_directory_are_migrated_completely() {
    let served = tempfile::tempdir().expect("a temporary folder");
    let server = ChromaServer::start(served.path());
    let base = "/api/v2/tenants/default_tenant/databases";
    server.post(base, r#"{"name":"second"}"#);
    for (database, name) in [("default_database", "docs"), ("default_database", "notes"), ("second", "docs")]
    {
        let path = format!("{base}/{database}/collections");
        let made: Value =
            serde_json::from_str(&server.post(&path, &value!({"name": name}).to_string())).expect("JSON");
        let id = made["id"].as_str().expect("an id");
        let records =
            value!({"ids": ["a", "b"], "embeddings": [[1.0, 2.0], [3.0, 4.0]], "documents": ["x", database]});
        server.post(&format!("{path}/{id}/add"), &records.to_string());
    }
    let database = TestDatabase::create().await;
    let url = server.url();
    let ended = migrate(&database, &url, &["--into", "chunks"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let names = "select string_agg(distinct collection_name, ', ') from chunks";
    assert_eq!(one(&database, names).await, "default_tenant/second/docs, docs, notes");
    drop(server);
    let from = served.path().display().to_string();
    let ended = migrate(&database, &from, &[]).await;
    assert_eq!((ended.code, statuses(&json(&ended))), (0, vec!["verified"; 3]), "{ended:?}");
    let only = migrate(&database, &from, &["--database", "second"]).await;
    assert_eq!(json(&only)["collections"].as_array().map(Vec::len), Some(1), "{only:?}");
}

#[tokio::test]
async fn databases_and_tenants_without_collections_are_carried_compared_and_undone() {
    let served = tempfile::tempdir().expect("a temporary folder");
    let server = ChromaServer::start(served.path());
    let tenants = "/api/v2/tenants";
    for tenant in ["alone", "other"] {
        server.post(tenants, &value!({"name": tenant}).to_string());
    }
    for (tenant, name) in [("default_tenant", "second"), ("default_tenant", "third"), ("other", "unused")] {
        server.post(&format!("{tenants}/{tenant}/databases"), &value!({"name": name}).to_string());
    }
    let base = format!("{tenants}/default_tenant/databases/third/collections");
    server.post(&base, &value!({"name": "docs"}).to_string());
    let database = TestDatabase::create().await;
    let registry = "select coalesce(string_agg(name, ', ' order by name), '') from (
        select tenant || '/' || name as name from chroma_databases union all select name from chroma_tenants) all_names
        where name not in ('default_tenant', 'default_tenant/default_database')";
    let databases = |run: &Run, part: &str| -> Vec<Value> {
        let report = json(run);
        let all = report["databases"].as_array().expect("a list");
        all.iter().map(|one| value!([one["tenant"], one["database"], one["served"][part]])).collect()
    };
    let created = |names: &[(&str, Option<&str>)]| -> Vec<Value> {
        names.iter().map(|(tenant, database)| value!([tenant, database, "created"])).collect()
    };

    // A server lists the databases of one tenant.
    let url = server.url();
    let of_server = migrate(&database, &url, &[]).await;
    assert_eq!(of_server.code, 0, "{of_server:?}");
    assert_eq!(databases(&of_server, "status"), created(&[("default_tenant", Some("second"))]));
    let run = json(&of_server)["run_id"].as_str().expect("a run").to_owned();
    let undone = run_on(&database, &["migrate", "--undo", &run, "--json"]).await;
    assert_eq!(undone.code, 0, "{undone:?}");
    let gone = value!([
        {"tenant": "default_tenant", "database": "second"}, {"tenant": "default_tenant", "database": "third"}
    ]);
    assert_eq!(json(&undone)["unregistered_databases"], gone);
    let gone = value!([{"tenant": "default_tenant", "database": "third", "collection": "docs"}]);
    assert_eq!(json(&undone)["unregistered"], gone);
    drop(server);

    let from = served.path().display().to_string();
    let selected = ["--tenant", "other", "--database", "unused"];
    let planned = migrate(&database, &from, &[&selected[..], &["--dry-run"]].concat()).await;
    assert_eq!((planned.code, databases(&planned, "status")), (0, vec![value!(["other", "unused", null])]));
    assert_eq!(one(&database, registry).await, "", "a plan changes nothing");
    let matched = migrate(&database, &from, &["--match", "docs"]).await;
    assert_eq!((matched.code, databases(&matched, "status")), (0, vec![]), "{matched:?}");
    assert_eq!(one(&database, registry).await, "default_tenant/third");

    let all = migrate(&database, &from, &[]).await;
    assert_eq!(all.code, 0, "{all:?}");
    let expected = [("alone", None), ("default_tenant", Some("second")), ("other", Some("unused"))];
    assert_eq!(databases(&all, "status"), created(&expected));
    let names = "alone, default_tenant/second, default_tenant/third, other, other/unused";
    assert_eq!(one(&database, registry).await, names);
    let again = run_on(&database, &["migrate", "collections", "--from", &from]).await;
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stdout.contains("tenant alone without databases: unchanged"), "{again:?}");
    assert!(again.stdout.contains("nothing was changed"), "{again:?}");

    let verify = ["verify", "collections", "--from", &from, "--json"];
    let verified = run_on(&database, &verify).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    database.execute("delete from chroma_databases where name = 'unused'").await;
    let verified = run_on(&database, &verify).await;
    assert_eq!(
        (verified.code, &json(&verified)["databases"][2]["missing"]),
        (4, &value!(true)),
        "{verified:?}"
    );

    let run = json(&all)["run_id"].as_str().expect("a run").to_owned();
    let undone = run_on(&database, &["migrate", "--undo", &run]).await;
    assert_eq!(undone.code, 0, "{undone:?}");
    assert!(undone.stdout.contains("1 empty database no longer served"), "{undone:?}");
    assert!(undone.stdout.contains("2 empty tenants no longer served"), "{undone:?}");
    assert_eq!(one(&database, registry).await, "default_tenant/third", "it belongs to another run");
}
