//! An invalid value affects neither the rest of its row nor other rows: every reading route, on every kind of invalid
//! value in every column, in our tables and in adopted ones.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};
use server::ServerConfig;
use test_support::{
    TestDatabase,
    odd_rows::{NULLABLE_SCHEMA, RECORDS, RESULTS, put_odd_rows},
};

use crate::served::Served;

const RESOURCES: [(&str, &str, &str, &str, &str); 3] = [
    ("queries", "query", "theme", "themes", "theme/odd"),
    ("evaluation-metrics", "prompt", "metric_type", "types", "type/odd"),
    ("outputs", "output", "theme", "themes", "theme/odd"),
];

/// Services on rows with invalid values, in our tables or in adopted ones.
async fn served_on_odd_rows(old_schema: Option<&str>) -> (TestDatabase, Served) {
    let test_database = TestDatabase::create().await;
    if let Some(old_schema) = old_schema {
        test_database.execute(old_schema).await;
    }
    let served = Served::start_on(&test_database.url(), ServerConfig::default()).await;
    put_odd_rows(&test_database).await;
    (test_database, served)
}

/// All items of a list, in pages of 3.
async fn listed(served: &Served, path: &str) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = served.get(&format!("{path}limit=3{cursor}")).await.data();
        items.extend(page["items"].as_array().expect("a list").clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

fn lines(text: &str) -> Vec<Value> {
    let decoded = text.lines().map(store::json::decode_answer);
    decoded.inspect(|decoded| assert_eq!(decoded.problems, [])).map(|decoded| decoded.value).collect()
}

fn ids(items: &[Value]) -> BTreeSet<&str> {
    items.iter().map(|item| item["id"].as_str().expect("an id")).collect()
}

/// The kinds of problems of each affected row, by the last digits of its id.
fn kinds(items: &[Value]) -> BTreeMap<String, Vec<String>> {
    let odd = items.iter().filter(|item| item.get("problems").is_some());
    odd.map(|item| {
        let id = item["id"].as_str().expect("an id");
        let problems = item["problems"].as_array().expect("a list").iter();
        let kinds = problems.map(|problem| {
            let place = problem["key"].as_str().or(problem["field"].as_str()).expect("a place");
            format!("{place}: {}", problem["kind"].as_str().expect("a kind"))
        });
        (id[id.len().saturating_sub(2)..].to_owned(), kinds.collect())
    })
    .collect()
}

#[tokio::test]
async fn every_route_of_records_shows_rows_with_invalid_values() {
    for old_schema in [None, Some(NULLABLE_SCHEMA)] {
        let (_test_database, served) = served_on_odd_rows(old_schema).await;
        for (path, text, category, categories, of_category) in RESOURCES {
            let base = format!("/api/v1/{path}");
            let all = listed(&served, &format!("{base}?")).await;
            assert_eq!((all.len(), ids(&all).len()), (RECORDS, RECORDS), "{path}: each once");
            let exported = served.get(&format!("{base}/export")).await;
            assert_eq!(lines(&exported.text), all, "{path}");
            let count = served.get(&format!("{base}/count")).await.data();
            assert_eq!(count["count"], RECORDS, "{path}");
            for item in &all {
                let id = item["id"].as_str().expect("an id");
                assert_eq!(served.get(&format!("{base}/{id}")).await.data(), *item, "{path}");
                assert_eq!(
                    served.get(&format!("/{path}/{id}")).await.status,
                    if path == "outputs" { 404 } else { 200 }
                );
            }
            let fetched = served.post(&format!("{base}/fetch"), json!({"ids": ids(&all)})).await.data();
            assert_eq!(fetched["items"].as_array().map(Vec::len), Some(RECORDS), "{path}");
            let page = served.get(&format!("{base}/{of_category}?limit=100")).await.data();
            assert_eq!(page["pagination"]["total"], RECORDS - 2, "{path}");
            let counted = served.get(&format!("{base}/{categories}")).await.data();
            assert!(
                counted.as_array().expect("a list").contains(&json!({category: null, "count": 2})),
                "{counted}"
            );
            for mode in ["vector", "hybrid", "text"] {
                let search = json!({text: "odd", "limit": 100, "mode": mode});
                let found = served.post(&format!("{base}/search"), search).await.data();
                let expected = if mode == "vector" { RECORDS } else { RECORDS - 2 };
                assert!(found.as_array().map(Vec::len) >= Some(expected), "{path} {mode}: {found}");
            }
            for filter in [
                json!({"n": 1}),
                json!({"a": {"$gt": 0}}),
                json!({"timestamp": {"$ne": "x"}}),
                json!({"theme": {"$in": ["odd"]}}),
            ] {
                let search = json!({text: "odd", "limit": 100, "where": filter});
                assert_eq!(
                    served.post(&format!("{base}/search"), search).await.status,
                    200,
                    "{path} {filter}"
                );
            }
        }
        let list_deep = format!("{}: too_deep", "[0]".repeat(100));
        let object_deep = format!("deep{}: too_deep", ".a".repeat(99));
        let expected = [
            ("04", vec!["timestamp: time_out_of_range"]),
            ("05", vec!["timestamp: time_out_of_range"]),
            ("06", vec!["timestamp: time_out_of_range"]),
            ("07", vec!["timestamp: time_out_of_range"]),
            ("08", vec!["timestamp: time_out_of_range"]),
            ("09", vec!["timestamp: time_out_of_range"]),
            ("10", vec!["timestamp: time_out_of_range"]),
            ("11", vec!["timestamp: null"]),
            ("20", vec![list_deep.as_str()]),
            ("21", vec![object_deep.as_str()]),
            ("25", vec!["query: null"]),
            ("26", vec!["theme: null"]),
            ("27", vec!["theme: null", "timestamp: null", "query: null"]),
        ];
        let expected: BTreeMap<String, Vec<String>> = expected
            .into_iter()
            .map(|(id, kinds)| (id.to_owned(), kinds.into_iter().map(str::to_owned).collect()))
            .collect();
        let all = listed(&served, "/api/v1/queries?").await;
        assert_eq!(kinds(&all), expected);
        let shown = |number: usize| {
            let id = format!("a0000000-0000-4000-8000-{number:012}");
            &all.iter().find(|item| item["id"] == id).expect("it is listed")["metadata"]
        };
        assert_eq!(shown(4)["timestamp"], "infinity");
        assert_eq!(shown(9)["timestamp"], "0001-12-31 23:00:00 BC");
        let exact = r#""exact":0.1234567890123456789012345,"one":1.0"#;
        assert!(shown(18).to_string().contains(exact), "{}", shown(18));
        assert!(shown(18).to_string().contains(r#""token":123456789012345678901234567890"#));
        assert_eq!(shown(19)["$serde_json::private::Number"], "x");
    }
}

#[tokio::test]
async fn every_route_of_results_shows_rows_with_invalid_values() {
    for old_schema in [None, Some(NULLABLE_SCHEMA)] {
        let (_test_database, served) = served_on_odd_rows(old_schema).await;
        let page = served.get("/api/v1/results?limit=100").await.data();
        assert_eq!(page["pagination"]["total"], RESULTS);
        let all = page["items"].as_array().expect("a list").clone();
        assert_eq!((all.len(), ids(&all).len()), (RESULTS, RESULTS), "each once");
        assert_eq!(served.get("/results?limit=100").await.json(), page["items"]);
        let (mut by_cursor, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = served.get(&format!("/api/v1/results?limit=3&cursor={cursor}")).await.data();
            by_cursor.extend(page["items"].as_array().expect("a list").clone());
            let Some(next) = page["next_cursor"].as_str() else { break };
            next.clone_into(&mut cursor);
        }
        assert_eq!(by_cursor, all);
        let exported = served.get("/api/v1/results/export?format=jsonl").await;
        assert_eq!(lines(&exported.text), all);
        for format in ["csv", "parquet"] {
            let file = reqwest_bytes(&served, format).await;
            assert!(!file.is_empty(), "{format}");
        }
        let deep = format!("deep{}: too_deep", "[0]".repeat(99));
        let expected = [
            ("04", vec!["timestamp: time_out_of_range"]),
            ("05", vec!["timestamp: time_out_of_range"]),
            ("06", vec!["timestamp: time_out_of_range"]),
            ("07", vec!["timestamp: time_out_of_range"]),
            ("08", vec!["timestamp: time_out_of_range"]),
            ("09", vec!["timestamp: time_out_of_range"]),
            ("10", vec!["timestamp: time_out_of_range"]),
            ("12", vec!["raw: not_unicode"]),
            ("13", vec!["\u{fffd}: not_unicode", "\u{fffd}[0]: not_unicode", "run_id: not_unicode"]),
            ("15", vec!["a.b: duplicate_key", "a: duplicate_key"]),
            ("17", vec![deep.as_str()]),
            ("24", vec!["score: not_finite"]),
            ("25", vec!["score: not_finite"]),
            ("26", vec!["score: not_finite"]),
        ];
        let expected: BTreeMap<String, Vec<String>> = expected
            .into_iter()
            .map(|(id, kinds)| (id.to_owned(), kinds.into_iter().map(str::to_owned).collect()))
            .collect();
        assert_eq!(kinds(&all), expected);
        let shown = |id: &str| all.iter().find(|item| item["id"] == id).expect("it is listed");
        assert_eq!(shown("r012")["metadata"]["raw"], "a\u{fffd}");
        assert_eq!(shown("r012")["problems"][0]["original"], "a\\ud83d");
        assert_eq!(
            (&shown("r024")["score"], &shown("r024")["problems"][0]["original"]),
            (&Value::Null, &json!("NaN"))
        );
        assert!(shown("r016").to_string().contains(r#""a":1e400,"b":1E99999999"#), "{}", shown("r016"));

        let summary = served.get("/api/v1/results/summary").await;
        assert_eq!(summary.status, 200, "{summary:?}");
        for query in ["repeats=majority", "theme=odd", "status=scored", "min_score=0", "max_score=10"] {
            let summary = served.get(&format!("/api/v1/results/summary?{query}")).await;
            assert!(summary.status == 200 || summary.status == 422, "{query}: {summary:?}");
            if summary.status == 422 {
                assert!(summary.text.contains("unknown") || query.contains('='), "{summary:?}");
            }
        }
        for query in ["min_score=0", "max_score=10"] {
            let listed = served.get(&format!("/api/v1/results?limit=100&{query}")).await.data();
            let ids = ids(listed["items"].as_array().expect("a list"))
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>();
            assert!(
                !ids.iter().any(|id| ["r024", "r025", "r026"].contains(&&**id)),
                "none of these is within the range: {ids:?}"
            );
        }
        let labels =
            json!({"evaluation_prompt_id": "p", "labels": [{"query_id": "q1", "model_id": "m", "score": 7}]});
        let agreement = served.post("/api/v1/results/agreement", labels).await;
        assert!(agreement.status < 500, "{agreement:?}");
        assert_eq!(served.get("/api/v1/models").await.status, 200);
        assert_eq!(served.get("/api/v1/runs").await.status, 200);
    }
}

async fn reqwest_bytes(served: &Served, format: &str) -> Vec<u8> {
    let url = format!("{}/api/v1/results/export?format={format}", served.url);
    let answer = crate::served::client().get(url).send().await.expect("it answers");
    assert_eq!(answer.status().as_u16(), 200, "{format}");
    answer.bytes().await.expect("the file is complete").to_vec()
}

#[tokio::test]
async fn change_of_a_category_changes_no_other_byte_of_a_row() {
    for old_schema in [None, Some(NULLABLE_SCHEMA)] {
        let (test_database, served) = served_on_odd_rows(old_schema).await;
        let of_table = |table: &str, text: &str, category: &str| {
            format!(
                "create view kept_{table} as select id, {text}, embedding::text, created_at::text,
                    case when jsonb_typeof(metadata) = 'object' then (metadata - '{category}')::text else metadata::text end
                        as metadata,
                    jsonb_typeof(metadata) = 'object' and metadata ? '{category}' as has_category
                from {table};
                create table before_{table} as table kept_{table};"
            )
        };
        let tables =
            [("queries", "query_text"), ("evaluation_metrics", "prompt"), ("llm_outputs", "output_text")];
        for ((path, _, category, ..), (table, text)) in RESOURCES.into_iter().zip(tables) {
            test_database.execute(&of_table(table, text, category)).await;
            for number in 1..=RECORDS {
                let url = format!("/api/v1/{path}/a0000000-0000-4000-8000-{number:012}");
                let body = json!({category: "other"}).to_string();
                let changed = served.send(Method::PATCH, &url, &[], Some(body)).await.data();
                let shown = served.get(&url).await.data();
                assert_eq!(changed, shown, "{path} {number}");
                assert_eq!(shown["metadata"][category], "other", "{path} {number}: {shown}");
            }
            test_database
                .execute(&format!(
                    "do $$ begin
                        if exists (table before_{table} except table kept_{table})
                            or exists (select from {table} where {category} <> 'other') then
                            raise exception 'a row has changed';
                        end if;
                    end $$"
                ))
                .await;
        }
    }
}

#[tokio::test]
async fn change_of_metadata_keeps_service_keys_and_concurrent_changes() {
    let (test_database, served) = served_on_odd_rows(None).await;
    let url = "/api/v1/queries/a0000000-0000-4000-8000-000000000018";
    let patch = |body: Value| served.send(Method::PATCH, url, &[], Some(body.to_string()));
    let (one, other) = tokio::join!(patch(json!({"metadata": {"m": 2}})), patch(json!({"theme": "new"})));
    assert_eq!((one.status, other.status), (200, 200), "{one:?} {other:?}");
    let shown = served.get(url).await.data();
    assert_eq!((&shown["metadata"]["m"], &shown["metadata"]["theme"]), (&json!(2), &json!("new")));
    test_database
        .execute("do $$ begin if (select metadata::text from queries where id = 'a0000000-0000-4000-8000-000000000018') <> '{\"m\": 2}' then raise exception 'more than was sent'; end if; end $$")
        .await;
    // Service keys stay; a client may repeat them unchanged.
    let stored = served
        .post("/api/v1/queries", json!({"query": "x", "theme": "t", "metadata": {"a": 1}}))
        .await
        .data();
    let url = format!("/api/v1/queries/{}", stored["id"].as_str().expect("an id"));
    let body = json!({"metadata": {"b": 2, "timestamp": stored["metadata"]["timestamp"]}}).to_string();
    let changed = served.send(Method::PATCH, &url, &[], Some(body)).await.data();
    assert_eq!(
        changed["metadata"],
        json!({"b": 2, "theme": "t", "timestamp": stored["metadata"]["timestamp"]})
    );
}

#[tokio::test]
async fn numbers_are_stored_as_sent_or_rejected_by_name() {
    let served = Served::start().await;
    let kept = [
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "0.1234567890123456789012345",
        "1.50",
        "-0.1",
        "9007199254740993",
        "9007199254740993.0",
    ];
    let post = async |path: &str, body: String| served.send(Method::POST, path, &[], Some(body)).await;
    for (number, value) in kept.into_iter().enumerate() {
        let body = format!(
            r#"{{"id": "n{number}", "query": "n", "theme": "num", "metadata": {{"v": {value}, "deep": [{{"w": {value}}}]}}}}"#
        );
        let wanted = format!(r#""v":{value}"#);
        let stored = post("/api/v1/queries", body.clone()).await;
        assert!(stored.text.contains(&wanted), "{value}: {stored:?}");
        let again = post("/api/v1/queries", body.clone()).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"), "{value}: {again:?}");
        let batch = post("/api/v1/queries/batch", format!(r#"{{"items": [{body}]}}"#)).await;
        assert_eq!(batch.data()["items"][0]["status"], "unchanged", "{value}");
        for path in ["/api/v1/queries/export", "/api/v1/queries?limit=100"] {
            let shown = served.get(path).await;
            assert!(shown.text.contains(&wanted), "{value} {path}: {shown:?}");
            assert!(
                shown.text.contains(&format!(r#""deep":[{{"w":{value}}}]"#)),
                "{value} {path}: {shown:?}"
            );
        }
        let filter = format!(r#"{{"query": "n", "where": {{"v": {value}}}}}"#);
        let found = post("/api/v1/queries/search", filter).await.data();
        let ids: Vec<&Value> = found.as_array().expect("a list").iter().map(|hit| &hit["id"]).collect();
        // 9007199254740993 and 9007199254740993.0 are equal.
        assert!(ids.contains(&&json!(format!("n{number}"))) && ids.len() <= 2, "{value}: {ids:?}");
        let url = format!("/api/v1/queries/n{number}");
        let changed = served.send(Method::PATCH, &url, &[], Some(r#"{"theme": "other"}"#.to_owned())).await;
        assert!(changed.text.contains(&wanted), "{value}: {changed:?}");
        let body = format!(r#"{{"metadata": {{"v": {value}}}}}"#);
        let changed = served.send(Method::PATCH, &url, &[], Some(body)).await;
        assert!(changed.text.contains(&wanted), "{value}: {changed:?}");
    }
    // A number with an exponent is stored with all its digits, and as a fraction, not as an integer.
    let stored =
        post("/api/v1/queries", r#"{"query": "n", "theme": "p", "metadata": {"v": 1e16}}"#.to_owned()).await;
    let id = stored.data()["id"].as_str().expect("an id").to_owned();
    let shown = served.get(&format!("/api/v1/queries/{id}")).await;
    assert!(shown.text.contains(r#""v":10000000000000000.0"#), "{shown:?}");

    for (value, place) in [
        ("1e400", "metadata.v"),
        ("-1e400", "metadata.v"),
        ("1e-400", "metadata.v"),
        ("[1, {\"w\": 1e99999999999}]", "metadata.v[1].w"),
        ("-0", "metadata.v"),
        ("-0.0", "metadata.v"),
        (r#""a\ud83d""#, "metadata.v"),
        (r#"{"a": 1, "a": 2}"#, "metadata.v.a"),
        (r#""a\u0000""#, "metadata.v"),
    ] {
        let body = format!(r#"{{"query": "n", "theme": "num", "metadata": {{"v": {value}}}}}"#);
        let refused = post("/api/v1/queries", body.clone()).await;
        assert_eq!(
            (refused.status, &refused.json()["data"]["field"]),
            (422, &json!(place)),
            "{value}: {refused:?}"
        );
        let batch = post("/api/v1/queries/batch", format!(r#"{{"items": [{body}]}}"#)).await;
        let field = batch.json()["data"]["field"].clone();
        assert_eq!((batch.status, field), (422, json!(format!("items[0].{place}"))), "{value}: {batch:?}");
        let change = format!(r#"{{"metadata": {{"v": {value}}}}}"#);
        let refused = served.send(Method::PATCH, "/api/v1/queries/n0", &[], Some(change)).await;
        assert_eq!(
            (refused.status, &refused.json()["data"]["field"]),
            (422, &json!(place)),
            "{value}: {refused:?}"
        );
    }
    let tiny = r#"{"query": "n", "theme": "num", "metadata": {"v": 4.9e-325}}"#.to_owned();
    let message = post("/api/v1/queries", tiny).await.message(422);
    assert!(message.contains("close to 0") && !message.contains("smaller"), "{message}");
    for value in ["1e400", "1e99999999999"] {
        let filter = format!(r#"{{"query": "n", "where": {{"v": {{"$gt": {value}}}}}}}"#);
        let refused = post("/api/v1/queries/search", filter).await;
        assert_eq!(
            (refused.status, &refused.json()["data"]["field"]),
            (422, &json!("where.v.$gt")),
            "{refused:?}"
        );
    }
}
