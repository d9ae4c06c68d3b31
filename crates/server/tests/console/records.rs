//! The pages of records.

use serde_json::{Value, json};

use super::Browser;
use crate::served::Served;

/// Texts that a page must show harmlessly, and what it must not contain for each.
const HOSTILE: [(&str, &str); 5] = [
    ("<script>alert(1)</script>", "<script>alert"),
    ("\"><img src=x onerror=alert(1)>", "<img"),
    ("a\u{202e}b\u{2066}c", "\u{202e}"),
    ("</pre></textarea><h1>x", "<h1>x"),
    ("👩‍👩‍👧 مرحبا", "\u{0}"),
];

#[tokio::test]
async fn hostile_records_are_shown_harmlessly() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    let large = "wörd ".repeat(200_000);
    for (place, (text, _)) in HOSTILE.into_iter().chain([(large.as_str(), "\u{0}")]).enumerate() {
        let body = json!({"id": format!("id {place} <b>&?/.."), "output": text, "theme": text.get(..30).unwrap_or(text), "model_id": "<m>",
            "query": text, "metadata": {"k<i>": text}});
        served.post("/api/v1/outputs", body).await.data();
    }
    let list = browser.get("/console/outputs").await;
    assert_eq!(list.status, 200, "{}", list.text);
    assert!(list.text.len() < 150_000, "a list shows beginnings: {} bytes", list.text.len());
    let mut pages = vec![list.text, browser.get("/console/outputs?q=word").await.text];
    for place in 0..=HOSTILE.len() {
        for page in ["record", "edit", "delete"] {
            let path = format!("/console/outputs/{page}?id=id+{place}+%3Cb%3E%26%3F%2F..");
            let answer = browser.get(&path).await;
            assert_eq!(answer.status, 200, "{path}");
            if page != "edit" || place < HOSTILE.len() {
                assert!(answer.text.len() < 300_000, "{path} has {} bytes", answer.text.len());
            }
            if page != "edit" {
                pages.push(answer.text);
            }
        }
    }
    for page in &pages {
        for (_, forbidden) in HOSTILE.into_iter().filter(|(_, forbidden)| forbidden.starts_with('<')) {
            assert!(!page.contains(forbidden), "{forbidden:?} in a page");
        }
        // Values of attributes are exact, and reorder nothing.
        assert!(!outside_tags(page).contains(['\u{202e}', '\u{2066}', '\0']));
        assert!(!page.contains("<m>") && !page.contains("<i>") && !page.contains("<b>"));
    }
    let path = format!("/console/outputs/record?id=id+{}+%3Cb%3E%26%3F%2F..&whole=true", HOSTILE.len());
    let whole = browser.get(&path);
    assert!(whole.await.text.contains(large.trim_end()));
}

/// The text between the tags of a page; values of attributes have `>` escaped.
fn outside_tags(page: &str) -> String {
    page.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect()
}

#[tokio::test]
async fn numbers_of_lists_and_searches_are_those_of_the_api() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    for n in 0..25 {
        let theme = ["physics", "history"][n % 2];
        let body = json!({"query": format!("What is number {n}?"), "theme": theme, "metadata": {"level": n}});
        served.post("/api/v1/queries", body).await.data();
    }
    let ids = |items: &Value| -> Vec<Value> {
        items.as_array().expect("a list").iter().map(|item| item["id"].clone()).collect()
    };
    for (page, api) in [
        ("?limit=10", "?limit=10"),
        ("?category=physics&limit=10", "?theme=physics&limit=10"),
        ("?where=level%3D3&category=&q=", "?where={\"level\":3}"),
        ("?where={\"level\":{\"$gte\":20}}", "?where={\"level\":{\"$gte\":20}}"),
        ("?contains=number+7", "?where_document={\"$contains\":\"number 7\"}"),
        ("?start_date=2100-01-01", "?start_date=2100-01-01"),
    ] {
        let shown = browser.data(&format!("/console/queries{page}")).await;
        let listed = served.get(&format!("/api/v1/queries{api}")).await.data();
        assert_eq!(ids(&shown["items"]), ids(&listed["items"]), "{page}");
        assert_eq!(shown["next_cursor"], listed["next_cursor"], "{page}");
        let filters = api.replace("?limit=10", "").replace("&limit=10", "");
        let counted = served.get(&format!("/api/v1/queries/count{filters}")).await.data();
        assert_eq!(shown["count"], counted["count"], "{page}");
    }
    let first = browser.data("/console/queries?limit=10").await;
    let cursor = first["next_cursor"].as_str().expect("there is more");
    let second = browser.data(&format!("/console/queries?limit=10&cursor={cursor}")).await;
    assert!(ids(&second["items"]).iter().all(|id| !ids(&first["items"]).contains(id)));
    for mode in ["vector", "text", "hybrid"] {
        let shown = browser.data(&format!("/console/queries?q=number&mode={mode}&limit=5")).await;
        let found =
            served.post("/api/v1/queries/search", json!({"query": "number", "mode": mode, "limit": 5}));
        let found = found.await.data();
        let numbers = |items: &Value| -> Vec<[Value; 3]> {
            let items = items.as_array().expect("a list").iter();
            items.map(|item| [item["id"].clone(), item["distance"].clone(), item["score"].clone()]).collect()
        };
        assert_eq!(numbers(&shown["items"]), numbers(&found), "{mode}");
    }
    let themes = served.get("/api/v1/queries/themes").await.data();
    let categories = first["categories"].as_array().expect("a list");
    assert_eq!(categories.len(), themes.as_array().expect("a list").len());
    assert_eq!((&categories[0]["category"], &categories[0]["count"]), (&json!("physics"), &json!(13)));
    let exported = browser.get("/console/queries/export?theme=physics").await;
    assert_eq!(exported.text.lines().count(), 13);
}

#[tokio::test]
async fn records_are_added_changed_and_deleted_by_forms() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    let new = "/console/outputs/new";
    let fields = [
        ("text", "line one\r\nline two"),
        ("category", "a&b"),
        ("model_id", "m"),
        ("query", "Why?"),
        ("metadata", "{\"big\": 12345678901234567890123}"),
    ];
    let stored = browser.submit((new, new), &fields).await;
    assert_eq!(stored.status, 303, "{}", stored.text);
    let place = stored.header("location").to_owned();
    let shown = browser.data(&place).await;
    let id = shown["id"].as_str().expect("an id").to_owned();
    let record = || async { served.get(&format!("/api/v1/outputs/{id}")).await.data() };
    assert_eq!(record().await["output"], "line one\nline two");
    assert_eq!(record().await["metadata"]["big"].to_string(), "12345678901234567890123");
    assert_eq!(shown["metadata"], record().await["metadata"]);
    let before = record().await;
    let edit = format!("/console/outputs/edit?id={id}");
    let unchanged = [
        ("text", "line one\r\nline two"),
        ("category", "a&b"),
        ("metadata", "{\"big\": 12345678901234567890123}"),
    ];
    assert_eq!(browser.submit((&edit, &edit), &unchanged).await.status, 303);
    assert_eq!(record().await, before);
    let changed = [("text", "three"), ("category", "c"), ("metadata", "{\"k\": [1]}")];
    assert_eq!(browser.submit((&edit, &edit), &changed).await.header("location"), place);
    let after = record().await;
    assert_eq!((&after["output"], &after["metadata"]["theme"]), (&json!("three"), &json!("c")));
    assert_eq!((&after["metadata"]["k"], &after["metadata"]["big"]), (&json!([1]), &Value::Null));
    assert_eq!(after["metadata"]["timestamp"], before["metadata"]["timestamp"]);
    let refused =
        browser.submit((&edit, &edit), &[("text", "x"), ("category", "c"), ("metadata", "[1]")]).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    assert!(refused.header("content-type").starts_with("text/html") && refused.text.contains("JSON object"));
    let delete = format!("/console/outputs/delete?id={id}");
    assert_eq!(browser.submit((&delete, &delete), &[]).await.header("location"), "/console/outputs");
    assert_eq!(served.get(&format!("/api/v1/outputs/{id}")).await.status, 404);
    let gone = browser.get(&place).await;
    assert_eq!(gone.status, 404);
    assert!(gone.text.contains("<nav") && gone.text.contains("no output has the id"), "{}", gone.text);
}

#[tokio::test]
async fn records_are_imported_as_an_export_has_written_them() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    for (id, text) in [("a/b", "one"), ("<b>", "two\nlines")] {
        let body = json!({"id": id, "output": text, "theme": "t", "model_id": "m", "query": "Why?",
            "metadata": {"big": 1, "nested": {"k": [1, "x"]}}});
        served.post("/api/v1/outputs", body).await.data();
    }
    let exported = browser.get("/console/outputs/export").await.text;
    let other = Served::start().await;
    let mut browser = Browser::new(&other);
    let page = "/console/outputs/import";
    let data = format!("{page}?format=json");
    let done = browser.submit((page, &data), &[("lines", &exported)]).await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert_eq!((&done.json()["stored"], &done.json()["not_stored"]), (&json!(2), &json!(0)));
    let without_times = |mut record: Value| {
        record["metadata"]["timestamp"].take();
        record
    };
    for id in ["a%2Fb", "%3Cb%3E"] {
        let path = format!("/api/v1/outputs/{id}");
        let (before, after) = (served.get(&path).await.data(), other.get(&path).await.data());
        assert_eq!(without_times(before), without_times(after));
    }
    let again = browser.submit((page, &data), &[("lines", &exported)]).await.json();
    assert_eq!((&again["stored"], &again["unchanged"]), (&json!(0), &json!(2)));
    let changed = exported.replace("one", "another");
    let conflict = browser.submit((page, &data), &[("lines", &format!("\n{changed}"))]).await.json();
    assert_eq!((&conflict["unchanged"], &conflict["not_stored"]), (&json!(1), &json!(1)), "{conflict}");
    let conflicts = browser.submit((page, page), &[("lines", &changed)]).await.text;
    assert!(conflicts.contains("a/b") && !conflicts.contains("<b>"), "{conflicts}");
    for (lines, message) in [
        ("", "`lines`: expected JSON objects"),
        ("{\"output\": \"x\"", "`line 1.record`: expected a JSON object"),
        (
            "{\"output\": \"x\", \"theme\": \"t\", \"model_id\": \"m\", \"query\": \"\"}\n\n{\"output\": 1}",
            "`line 3.output`",
        ),
        ("{\"outptu\": \"x\", \"theme\": \"t\"}", "`line 1.outptu`: unknown field: did you mean `output`?"),
    ] {
        let refused = browser.submit((page, page), &[("lines", lines)]).await;
        assert_eq!(refused.status, 422, "{lines}");
        let shown = refused.text.replace("&#39;", "'").replace("&quot;", "\"");
        assert!(shown.contains(message), "{message}: {shown}");
    }
    assert_eq!(browser.data("/console/outputs").await["count"], 2, "no line is stored if one is invalid");
}
