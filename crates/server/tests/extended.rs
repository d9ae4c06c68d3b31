//! The routes beyond the contract.

use reqwest::Method;
use serde_json::{Value, json};

use crate::served::Served;

const OUTPUTS: &str = "/api/v1/outputs";

fn output(text: &str, model: &str, n: u32) -> Value {
    json!({"output": text, "theme": "t", "model_id": model, "query": "Why?", "metadata": {"n": n}})
}

fn with_id(mut record: Value, id: &str) -> Value {
    record["id"] = json!(id);
    record
}

#[tokio::test]
async fn retried_post_finds_its_record_by_key_or_id() {
    let served = Served::start().await;
    let store = async |key: &str, body: Value| {
        served
            .send(Method::POST, "/api/v1/queries", &[("idempotency-key", key)], Some(body.to_string()))
            .await
    };
    let body = json!({"query": "Why?", "theme": "t"});
    let first = store("k1", body.clone()).await;
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = store("k1", body.clone()).await;
    assert_eq!((again.data(), again.header("idempotency-replayed")), (first.data(), "true"));
    let other = store("k1", json!({"query": "Why not?", "theme": "t"})).await;
    assert!(other.message(409).contains("another query has the id"), "{other:?}");
    assert_ne!(store("k2", body.clone()).await.data()["id"], first.data()["id"]);
    let refused = store("", body.clone()).await;
    assert_eq!(refused.json()["data"]["field"], "Idempotency-Key", "{refused:?}");

    let named = with_id(body, "mine/1");
    let first = served.post("/queries", named.clone()).await;
    let again = served.post("/queries", named.clone()).await;
    assert_eq!((first.json(), again.header("idempotency-replayed")), (again.json(), "true"));
    assert_eq!(first.json()["id"], "mine/1");
    served.post("/queries", json!({"query": "x", "theme": "t", "id": "mine/1"})).await.message(409);
    served.post("/queries", json!({"query": "x", "theme": "t", "id": ""})).await.message(422);
    assert_eq!(served.get("/api/v1/queries/count").await.data()["count"], 3);
}

#[tokio::test]
async fn batch_is_stored_atomically_or_record_by_record() {
    let served = Served::start().await;
    let path = format!("{OUTPUTS}/batch");
    let items: Vec<Value> = (0..3).map(|n| with_id(output("Because.", "m", n), &format!("id-{n}"))).collect();
    let stored = served.post(&path, json!({"items": items})).await.data();
    assert_eq!((&stored["stored"], &stored["items"][2]["status"]), (&json!(3), &json!("stored")));
    assert_eq!(stored["items"][1]["record"]["metadata"]["model_id"], "m");
    let again = served.post(&path, json!({"items": items})).await;
    assert_eq!((again.data()["stored"].clone(), again.header("idempotency-replayed")), (json!(3), "true"));

    let mixed = json!([
        with_id(output("New.", "m", 9), "id-9"),
        with_id(output("Another.", "m", 1), "id-1"),
        with_id(
            json!({"output": "x", "theme": "t", "model_id": "m", "query": "q", "metadata": {"a": -0.0}}),
            "id-8"
        ),
    ]);
    let refused = served.post(&path, json!({"items": mixed})).await;
    assert_eq!((refused.status, &refused.json()["data"]["field"]), (422, &json!("items[2].metadata.a")));
    let conflict = served.post(&path, json!({"items": [mixed[0], mixed[1]]})).await;
    assert_eq!(conflict.json()["data"]["field"], "items[1].id", "{conflict:?}");
    assert!(conflict.message(409).contains("1 of 2 records conflict, none was stored"), "{conflict:?}");
    assert_eq!(served.get(&format!("{OUTPUTS}/count")).await.data()["count"], 3);

    let each = served.post(&path, json!({"items": mixed, "on_error": "continue"})).await.data();
    let statuses: Vec<&Value> =
        each["items"].as_array().expect("a list").iter().map(|item| &item["status"]).collect();
    assert_eq!(statuses, ["stored", "conflict", "refused"]);
    assert_eq!((&each["stored"], &each["items"][2]["error"]["field"]), (&json!(1), &json!("metadata.a")));
    assert_eq!(each["items"][2]["record"], Value::Null);

    // A key identifies each record of a batch by its index.
    let batch = json!({"items": [output("a", "m", 1), output("b", "m", 2)]}).to_string();
    let keyed = async || {
        served.send(Method::POST, &path, &[("idempotency-key", "k")], Some(batch.clone())).await.data()
    };
    let ids = |data: Value| [data["items"][0]["id"].clone(), data["items"][1]["id"].clone()];
    let (first, again) = (ids(keyed().await), ids(keyed().await));
    assert_eq!(first, again);
    assert_ne!(first[0], first[1]);
}

#[tokio::test]
async fn batch_takes_up_to_a_thousand_records() {
    let served = Served::start().await;
    let items: Vec<Value> =
        (0..1_001).map(|n| json!({"query": format!("number {n}"), "theme": "n"})).collect();
    let refused = served.post("/api/v1/queries/batch", json!({"items": items})).await;
    assert_eq!(refused.message(422), "`items`: expected 1 to 1000 entries, found 1001");
    let stored = served.post("/api/v1/queries/batch", json!({"items": items[..1_000]})).await.data();
    assert_eq!(stored["stored"], 1_000);
    let exported = served.get("/api/v1/queries/export").await;
    assert_eq!(exported.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> =
        exported.text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(lines.len(), 1_000);
    assert_eq!(served.get("/api/v1/queries/themes").await.data(), json!([{"theme": "n", "count": 1_000}]));
    let mut listed = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = served.get(&format!("/api/v1/queries?limit=300{cursor}")).await.data();
        listed.extend(page["items"].as_array().expect("a list").iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, lines, "list and export have one order");
}

#[tokio::test]
async fn ids_of_any_kind_are_fetched_changed_and_deleted() {
    let served = Served::start().await;
    for id in ["chatcmpl-8xyz", "a/b c%2F?x=1#f", "ключ \u{1F600}", ".."] {
        served.post(OUTPUTS, with_id(output("Because.", "m", 1), id)).await.data();
        let fetched = served.post(&format!("{OUTPUTS}/fetch"), json!({"ids": ["nobody", id]})).await.data();
        assert_eq!((&fetched["items"][0]["id"], &fetched["missing"]), (&json!(id), &json!(["nobody"])));
        let path = format!("{OUTPUTS}/{}", encoded(id));
        if id != ".." {
            assert_eq!(served.get(&path).await.data()["id"], id);
            let change = json!({"output": "Why not?", "metadata": {"m": 2}}).to_string();
            let changed = served.send(Method::PATCH, &path, &[], Some(change)).await.data();
            assert_eq!((&changed["output"], &changed["metadata"]["m"]), (&json!("Why not?"), &json!(2)));
            assert_eq!(
                (&changed["metadata"]["n"], &changed["metadata"]["model_id"]),
                (&Value::Null, &json!("m"))
            );
            let found =
                served.post(&format!("{OUTPUTS}/search"), json!({"output": "Why not?", "limit": 1})).await;
            assert!(
                found.data()[0]["distance"].as_f64().is_some_and(|distance| distance < 1e-5),
                "{found:?}"
            );
            assert_eq!(served.send(Method::DELETE, &path, &[], None).await.data(), json!({"id": id}));
            served.send(Method::DELETE, &path, &[], None).await.message(404);
            served.send(Method::PATCH, &path, &[], Some("{}".into())).await.message(404);
        }
    }
}

/// Percent-encodes `id` for a path.
fn encoded(id: &str) -> String {
    id.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("%{byte:02X}") }
            },
        )
        .collect()
}

#[tokio::test]
async fn filters_mean_the_same_on_every_route() {
    let served = Served::start().await;
    let items: Vec<Value> =
        [("Fusion of hydrogen", "a", 1), ("Fission of uranium", "a", 2), ("Melting cheese", "b", 3)]
            .into_iter()
            .map(|(text, model, n)| {
                let mut item = output(text, model, n);
                item["metadata"]["timestamp"] = json!(format!("2026-01-0{n}T12:00:00"));
                item
            })
            .collect();
    served.post(&format!("{OUTPUTS}/batch"), json!({"items": items})).await.data();
    let numbers = |records: &Value| -> Vec<u64> {
        let numbers =
            records.as_array().expect("a list").iter().map(|record| record["metadata"]["n"].as_u64());
        let mut numbers: Vec<u64> = numbers.map(|n| n.expect("a number")).collect();
        numbers.sort_unstable();
        numbers
    };
    for (query, body, expected) in [
        ("model_id=a", json!({"model_id": "a"}), vec![1, 2]),
        ("theme=t", json!({"theme": "t"}), vec![1, 2, 3]),
        ("theme=u", json!({"theme": "u"}), vec![]),
        ("where=%7B%22n%22%3A%7B%22%24gte%22%3A2%7D%7D", json!({"where": {"n": {"$gte": 2}}}), vec![2, 3]),
        (
            "where_document=%7B%22%24contains%22%3A%22ion%22%7D",
            json!({"where_document": {"$contains": "ion"}}),
            vec![1, 2],
        ),
        ("start_date=2026-01-02", json!({"start_date": "2026-01-02"}), vec![2, 3]),
        ("end_date=2026-01-01", json!({"end_date": "2026-01-01"}), vec![1]),
        ("end_date=2026-01-01T12:00:00", json!({"end_date": "2026-01-01T12:00:00"}), vec![1]),
        ("end_date=2026-01-01T11:59:59", json!({"end_date": "2026-01-01T11:59:59"}), vec![]),
    ] {
        let expected: Vec<u64> = expected;
        let listed = served.get(&format!("{OUTPUTS}?{query}")).await.data();
        assert_eq!(numbers(&listed["items"]), expected, "{query}");
        let count = served.get(&format!("{OUTPUTS}/count?{query}")).await.data();
        assert_eq!(count["count"], expected.len(), "{query}");
        let exported = served.get(&format!("{OUTPUTS}/export?{query}")).await;
        assert_eq!(exported.text.lines().count(), expected.len(), "{query}");
        let mut search = body;
        search["output"] = json!("nuclear physics");
        let found = served.post(&format!("{OUTPUTS}/search"), search).await.data();
        assert_eq!(numbers(&found), expected, "{query}");
    }
}

#[tokio::test]
async fn searches_rank_by_vector_text_or_both() {
    let served = Served::start().await;
    for (text, n) in [("Fusion of hydrogen", 1), ("The sun shines by burning light atoms", 2), ("Cheese", 3)]
    {
        served.post(OUTPUTS, output(text, "m", n)).await.data();
    }
    let path = format!("{OUTPUTS}/search");
    let text = served.post(&path, json!({"output": "hydrogen", "mode": "text"})).await.data();
    assert_eq!((text.as_array().map(Vec::len), &text[0]["metadata"]["n"]), (Some(1), &json!(1)));
    assert!(text[0]["distance"].is_null() && text[0]["score"].is_f64(), "{text}");
    let hybrid = served.post(&path, json!({"output": "hydrogen", "mode": "hybrid"})).await.data();
    assert_eq!((&hybrid[0]["metadata"]["n"], hybrid[0]["score"].is_f64()), (&json!(1), true));
    let near = served.post(&path, json!({"output": "Cheese", "min_similarity": 0.99})).await.data();
    assert_eq!((near.as_array().map(Vec::len), &near[0]["metadata"]["n"]), (Some(1), &json!(3)));
    assert!(near[0].get("score").is_none(), "{near}");
    for mode in ["vector", "hybrid"] {
        let exact = json!({"output": "Cheese", "limit": 1, "mode": mode, "exact": true});
        assert_eq!(served.post(&path, exact).await.data()[0]["metadata"]["n"], 3, "{mode}");
    }
    let refused = served.post(&path, json!({"output": "x", "mode": "text", "exact": true})).await;
    assert_eq!((refused.status, &refused.json()["data"]["field"]), (422, &json!("exact")), "{refused:?}");
    let model = embed::Model::load(&test_support::model_dir()).expect("the model loads");
    let vector = model.embed(&["Cheese"]).expect("a text is embedded").remove(0);
    let vector = vector.as_slice();
    let given = served.post(&path, json!({"embedding": vector, "limit": 1})).await.data();
    assert_eq!((given.as_array().map(Vec::len), &given[0]["metadata"]["n"]), (Some(1), &json!(3)));
    let refused = served.post(&path, json!({"output": "x", "mode": "text", "min_similarity": 0.5})).await;
    assert_eq!(
        (refused.status, &refused.json()["data"]["field"]),
        (422, &json!("min_similarity")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn answers_and_exports_are_bounded_in_bytes_whatever_the_limit() {
    let served = Served::start().await;
    for n in 0..20 {
        let long = json!({"id": format!("{n}"), "query": format!("{n} ").repeat(500_000), "theme": "long"});
        served.post("/api/v1/queries", long).await.data();
    }
    let short = json!({"id": "short", "query": "short", "theme": "short"});
    served.post("/api/v1/queries", short).await.data();
    let shorter = served.get("/api/v1/queries?theme=long&limit=1000").await;
    assert!(shorter.text.len() < 17_000_000 && shorter.data()["next_cursor"].is_string());
    // Numbered pages cannot be shortened.
    let refused = served.get("/queries/theme/long?limit=100").await;
    assert!(refused.message(422).contains("more than 16777216 bytes"), "{}", refused.text);
    assert_eq!(refused.json()["data"]["field"], "limit");
    let ids: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    served.post("/api/v1/queries/fetch", json!({"ids": ids})).await.message(422);
    for filter in [json!({}), json!({"theme": "long"}), json!({"mode": "hybrid"})] {
        let mut search = json!({"query": "1 1 1", "limit": 100});
        search.as_object_mut().expect("an object").extend(filter.as_object().expect("an object").clone());
        served.post("/api/v1/queries/search", search).await.message(422);
    }
    let page = served.get("/api/v1/queries?theme=long&limit=5").await.data();
    assert_eq!(page["items"].as_array().map(Vec::len), Some(5));
    served.get("/api/v1/queries/7").await.data();
    let exported = served.get("/api/v1/queries/export").await;
    let ids = exported.text.lines().map(|line| {
        let record: Value = serde_json::from_str(line).expect("a line is JSON");
        record["id"].as_str().expect("an id").to_owned()
    });
    let expected: Vec<String> =
        std::iter::once("short".to_owned()).chain((0..20).rev().map(|n| n.to_string())).collect();
    assert_eq!(ids.collect::<Vec<_>>(), expected, "every record, newest first");
}

#[tokio::test]
async fn full_text_queries_of_megabytes_are_rejected() {
    let served = Served::start().await;
    for query in ["w".repeat(1_800_000), format!("a {}", "w".repeat(2_100)), "many words ".repeat(100_000)] {
        for mode in ["text", "hybrid"] {
            let refused = served.post("/api/v1/queries/search", json!({"query": query, "mode": mode})).await;
            refused.message(422);
            assert!(refused.text.len() < 1_000, "{} bytes", refused.text.len());
        }
    }
    served.post("/api/v1/queries/search", json!({"query": "w".repeat(1_000), "mode": "text"})).await.data();
}

#[tokio::test]
async fn old_routes_accept_limits_like_pydantic() {
    let served = Served::start().await;
    for limit in [json!("5"), json!(5.0), json!("5.0")] {
        for path in ["/queries/search", "/api/v1/queries/search"] {
            let found = served.post(path, json!({"query": "x", "limit": limit})).await;
            assert_eq!(found.status, 200, "{path}: {found:?}");
        }
        let body = json!({"prompt": "x", "limit": limit});
        assert_eq!(served.post("/evaluation-metrics/search", body).await.status, 200);
        served.post("/api/v1/outputs/search", json!({"output": "x", "limit": limit})).await.message(422);
    }
    served.get("/api/v1/queries/theme/t?limit=5.0&page=1.0").await.data();
    for (value, is_judge) in
        [(json!("yes"), true), (json!(1), true), (json!("off"), false), (json!(0.0), false)]
    {
        let model = json!({"id": "m", "provider": "openai", "is_judge_compatible": value});
        let stored = served.post("/api/v1/models", model).await.data();
        assert_eq!(stored["is_judge_compatible"], is_judge, "{value}");
    }
    let model = json!({"id": "m", "provider": "openai", "is_judge_compatible": "perhaps"});
    let refused = served.post("/api/v1/models", model).await;
    assert!(refused.message(422).contains("expected true or false"), "{refused:?}");
    assert!(refused.text.contains("is_judge_compatible"), "{refused:?}");
    served.post("/api/v1/queries/search", json!({"query": "x", "limit": "0"})).await.message(422);
}

#[tokio::test]
async fn query_strings_are_read_like_pydantic() {
    let served = Served::start().await;
    for query in [
        "/queries?limit=5.0",
        "/queries?limit=%205",
        "/queries?limit=%2B5",
        "/results?min_score=%207.5&max_score=1e1&limit=5.0&page=%201",
        "/results?limit=1_0",
        "/results/summary?seed=5.0",
        "/results/summary?seed=18446744073709551615",
        "/runs?limit=5.00",
    ] {
        let found = served.get(&format!("/api/v1{query}")).await;
        assert_eq!(found.status, 200, "{query}: {found:?}");
    }
    for truth in ["yes", "On", "T", "1", "true", "n", "OFF", "f", "0", "False"] {
        let path = format!("/api/v1/queries?embedding_info={truth}");
        let stored = served.post(&path, json!({"query": "x", "theme": "t"})).await;
        assert!(stored.status == 200 || stored.status == 201, "{truth}: {stored:?}");
    }
    for (query, field) in [
        ("/queries?limit=5.5", "limit"),
        ("/queries?limit=", "limit"),
        ("/queries?limit=five", "limit"),
        ("/queries?limit=99999999999999999999", "limit"),
        ("/queries/theme/t?page=5e0", "page"),
        ("/results?min_score=high", "min_score"),
        ("/results?max_score=nan", "max_score"),
        ("/results/summary?seed=-1", "seed"),
        ("/results/summary?seed=x", "seed"),
    ] {
        let refused = served.get(&format!("/api/v1{query}")).await;
        let reason = refused.message(422);
        assert!(reason.contains("expected a"), "{query}: {refused:?}");
        assert!(!reason.contains("digit") && !reason.contains("literal"), "{query}: {refused:?}");
        assert!(refused.text.contains(field), "{query}: {refused:?}");
    }
    let path = "/api/v1/queries?embedding_info=perhaps";
    let refused = served.post(path, json!({"query": "x", "theme": "t"})).await;
    assert!(refused.message(422).contains("expected true or false"), "{refused:?}");
}
