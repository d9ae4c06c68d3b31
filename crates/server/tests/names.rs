//! Names that users' dashboards, clients and stored data depend on. The golden files list only names; other tests
//! check values.

use std::collections::BTreeSet;

use expect_test::expect_file;
use serde_json::{Value, json};
use test_support::Shape;

use crate::{
    evaluations::{Stub, completion, failure, metric},
    operation::operations,
    runs::{VERDICT, begin, ended, queries},
    served::Served,
};

#[tokio::test]
async fn metrics_keep_their_names_and_labels() {
    let served = Served::start().await;
    served.post("/api/v1/queries", json!({"query": "Why?", "theme": "t"})).await.data();
    let metrics = served.get("/metrics").await.text;
    let is_bucket = |line: &&str| !line.contains("_bucket{") || line.contains("le=\"+Inf\"");
    let names =
        metrics.lines().filter(|line| !line.starts_with("# HELP") && *line != "# EOF").filter(is_bucket);
    let names: BTreeSet<String> = names
        .map(|line| match line.strip_prefix("# ") {
            Some(description) => description.to_owned(),
            // `name{label="value",…} number` without values.
            None => {
                let line = line.rsplit_once(' ').map_or(line, |(name, _)| name);
                line.split('"').step_by(2).collect::<String>()
            }
        })
        .collect();
    let names: String = names.into_iter().map(|name| name + "\n").collect();
    expect_file!["names/metrics.txt"].assert_eq(&names);
}

#[tokio::test]
async fn bodies_parameters_and_responses_keep_their_fields() {
    let served = Served::start().await;
    let document = served.get("/openapi.json").await.json();
    let mut listed = String::new();
    for (method, path, operation) in operations(&document) {
        listed += &format!("{} {path}\n", method.to_uppercase());
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let parameters: BTreeSet<String> = parameters
            .filter(|parameter| parameter["in"] != "path")
            .map(|parameter| {
                let shape = shape(&document, &parameter["schema"]).to_string();
                let name = parameter["name"].as_str().expect("a name");
                if shape.is_empty() { name.to_owned() } else { format!("{name}: {shape}") }
            })
            .collect();
        if !parameters.is_empty() {
            listed += &format!("  parameters: {}\n", parameters.into_iter().collect::<Vec<_>>().join(", "));
        }
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        if !body.is_null() {
            listed += &format!("  body: {}\n", shape(&document, body));
        }
        let answers = operation["responses"]["200"]["content"].as_object().into_iter().flatten();
        for (kind, answer) in answers {
            listed += &format!("  {kind}: {}\n", shape(&document, &answer["schema"]));
        }
    }
    expect_file!["names/wire.txt"].assert_eq(&listed);
}

/// The shape of the values that a JSON schema describes.
fn shape(document: &Value, schema: &Value) -> Shape {
    let mut shape = Shape::default();
    add_schema(document, schema, &mut shape, 0);
    shape
}

fn add_schema(document: &Value, schema: &Value, shape: &mut Shape, depth: usize) {
    assert!(depth < 30, "schemas end: {schema}");
    if let Some(pointer) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        let referred = document.pointer(pointer).expect("references hold");
        add_schema(document, referred, shape, depth + 1);
    }
    for kind in ["anyOf", "oneOf", "allOf"] {
        for schema in schema[kind].as_array().into_iter().flatten() {
            add_schema(document, schema, shape, depth + 1);
        }
    }
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        add_schema(document, schema, shape.keys.entry(key.clone()).or_default(), depth + 1);
    }
    if schema["items"].is_object() {
        add_schema(document, &schema["items"], shape.elements.get_or_insert_default(), depth + 1);
    }
    let words = schema["enum"].as_array().into_iter().flatten().chain(schema.get("const"));
    shape.words.extend(words.filter_map(Value::as_str).map(str::to_owned));
}

#[tokio::test]
async fn stored_json_keeps_its_keys() {
    let stub = Stub::start(
        |prompt| match prompt {
            prompt if prompt.contains("unread") => completion("It is a fine answer."),
            prompt if prompt.contains("broken") => failure(400, "invalid_request_error", "no"),
            prompt if prompt.contains("declined") => {
                failure(400, "content_filter", "The response was filtered")
            }
            prompt if prompt.contains("compare") => completion(r#"{"rationale": "", "winner": "A"}"#),
            _ => completion(VERDICT),
        },
        |prompt| match prompt {
            "refused?" => failure(400, "content_filter", "The response was filtered"),
            // Both models give the same output, so that verdicts are reused.
            prompt => completion(prompt),
        },
    );
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["good?", "unread?", "broken?", "declined?", "refused?"]).await;
    let pointwise = metric(&served, "Is it correct?", json!({"scale_max": 5, "clamp": true})).await;
    let pairwise = metric(&served, "Please compare {output_a} and {output_b}.", json!({})).await;
    let budget = json!({"requests": 100, "tokens": 1_000_000, "cost_usd": 100.0, "wall_time_s": 3600});
    for (metric, mode) in [(&pointwise, "pointwise"), (&pointwise, "pointwise"), (&pairwise, "pairwise")] {
        let request = json!({
            "name": "names", "theme": "physics", "models": ["gpt-4o", "gpt-4o-mini"], "mode": mode,
            "evaluation_prompt_ids": [metric], "metadata": {"own": 1}, "budget": budget,
        });
        let id = begin(&served, request).await;
        let run = ended(&served, &id).await;
        assert_eq!(run["state"], "completed", "{run}");
    }
    let request = json!({"theme": "physics", "model_id": "gpt-4o", "evaluation_prompt_ids": [pointwise]});
    served.post("/api/v1/evaluate/theme", request).await.data();

    let mut listed = String::new();
    for (name, statement) in [
        ("llm_outputs.metadata", "select metadata::text from llm_outputs"),
        ("runs.plan", "select plan from runs"),
        ("runs.allowance", "select allowance from runs"),
        (
            "run_tasks.answer_metadata",
            "select answer_metadata from run_tasks where answer_metadata is not null",
        ),
    ] {
        listed += &format!("{name}: {}\n", together(&served.texts(statement).await));
    }
    let results = served.texts("select result_metadata::text from evaluation_results").await;
    let results: Vec<Value> =
        results.iter().map(|text| serde_json::from_str(text).expect("it is JSON")).collect();
    let group = |metadata: &Value| {
        let made = if metadata["run_id"].is_null() { "request" } else { "run" };
        let mode = metadata["mode"].as_str().unwrap_or("pointwise");
        let cached = if metadata["cached_from"].is_null() { "" } else { " cached" };
        format!("{made} {mode} {}{cached}", metadata["status"].as_str().expect("a status"))
    };
    let groups: BTreeSet<String> = results.iter().map(group).collect();
    for name in groups {
        let mut shape = Shape::default();
        results.iter().filter(|result| group(result) == name).for_each(|result| shape.add(result));
        listed += &format!("evaluation_results.result_metadata {name}: {shape}\n");
    }
    for (name, statement) in [
        ("runs.state", "select distinct state from runs order by 1"),
        ("run_tasks.kind", "select distinct kind from run_tasks order by 1"),
        ("run_tasks.outcome", "select distinct outcome from run_tasks order by 1"),
        ("run_attempts.outcome", "select distinct outcome from run_attempts order by 1"),
    ] {
        listed += &format!("{name}: {}\n", served.texts(statement).await.join(" "));
    }
    expect_file!["names/stored.txt"].assert_eq(&listed);
}

/// The combined shape of JSON texts.
fn together(texts: &[String]) -> Shape {
    assert!(!texts.is_empty(), "there are some");
    let mut shape = Shape::default();
    texts.iter().for_each(|text| shape.add(&serde_json::from_str(text).expect("it is JSON")));
    shape
}
