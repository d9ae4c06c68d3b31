//! Models answer, judges score, and the results are stored. The provider is an OpenAI-compatible stub.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use judge::provider::ProviderConfig;
use reqwest::Method;
use serde_json::{Value, json};
use server::{ApiKey, ServerConfig};
use store::postgres::ResultSelection;
use test_support::{HttpAnswer, HttpRequest, HttpStub};

use crate::served::{Answer, KEY, Served};

/// A provider, and the bodies of its requests.
pub(crate) struct Stub {
    server: HttpStub,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl Stub {
    /// Responds to a judge, whose prompt requests JSON, by `judge`, and to other models by `model`.
    pub(crate) fn start(
        judge: impl Fn(&str) -> HttpAnswer + Send + Sync + 'static,
        model: impl Fn(&str) -> HttpAnswer + Send + Sync + 'static,
    ) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let server = HttpStub::start(move |request: &HttpRequest| {
            let body: Value = serde_json::from_slice(&request.body).expect("a JSON body");
            let prompt = body["messages"][0]["content"].as_str().expect("a prompt").to_owned();
            seen.lock().expect("no holder panics").push(body);
            Some(if prompt.contains("Answer with a JSON object") { judge(&prompt) } else { model(&prompt) })
        });
        Self { server, requests }
    }

    /// A judge that responds with `words`, and a model that repeats its prompt.
    pub(crate) fn judging(words: &'static str) -> Self {
        Self::start(move |_| completion(words), |prompt| completion(&format!("Echo: {prompt}")))
    }

    pub(crate) fn provider(&self) -> ProviderConfig {
        ProviderConfig { base_url: format!("{}/v1", self.server.url()), ..ProviderConfig::openai(None) }
    }

    pub(crate) fn requests(&self) -> Vec<Value> {
        self.requests.lock().expect("no holder panics").clone()
    }
}

/// Each completion has a different id.
pub(crate) fn completion(text: &str) -> HttpAnswer {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    completion_with_id(text, &format!("chatcmpl-{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
}

fn completion_with_id(text: &str, id: &str) -> HttpAnswer {
    let answer = json!({
        "id": id, "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
    });
    HttpAnswer::json(200, &answer.to_string())
}

pub(crate) fn failure(status: u16, kind: &str, message: &str) -> HttpAnswer {
    HttpAnswer::json(status, &json!({"error": {"message": message, "type": kind, "code": kind}}).to_string())
}

pub(crate) async fn metric(served: &Served, prompt: &str, metadata: Value) -> String {
    let body = json!({"prompt": prompt, "metric_type": "quality", "metadata": metadata});
    let stored = served.post("/api/v1/evaluation-metrics", body).await.data();
    stored["id"].as_str().expect("an id").to_owned()
}

fn query(metrics: &[&str]) -> Value {
    json!({
        "query": "Why is the sky blue?", "model_id": "gpt-4o", "theme": "physics", "evaluation_prompt_ids": metrics,
        "metadata": {"campaign": "spring"},
    })
}

/// The field that an answer with status 422 names.
pub(crate) fn refused_field(answer: &Answer) -> String {
    answer.message(422);
    answer.json()["data"]["field"].as_str().expect("a field").to_owned()
}

#[tokio::test]
async fn query_is_answered_judged_and_stored() {
    let stub = Stub::judging(r#"{"rationale": "good", "score": 8}"#);
    let served = Served::start_with_provider(stub.provider()).await;
    let first = metric(&served, "Is it correct?", json!({})).await;
    let second = metric(&served, "Is {output} an answer to {query}?", json!({"scale_max": 5.0})).await;
    let data = served.post("/api/v1/evaluate/query", query(&[&first, &second])).await.data();

    let output = &data["output"];
    let id = output["id"].as_str().expect("an id");
    assert!(id.starts_with("chatcmpl-"), "the provider's id: {id}");
    assert_eq!(output["output"], "Echo: Why is the sky blue?");
    let expected = [
        ("theme", json!("physics")),
        ("model_id", json!("gpt-4o")),
        ("query", json!("Why is the sky blue?")),
        ("campaign", json!("spring")),
        ("provider", json!("openai")),
        ("model_version", json!("gpt-4o-2024-08-06")),
        ("input_tokens", json!(1000)),
        ("output_tokens", json!(100)),
        ("cost_usd", json!(0.0035)),
    ];
    for (key, value) in expected {
        assert_eq!(output["metadata"][key], value, "{key}");
    }
    assert!(output["metadata"]["latency_ms"].is_u64() && output["metadata"]["timestamp"].is_string());
    assert_eq!(served.get(&format!("/api/v1/outputs/{id}")).await.data(), *output);

    let evaluations = data["evaluations"].as_array().expect("a list");
    assert_eq!(evaluations.len(), 2);
    assert_eq!((&evaluations[0]["score"], &evaluations[1]["score"]), (&json!(8.0), &json!(8.0)));
    let metadata = &evaluations[0]["metadata"];
    assert_eq!((&metadata["status"], &metadata["out_of_range"]), (&json!("scored"), &json!(false)));
    assert_eq!(
        evaluations[1]["metadata"]["out_of_range"], true,
        "its scale ends at 5, and it is kept as given"
    );
    assert_eq!(metadata["raw_text"], r#"{"rationale": "good", "score": 8}"#);
    assert_eq!(metadata["fingerprint"].as_str().map(str::len), Some(64));
    assert_eq!(
        (&metadata["evaluation_prompt_id"], &metadata["judge_model"]),
        (&json!(first), &json!("gpt-4"))
    );
    assert_eq!(metadata["output_id"], *id);

    let results = served.get("/api/v1/results?theme=physics").await.data();
    assert_eq!(results["pagination"]["total"], 2);
    let kept = &served.get(&format!("/results?evaluation_prompt_id={first}")).await.json()[0];
    assert_eq!((&kept["id"], &kept["score"]), (&evaluations[0]["id"], &json!(8.0)));
    assert_eq!((&kept["output_text"], &kept["query_id"]), (&output["output"], &Value::Null));
    assert_eq!(kept["metadata"]["cost_usd"], json!((1000.0 * 30.0 + 100.0 * 60.0) / 1e6));

    let requests = stub.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!((&requests[0]["model"], &requests[0]["temperature"]), (&json!("gpt-4o"), &json!(0.7)));
    assert_eq!((&requests[1]["model"], &requests[1]["temperature"]), (&json!("gpt-4"), &json!(0.0)));
}

#[tokio::test]
async fn legacy_routes_answer_the_bare_data() {
    let stub = Stub::judging("7");
    let served = Served::start_with_provider(stub.provider()).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let bare = served.post("/evaluate/query", query(&[&metric])).await.json();
    assert_eq!(bare["evaluations"][0]["score"], 7.0);
    served.post("/queries", json!({"query": "Why?", "theme": "physics"})).await;
    let body = json!({"theme": "physics", "model_id": "gpt-4o", "evaluation_prompt_ids": [metric]});
    let list = served.post("/evaluate/theme", body).await.json();
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    assert_eq!(list[0]["output"]["output"], "Echo: Why?");
    assert_eq!(served.get("/models").await.json(), served.get("/api/v1/models").await.data());
}

#[tokio::test]
async fn judgement_without_a_score_is_stored_without_one() {
    let judge = |prompt: &str| match prompt {
        prompt if prompt.starts_with("words") => completion("It is quite good, I think."),
        prompt if prompt.starts_with("eleven") => completion("11"),
        prompt if prompt.starts_with("clamped") => completion("11"),
        prompt if prompt.starts_with("nobody") => failure(400, "invalid_request_error", "no such thing"),
        _ => failure(400, "content_policy_violation", "declined"),
    };
    let stub = Stub::start(judge, |_| completion("Because."));
    let served = Served::start_with_provider(stub.provider()).await;
    let mut metrics = Vec::new();
    for prompt in ["words", "eleven", "clamped", "nobody", "policy"] {
        metrics.push(metric(&served, prompt, json!({"clamp": prompt == "clamped"})).await);
    }
    let metrics: Vec<&str> = metrics.iter().map(String::as_str).collect();
    let data = served.post("/api/v1/evaluate/query", query(&metrics)).await.data();
    let evaluations = data["evaluations"].as_array().expect("a list");
    let seen: Vec<(Value, &str)> = evaluations
        .iter()
        .map(|one| (one["score"].clone(), one["metadata"]["status"].as_str().expect("a status")))
        .collect();
    let expected = [
        (Value::Null, "unparsed"),
        (json!(11.0), "scored"),
        (json!(10.0), "scored"),
        (Value::Null, "failed"),
        (Value::Null, "refused"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(evaluations[0]["metadata"]["raw_text"], "It is quite good, I think.");
    for scored in &evaluations[1..3] {
        assert_eq!(scored["metadata"]["out_of_range"], true);
    }
    assert_eq!(evaluations[3]["metadata"]["error_kind"], "bad_request");
    let results = served.database.evaluation_results(&ResultSelection::default(), 0, 10).await;
    let scores: Vec<Option<f64>> = metrics
        .iter()
        .map(|id| {
            let result = results.as_ref().expect("they are listed").iter().map(|stored| &stored.result);
            let mut result = result.filter(|result| result.evaluation_prompt_id.as_deref() == Some(id));
            result.next().expect("each is kept").score
        })
        .collect();
    assert_eq!(scores, [None, Some(11.0), Some(10.0), None, None]);
}

#[tokio::test]
async fn theme_continues_after_a_failed_query() {
    let model = |prompt: &str| match prompt {
        "two" => failure(400, "invalid_request_error", "two is too much"),
        prompt => completion(prompt),
    };
    let stub = Stub::start(|_| completion("5"), model);
    let served = Served::start_with_provider(stub.provider()).await;
    let metric = metric(&served, "Good?", json!({})).await;
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        let body = json!({"query": text, "theme": "numbers"});
        ids.push(served.post("/api/v1/queries", body).await.data()["id"].clone());
    }
    served.post("/api/v1/queries", json!({"query": "other", "theme": "letters"})).await.data();
    let body = |limit| json!({"theme": "numbers", "model_id": "gpt-4o", "evaluation_prompt_ids": [metric], "limit": limit});
    let data = served.post("/api/v1/evaluate/theme", body(100)).await.data();
    let list = data.as_array().expect("a list");
    assert_eq!(list.len(), 3);
    assert_eq!(list[0]["output"]["output"], "three", "newest first");
    assert_eq!(list[1]["query"], "two");
    assert_eq!(list[1].as_object().map(serde_json::Map::len), Some(2));
    let error = list[1]["error"].as_str().expect("a text");
    assert!(error.contains("two is too much"), "{error}");
    assert_eq!(list[2]["evaluations"][0]["score"], 5.0);
    let results = served.get("/results?theme=numbers").await.json();
    let mut judged: Vec<&Value> =
        results.as_array().expect("a list").iter().map(|one| &one["query_id"]).collect();
    judged.sort_by_key(|id| id.as_str());
    let mut expected = vec![&ids[0], &ids[2]];
    expected.sort_by_key(|id| id.as_str());
    assert_eq!(judged, expected);

    assert_eq!(served.post("/api/v1/evaluate/theme", body(1)).await.data().as_array().map(Vec::len), Some(1));
    assert_eq!(refused_field(&served.post("/api/v1/evaluate/theme", body(0)).await), "limit");
    let empty = json!({"theme": "none", "model_id": "gpt-4o", "evaluation_prompt_ids": [metric]});
    assert_eq!(served.post("/api/v1/evaluate/theme", empty).await.data(), json!([]));
}

#[tokio::test]
async fn invalid_requests_are_rejected_before_a_model_is_called() {
    let stub = Stub::judging("5");
    let served = Served::start_with_provider(stub.provider()).await;
    let good = metric(&served, "Good?", json!({})).await;
    let reference = metric(&served, "Is {output} as good as {reference}?", json!({})).await;
    let bad_scale = metric(&served, "Good?", json!({"scale_min": 10, "scale_max": 1})).await;
    let cases = [
        (json!({"evaluation_prompt_ids": [good, "nobody"]}), "evaluation_prompt_ids[1]"),
        (json!({"evaluation_prompt_ids": [reference]}), "evaluation_prompt_ids[0]"),
        (json!({"evaluation_prompt_ids": [bad_scale]}), "evaluation_prompt_ids[0]"),
        (json!({"evaluation_prompt_ids": []}), "evaluation_prompt_ids"),
        (json!({"model_id": "llama-3"}), "model_id"),
        (json!({"model_id": "llama-3", "model_provider": "meta"}), "model_provider"),
        (json!({"judge_model": "llama-3"}), "judge_model"),
        (json!({"model_id": "claude-3-opus-20240229"}), "model_id"),
        (json!({"judge_model": "gemini-1.5-pro"}), "judge_model"),
        (json!({"metadata": {"provider": "me"}}), "metadata.provider"),
        (json!({"metadata": {"theme": "other"}}), "metadata.theme"),
    ];
    for (change, field) in cases {
        let mut body = query(&[&good]);
        let changes = change.as_object().expect("an object").clone();
        body.as_object_mut().expect("an object").extend(changes);
        let answer = served.post("/api/v1/evaluate/query", body).await;
        assert_eq!(refused_field(&answer), field, "{change}: {answer:?}");
    }
    let mut keyless = query(&[&good]);
    keyless["model_id"] = "claude-3-opus-20240229".into();
    let message = served.post("/api/v1/evaluate/query", keyless).await.message(422);
    assert!(message.contains("THE_KEY"), "{message}");
    assert_eq!(stub.requests(), Vec::<Value>::new());
    let with_reference = json!({
        "query": "Why?", "model_id": "gpt-4o", "theme": "t", "evaluation_prompt_ids": [reference],
        "metadata": {"reference": "Because."},
    });
    let data = served.post("/api/v1/evaluate/query", with_reference).await.data();
    assert_eq!(data["evaluations"][0]["score"], 5.0);
    let prompt = stub.requests()[1]["messages"][0]["content"].to_string();
    assert!(prompt.contains("Is Echo: Why? as good as Because.?"), "{prompt}");
}

#[tokio::test]
async fn status_of_a_model_failure_says_whether_a_retry_may_help() {
    let model = |prompt: &str| match prompt {
        "key" => failure(401, "invalid_api_key", "Incorrect API key provided: sk-secret."),
        "busy" => failure(429, "rate_limit_exceeded", "slow down").with_header("retry-after", "1000"),
        "broken" => failure(500, "server_error", "it broke"),
        _ => completion("   "),
    };
    let stub = Stub::start(|_| completion("5"), model);
    let mut provider = stub.provider();
    provider.key = Some("sk-secret".to_owned().into());
    let served = Served::start_with_provider(provider).await;
    let metric = metric(&served, "Good?", json!({})).await;
    let ask = async |text: &str| {
        let mut body = query(&[&metric]);
        body["query"] = text.into();
        served.post("/api/v1/evaluate/query", body).await
    };
    let refused = ask("key").await;
    let message = refused.message(502);
    assert!(message.contains("`gpt-4o`") && !refused.text.contains("sk-secret"), "{message}");
    let busy = ask("busy").await;
    busy.message(503);
    assert_eq!(busy.header("retry-after"), "1000");
    ask("broken").await.message(503);
    assert!(ask("blank").await.message(502).contains("empty"));
    assert_eq!(served.get("/api/v1/results").await.data()["pagination"]["total"], 0);
    assert_eq!(served.get("/api/v1/outputs/count").await.data()["count"], 0);
}

#[tokio::test]
async fn output_whose_provider_id_is_taken_gets_a_new_id() {
    let model = |prompt: &str| completion_with_id(prompt, "chatcmpl-7");
    let stub = Stub::start(|_| completion("5"), model);
    let served = Served::start_with_provider(stub.provider()).await;
    let metric = metric(&served, "Good?", json!({})).await;
    let ask =
        async || served.post("/api/v1/evaluate/query", query(&[&metric])).await.data()["output"].clone();
    let (first, second) = (ask().await, ask().await);
    assert_eq!(first["id"], "chatcmpl-7");
    assert_ne!(second["id"], "chatcmpl-7");
    for output in [&first, &second] {
        assert_eq!(output["metadata"]["provider_id"], "chatcmpl-7");
    }
    assert_eq!(served.get("/api/v1/outputs/count").await.data()["count"], 2);
}

#[tokio::test]
async fn models_are_registered_by_request_or_by_their_first_answer() {
    let stub = Stub::judging("5");
    let served = Served::start_with_provider(stub.provider()).await;
    let metric = metric(&served, "Good?", json!({})).await;
    let find = async |id: &str| {
        let models = served.get("/api/v1/models").await.data();
        let models = models.as_array().expect("a list").clone();
        models.into_iter().filter(|model| model["id"] == id).collect::<Vec<_>>()
    };
    let known = json!({"id": "gpt-4o", "name": "GPT-4o", "provider": "openai", "is_judge_compatible": true});
    assert_eq!(find("gpt-4o").await, [known]);

    // By request, repeatedly.
    let local = json!({"id": "smollm2", "provider": "openai", "is_judge_compatible": false});
    let shown =
        json!({"id": "smollm2", "name": "smollm2", "provider": "openai", "is_judge_compatible": false});
    for replayed in ["", "true"] {
        let answer = served.post("/api/v1/models", local.clone()).await;
        assert_eq!((answer.data(), answer.header("idempotency-replayed")), (shown.clone(), replayed));
    }
    let renamed = json!({"id": "smollm2", "provider": "openai", "name": "SmolLM 2"});
    served.post("/api/v1/models", renamed).await.data();
    assert_eq!(
        find("smollm2").await,
        [json!({"id": "smollm2", "name": "SmolLM 2", "provider": "openai", "is_judge_compatible": true})]
    );
    let unknown = served.post("/api/v1/models", json!({"id": "x", "provider": "meta"})).await;
    assert_eq!(refused_field(&unknown), "provider");

    // By their first answer, with the provider implied by the name or given in the request.
    let mut body = query(&[&metric]);
    body["model_id"] = "gpt-9-huge".into();
    let answer = served.post("/api/v1/evaluate/query", body.clone()).await;
    assert_eq!(answer.header("x-panopticon-registered-models"), "gpt-9-huge%20(openai)");
    assert_eq!(find("gpt-9-huge").await[0]["provider"], "openai");
    let answer = served.post("/api/v1/evaluate/query", body.clone()).await;
    assert_eq!(answer.header("x-panopticon-registered-models"), "", "it is known");
    body["model_id"] = "llama-3".into();
    body["judge_model"] = "llama-3".into();
    body["model_provider"] = "openai".into();
    let answer = served.send(Method::POST, "/evaluate/query", &[], Some(body.to_string())).await;
    assert_eq!(answer.header("x-panopticon-registered-models"), "llama-3%20(openai)");
    assert_eq!(find("llama-3").await.len(), 1);
}

#[tokio::test]
async fn queries_and_metrics_may_be_at_separate_services() {
    let stub = Stub::judging("5");
    let config = ServerConfig { api_key: Some(ApiKey::new(KEY)), ..ServerConfig::default() };
    let separate = Served::start_with(config).await;
    let keyed = [("x-api-key", KEY)];
    let id = "a/b?c";
    let metric = json!({"id": id, "prompt": "Good?", "metric_type": "quality"}).to_string();
    separate.send(Method::POST, "/api/v1/evaluation-metrics", &keyed, Some(metric)).await.data();
    let mut ids = Vec::new();
    for text in ["one", "two"] {
        let body = json!({"query": text, "theme": "a/b"}).to_string();
        ids.push(
            separate.send(Method::POST, "/api/v1/queries", &keyed, Some(body)).await.data()["id"].clone(),
        );
    }
    let served = Served::start_with_separate_services(stub.provider(), Some(&separate.url)).await;
    let body = json!({"theme": "a/b", "model_id": "gpt-4o", "evaluation_prompt_ids": [id]});
    let data = served.post("/api/v1/evaluate/theme", body).await.data();
    assert_eq!(data[0]["output"]["output"], "Echo: two", "newest first");
    assert_eq!(data[1]["evaluations"][0]["metadata"]["evaluation_prompt_id"], id);
    let mut judged: Vec<Value> = served.get("/results").await.json().as_array().expect("a list").clone();
    judged.iter_mut().for_each(|result| *result = result["query_id"].take());
    assert!(judged.len() == 2 && ids.iter().all(|id| judged.contains(id)), "{judged:?}");
    let unknown = served.post("/api/v1/evaluate/query", query(&["nobody"])).await;
    assert_eq!(refused_field(&unknown), "evaluation_prompt_ids[0]");

    let nowhere = Served::start_with_separate_services(stub.provider(), Some("http://127.0.0.1:9")).await;
    let message = nowhere.post("/api/v1/evaluate/query", query(&[id])).await.message(502);
    assert!(message.contains("evaluation"), "{message}");
}
