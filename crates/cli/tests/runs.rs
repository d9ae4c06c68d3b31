//! `panopticon judge run`: with a real model, and through kills with a failing provider.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row as _};
use test_support::{Llmock, SmallModel, TestDatabase, count};

use crate::{
    json, panopticon, run_with,
    serve::{Serving, blocking},
};

/// Stores queries and metrics through the services; returns the ids of the metrics.
fn store(database_url: &str, theme: &str, queries: &[String], metrics: &[String]) -> Vec<String> {
    let serving = Serving::start(&[], &[("DATABASE_URL", database_url)]);
    let items: Vec<Value> = queries.iter().map(|text| json!({"query": text, "theme": theme})).collect();
    serving.data("gateway", "POST", "/api/v1/queries/batch", &json!({"items": items}));
    let metric = |prompt: &String| {
        let body = json!({"prompt": prompt, "metric_type": "quality"});
        let stored = serving.data("gateway", "POST", "/api/v1/evaluation-metrics", &body);
        stored["id"].as_str().expect("an id").to_owned()
    };
    let ids = metrics.iter().map(metric).collect();
    assert_eq!(serving.end(Signal::TERM).code, 0);
    ids
}

#[tokio::test]
async fn a_real_model_answers_and_judges_and_all_of_it_is_in_postgresql() {
    let database = TestDatabase::serving().await;
    let url = database.url();
    let (metrics, model) = blocking(move || {
        let queries = ["Name a color.", "Say hello."].map(str::to_owned);
        let metrics = store(&url, "small", &queries, &["Is the answer correct and short?".to_owned()]);
        (metrics, SmallModel::start())
    })
    .await;
    let name = "smollm2-135m=openai";
    let arguments = [
        "judge",
        "run",
        "--theme",
        "small",
        "--model",
        name,
        "--judge",
        name,
        "--metric",
        &metrics[0],
        "--json",
    ];
    // At higher temperatures its answers may not end.
    let settings = [
        ("DATABASE_URL", database.url()),
        ("OPENAI_BASE_URL", model.url()),
        ("MODEL_DEFAULT_TEMPERATURE", "0".to_owned()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let ended = run_with(&arguments, &settings).await;
    let run = json(&ended);
    assert_eq!((&run["state"], &run["answers"]["answered"]), (&json!("completed"), &json!(2)), "{ended:?}");
    assert_eq!(run["units"]["done"], 2);
    // Its scores may be any; the schema guarantees that they are numbers.
    assert_eq!((&run["units"]["scored"], ended.code), (&json!(2), 0), "{ended:?}");
    let mut connection = PgConnection::connect(&database.url()).await.expect("the database answers");
    let rows = sqlx::query(
        "select results.score, results.result_metadata ->> 'raw_text' as words, outputs.output_text, outputs.model_id,
            outputs.embedding is not null as has_embedding, outputs.source_id
        from evaluation_results as results
        join llm_outputs as outputs on outputs.source_id = results.result_metadata ->> 'output_id'
        order by results.id",
    )
    .fetch_all(&mut connection)
    .await
    .expect("results and outputs can be read");
    assert_eq!(rows.len(), 2);
    for row in rows {
        let words: Value = serde_json::from_str(row.get("words")).expect("the judge keeps to the schema");
        assert_eq!(words["score"].as_f64(), row.get::<Option<f64>, _>("score"));
        assert!(!row.get::<String, _>("output_text").trim().is_empty());
        assert_eq!(row.get::<String, _>("model_id"), "smollm2-135m");
        assert!(row.get::<bool, _>("has_embedding"));
        assert!(row.get::<String, _>("source_id").starts_with("chatcmpl-"), "the provider's id");
    }
}

/// For each change, and at night.
const QUERIES: (usize, usize) = (20, 200);
const METRICS: usize = 10;
const KILLS: (u32, u32) = (5, 10);
const WORKERS: usize = 8;

/// An attempt is written before its call is sent, and an answer together with its result. So each call that llmock saw
/// has an attempt, and no call follows a recorded answer.
#[tokio::test]
async fn run_completes_every_unit_in_spite_of_kills_and_a_failing_provider() {
    let (query_count, kills) = (count(QUERIES.0, QUERIES.1), count(KILLS.0, KILLS.1));
    let units = query_count * METRICS;
    let database = TestDatabase::serving().await;
    let url = database.url();
    let (metrics, llmock) = blocking(move || {
        let queries: Vec<String> =
            (0..query_count).map(|query| format!("Tell me about <q{query}>.")).collect();
        let metrics: Vec<String> = (0..METRICS).map(|metric| format!("Is it good by <m{metric}>?")).collect();
        let faults = ["500=0.02", "503=0.027", "429=0.003"].map(|rate| ["--error-rate", rate]).concat();
        let options = [&["--response-style", "echo", "--latency-ms", "20"][..], &faults].concat();
        (store(&url, "kills", &queries, &metrics), Llmock::start(&options))
    })
    .await;
    let environment = vec![
        ("DATABASE_URL".to_owned(), database.url()),
        ("OPENAI_BASE_URL".to_owned(), llmock.url("openai")),
        ("OPENAI_API_KEY".to_owned(), "any".to_owned()),
        ("MODEL_MAX_CONCURRENCY".to_owned(), WORKERS.to_string()),
    ];
    let llmock = blocking(move || {
        let mut begin = vec!["--theme", "kills", "--model", "gpt-4o", "--judge", "gpt-4o-mini"];
        begin.extend(metrics.iter().flat_map(|metric| ["--metric", metric]));
        let mut run: Option<String> = None;
        for kill in 1..=kills {
            // One kill before anything is done, and one in each part of the work.
            let until = units * (kill as usize - 1) / kills as usize;
            let found = killed_at(until, run.as_deref(), &begin, &environment);
            run = run.or(found);
        }
        let run = run.expect("a run was started before a kill");
        complete(&run, &environment);
        llmock
    })
    .await;
    reconcile(&database.url(), &llmock, units).await;
}

/// Works on the run until `units` are done or slightly longer, then is killed; returns the run's id, if it was printed.
fn killed_at(
    units: usize,
    run: Option<&str>,
    begin: &[&str],
    environment: &[(String, String)],
) -> Option<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let which = run.map_or_else(|| begin.to_vec(), |run| vec!["--resume", run]);
    let mut command = panopticon(folder.path(), &[&["judge", "run"], &which[..]].concat());
    command.envs(environment.iter().cloned()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    let found = lines.find_map(|line| line.strip_prefix("run ").map(str::to_owned));
    // It prints each tenth.
    let done = |line: &str| line.split_once(" of ").and_then(|(done, _)| done.parse::<usize>().ok());
    let is_far = units == 0 || lines.any(|line| done(&line).is_some_and(|done| done >= units));
    if is_far {
        // At an arbitrary point of the work: no assertion rests on how far it is.
        std::thread::sleep(Duration::from_millis(37 * (units as u64 % 7)));
        child.kill().expect("SIGKILL");
    }
    let status = child.wait().expect("it ends");
    // On a busy machine, the process before it may have completed the run before it was killed.
    assert!(is_far || status.success(), "{status}");
    found
}

/// Works on the run until it is completed. It may have been completed when its last process was killed.
fn complete(run: &str, environment: &[(String, String)]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command: Command = panopticon(folder.path(), &["judge", "run", "--resume", run, "--json"]);
    command.envs(environment.iter().cloned());
    let began = Instant::now();
    let output = command.output().expect("the binary runs");
    println!("the last process took {:?}", began.elapsed());
    let is_completed =
        serde_json::from_slice(&output.stdout).is_ok_and(|run: Value| run["state"] == "completed");
    let was_completed =
        String::from_utf8_lossy(&output.stderr).contains(&format!("run `{run}` is completed"));
    assert!(is_completed || was_completed, "{output:?}");
}

/// The query of a request, and the metric if it is a judge's.
fn subject(body: &Value) -> (usize, Option<usize>) {
    let prompt = body["messages"][0]["content"].as_str().expect("a prompt");
    let number = |mark: char| {
        let rest = prompt.split_once(&format!("<{mark}"))?.1;
        rest.split_once('>')?.0.parse().ok()
    };
    (number('q').expect("each has a query"), number('m'))
}

async fn reconcile(database_url: &str, llmock: &Llmock, units: usize) {
    let mut connection = PgConnection::connect(database_url).await.expect("the database answers");
    let recorded: i64 = sqlx::query_scalar("select count(*) from evaluation_results")
        .fetch_one(&mut connection)
        .await
        .expect("results can be counted");
    assert_eq!(recorded, units as i64);
    // A row per task: the number of attempts, and whether one was answered before the last.
    let rows = sqlx::query(
        "select tasks.query, tasks.metric, count(attempts.attempt) as attempts,
            count(*) filter (where attempts.outcome = 'completed') as answered,
            coalesce(bool_or(attempts.outcome = 'completed' and attempts.attempt < tasks.attempts), false) as repeated
        from run_tasks as tasks
        left join run_attempts as attempts using (run_id, task)
        group by tasks.run_id, tasks.task, tasks.query, tasks.metric",
    )
    .fetch_all(&mut connection)
    .await
    .expect("tasks can be read");
    assert_eq!(rows.len(), units + units / METRICS);
    let mut attempts: HashMap<(usize, Option<usize>), i64> = HashMap::new();
    for row in &rows {
        let metric: Option<i16> = row.get("metric");
        let about = (row.get::<i32, _>("query") as usize, metric.map(|metric| metric as usize));
        assert!(!row.get::<bool, _>("repeated"), "no call was repeated whose answer was recorded: {about:?}");
        assert!(row.get::<i64, _>("answered") <= 1, "{about:?}");
        attempts.insert(about, row.get("attempts"));
    }
    // The newest query is the run's first: the run's numbers differ from the marks in the texts.
    let texts: Vec<(i32, String)> = sqlx::query("select query, query_text from run_queries")
        .fetch_all(&mut connection)
        .await
        .expect("queries can be read")
        .iter()
        .map(|row| (row.get("query"), row.get("query_text")))
        .collect();
    let place: HashMap<usize, usize> = texts
        .iter()
        .map(|(place, text)| {
            let mark = text.split_once("<q").and_then(|(_, rest)| rest.split_once('>')).expect("a mark");
            (mark.0.parse().expect("a number"), *place as usize)
        })
        .collect();
    let journal = llmock.requests();
    let mut seen: HashMap<(usize, Option<usize>), i64> = HashMap::new();
    let mut answered: HashMap<(usize, Option<usize>), i64> = HashMap::new();
    for request in &journal {
        let (query, metric) = subject(&request["body"]);
        let about = (place[&query], metric);
        *seen.entry(about).or_default() += 1;
        if request["status"] == 200 {
            *answered.entry(about).or_default() += 1;
        }
    }
    for (about, seen) in &seen {
        assert!(*seen <= attempts[about], "every call has an attempt: {about:?} {seen}");
    }
    let sent: i64 = seen.values().sum();
    let begun: i64 = attempts.values().sum();
    let repeated: i64 = answered.values().map(|answered| answered - 1).sum();
    println!(
        "{units} units; llmock saw {sent} calls, {begun} attempts were recorded; {repeated} answered calls were made again"
    );
    let in_flight = i64::from(count(KILLS.0, KILLS.1)) * WORKERS as i64;
    assert!(repeated <= in_flight && begun - sent <= in_flight, "{repeated} {begun} {sent}");
    assert_eq!(answered.len(), rows.len(), "every task was answered");
}
