//! `migrate` and `search`, on the real directory and on the sample.

use serde_json::Value;
use test_support::{ChromaServer, TestDatabase, fixture, sample};

use crate::{json, run_on};

#[tokio::test]
async fn real_directory_is_migrated_verified_and_searched() {
    let Some(folder) = fixture("panopticon-query-storage") else { return };
    let source = folder.path().join("query_storage").display().to_string();
    let database = TestDatabase::create().await;
    let first = run_on(&database, &["migrate", "query", "--from", &source]).await;
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.stdout.contains("2 written") && first.stdout.contains("verified"), "{first:?}");

    let second = run_on(&database, &["migrate", "queries", "--from", &source, "--json"]).await;
    assert_eq!(second.code, 0, "{second:?}");
    let report = json(&second);
    assert_eq!(report["status"], "verified");
    assert_eq!(report["source"], source.as_str());
    let collection = &report["collections"][0];
    assert_eq!((&collection["written"], &collection["unchanged"]), (&Value::from(0), &Value::from(2)));
    assert_eq!(collection["digest_source"], collection["digest_target"]);

    let found = run_on(&database, &["search", "query", "fusion power", "--json"]).await;
    assert_eq!(found.code, 0, "{found:?}");
    let hits = json(&found);
    assert_eq!(hits.as_array().map(Vec::len), Some(2));
    assert_eq!(hits[0]["id"], "c594437a-984c-4c2a-8f06-97976aa9f390");
    assert_eq!(hits[0]["query"], "Describe how nuclear fusion works and its potential as an energy source.");
    assert_eq!(hits[0]["metadata"]["timestamp"], "2025-03-27T12:49:03.306074");
    assert!(hits[0]["distance"].as_f64() < hits[1]["distance"].as_f64());
    let none = run_on(&database, &["search", "metrics", "fusion power", "--json"]).await;
    assert_eq!((none.code, none.stdout.trim()), (0, "[]"), "{none:?}");
}

#[tokio::test]
async fn all_migrates_each_service_from_the_directory_that_its_variable_names() {
    let folders = ["query_storage_data", "evaluation_storage_data", "judge_service_data"].map(sample);
    let [query, evaluation, judge] = folders.each_ref().map(|folder| folder.path().display().to_string());
    let settings = tempfile::tempdir().expect("a temporary folder");
    let database = TestDatabase::create().await;
    let dot_env = format!(
        "DATABASE_URL={}\nCHROMA_PERSIST_DIRECTORY={query}\nEVALUATION_PERSIST_DIRECTORY={evaluation}\nJUDGE_PERSIST_DIRECTORY={judge}\n",
        database.url()
    );
    std::fs::write(settings.path().join(".env"), dot_env).expect("the file is written");
    let mut command = crate::panopticon(settings.path(), &["migrate", "all", "--json"]);
    let ended =
        tokio::task::spawn_blocking(move || crate::run(&mut command)).await.expect("it does not panic");
    assert_eq!(ended.code, 0, "{ended:?}");
    let report = json(&ended);
    let tables: Vec<&str> =
        report["collections"].as_array().into_iter().flatten().filter_map(|c| c["table"].as_str()).collect();
    assert_eq!(tables, ["queries", "evaluation_metrics", "llm_outputs"]);

    let arguments = ["search", "outputs", "the sun", "--model-id", "unknown", "--json"];
    let found = json(&run_on(&database, &arguments).await);
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found[0]["id"], "msg_011037f31673d059d1abab88", "an output without model was not dropped");
    let text = run_on(&database, &["search", "judge", "the sun", "--limit", "3"]).await;
    assert_eq!(text.stdout.lines().count(), 3, "{text:?}");
}

#[tokio::test]
async fn exit_codes_distinguish_rejects_conflicts_and_locks() {
    let folder = sample("query_storage_data");
    let source = folder.path().display().to_string();
    let database = TestDatabase::create().await;
    assert_eq!(run_on(&database, &["migrate", "query", "--from", &source]).await.code, 0);

    let chroma = rusqlite::Connection::open(folder.path().join("chroma.sqlite3")).expect("the copy opens");
    chroma
        .execute("delete from embedding_metadata where key = 'chroma:document' and id = 5", [])
        .expect("the copy changes");
    drop(chroma);
    let stopped = run_on(&database, &["migrate", "query", "--from", &source]).await;
    assert_eq!(stopped.code, 3, "{stopped:?}");
    assert!(stopped.stdout.contains("missing_document"), "{stopped:?}");
    assert!(stopped.stdout.contains("stopped before anything was changed"), "{stopped:?}");
    let quarantine = ["migrate", "query", "--from", &source, "--on-reject", "quarantine"];
    let rejected = run_on(&database, &quarantine).await;
    assert_eq!(rejected.code, 3, "{rejected:?}");
    let mut connection = database.connection().await;
    let record: String = sqlx::query_scalar(
        "select convert_from(record, 'UTF8') from migration_rejects where reason = 'missing_document'",
    )
    .fetch_one(&mut connection)
    .await
    .expect("the record is kept");
    let record: Value = serde_json::from_str(&record).expect("it is a line of JSON");
    assert!(record["embedding"].is_string() && record["document"].is_null(), "{record}");

    database
        .execute("update queries set theme = 'edited' where id = '3f231762-1288-55bc-9925-9eeb8ff7544c'")
        .await;
    let conflict = run_on(&database, &[&quarantine[..], &["--json"]].concat()).await;
    assert_eq!(conflict.code, 5, "{conflict:?}");
    assert_eq!(json(&conflict)["status"], "conflicts");
    assert_eq!(json(&conflict)["collections"][0]["conflicts"][0]["reason"], "edited");

    let store = store::postgres::Database::connect(&database.url()).await.expect("the database answers");
    let holder = store.lock_table("queries").await.expect("the table is free");
    let locked = run_on(&database, &["migrate", "query", "--from", &source, "--json"]).await;
    assert_eq!(locked.code, 5, "{locked:?}");
    assert_eq!(json(&locked)["status"], "failed", "a failure prints its object too");
    assert!(locked.stderr.contains("table `queries` is locked by another migration"), "{locked:?}");
    drop(holder);
}

#[tokio::test]
async fn dry_run_changes_nothing_and_a_run_can_be_verified_and_undone() {
    let folder = sample("query_storage_data");
    let source = folder.path().display().to_string();
    let database = TestDatabase::create().await;
    let relations = async || -> i64 {
        sqlx::query_scalar("select count(*) from pg_class where relnamespace = 'public'::regnamespace")
            .fetch_one(&mut database.connection().await)
            .await
            .expect("the catalog reads")
    };
    let command =
        ["migrate", "collection", "queries", "--from", &source, "--table", "moved", "--category", "theme"];
    let plan = run_on(&database, &[&command[..], &["--dry-run"]].concat()).await;
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(plan.stdout.contains("61 to write") && plan.stdout.contains("nothing was changed"), "{plan:?}");
    assert_eq!(relations().await, 0);

    let done = run_on(&database, &[&command[..], &["--json"]].concat()).await;
    assert_eq!(done.code, 0, "{done:?}");
    let report = json(&done);
    assert_eq!((&report["status"], &report["verify"]["matched"]), (&"verified".into(), &61.into()));
    let verify =
        ["verify", "collection", "queries", "--from", &source, "--table", "moved", "--category", "theme"];
    let compared = run_on(&database, &verify).await;
    assert_eq!(compared.code, 0, "{compared:?}");
    database.execute("delete from moved where theme = 'law'").await;
    let compared = run_on(&database, &verify).await;
    assert_eq!(compared.code, 4, "{compared:?}");
    assert!(compared.stdout.contains("missing `"), "{compared:?}");

    let run = report["run_id"].as_str().expect("a run");
    let undone = run_on(&database, &["migrate", "--undo", run]).await;
    assert_eq!(undone.code, 0, "{undone:?}");
    assert!(undone.stdout.contains("and the table dropped"), "{undone:?}");
    let again = run_on(&database, &["migrate", "--undo", run]).await;
    assert_eq!(again.code, 2, "{again:?}");
}

#[tokio::test]
async fn collection_of_a_server_is_migrated_and_verified() {
    let folder = sample("judge_service_data");
    let server = ChromaServer::start(folder.path());
    let database = TestDatabase::create().await;
    let url = server.url();
    let command = ["migrate", "judge", "--from", &url, "--json"];
    let done = run_on(&database, &command).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(json(&done)["source"], format!("{url}/").as_str());
    let again = json(&run_on(&database, &command).await);
    assert_eq!(again["collections"][0]["written"], 0);
}

#[tokio::test]
async fn ambiguous_name_is_refused_with_the_list_of_collections() {
    let folder = sample("query_storage_data");
    let source = folder.path().display().to_string();
    let chroma = rusqlite::Connection::open(folder.path().join("chroma.sqlite3")).expect("the copy opens");
    chroma
        .execute_batch(
            "insert into databases (id, name, tenant_id) values ('1', 'other', 'default_tenant');
             insert into collections (id, name, database_id)
             values ('67e55044-10b1-426f-9247-bb680e5fe0c8', 'queries', '1');",
        )
        .expect("the copy changes");
    drop(chroma);
    let database = TestDatabase::create().await;
    let refused = run_on(&database, &["migrate", "query", "--from", &source]).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    for expected in ["--tenant and --database", "`queries`", "`default_tenant/other/queries`"] {
        assert!(refused.stderr.contains(expected), "{expected}: {refused:?}");
    }
    let chosen = ["migrate", "query", "--from", &source, "--database", "default_database"];
    let chosen = run_on(&database, &chosen).await;
    assert_eq!(chosen.code, 0, "{chosen:?}");
    let nothing = run_on(&database, &["migrate", "query", "--from", &source, "--database", "other"]).await;
    assert_eq!(nothing.code, 0, "{nothing:?}");
    assert!(nothing.stdout.contains("nothing to migrate"), "{nothing:?}");
}

#[tokio::test]
async fn invalid_sources_and_filters_are_usage_errors_that_name_the_remedy() {
    let database = TestDatabase::create().await;
    let empty = tempfile::tempdir().expect("a temporary folder");
    let nothing_there = empty.path().display().to_string();
    let folder = sample("query_storage_data");
    let sources = [folder.path().display().to_string()];
    for (arguments, expected) in [
        (vec!["migrate", "query"], "set CHROMA_PERSIST_DIRECTORY"),
        (vec!["migrate", "query", "--from", &nothing_there], "chroma.sqlite3"),
        (vec!["migrate", "all", "--from", &nothing_there], "one by one"),
        (vec!["migrate", "everything"], "possible values"),
        (vec!["migrate"], "expected what to process"),
        (vec!["migrate", "collection", "--from", &sources[0]], "expected the name of the collection"),
        (vec!["migrate", "collection", "nothing", "--from", &sources[0]], "found no collection `nothing`"),
        (
            vec!["migrate", "query", "--from", &sources[0], "--table", "x"],
            "--table applies to `migrate collection`",
        ),
        (vec!["migrate", "collection", "queries", "--from", &sources[0]], "use `panopticon migrate query`"),
        (
            vec![
                "migrate",
                "collection",
                "queries",
                "--from",
                &sources[0],
                "--table",
                "t",
                "--column",
                "a:b:int",
            ],
            "unknown column type `int`",
        ),
        (
            vec![
                "migrate",
                "collection",
                "queries",
                "--from",
                &sources[0],
                "--table",
                "t",
                "--column",
                "a:id",
            ],
            "named twice",
        ),
        (vec!["verify", "query", "--from", &sources[0]], "run `panopticon migrate` first"),
        (vec!["migrate", "--undo", "67e55044-10b1-426f-9247-bb680e5fe0c8"], "unknown run 67e55044"),
        (vec!["search", "query", "x", "--model-id", "gpt-4"], "--model-id does not apply to query"),
        (vec!["search", "metrics", "x", "--theme", "law"], "--theme does not apply to evaluation"),
        (vec!["search", "query", "x", "--limit", "0"], "1..=100"),
        (vec!["search", "prompts", "x"], "unknown service `prompts`"),
        (vec!["search", "query", "x"], "run `panopticon migrate` first"),
    ] {
        let ended = run_on(&database, &arguments).await;
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(expected), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

/// Names that mean something else than the table that the user has in mind, with every flag that names a table.
#[tokio::test]
async fn tables_of_postgresql_and_names_with_a_schema_are_refused_with_the_remedy() {
    let database = TestDatabase::create().await;
    let folder = sample("query_storage_data");
    let source = folder.path().display().to_string();
    let one = ["collection", "queries", "--from", &source, "--table"];
    let all = ["collections", "--from", &source, "--into"];
    assert_eq!(run_on(&database, &[&["migrate"], &one[..], &["moved"]].concat()).await.code, 0);
    let relations = "select relname::text from pg_class order by 1";
    let before = database.texts(relations).await;
    for (name, expected) in [
        ("pg_class", "belongs to PostgreSQL (schema pg_catalog)"),
        ("pg_stat_activity", "belongs to PostgreSQL (schema pg_catalog)"),
        ("pg_notes", "reserves"),
        ("information_schema", "reserves"),
        ("public.moved", "without their schema"),
        ("public.runs", "without their schema"),
        ("pg_catalog.pg_class", "reserves"),
        ("migration_jobs", "one of Panopticon's own"),
        ("runs", "one of Panopticon's own"),
        ("_sqlx_migrations", "one of Panopticon's own"),
    ] {
        for (flag, arguments) in [("--table", &one[..]), ("--into", &all[..])] {
            for command in ["migrate", "verify"] {
                let ended = run_on(&database, &[&[command], arguments, &[name]].concat()).await;
                assert_eq!(ended.code, 2, "{name}: {ended:?}");
                assert!(ended.stderr.contains(expected) && ended.stderr.contains(flag), "{name}: {ended:?}");
                assert!(!ended.stderr.contains("grant "), "{name}: {ended:?}");
            }
        }
    }
    for command in [["index", "status", "--table"].as_slice(), &["maintain", "--dry-run", "--table"]] {
        for (name, expected) in [("public.moved", "without their schema"), ("pg_class", "moved")] {
            let ended = run_on(&database, &[command, &[name]].concat()).await;
            assert_eq!(ended.code, 2, "{name}: {ended:?}");
            assert!(ended.stderr.contains(expected), "{name}: {ended:?}");
        }
    }
    assert_eq!(database.texts(relations).await, before, "nothing was created");
    // A table that has such a name is used.
    database
        .execute("create table \"a.b\" (like moved including all); create table pg_mine (like moved including all)")
        .await;
    for name in ["a.b", "pg_mine"] {
        let ended = run_on(&database, &[&["migrate"], &one[..], &[name]].concat()).await;
        assert_eq!(ended.code, 0, "{name}: {ended:?}");
        assert_eq!(run_on(&database, &[&["verify"], &one[..], &[name]].concat()).await.code, 0, "{name}");
    }
}

#[tokio::test]
async fn run_that_finds_rows_missing_does_not_say_that_all_is_up_to_date() {
    let folder = sample("query_storage_data");
    let source = folder.path().display().to_string();
    let database = TestDatabase::create().await;
    let migrate = ["migrate", "query", "--from", &source];
    assert_eq!(run_on(&database, &migrate).await.code, 0);
    let again = run_on(&database, &migrate).await;
    assert!(again.stdout.trim_end().ends_with("already up to date"), "{again:?}");
    database
        .execute(
            "create function skip() returns trigger language plpgsql as $$ begin return null; end $$;
            create trigger skip before insert on queries for each row execute function skip();
            delete from queries where theme = 'energy'",
        )
        .await;
    let missing = run_on(&database, &migrate).await;
    assert_eq!(missing.code, 4, "{missing:?}");
    assert!(!missing.stdout.contains("up to date"), "{missing:?}");
}
