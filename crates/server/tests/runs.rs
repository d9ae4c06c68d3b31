//! Runs of many queries, models, metrics and judges in the background. The provider is an OpenAI-compatible stub.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use server::ServerConfig;

use crate::{
    evaluations::{Stub, completion, failure, metric, refused_field},
    served::{PATIENCE, Served},
};

pub(crate) const VERDICT: &str = r#"{"rationale": "good", "score": 8}"#;

pub(crate) async fn queries(served: &Served, texts: &[&str]) -> Vec<String> {
    let mut ids = Vec::new();
    for text in texts {
        let body =
            json!({"query": text, "theme": "physics", "metadata": {"reference": format!("true {text}")}});
        let stored = served.post("/api/v1/queries", body).await.data();
        ids.push(stored["id"].as_str().expect("an id").to_owned());
    }
    ids
}

/// The run, once it is no longer running.
pub(crate) async fn ended(served: &Served, id: &str) -> Value {
    let begun = Instant::now();
    loop {
        let run = served.get(&format!("/api/v1/runs/{id}")).await.data();
        if run["state"] != "running" {
            return run;
        }
        assert!(begun.elapsed() < PATIENCE, "the run ends in time: {run}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn begin(served: &Served, request: Value) -> String {
    let run = served.post("/api/v1/runs", request).await.data();
    run["id"].as_str().expect("an id").to_owned()
}

pub(crate) async fn results(served: &Served) -> Vec<Value> {
    let page = served.get("/api/v1/results?limit=100").await.data();
    page["items"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn run_calls_every_model_and_judge_for_every_query_and_stores_all_results() {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_with_provider(stub.provider()).await;
    let query_ids = queries(&served, &["Why is the sky blue?", "Why is grass green?", "Why?"]).await;
    let first = metric(&served, "Is it correct?", json!({})).await;
    let second = metric(&served, "Is {output} like {reference}?", json!({})).await;
    let id = begin(
        &served,
        json!({
            "name": "first", "theme": "physics", "models": ["gpt-4o", "gpt-4o-mini"], "judge_models": ["gpt-4", "gpt-4.1"],
            "evaluation_prompt_ids": [first, second], "repeats": 2, "metadata": {"campaign": "spring"},
            // Both models give the same output, so one verdict would be reused for both.
            "use_cache": false,
        }),
    )
    .await;
    let run = ended(&served, &id).await;
    assert_eq!((&run["state"], &run["name"]), (&json!("completed"), &json!("first")), "{run}");
    let answers = json!({"total": 6, "done": 6, "answered": 6, "refused": 0, "failed": 0});
    let units = json!({"total": 48, "done": 48, "scored": 48, "unparsed": 0, "refused": 0, "failed": 0, "unanswered": 0});
    assert_eq!((&run["answers"], &run["units"]), (&answers, &units));
    assert_eq!(run["used"]["requests"], 54);
    assert_eq!(run["used"]["tokens"], 54 * 1100);
    assert_eq!(stub.requests().len(), 54, "each call once");

    let results = results(&served).await;
    assert_eq!(results.len(), 48);
    let combinations: std::collections::BTreeSet<String> = results
        .iter()
        .map(|result| {
            let metadata = &result["metadata"];
            assert_eq!(result["score"], 8.0);
            assert_eq!((&metadata["run_id"], &metadata["status"]), (&json!(id), &json!("scored")));
            let parts = [
                &result["query_id"],
                &result["model_id"],
                &result["evaluation_prompt_id"],
                &result["judge_model"],
                &metadata["repeat"],
            ];
            parts.map(Value::to_string).join(" ")
        })
        .collect();
    assert_eq!(combinations.len(), 48, "no unit is duplicated");
    let result = &results[0];
    assert!(query_ids.iter().any(|id| result["query_id"] == **id));
    let output_id = result["metadata"]["output_id"].as_str().expect("an id");
    let output = served.get(&format!("/api/v1/outputs/{output_id}")).await.data();
    assert_eq!(output["output"], result["output_text"]);
    assert_eq!(
        (&output["metadata"]["run_id"], &output["metadata"]["campaign"]),
        (&json!(id), &json!("spring"))
    );
    let listed = served.get("/api/v1/runs?state=completed").await.data();
    assert_eq!(listed["items"][0], run);
    let events = served.get(&format!("/api/v1/runs/{id}/events")).await;
    assert_eq!(events.header("content-type"), "text/event-stream");
    assert!(events.text.starts_with("event: progress\ndata: {"), "{events:?}");
}

#[tokio::test]
async fn errors_refusals_unparsed_responses_and_missing_outputs_are_distinguished() {
    let stub = Stub::start(
        |prompt| match prompt {
            prompt if prompt.contains("unread") => completion("It is a fine answer."),
            prompt if prompt.contains("broken") => failure(400, "invalid_request_error", "no"),
            _ => completion(VERDICT),
        },
        |prompt| match prompt {
            "refused?" => failure(400, "content_filter", "The response was filtered"),
            "failing?" => failure(400, "invalid_request_error", "cannot"),
            prompt => completion(prompt),
        },
    );
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["good?", "unread?", "broken?", "refused?", "failing?"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let request = json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric]});
    let id = begin(&served, request).await;
    let run = ended(&served, &id).await;
    let answers = json!({"total": 5, "done": 5, "answered": 3, "refused": 1, "failed": 1});
    let units = json!({"total": 5, "done": 5, "scored": 1, "unparsed": 1, "refused": 0, "failed": 1, "unanswered": 2});
    assert_eq!((&run["answers"], &run["units"]), (&answers, &units), "{run}");
    for result in results(&served).await {
        let metadata = &result["metadata"];
        let status = metadata["status"].as_str().expect("a status");
        let query = result["query_text"].as_str().expect("a query");
        assert_eq!(result["score"].is_null(), status != "scored", "{result}");
        match status {
            "unparsed" => assert_eq!(metadata["raw_text"], "It is a fine answer."),
            "unanswered" => {
                assert!(result["output_text"].is_null());
                let reason = metadata["reason"].as_str().expect("a reason");
                let kind = if query == "refused?" { "content_refused" } else { "bad_request" };
                assert!(reason.starts_with(kind), "{query} {reason}");
            }
            "failed" => assert_eq!(metadata["error_kind"], "bad_request"),
            status => assert_eq!((status, query), ("scored", "good?")),
        }
    }
}

#[tokio::test]
async fn verdicts_are_reused_unless_the_cache_is_disabled() {
    let stub = Stub::start(|_| completion(VERDICT), |_| completion("always the same"));
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["Why?"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let request = |use_cache| {
        json!({
            "theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric], "repeats": 2,
            "use_cache": use_cache,
        })
    };
    let judged = |stub: &Stub| stub.requests().iter().filter(|body| body["model"] == "gpt-4").count();
    let id = begin(&served, request(true)).await;
    ended(&served, &id).await;
    assert_eq!(judged(&stub), 2, "repeats are not reused for each other");
    let id = begin(&served, request(true)).await;
    let run = ended(&served, &id).await;
    assert_eq!(judged(&stub), 2);
    assert_eq!(
        (&run["units"]["scored"], &run["used"]["requests"]),
        (&json!(2), &json!(1)),
        "the model's answer"
    );
    let all = results(&served).await;
    let cached: Vec<&Value> =
        all.iter().filter(|result| !result["metadata"]["cached_from"].is_null()).collect();
    assert_eq!(cached.len(), 2);
    for result in cached {
        let from = &result["metadata"]["cached_from"];
        let first = all.iter().find(|first| first["id"] == *from).expect("it is kept");
        assert_eq!((&first["score"], &first["query_id"]), (&result["score"], &result["query_id"]));
        assert_eq!(result["metadata"]["run_id"], id);
        assert!(result["metadata"].get("cost_usd").is_none(), "nothing was paid");
    }
    let id = begin(&served, request(false)).await;
    ended(&served, &id).await;
    assert_eq!(judged(&stub), 4);
}

#[tokio::test]
async fn models_are_compared_in_both_orders() {
    let stub = Stub::start(
        // Prefers the first output, unless one is the good one.
        |prompt| {
            let place = |text: &str| prompt.find(text);
            completion(match (place("good answer"), place("bad answer")) {
                (Some(good), Some(bad)) if good > bad => r#"{"rationale": "", "winner": "B"}"#,
                _ => r#"{"rationale": "", "winner": "A"}"#,
            })
        },
        completion,
    );
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["same?"]).await;
    let metric = metric(&served, "Which is better, {output_a} or {output_b}?", json!({})).await;
    let request = json!({
        "theme": "physics", "models": ["gpt-4o", "gpt-4o-mini"], "evaluation_prompt_ids": [metric], "mode": "pairwise",
    });
    let id = begin(&served, request).await;
    let run = ended(&served, &id).await;
    assert_eq!((&run["state"], &run["units"]["scored"]), (&json!("completed"), &json!(2)), "{run}");
    let mut winners: Vec<(bool, String)> = results(&served)
        .await
        .iter()
        .map(|result| {
            let metadata = &result["metadata"];
            assert_eq!(
                (&result["model_id"], &metadata["opponent"]),
                (&json!("gpt-4o"), &json!("gpt-4o-mini"))
            );
            assert_eq!((&metadata["mode"], &result["score"]), (&json!("pairwise"), &Value::Null));
            (metadata["swapped"] == true, metadata["winner"].as_str().expect("a winner").to_owned())
        })
        .collect();
    winners.sort();
    // The first output won: the model, and when swapped, its opponent.
    assert_eq!(winners, [(false, "model".to_owned()), (true, "opponent".to_owned())]);
}

#[tokio::test]
async fn run_stops_on_errors_that_need_an_operator_and_resumes_afterwards() {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };
    let is_paid = Arc::new(AtomicBool::new(false));
    let paid = Arc::clone(&is_paid);
    let stub = Stub::start(
        move |_| match paid.load(Ordering::Relaxed) {
            true => completion(VERDICT),
            false => failure(401, "invalid_api_key", "Incorrect API key provided"),
        },
        completion,
    );
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["one", "two", "three"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let request = json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric]});
    let id = begin(&served, request).await;
    let run = ended(&served, &id).await;
    assert_eq!((&run["state"], &run["units"]["done"]), (&json!("stopped"), &json!(0)), "{run}");
    assert!(run["stop_reason"].as_str().expect("a reason").contains("401"), "{run}");
    assert!(results(&served).await.is_empty(), "no unit failed for it");

    let path = format!("/api/v1/runs/{id}");
    served.post(&format!("{path}/cancel"), json!({})).await.message(409);
    is_paid.store(true, Ordering::Relaxed);
    let resume = format!("{path}/resume");
    let form = ("content-type", "application/x-www-form-urlencoded");
    for (headers, body, status) in [(&[][..], "{", 400), (&[form], "a=1", 415), (&[], "null", 422)] {
        served.send(Method::POST, &resume, headers, Some(body.to_owned())).await.message(status);
    }
    // As sent by `curl -X POST` and `curl -d ''`.
    served.send(Method::POST, &resume, &[], None).await.data();
    let run = ended(&served, &id).await;
    assert_eq!((&run["state"], &run["units"]["scored"]), (&json!("completed"), &json!(3)), "{run}");
    let answers = stub.requests().iter().filter(|body| body["model"] == "gpt-4o").count();
    assert_eq!(answers, 3, "existing outputs are not requested again");

    for headers in [&[][..], &[form]] {
        served.send(Method::POST, &resume, headers, Some(String::new())).await.message(409);
    }
    served.send(Method::DELETE, &path, &[], None).await.data();
    served.get(&path).await.message(404);
    assert!(results(&served).await.is_empty());
    let outputs = served.get("/api/v1/outputs?theme=physics").await.data();
    assert_eq!(outputs["items"].as_array().map(Vec::len), Some(3), "outputs stay");
}

#[tokio::test]
async fn failed_units_are_repeated_on_request() {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let stub = Stub::start(
        |_| completion(VERDICT),
        move |prompt| match well.load(Ordering::Relaxed) || prompt == "easy" {
            true => completion(prompt),
            false => failure(500, "server_error", "The server had an error"),
        },
    );
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["easy", "hard"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let request = json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric]});
    let id = begin(&served, request).await;
    let run = ended(&served, &id).await;
    assert_eq!((&run["units"]["scored"], &run["units"]["unanswered"]), (&json!(1), &json!(1)), "{run}");
    is_well.store(true, Ordering::Relaxed);
    served.post(&format!("/api/v1/runs/{id}/resume"), json!({"retry_failed": true})).await.data();
    let run = ended(&served, &id).await;
    assert_eq!((&run["state"], &run["units"]["scored"]), (&json!("completed"), &json!(2)), "{run}");
    assert_eq!(results(&served).await.len(), 2, "the failure is replaced");
}

#[tokio::test]
async fn exhausted_budget_stops_a_run_and_a_higher_one_resumes_it() {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["one", "two", "three", "four"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let request = json!({
        "theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric], "budget": {"requests": 3},
    });
    let id = begin(&served, request).await;
    let run = ended(&served, &id).await;
    assert_eq!((&run["state"], &run["used"]["requests"]), (&json!("stopped"), &json!(3)), "{run}");
    assert!(run["stop_reason"].as_str().expect("a reason").contains("budget of 3 requests"), "{run}");
    assert_eq!(stub.requests().len(), 3);
    let path = format!("/api/v1/runs/{id}/resume");
    served.post(&path, json!({"budget": {"requests": 100}})).await.data();
    let run = ended(&served, &id).await;
    assert_eq!((&run["state"], &run["used"]["requests"]), (&json!("completed"), &json!(8)), "{run}");
}

#[tokio::test]
async fn retried_request_finds_its_run() {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["one"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let body =
        json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric]}).to_string();
    let headers = [("Idempotency-Key", "once")];
    let first = served.send(Method::POST, "/api/v1/runs", &headers, Some(body.clone())).await;
    let second = served.send(Method::POST, "/api/v1/runs", &headers, Some(body)).await;
    assert_eq!(first.data()["id"], second.data()["id"]);
    let other =
        json!({"theme": "physics", "models": ["gpt-4o-mini"], "evaluation_prompt_ids": [metric]}).to_string();
    served.send(Method::POST, "/api/v1/runs", &headers, Some(other)).await.message(409);
    assert_eq!(second.header("idempotency-replayed"), "true");
    ended(&served, first.data()["id"].as_str().expect("an id")).await;
    assert_eq!(stub.requests().len(), 2);
}

#[tokio::test]
async fn process_without_the_key_leaves_the_run_to_others_and_several_share_it() {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_with_provider(stub.provider()).await;
    let without_key = Served::start_on(&served.database_url(), ServerConfig::default()).await;
    let another = Served::start_with_provider_on(&served.database_url(), stub.provider()).await;
    let texts: Vec<String> = (0..40).map(|number| format!("question {number}")).collect();
    queries(&served, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let request = json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric]});
    let id = begin(&served, request).await;
    let run = ended(&another, &id).await;
    assert_eq!((&run["state"], &run["units"]["scored"]), (&json!("completed"), &json!(40)), "{run}");
    assert_eq!(stub.requests().len(), 80, "no call was made twice");
    let path = format!("/api/v1/runs/{id}/resume");
    let answer = without_key.post(&path, json!({"retry_failed": true})).await;
    assert_eq!(refused_field(&answer), "models", "it could not do it");
}

#[tokio::test]
async fn invalid_runs_are_rejected_by_field_before_a_model_is_called() {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["one"]).await;
    let good = metric(&served, "Is it correct?", json!({})).await;
    let no_output = metric(&served, "Is {query} good?", json!({})).await;
    let request = json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [good]});
    let with = |field: &str, value: Value| {
        let mut request = request.clone();
        request[field] = value;
        request
    };
    let cases = [
        (with("evaluation_prompt_ids", json!(["nobody's"])), "evaluation_prompt_ids[0]"),
        (with("evaluation_prompt_ids", json!([])), "evaluation_prompt_ids"),
        (with("evaluation_prompt_ids", json!([no_output])), "evaluation_prompt_ids[0]"),
        (with("models", json!([])), "models"),
        (with("models", json!(["nobody-knows-it"])), "models"),
        (with("models", json!(["claude-3-opus-20240229"])), "models"),
        (with("models", json!(["gpt-4o", "gpt-4o"])), "models[1]"),
        (with("judge_models", json!(["nobody-knows-it"])), "judge_models"),
        (with("mode", json!("pairwise")), "models"),
        (with("limit", json!(0)), "limit"),
        (with("repeats", json!(0)), "repeats"),
        (with("theme", json!("of nobody")), "theme"),
        (with("query_ids", json!(["x"])), "query_ids"),
        (with("budget", json!({"cost_usd": -1})), "budget.cost_usd"),
        (with("providers", json!({"gpt-5": "openai"})), "providers.gpt-5"),
        (with("metadata", json!({"run_id": "mine"})), "metadata.run_id"),
        (with("modells", json!(1)), "modells"),
    ];
    for (request, field) in cases {
        let answer = served.post("/api/v1/runs", request.clone()).await;
        assert_eq!(refused_field(&answer), field, "{request}");
    }
    let mut without = request.clone();
    without.as_object_mut().expect("an object").remove("theme");
    assert_eq!(refused_field(&served.post("/api/v1/runs", without).await), "theme");
    served.get("/api/v1/runs/nobody").await.message(404);
    assert!(stub.requests().is_empty());
    assert_eq!(served.get("/api/v1/runs").await.data()["items"], json!([]));
}
