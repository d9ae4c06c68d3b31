//! Memory limits: names are limited in size, and large work is done sequentially.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use records::lock::{Condvar, Mutex};
use serde_json::json;

use crate::{
    evaluations::{Stub, completion, metric, refused_field},
    runs::{VERDICT, begin, ended, queries},
    served::{PATIENCE, Served},
};

#[tokio::test]
async fn long_names_are_rejected() {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["Why?"]).await;
    let metric_id = metric(&served, "Is it correct?", json!({})).await;
    let long = "n".repeat(4097);
    let run = |field: &str, value: serde_json::Value| {
        let mut run = json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric_id]});
        run[field] = value;
        run
    };
    let evaluation = |of: &str, value: String| {
        let mut body = json!({
            "theme": "physics", "model_id": "gpt-4o", "evaluation_prompt_ids": [metric_id], "metadata": {"k": value},
        });
        body[of] = json!("physics");
        body
    };
    for (path, body, field) in [
        ("runs", run("name", json!(long)), "name"),
        ("runs", run("metadata", json!({"k": "m".repeat(65_536)})), "metadata"),
        ("runs", run("providers", json!({"gpt-4o": long})), "providers.gpt-4o"),
        ("evaluate/query", evaluation("query", "m".repeat(65_536)), "metadata"),
        ("evaluate/theme", evaluation("theme", "m".repeat(65_536)), "metadata"),
        ("queries", json!({"query": "q", "theme": long}), "theme"),
        ("evaluation-metrics", json!({"prompt": "p", "metric_type": long}), "metric_type"),
        ("outputs", json!({"output": "o", "theme": long, "model_id": "m", "query": "q"}), "theme"),
        ("outputs", json!({"output": "o", "theme": "t", "model_id": long, "query": "q"}), "model_id"),
        ("models", json!({"id": "m", "provider": "openai", "name": long}), "name"),
        ("models", json!({"id": "m", "provider": long}), "provider"),
    ] {
        let answer = served.post(&format!("/api/v1/{path}"), body).await;
        assert_eq!((answer.status, refused_field(&answer)), (422, field.to_owned()), "{path}");
        assert!(answer.text.contains("bytes"), "{path}: {}", answer.text);
        assert!(answer.text.len() < 2000, "{path}: {} bytes", answer.text.len());
    }
    let most = "é".repeat(2048);
    let stored = served.post("/api/v1/queries", json!({"query": "q", "theme": most})).await.data();
    assert_eq!(stored["metadata"]["theme"], json!(most));
    let large = "p".repeat(2 << 20);
    let large = metric(&served, &large, json!({})).await;
    let answer = served.post("/api/v1/runs", run("evaluation_prompt_ids", json!([large]))).await;
    assert_eq!((answer.status, refused_field(&answer)), (422, "evaluation_prompt_ids".to_owned()));
}

#[tokio::test]
async fn runs_that_are_too_large_are_listed_and_stopped_and_others_continue() {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["Why?"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let request = json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric]});
    let odd = begin(&served, request.clone()).await;
    ended(&served, &odd).await;
    served
        .execute(
            "update runs set name = repeat('n', 10000000), plan = rpad(plan, 10000000),
                stop_reason = repeat('r', 10000000), state = 'running', ended_at = null",
        )
        .await;
    let run = ended(&served, &odd).await;
    let text = run.to_string();
    assert_eq!(run["state"], "stopped", "{text}");
    assert!(run["stop_reason"].as_str().expect("a reason").contains("10000000 bytes"), "{text}");
    assert!(text.contains("its name exceeds 4096 bytes") && text.len() < 10_000, "{text}");
    let fine = begin(&served, request).await;
    assert_eq!(ended(&served, &fine).await["state"], "completed");
    let listed = served.get("/api/v1/runs").await.data();
    assert_eq!((&listed["items"][0]["id"], &listed["items"][1]["id"]), (&json!(fine), &json!(odd)));
    let page = served.get("/api/v1/runs?limit=1").await.data();
    let next = page["next_cursor"].as_str().expect("there is more");
    let page = served.get(&format!("/api/v1/runs?limit=1&cursor={next}")).await.data();
    assert_eq!((&page["items"][0]["id"], &page["next_cursor"]), (&json!(odd), &json!(null)));
}

#[tokio::test]
async fn large_tasks_run_sequentially_and_keep_their_texts() {
    // The outputs are as large as the queries.
    let stub = Stub::start(|_| completion(VERDICT), completion);
    let served = Served::start_with_provider(stub.provider()).await;
    // In total several times the memory that all tasks share.
    let texts: Vec<String> = (0..4).map(|number| format!("{number}{}", "w".repeat(1_800_000))).collect();
    queries(&served, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    queries(&served, &["short"]).await;
    let metric = metric(&served, &format!("Is it correct? {}", "p".repeat(20_000)), json!({})).await;
    let request = json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric]});
    let id = begin(&served, request).await;
    let run = ended(&served, &id).await;
    assert_eq!((&run["state"], &run["units"]["scored"]), (&json!("completed"), &json!(5)), "{run}");
    let mut lengths = Vec::new();
    for number in 0..5 {
        let page = served.get(&format!("/api/v1/results?limit=1&page={}", number + 1)).await.data();
        let result = &page["items"][0];
        assert_eq!(result["query_text"], result["output_text"]);
        lengths.push(result["query_text"].as_str().expect("a text").len());
    }
    lengths.sort_unstable();
    assert_eq!(lengths, [vec![5], vec![1_800_001; 4]].concat());
    assert_eq!(stub.requests().len(), 10, "each call once");
}

#[tokio::test]
async fn evaluations_of_large_texts_call_models_one_at_a_time() {
    let (is_open, opened) = (Arc::new(Mutex::new(false)), Arc::new(Condvar::new()));
    let waits = (is_open.clone(), opened.clone());
    // The model holds calls with large prompts.
    let stub = Stub::start(
        |_| completion(VERDICT),
        move |prompt| {
            let mut is_open = waits.0.lock();
            while prompt.len() > 1_000_000 && !*is_open {
                is_open = waits.1.wait(is_open);
            }
            completion("Because.")
        },
    );
    let served = Served::start_with_provider(stub.provider()).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let evaluate = |query: String| {
        let body =
            json!({"query": query, "theme": "t", "model_id": "gpt-4o", "evaluation_prompt_ids": [metric]});
        served.post("/api/v1/evaluate/query", body)
    };
    let calls = || stub.requests().iter().filter(|call| call.to_string().len() > 1_000_000).count();
    let large = || evaluate("w ".repeat(6_000_000));
    let others = async {
        let end = Instant::now() + PATIENCE;
        while calls() == 0 {
            assert!(Instant::now() < end, "a large call arrives in time");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        evaluate("Why?".to_owned()).await.data();
        assert_eq!(calls(), 1, "the other one waits for memory, and small ones do not");
        *is_open.lock() = true;
        opened.notify_all();
    };
    let (first, second, ()) = tokio::join!(large(), large(), others);
    for evaluated in [first, second] {
        assert_eq!(evaluated.data()["evaluations"][0]["metadata"]["status"], "scored");
    }
}

#[tokio::test]
async fn names_of_megabytes_are_summarized_separately_and_truncated() {
    let served = Served::start().await;
    served
        .execute(
            "insert into evaluation_results (id, query_id, query_text, model_id, theme, evaluation_prompt_id, score)
             select 'r' || number, 'q' || number, 'q', 'm', repeat('t', 1000000) || number % 2, 'p', number
             from generate_series(1, 8) as number",
        )
        .await;
    let summary = served.get("/api/v1/results/summary").await;
    let scores = summary.data()["scores"].as_array().expect("a list").clone();
    let themes: Vec<&str> = scores.iter().filter_map(|group| group["theme"].as_str()).collect();
    assert_eq!(themes.len(), 2, "{themes:?}");
    assert_ne!(themes[0], themes[1]);
    for theme in themes {
        assert!(theme.starts_with("ttt") && theme.contains("… [1000001 bytes, SHA-256 "), "{theme}");
    }
    assert!(summary.text.len() < 20_000, "{} bytes", summary.text.len());
}

#[tokio::test]
async fn pages_of_large_records_are_shorter_and_continue_by_cursor() {
    let served = Served::start().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let metadata = json!({"number": number, "k": "m".repeat(if number == 2 { 10 } else { 7_000_000 })});
        let body = json!({"query": format!("q{number}"), "theme": "t", "metadata": metadata});
        let stored = served.post("/api/v1/queries", body).await.data();
        ids.push(stored["id"].as_str().expect("an id").to_owned());
    }
    ids.reverse();
    for limit in [1, 2, 3, 100] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = served.get(&format!("/api/v1/queries?limit={limit}{cursor}")).await.data();
            let items = page["items"].as_array().expect("a list");
            found.extend(items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(found, ids, "limit={limit}");
    }
}

#[tokio::test]
async fn refusal_of_large_records_names_a_field_of_the_request() {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_with_provider(stub.provider()).await;
    let large = json!({"k": "m".repeat(7_000_000)});
    let mut metrics = Vec::new();
    for prompt in ["Is it correct?", "Is it short?", "Is it polite?"] {
        let query = json!({"query": prompt, "theme": "huge", "metadata": large});
        served.post("/api/v1/queries", query).await.data();
        metrics.push(metric(&served, prompt, large.clone()).await);
    }
    let small = metric(&served, "Is it correct?", json!({})).await;
    let theme = json!({"theme": "huge", "model_id": "gpt-4o", "evaluation_prompt_ids": [small]});
    let query =
        json!({"query": "Why?", "theme": "t", "model_id": "gpt-4o", "evaluation_prompt_ids": metrics});
    let run = json!({"theme": "huge", "models": ["gpt-4o"], "evaluation_prompt_ids": [small]});
    for (path, body, field, remedy) in [
        ("evaluate/theme", theme.clone(), "limit", "10 are asked for at most: give a smaller `limit`"),
        ("evaluate/query", query, "evaluation_prompt_ids", "give fewer ids"),
        ("runs", run, "limit", "split it into several runs by `query_ids`"),
    ] {
        let answer = served.post(&format!("/api/v1/{path}"), body).await;
        assert_eq!(
            (answer.status, refused_field(&answer)),
            (422, field.to_owned()),
            "{path}: {}",
            answer.text
        );
        assert!(answer.text.contains(remedy) && !answer.text.contains("export"), "{path}: {}", answer.text);
    }
    for (path, remedy) in [
        ("queries/theme/huge", "up to 10 of them are listed on a page: give a smaller `limit`"),
        ("api/v1/queries/theme/huge?limit=50", "up to 50 of them are listed"),
    ] {
        let answer = served.get(&format!("/{path}")).await;
        assert_eq!((answer.status, refused_field(&answer)), (422, "limit".to_owned()), "{path}");
        assert!(answer.text.contains(remedy), "{path}: {}", answer.text);
    }
    // Each remedy works.
    served.get("/queries/theme/huge?limit=1").await.json();
    assert_eq!(
        served.get("/api/v1/queries?theme=huge").await.data()["items"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(served.get("/api/v1/queries/export?theme=huge").await.text.lines().count(), 3);
    let ids = served.texts("select id::text from queries where theme = 'huge'").await;
    let too_many = served.post("/api/v1/queries/fetch", json!({"ids": ids})).await;
    assert_eq!((too_many.status, refused_field(&too_many)), (422, "ids".to_owned()));
    let search = served.post("/api/v1/queries/search", json!({"query": "x", "theme": "huge"})).await;
    assert_eq!((search.status, refused_field(&search)), (422, "limit".to_owned()), "{}", search.text);
    let mut smaller = theme;
    smaller["limit"] = json!(1);
    let evaluated = served.post("/api/v1/evaluate/theme", smaller).await.data();
    assert_eq!(evaluated.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn lists_of_names_and_summaries_by_them_are_bounded_in_bytes() {
    let served = Served::start().await;
    let results =
        "insert into evaluation_results (id, query_id, model_id, theme, evaluation_prompt_id, score)";
    served
        .execute(&format!(
            "insert into models select 'm' || n, repeat('n', 4000), 'openai', false from generate_series(1, 2000) n;
            insert into queries (embedding, query_text, theme)
                select array_fill(0.5, array[384])::real[]::vector, 'q', n || repeat('t', 4000)
                from generate_series(1, 2000) n;
            {results} select 'r' || n, 'q', 'm' || n % 20 || repeat('m', 4000), 't' || n / 20 || repeat('t', 4000), 'p', 5
                from generate_series(0, 999) n;"
        ))
        .await;
    // Large responses are built sequentially and are complete.
    let models = served.get("/api/v1/models").await.data();
    assert!(models.as_array().is_some_and(|models| models.len() > 2000));
    let themes = served.get("/api/v1/queries/themes").await.data();
    assert_eq!(themes.as_array().map(Vec::len), Some(2000));
    let summary = served.get("/api/v1/results/summary").await.data();
    assert_eq!(summary["scores"].as_array().map(Vec::len), Some(1000));

    served
        .execute(&format!(
            "insert into models select 'x' || n, repeat('n', 4000), 'openai', false from generate_series(1, 3000) n;
            insert into queries (embedding, query_text, theme)
                select array_fill(0.5, array[384])::real[]::vector, 'q', n || repeat('u', 4000)
                from generate_series(1, 3000) n;
            {results} select 's' || n, 'q', 'm' || n % 20 || repeat('m', 4000), 'u' || n / 20 || repeat('t', 4000), 'p', 5
                from generate_series(0, 1999) n;"
        ))
        .await;
    let check = async |path: &str, field: &str, remedy: &str| {
        let answer = served.get(path).await;
        assert_eq!((answer.status, refused_field(&answer)), (422, field.to_owned()), "{path}");
        assert!(answer.text.contains(remedy) && answer.text.len() < 2000, "{path}: {}", answer.text);
    };
    check("/api/v1/models", "models", "delete unneeded rows").await;
    check("/api/v1/queries/themes", "themes", "export the records").await;
    // Few names that make many groups.
    check("/api/v1/results/summary", "theme", "narrow them by `theme`").await;
    let narrowed = format!("/api/v1/results/summary?model_id=m1{}", "m".repeat(4000));
    let summary = served.get(&narrowed).await.data();
    assert_eq!(summary["scores"].as_array().map(Vec::len), Some(150));
    // Many names.
    served
        .execute(&format!(
            "{results} select 'v' || n, 'q', 'm', 'v' || n || repeat('t', 4000), 'p', 5 from generate_series(1, 5000) n;"
        ))
        .await;
    check("/api/v1/results/summary?model_id=m", "theme", "narrow them by `theme`").await;
    // A model is found regardless of the others.
    served.post("/api/v1/models", json!({"id": "m1", "provider": "openai"})).await.data();
}

#[tokio::test]
async fn evaluation_of_a_theme_returns_limited_texts_and_stores_all() {
    let long = "a ".repeat(2_500_000);
    let stub = Stub::start(|_| completion(VERDICT), move |_| completion(&long));
    let served = Served::start_with_provider(stub.provider()).await;
    for number in 0..9 {
        served.post("/api/v1/queries", json!({"query": format!("q{number}"), "theme": "long"})).await.data();
    }
    let small = metric(&served, "Is it correct?", json!({})).await;
    let body = json!({"theme": "long", "model_id": "gpt-4o", "evaluation_prompt_ids": [small], "limit": 100});
    let answer = served.post("/api/v1/evaluate/theme", body).await;
    let results = answer.data();
    let results = results.as_array().expect("a list");
    let (shown, hidden): (Vec<_>, Vec<_>) = results.iter().partition(|result| result["output"].is_object());
    assert_eq!((shown.len(), hidden.len()), (6, 3), "{} bytes", answer.text.len());
    for result in hidden {
        let error = result["error"].as_str().expect("a reason");
        assert!(error.contains("are stored. Give a smaller `limit`"), "{error}");
        assert!(result["query"].as_str().is_some_and(|query| query.starts_with('q')), "{result}");
    }
    assert_eq!(served.texts("select count(*)::text from llm_outputs").await, ["9"]);
    assert_eq!(served.texts("select count(*)::text from evaluation_results").await, ["9"]);
}
