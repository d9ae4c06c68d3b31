//! A unit of work that panics or whose row is invalid fails alone.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use server::{Need, ServerConfig};
use test_support::HttpAnswer;

use crate::{
    evaluations::{Stub, completion, failure, metric},
    faulty::{Faulty, POISON},
    runs::{VERDICT, begin, ended, queries, results},
    served::Served,
};

/// The request for a run that does not reuse earlier verdicts.
pub(crate) fn request(metric: &str) -> Value {
    json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric], "use_cache": false})
}

/// A provider that rejects the judge's key until the flag is set, so that a run stops before any unit is done.
pub(crate) fn stopping() -> (Stub, Arc<AtomicBool>) {
    let is_paid = Arc::new(AtomicBool::new(false));
    let paid = Arc::clone(&is_paid);
    let answer = move |text: &str| match paid.load(Ordering::Relaxed) {
        true => completion(text),
        false => failure(401, "invalid_api_key", "Incorrect API key provided"),
    };
    let judge = answer.clone();
    (Stub::start(move |_| judge(VERDICT), answer), is_paid)
}

pub(crate) async fn resume(served: &Served, id: &str) {
    served.post(&format!("/api/v1/runs/{id}/resume"), json!({})).await.data();
}

#[tokio::test]
async fn task_that_panics_fails_and_all_others_continue() {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_faulty(stub.provider(), ServerConfig::default(), Faulty::around).await;
    queries(&served, &["good", "full of poison", "fine"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let id = begin(&served, request(&metric)).await;
    let run = ended(&served, &id).await;
    let answers = json!({"total": 3, "done": 3, "answered": 2, "refused": 0, "failed": 1});
    assert_eq!((&run["state"], &run["answers"]), (&json!("completed"), &answers), "{run}");
    assert_eq!((&run["units"]["scored"], &run["units"]["unanswered"]), (&json!(2), &json!(1)), "{run}");
    let results = results(&served).await;
    let unanswered = results.iter().find(|result| result["metadata"]["status"] == "unanswered");
    let reason = &unanswered.expect("the unit is kept")["metadata"]["reason"];
    assert_eq!(reason, "it panicked: a poisonous text");
    let another = begin(&served, request(&metric)).await;
    assert_eq!(ended(&served, &another).await["state"], "completed");
    assert_eq!(served.get("/ready").await.status, 200, "the runner is alive");
}

#[tokio::test]
async fn query_of_a_theme_that_panics_does_not_stop_the_rest() {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_faulty(stub.provider(), ServerConfig::default(), Faulty::around).await;
    queries(&served, &["good", "full of poison", "fine"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let request = json!({"theme": "physics", "model_id": "gpt-4o", "evaluation_prompt_ids": [metric]});
    let data = served.post("/api/v1/evaluate/theme", request).await.data();
    let evaluated: Vec<&Value> = data.as_array().expect("a list").iter().collect();
    assert_eq!(evaluated.len(), 3);
    for one in evaluated {
        match one["query"].as_str() {
            Some(query) => {
                assert!(query.contains(POISON), "{one}");
                assert!(!one["error"].as_str().expect("an error").contains("poisonous"), "ours: {one}");
            }
            None => assert_eq!(one["evaluations"][0]["score"], 8.0, "{one}"),
        }
    }
    assert_eq!(results(&served).await.len(), 2);
}

#[tokio::test]
async fn tasks_with_invalid_rows_fail_with_a_reason_and_the_others_are_done() {
    let (stub, is_paid) = stopping();
    let served = Served::start_with_provider(stub.provider()).await;
    let texts: Vec<String> = (0..12).map(|number| format!("question {number}")).collect();
    queries(&served, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let id = begin(&served, request(&metric)).await;
    assert_eq!(ended(&served, &id).await["state"], "stopped");
    // Answers are tasks 0 to 11, and judgements 12 to 23.
    served
        .execute(&format!(
            "update run_tasks set model = 99 where run_id = '{id}' and task = 0;
             update run_tasks set answer_text = 'x', answer_metadata = '{{' where run_id = '{id}' and task = 1;
             update run_tasks set claims = -5 where run_id = '{id}' and task = 2;
             update run_tasks set claims = 2147483647 where run_id = '{id}' and task = 3;
             update run_tasks set attempts = -5 where run_id = '{id}' and task = 4;
             update run_tasks set query = 99 where run_id = '{id}' and task = 5;
             update run_tasks set metric = 7 where run_id = '{id}' and task = 18;
             update run_tasks set judge = -1 where run_id = '{id}' and task = 19;
             update run_tasks set opponent = 5 where run_id = '{id}' and task = 20;
             update run_tasks set query = -3 where run_id = '{id}' and task = 21;
             update run_tasks set repeat = null where run_id = '{id}' and task = 22;"
        ))
        .await;
    is_paid.store(true, Ordering::Relaxed);
    resume(&served, &id).await;
    let run = ended(&served, &id).await;
    assert_eq!(run["state"], "completed", "{run}");
    assert_eq!((&run["answers"]["answered"], &run["answers"]["failed"]), (&json!(6), &json!(6)), "{run}");
    let units = ["scored", "failed", "unanswered", "done"].map(|name| run["units"][name].clone());
    assert_eq!(units, [json!(1), json!(5), json!(6), json!(12)], "{run}");
    for result in results(&served).await {
        let metadata = &result["metadata"];
        let is_scored = metadata["status"] == "scored";
        assert_eq!(metadata["reason"].as_str().is_none_or(str::is_empty), is_scored, "{result}");
    }
    let reasons = format!("select reason from run_tasks where run_id = '{id}' and reason is not null");
    let reasons = served.texts(&reasons).await;
    for part in [
        "the run has no model 99",
        "the recorded answer cannot be parsed",
        "its `claims` is -4",
        "given up",
        "its `attempts` is -5",
        "the run has no query 99",
        "the run has no metric 7",
        "its `judge` is -1",
        "the run has no query -3",
        "its `repeat` is missing",
    ] {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "{part}: {reasons:?}");
    }
    let another = begin(&served, request(&metric)).await;
    assert_eq!(ended(&served, &another).await["units"]["scored"], 12);
}

#[tokio::test]
async fn runs_with_invalid_rows_stop_with_a_reason_and_hide_no_others() {
    let (stub, is_paid) = stopping();
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["one"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let damages = [
        "plan = '{'",
        "plan = replace(plan, '\"pointwise\"', '\"sideways\"')",
        "allowance = '[]'",
        "tokens = -7",
        "cost_usd = 'nan'",
        "created_at = 'infinity'",
        "began_at = '0044-03-15 BC'",
        "created_at = '20000-01-01'",
    ];
    let mut ids = Vec::new();
    for damage in damages {
        let id = begin(&served, request(&metric)).await;
        assert_eq!(ended(&served, &id).await["state"], "stopped");
        served.execute(&format!("update runs set {damage} where id = '{id}'")).await;
        ids.push(id);
    }
    is_paid.store(true, Ordering::Relaxed);
    let good = begin(&served, request(&metric)).await;
    let list = ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ");
    served
        .execute(&format!(
            "update runs set state = 'running', stop_reason = null, ended_at = null where id in ({list})"
        ))
        .await;
    for id in &ids {
        let run = ended(&served, id).await;
        assert_eq!(run["state"], "stopped", "{run}");
        assert!(run["stop_reason"].as_str().is_some_and(|reason| reason.contains("cannot be read")), "{run}");
        assert_eq!(run["problems"].as_array().map(Vec::len), Some(1), "{run}");
    }
    let run = ended(&served, &good).await;
    assert_eq!((&run["state"], run.get("problems")), (&json!("completed"), None), "{run}");
    let mut cursor = String::new();
    let mut listed = Vec::new();
    loop {
        let page = served.get(&format!("/api/v1/runs?limit=2{cursor}")).await.data();
        listed.extend(page["items"].as_array().expect("a list").iter().map(|run| run["id"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    listed.sort_by_key(Value::to_string);
    listed.dedup();
    assert_eq!(listed.len(), damages.len() + 1, "each is listed, once");
}

#[tokio::test]
async fn run_without_a_provider_resumes_in_the_same_process_once_it_has_one() {
    let (stub, is_paid) = stopping();
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["one"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let id = begin(&served, request(&metric)).await;
    ended(&served, &id).await;
    is_paid.store(true, Ordering::Relaxed);
    let change = |from: &str, to: &str| {
        format!(
            "update runs set plan = replace(plan, '\"provider\":\"{from}\"', '\"provider\":\"{to}\"'), state = 'running',
                stop_reason = null, ended_at = null where id = '{id}'"
        )
    };
    let looked = || async {
        let metrics = served.get("/metrics").await.text;
        let name = r#"panopticon_storage_duration_seconds_count{service="judge",operation="find_run",outcome="done"} "#;
        let found = metrics.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        found.expect("runs were looked for")
    };
    let before = looked().await;
    served.execute(&change("openai", "nowhere")).await;
    while looked().await == before {
        tokio::task::yield_now().await;
    }
    served.execute(&change("nowhere", "openai")).await;
    let model = json!({"id": "another", "provider": "openai"});
    served.post("/api/v1/models", model).await.data();
    let run = ended(&served, &id).await;
    assert_eq!((&run["state"], &run["units"]["scored"]), (&json!("completed"), &json!(1)), "{run}");
}

#[tokio::test]
async fn token_counts_beyond_the_column_types_do_not_stop_the_run() {
    let answer = |text: &str| {
        let answer = json!({
            "id": "x", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX, "total_tokens": 1},
        });
        HttpAnswer::json(200, &answer.to_string())
    };
    let stub = Stub::start(move |_| answer(VERDICT), answer);
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["one", "two"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let id = begin(&served, request(&metric)).await;
    let run = ended(&served, &id).await;
    assert_eq!((&run["state"], &run["units"]["scored"]), (&json!("completed"), &json!(2)), "{run}");
}

#[tokio::test]
async fn background_task_that_panics_is_restarted_counted_and_shown() {
    let served = Served::start().await;
    served.get("/ready").await.data();
    let is_well = Arc::new(AtomicBool::new(false));
    let (well, supervisor, shutdown) =
        (Arc::clone(&is_well), served.supervisor.clone(), served.shutdown.clone());
    tokio::spawn(async move {
        let work = |_| async {
            assert!(well.load(Ordering::Relaxed), "not well");
            shutdown.begun().await;
        };
        supervisor.keep("sorter", Need::Service, &shutdown, work).await;
    });
    let unready = served.wait_for("/ready", StatusCode::SERVICE_UNAVAILABLE).await;
    let checks = unready.json()["data"]["checks"].clone();
    let named = |check: &&Value| check["name"] == "background task `sorter`";
    let check = checks.as_array().expect("a list").iter().find(named).expect("it is named");
    assert_eq!((&check["ready"], &check["reason"]), (&json!(false), &json!("it panicked: not well")));
    let metrics = served.get("/metrics").await.text;
    assert!(metrics.contains(r#"panopticon_background_up{task="sorter"} 0"#), "{metrics}");
    is_well.store(true, Ordering::Relaxed);
    let ready = served.wait_for("/ready", StatusCode::OK).await.data();
    let named = |task: &&Value| task["name"] == "sorter";
    let task =
        ready["background"].as_array().expect("a list").iter().find(named).expect("it is named").clone();
    assert_eq!(task["up"], true, "{task}");
    assert!(task["restarts"].as_u64().is_some_and(|restarts| restarts >= 1), "{task}");
    let metrics = served.get("/metrics").await.text;
    let line = format!(r#"panopticon_background_restarts_total{{task="sorter"}} {}"#, task["restarts"]);
    assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    served.send(Method::GET, "/health", &[], None).await.data();
}
