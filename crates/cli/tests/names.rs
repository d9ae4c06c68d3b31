//! Names that users' scripts rely on: settings, and fields of what commands print with `--json`. The golden files list
//! only names; other tests check values.

use expect_test::expect_file;
use serde_json::{Value, json};
use test_support::{HttpAnswer, HttpRequest, HttpStub, Shape, TestDatabase, sample};

use crate::{Run, maintain::with_dead_rows, panopticon, run, run_with};

#[test]
fn settings_keep_their_names() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ended = run(&mut panopticon(folder.path(), &["config", "--json"]));
    let settings = Shape::of(&serde_json::from_str(&ended.stdout).expect("one object"));
    let named = settings.keys.iter().map(|(name, shape)| format!("{name} {shape}\n"));
    expect_file!["names/settings.txt"].assert_eq(&named.collect::<String>());
}

/// Runs commands on one database, and lists the shape of what each prints.
struct Commands {
    environment: Vec<(&'static str, String)>,
    listed: String,
}

impl Commands {
    async fn run(&mut self, name: &str, arguments: &[&str]) -> Run {
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let ended = run_with(arguments, &environment).await;
        let lines = serde_json::Deserializer::from_str(&ended.stdout).into_iter::<Value>();
        let mut shape = Shape::default();
        lines.for_each(|line| shape.add(&line.unwrap_or_else(|error| panic!("{name}: {error}: {ended:?}"))));
        assert_ne!(shape, Shape::default(), "{name}: {ended:?}");
        self.listed += &format!("{name} (exit {})\n  {shape}\n", ended.code);
        ended
    }
}

#[tokio::test]
async fn json_of_commands_keeps_its_fields() {
    let folders = ["query_storage_data", "evaluation_storage_data", "judge_service_data"].map(sample);
    let [query, evaluation, judge] = folders.each_ref().map(|folder| folder.path().display().to_string());
    let (database, provider) = (TestDatabase::create().await, provider());
    let environment = vec![
        ("DATABASE_URL", database.url()),
        ("CHROMA_PERSIST_DIRECTORY", query.clone()),
        ("EVALUATION_PERSIST_DIRECTORY", evaluation),
        ("JUDGE_PERSIST_DIRECTORY", judge),
        ("OPENAI_BASE_URL", format!("{}/v1", provider.url())),
    ];
    let mut commands = Commands { environment, listed: String::new() };
    commands.run("inspect", &["inspect", &query, "--json"]).await;
    commands.run("dump", &["dump", &query]).await;
    commands.run("migrate: a plan", &["migrate", "all", "--dry-run", "--json"]).await;
    commands.run("migrate", &["migrate", "all", "--json"]).await;
    commands.run("verify", &["verify", "all", "--json"]).await;
    database
        .execute(
            "update queries set theme = 'edited' where id in (select id from queries order by id limit 1)",
        )
        .await;
    commands.run("verify: a difference", &["verify", "query", "--json"]).await;
    let chroma =
        rusqlite::Connection::open(folders[0].path().join("chroma.sqlite3")).expect("the copy opens");
    chroma
        .execute("delete from embedding_metadata where key = 'chroma:document' and id = 5", [])
        .expect("the copy changes");
    drop(chroma);
    commands.run("migrate: a reject", &["migrate", "query", "--json"]).await;
    let quarantine = ["migrate", "query", "--on-reject", "quarantine", "--json"];
    commands.run("migrate: a reject that is kept", &quarantine).await;
    let from = ["--from", query.as_str(), "--json"];
    let whole = commands.run("migrate collections", &[&["migrate", "collections"], &from[..]].concat()).await;
    commands.run("verify collections", &[&["verify", "collections"], &from[..]].concat()).await;
    let whole: Value = serde_json::from_str(&whole.stdout).expect("one object");
    let id = whole["run_id"].as_str().expect("a run");
    commands.run("migrate --undo", &["migrate", "--undo", id, "--json"]).await;
    let search = ["search", "query", "energy", "--json"];
    commands.run("search", &search).await;

    database
        .execute(
            // On ten axes: a few lists have all neighbours, so that little is measured.
            "insert into queries (query_text, theme, embedding)
            select
                'row',
                'theme',
                (select array_agg((place = row % 10)::int order by place) from generate_series(0, 383) place)::vector
            from generate_series(1, 10000) row;
            insert into queries (query_text, theme) values ('a text without a vector', 'judged');
            insert into evaluation_metrics (prompt, metric_type) values ('Is it good?', 'quality')",
        )
        .await;
    commands.environment.push(("VECTOR_INDEX_TYPE", "ivfflat".to_owned()));
    for name in ["status", "plan", "apply", "status", "tune"] {
        let arguments = ["index", name, "--table", "queries", "--json"];
        commands.run(&format!("index {name}"), &arguments).await;
    }
    commands.run("doctor", &["doctor", "--json"]).await;

    let select = "select id::text from evaluation_metrics where prompt = 'Is it good?'";
    let metric = database.texts(select).await.remove(0);
    let arguments = [
        "judge", "run", "--theme", "judged", "--model", "gpt-4o", "--judge", "gpt-4", "--metric", &metric,
        "--json",
    ];
    let ended = commands.run("judge run", &arguments).await;
    let run: Value = serde_json::from_str(&ended.stdout).expect("one object");
    let id = run["id"].as_str().expect("an id");
    commands.run("judge run --resume", &["judge", "run", "--resume", id, "--retry-failed", "--json"]).await;
    let untidy = with_dead_rows().await;
    commands.environment[0].1 = untidy.url();
    commands.run("maintain: a plan", &["maintain", "--once", "--dry-run", "--json"]).await;
    commands.run("maintain", &["maintain", "--once", "--json"]).await;
    for (database, name, statement) in [
        (&database, "migration_jobs.definition", "select definition::text from migration_jobs"),
        (
            &database,
            "migration_jobs.manifest",
            "select manifest::text from migration_jobs where manifest is not null",
        ),
        (&database, "migration_groups.placement", "select placement::text from migration_groups"),
        (
            &database,
            "migration_groups.manifest",
            "select manifest::text from migration_groups where manifest is not null",
        ),
        (&untidy, "maintenance_actions.before", "select before::text from maintenance_actions"),
        (
            &untidy,
            "maintenance_actions.after",
            "select after::text from maintenance_actions where after is not null",
        ),
    ] {
        let mut shape = Shape::default();
        for text in database.texts(statement).await {
            shape.add(&serde_json::from_str(&text).expect("it is JSON"));
        }
        commands.listed += &format!("stored {name}\n  {shape}\n");
    }
    expect_file!["names/json.txt"].assert_eq(&commands.listed);
}

/// A provider whose every answer is a verdict.
fn provider() -> HttpStub {
    HttpStub::start(|_: &HttpRequest| {
        let answer = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06",
            "choices": [{
                "index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": r#"{"rationale": "good", "score": 8}"#},
            }],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
        });
        Some(HttpAnswer::json(200, &answer.to_string()))
    })
}
