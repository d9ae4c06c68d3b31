//! The pages of runs and comparisons.

use reqwest::Method;
use serde_json::{Value, json};

use super::Browser;
use crate::{
    evaluations::{Stub, metric},
    runs::{VERDICT, begin, ended, queries},
    served::Served,
    summaries::result,
};

#[tokio::test]
async fn run_is_shown_as_by_the_api_and_is_resumed_and_followed() {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_with_provider(stub.provider()).await;
    let mut browser = Browser::new(&served);
    assert_eq!(browser.data("/console/runs").await["items"], json!([]));
    assert!(browser.get("/console/runs").await.text.contains("There is no run yet"));
    assert!(browser.get("/console/runs?state=running").await.text.contains("No run is running"));
    queries(&served, &["one", "two", "three", "four"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let request = json!({
        "name": "<b>first</b>", "theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric],
        "budget": {"requests": 3},
    });
    let id = begin(&served, request).await;
    let run = ended(&served, &id).await;
    let path = format!("/console/runs/{id}");
    assert_eq!(browser.data(&path).await, run);
    let listed = served.get("/api/v1/runs?state=stopped").await.data();
    let shown = browser.data("/console/runs?state=stopped").await;
    assert_eq!((&shown["items"], &shown["next_cursor"]), (&listed["items"], &listed["next_cursor"]));
    for page in [&path, "/console/runs", "/"] {
        let page = browser.get(page).await.text;
        assert!(page.contains("&lt;b&gt;first&lt;/b&gt;") && !page.contains("<b>"), "{page}");
        assert!(page.contains("stopped"), "{page}");
    }
    let resume = format!("{path}/resume");
    let refused = browser.submit((&path, &resume), &[("requests", "many")]).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text.contains("expected a number, or nothing"), "{}", refused.text);
    let resumed = browser.submit((&path, &resume), &[("requests", "100"), ("cost_usd", "")]).await;
    assert_eq!((resumed.status, resumed.header("location")), (303, path.as_str()));
    let events = served.send(Method::GET, &format!("{path}/events"), &[], None).await;
    assert!(events.header("content-type").starts_with("text/event-stream"));
    assert!(events.text.contains("event: progress") && events.text.contains("completed"), "{}", events.text);
    let run = ended(&served, &id).await;
    assert_eq!((&run["state"], &run["budget"]["requests"]), (&json!("completed"), &json!(100)));
    let finished = browser.get(&path).await.text;
    assert!(!finished.contains("data-events"), "nothing changes any more");
    let cancelled = browser.submit((&path, &format!("{path}/cancel")), &[]).await;
    assert_eq!(cancelled.status, 409, "{}", cancelled.text);
    let forged = [("_token".to_owned(), String::new())];
    assert_eq!(browser.post(&format!("{path}/cancel"), &forged).await.status, 403);
    assert_eq!(browser.get("/console/runs/none").await.status, 404);
}

#[tokio::test]
async fn run_is_started_by_a_form_once() {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_with_provider(stub.provider()).await;
    let mut browser = Browser::new(&served);
    queries(&served, &["one", "two"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let page = "/console/runs/new";
    assert!(browser.get("/console/runs").await.text.contains(&format!("href=\"{page}\"")));
    let fields = [
        ("models", "gpt-4o\r\n\r\ngpt-4o-mini"),
        ("judge_models", " gpt-4o "),
        ("evaluation_prompt_ids", metric.as_str()),
        ("name", "by form"),
        ("theme", "physics"),
        ("limit", "1"),
        ("mode", "pointwise"),
        ("requests", "50"),
        ("cost_usd", "1.5"),
        ("id", "6f2a41c9-08d3-4e7b-9d15-c3b752e8a604"),
    ];
    for _ in 0..2 {
        let begun = browser.submit((page, page), &fields).await;
        assert_eq!(begun.status, 303, "{}", begun.text);
        assert_eq!(begun.header("location"), "/console/runs/6f2a41c9-08d3-4e7b-9d15-c3b752e8a604");
    }
    let run = ended(&served, "6f2a41c9-08d3-4e7b-9d15-c3b752e8a604").await;
    assert_eq!(
        (&run["name"], &run["units"]["total"], &run["queries"]),
        (&json!("by form"), &json!(2), &json!(1))
    );
    assert_eq!((&run["budget"]["requests"], &run["budget"]["cost_usd"]), (&json!(50), &json!(1.5)));
    assert_eq!(browser.data("/console/runs").await["items"].as_array().map(Vec::len), Some(1));
    for (name, value, message) in [
        ("models", "", "`models`"),
        ("limit", "many", "`limit`: expected a number, or nothing"),
        ("mode", "odd", "`mode`: unknown variant"),
        ("cost_usd", "-", "`cost_usd`: expected a number"),
        ("id", "x", "`id`: expected a UUID"),
    ] {
        let wrong: Vec<(&str, &str)> = fields
            .iter()
            .map(|(field, given)| (*field, if *field == name { value } else { *given }))
            .collect();
        let refused = browser.submit((page, page), &wrong).await;
        assert_eq!(refused.status, 422, "{name}: {}", refused.text);
        assert!(refused.text.contains(message), "{message}: {}", refused.text);
    }
    let filled = browser.get(&format!("{page}?theme=a%26b&models=m")).await.text;
    assert!(filled.contains("value=\"a&amp;b\"") && filled.contains(">\nm</textarea>"), "{filled}");
    let forged = [("models".to_owned(), "m".to_owned())];
    assert_eq!(browser.post(page, &forged).await.status, 403);
}

#[tokio::test]
async fn comparison_has_the_numbers_of_the_api_and_the_largest_regressions_first() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    assert!(browser.get("/console/compare").await.text.contains("There are no results"));
    let scores = [("m", [9.0, 7.0, 2.0, 5.0]), ("n<i>", [5.0, 8.0, 6.0, 5.0])];
    let mut stored = Vec::new();
    for (model, scores) in scores {
        for (query, score) in scores.into_iter().enumerate() {
            let metadata = json!({"status": "scored"});
            stored.push(result(stored.len(), &format!("q{query}"), model, Some(score), metadata));
        }
        let metadata = json!({"status": "unparsed"});
        stored.push(result(stored.len(), "q9", model, None, metadata));
    }
    served.database.insert_evaluation_results(&stored).await.expect("they are stored");
    for filters in ["", "&theme=physics", "&evaluation_prompt_id=other", "&seed=7&repeats=majority"] {
        let shown = browser.data(&format!("/console/compare?model_a=m&model_b=n%3Ci%3E{filters}")).await;
        let api = format!("/api/v1/results/summary?compare=m,n%3Ci%3E{filters}");
        let summary = served.get(&api).await.data();
        for part in ["scores", "pairs", "comparisons", "without_query", "seed", "repeats"] {
            assert_eq!(shown[part], summary[part], "{part} of {filters}");
        }
    }
    let path = "/console/compare?model_a=m&model_b=n%3Ci%3E";
    let shown = browser.data(path).await;
    let regressions: Vec<[Value; 2]> = shown["regressions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| [one["query_id"].clone(), one["difference"].clone()])
        .collect();
    assert_eq!(regressions, [[json!("q2"), json!(-4.0)], [json!("q1"), json!(-1.0)]]);
    let page = browser.get(path).await.text;
    assert!(!page.contains("<i>") && page.contains("n&lt;i&gt;"), "{page}");
    assert!(page.contains("1 unparsed") && page.contains("<svg"), "{page}");
    assert!(page.contains("not decided"), "{page}");
    assert!(page.contains("<title>Mean score by model and theme: quality</title>"), "{page}");
    let same = browser.get("/console/compare?model_a=m&model_b=m").await;
    assert_eq!(same.status, 422);
}
