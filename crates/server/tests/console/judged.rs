//! The pages of runs and comparisons.

use reqwest::Method;
use serde_json::{Value, json};
use store::postgres::EvaluationResult;

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
    assert_eq!(browser.data(&format!("{path}/live")).await, run);
    let shown = browser.data(&path).await;
    for (field, value) in run.as_object().expect("a run") {
        assert_eq!(&shown[field], value, "{field}");
    }
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
    assert!(!finished.contains(">Resume<") && !finished.contains(">Retry failed<"), "{finished}");
    let cancelled = browser.submit(("/console/runs/new", &format!("{path}/cancel")), &[]).await;
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

#[tokio::test]
async fn results_are_on_the_page_of_their_query_newest_first_with_links() {
    let served = Served::start().await;
    let body = json!({"query": "Why is the sky blue?", "theme": "physics"});
    let id = served.post("/api/v1/queries", body).await.data()["id"].as_str().expect("an id").to_owned();
    let path = format!("/console/queries/record?id={id}");
    let mut browser = Browser::new(&served);
    let empty = browser.get(&path).await.text;
    assert!(empty.contains("No result names this query."), "{empty}");
    let run = "a0000000-0000-4000-8000-00000000000a";
    let of = |number: usize, model: &str, score: Option<f64>, metadata: Value| {
        result(number, &id, model, score, metadata)
    };
    let scored = json!({"status": "scored", "run_id": run, "out_of_range": true});
    let compared = json!({
        "status": "scored", "mode": "pairwise", "opponent": "n", "swapped": true, "winner": "opponent", "run_id": "../x",
    });
    let mut stored = vec![
        of(0, "m<b>", Some(11.0), scored),
        of(1, "m<b>", None, compared),
        of(2, "n", None, json!({"status": "refused"})),
        EvaluationResult { timestamp: None, ..of(3, "old", Some(5.0), json!(null)) },
        result(4, "another query", "other", Some(1.0), json!({"status": "scored"})),
    ];
    served.database.insert_evaluation_results(&stored).await.expect("they are stored");
    let data = browser.data(&path).await;
    let items = data["results"]["items"].as_array().expect("a list");
    let models: Vec<&str> = items.iter().filter_map(|item| item["model_id"].as_str()).collect();
    assert_eq!((models, &data["results"]["count"]), (vec!["n", "m<b>", "m<b>", "old"], &json!(4)));
    assert_eq!(
        (&items[1]["comparison"], &items[2]["score"], &items[2]["is_out_of_range"]),
        (&json!({"opponent": "n", "is_swapped": true, "winner": "opponent"}), &json!(11.0), &json!(true))
    );
    let page = browser.get(&path).await.text;
    for part in [
        format!("href=\"/console/runs/{run}\""),
        "href=\"/console/outputs?model_id=m%3Cb%3E\"".to_owned(),
        "href=\"/console/judges?judge_model=gpt-4\"".to_owned(),
        "href=\"/console/evaluation-metrics/record?id=quality\"".to_owned(),
        format!("href=\"/console/compare/query?query_id={id}&amp;model_a=m%3Cb%3E&amp;model_b=n\""),
        "worse than <bdi>n</bdi>".to_owned(),
        "off the scale".to_owned(),
        "refused".to_owned(),
    ] {
        assert!(page.contains(&part), "{part}: {page}");
    }
    assert!(
        !page.contains("<b>") && !page.contains("href=\"/console/runs/..") && !page.contains("another"),
        "{page}"
    );

    // Only the newest are shown, all are counted.
    stored = (10..510).map(|number| of(number, "many", Some(1.0), json!({"status": "scored"}))).collect();
    served.database.insert_evaluation_results(&stored).await.expect("they are stored");
    let data = browser.data(&path).await;
    let items = data["results"]["items"].as_array().expect("a list");
    assert_eq!((items.len(), &data["results"]["count"]), (100, &json!(504)));
    assert_eq!(items[0]["timestamp"], "2026-01-01T12:08:29.000000");
    assert!(browser.get(&path).await.text.contains("The newest 100 of 504 results"));
}
