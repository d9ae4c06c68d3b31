//! What a run's page says of its scores, of what is missing and of what was used; and the results of a run.

use serde_json::{Value, json};

use super::Browser;
use crate::{
    evaluations::{Stub, completion, failure, metric},
    runs::{VERDICT, begin, ended, queries},
    served::Served,
};

/// Judges that answer with words, fail, and see no answer.
fn stub() -> Stub {
    Stub::start(
        |prompt| match prompt {
            prompt if prompt.contains("unread") => completion("It is a <i>fine</i> answer."),
            prompt if prompt.contains("broken") => failure(400, "invalid_request_error", "no"),
            prompt if prompt.contains("poor") => completion(r#"{"rationale": "It is wrong.", "score": 2}"#),
            _ => completion(VERDICT),
        },
        |prompt| match prompt {
            "failing?" => failure(400, "invalid_request_error", "cannot"),
            prompt => completion(prompt),
        },
    )
}

#[tokio::test]
async fn run_shows_its_scores_what_is_missing_and_what_was_used_and_retries_what_failed() {
    let stub = stub();
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["good?", "fine?", "poor?", "unread?", "broken?", "failing?"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let request = json!({"name": "mixed", "theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric], "budget": {"requests": 20}});
    let id = begin(&served, request).await;
    let run = ended(&served, &id).await;
    assert_eq!(run["state"], "completed");
    let mut browser = Browser::new(&served);
    let path = format!("/console/runs/{id}");
    let data = browser.data(&path).await;
    let histogram = json!([{"low": 2.0, "high": 2.0, "count": 1}, {"low": 8.0, "high": 8.0, "count": 2}]);
    let scores = &data["scores"][0];
    assert_eq!((&scores["histogram"], &scores["mean"]), (&histogram, &json!(6.0)), "{data}");
    // The same numbers as those of the judges.
    let judges = browser.data(&format!("/console/judges?run_id={id}")).await;
    let judge = &judges["judges"][0];
    assert_eq!((&judge["histogram"], &judge["scores"]), (&scores["histogram"], &scores["counts"]));
    let units = &run["units"];
    for outcome in ["scored", "unparsed", "refused", "failed", "unanswered"] {
        assert_eq!(scores["counts"][outcome], units[outcome], "{outcome}");
    }
    // All that is missing has its reason.
    let missing = data["missing"].as_array().expect("a list");
    let of = |kind: &str, outcome: &str| {
        let found = missing.iter().filter(|one| one["kind"] == kind && one["outcome"] == outcome);
        found.map(|one| one["count"].as_u64().expect("a count")).sum::<u64>()
    };
    assert_eq!(of("answer", "failed"), 1, "{data}");
    for outcome in ["unparsed", "failed", "unanswered"] {
        assert_eq!(Some(of("judgement", outcome)), units[outcome].as_u64(), "{outcome} {data}");
    }
    assert!(missing.iter().any(|one| one["reason"] == "bad_request" && one["outcome"] == "failed"), "{data}");
    assert_eq!(data["missing_for_others"], 0);
    // What was used ends at the total.
    let last = data["usage"].as_array().and_then(|usage| usage.last()).expect("calls were made");
    assert_eq!((&last["requests"], &last["tokens"]), (&run["used"]["requests"], &run["used"]["tokens"]));
    assert_eq!(data["usage_without_time"], 0);
    let page = browser.get(&path).await.text;
    for part in [
        "<title>Scores of gpt-4 by ".to_owned(),
        "<title>Calls, and the budget</title>".to_owned(),
        format!("href=\"{path}/results?status=failed\""),
        "Retry failed".to_owned(),
    ] {
        assert!(page.contains(&part), "{part}: {page}");
    }
    assert!(!page.contains(">Resume<"), "a completed run has nothing to resume: {page}");
    // Retried calls fail again, and are counted.
    let retried = browser.submit((&path, &format!("{path}/resume")), &[("retry_failed", "true")]).await;
    assert_eq!(retried.status, 303, "{}", retried.text);
    let again = ended(&served, &id).await;
    assert!(again["used"]["requests"].as_u64() > run["used"]["requests"].as_u64(), "{again}");
    let data = browser.data(&path).await;
    let last = data["usage"].as_array().and_then(|usage| usage.last()).expect("calls were made");
    assert_eq!(last["requests"], again["used"]["requests"]);
    // Impossible values of another program are left out.
    served
        .execute("update run_attempts set ended_at = 'infinity', cost_usd = 'NaN', input_tokens = -5 where task = 0")
        .await;
    let data = browser.data(&path).await;
    assert!(data["usage_without_time"].as_u64().is_some_and(|count| count > 0), "{data}");
    assert!(browser.get(&path).await.text.contains("with impossible times"));
}

#[tokio::test]
async fn results_of_a_run_are_paged_with_the_judges_words_and_filtered() {
    let stub = stub();
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["good?", "poor?", "unread?", "broken?", "failing?"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let request = json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric]});
    let id = begin(&served, request).await;
    ended(&served, &id).await;
    let mut browser = Browser::new(&served);
    let path = format!("/console/runs/{id}/results");
    // Page by page, each result once, and as the API lists them.
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let data = browser.data(&format!("{path}?limit=2&cursor={cursor}")).await;
        assert_eq!(data["count"], 5);
        listed.extend(data["items"].as_array().expect("a list").clone());
        match data["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    let api = served.get(&format!("/api/v1/results?run_id={id}&limit=100")).await.data();
    let ids = |items: &[Value]| items.iter().map(|item| item["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&listed), ids(api["items"].as_array().expect("a list")));
    let of = |query: &str| {
        let found = listed.iter().find(|item| item["query"]["text"] == query);
        found.unwrap_or_else(|| panic!("{query}: {listed:?}"))
    };
    assert_eq!((&of("poor?")["score"], &of("poor?")["status"]), (&json!(2.0), &json!("scored")));
    assert_eq!(of("poor?")["words"]["text"], r#"{"rationale": "It is wrong.", "score": 2}"#);
    assert_eq!(of("unread?")["words"]["text"], "It is a <i>fine</i> answer.");
    assert_eq!((&of("failing?")["answer"], &of("failing?")["status"]), (&Value::Null, &json!("unanswered")));
    assert!(of("broken?")["reason"].as_str().is_some_and(|reason| reason.contains("no")), "{listed:?}");
    let page = browser.get(&path).await.text;
    assert!(page.contains("It is a &lt;i&gt;fine&lt;/i&gt; answer.") && !page.contains("<i>"), "{page}");
    assert!(page.contains("5 results shown of 5") || page.contains("5 results"), "{page}");
    let unparsed = browser.data(&format!("{path}?status=unparsed&model_id=gpt-4o")).await;
    assert_eq!((&unparsed["count"], &unparsed["items"][0]["query"]["text"]), (&json!(1), &json!("unread?")));
    let none = browser.get(&format!("{path}?model_id=other")).await.text;
    assert!(none.contains("There are no results that satisfy these filters."), "{none}");
    let link = format!("/console/runs/export?status=scored&run_id={id}&format=csv");
    let shown = browser.get(&format!("{path}?status=scored")).await.text;
    assert!(shown.contains(&link.replace('&', "&amp;")), "{shown}");
    let file = browser.get(&link).await;
    assert_eq!((file.status, file.text.lines().count()), (200, 3), "{}", file.text);
    for (wrong, status) in [("?status=odd", 422), ("?cursor=odd", 422), ("?unknown=1", 422)] {
        assert_eq!(browser.get(&format!("{path}{wrong}")).await.status, status, "{wrong}");
    }
    assert_eq!(browser.get("/console/runs/none/results").await.status, 404);
}

#[tokio::test]
async fn results_of_megabytes_shorten_the_page_instead_of_failing() {
    let served = Served::start().await;
    let stub_run = "a0000000-0000-4000-8000-00000000000b";
    served
        .execute(&format!(
            "insert into runs (id, plan, allowance, state, created_at, began_at, ended_at) \
             values ('{stub_run}', '{{}}', '{{}}', 'completed', '2026-01-01', '2026-01-01', '2026-01-01'); \
             insert into evaluation_results (id, output_text, query_text, timestamp, result_metadata) \
             select 'r' || n, repeat('<b>x</b> ', 400000), 'q', timestamp '2026-01-01' + n * interval '1 s', \
                json_build_object('run_id', '{stub_run}', 'status', 'scored', 'raw_text', repeat('word ', 1000)) \
             from generate_series(1, 8) n"
        ))
        .await;
    let mut browser = Browser::new(&served);
    let path = format!("/console/runs/{stub_run}/results");
    let (mut seen, mut cursor) = (0, String::new());
    loop {
        let data = browser.data(&format!("{path}?cursor={cursor}")).await;
        let items = data["items"].as_array().expect("a list");
        assert!(!items.is_empty(), "{data}");
        assert_eq!(
            (&items[0]["answer"]["bytes"], &items[0]["answer"]["is_whole"]),
            (&json!(3_600_000), &json!(false))
        );
        seen += items.len();
        match data["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, 8);
    let page = browser.get(&path).await.text;
    assert!(page.len() < 150_000 && !page.contains("<b>"), "{}", page.len());
}
