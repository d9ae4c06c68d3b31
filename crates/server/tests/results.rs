//! Evaluation results.

use serde_json::json;
use store::postgres::EvaluationResult;
use time::macros::datetime;

use crate::served::Served;

const RUN: &str = "a0000000-0000-4000-8000-000000000001";

#[tokio::test]
async fn results_are_listed_newest_first_by_every_filter_in_both_forms() {
    let served = Served::start().await;
    let result = |id: &str, score, day: u8| EvaluationResult {
        id: id.to_owned(),
        query_id: Some("q".into()),
        query_text: Some("Why?".into()),
        output_text: Some("Because.".into()),
        model_id: Some(format!("model-{id}")),
        theme: Some("t".into()),
        evaluation_prompt_id: Some("p".into()),
        evaluation_prompt: Some("Is it good?".into()),
        score,
        judge_model: Some("gpt-4".into()),
        timestamp: Some(datetime!(2026-01-01 12:00).replace_day(day).expect("a day").into()),
        result_metadata: Some(json!({"raw": "7", "run_id": RUN, "cost_usd": f64::from(day)})),
    };
    let stored = [result("a", Some(7.0), 1), result("b", None, 2), result("c", Some(2.5), 3)];
    served.database.insert_evaluation_results(&stored).await.expect("they are stored");
    for (query, expected) in [
        ("", "cba"),
        ("theme=t&evaluation_prompt_id=p", "cba"),
        ("theme=u", ""),
        ("model_id=model-b", "b"),
        ("min_score=2.5", "ca"),
        ("max_score=3", "c"),
        ("start_date=2026-01-02", "cb"),
        ("end_date=2026-01-02", "ba"),
        ("end_date=2026-01-02T12:00:00", "ba"),
        ("end_date=2026-01-02T11:59:59", "a"),
        ("page=2&limit=2", "a"),
        ("judge_model=gpt-4", "cba"),
        ("judge_model=gpt-3", ""),
        (&format!("run_id={RUN}"), "cba"),
        ("run_id=a0000000-0000-4000-8000-000000000002", ""),
        ("status=scored", "ca"),
        ("status=unparsed", "b"),
        ("status=refused", ""),
        ("where=%7B%22cost_usd%22%3A%7B%22%24gte%22%3A2%7D%7D", "cb"),
    ] {
        let page = served.get(&format!("/api/v1/results?{query}")).await.data();
        let bare = served.get(&format!("/results?{query}")).await.json();
        assert_eq!(page["items"], bare, "{query}");
        let ids: String =
            bare.as_array().expect("a list").iter().filter_map(|result| result["id"].as_str()).collect();
        assert_eq!(ids, expected, "{query}");
    }
    let page = served.get("/api/v1/results?page=2&limit=2").await.data();
    assert_eq!(page["pagination"], json!({"page": 2, "limit": 2, "total": 3, "pages": 2}));
    assert_eq!(
        served.get("/results?model_id=model-b").await.json(),
        json!([{
            "id": "b", "query_id": "q", "query_text": "Why?", "output_text": "Because.", "model_id": "model-b",
            "theme": "t", "evaluation_prompt_id": "p", "evaluation_prompt": "Is it good?", "score": null,
            "judge_model": "gpt-4", "timestamp": "2026-01-02T12:00:00.000000", "metadata": {"raw": "7", "run_id": RUN, "cost_usd": 2.0},
        }])
    );

    let (mut ids, mut cursor) = (String::new(), String::new());
    loop {
        let page = served.get(&format!("/api/v1/results?limit=2&cursor={cursor}")).await.data();
        assert!(page.get("pagination").is_none(), "{page}");
        ids.extend(page["items"].as_array().expect("a list").iter().filter_map(|item| item["id"].as_str()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = next.to_owned();
    }
    assert_eq!(ids, "cba");
}

#[tokio::test]
async fn invalid_filters_are_rejected_by_name() {
    let served = Served::start().await;
    for (query, field) in [
        ("run_id=7", "run_id"),
        ("status=good", "status"),
        ("where=%7B", "where"),
        ("where=%7B%22a%22%3A%7B%22%24like%22%3A1%7D%7D", "where.a"),
        ("cursor=x", "cursor"),
        ("cursor=&page=2", "page"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("page=0", "page"),
        ("min_score=11", "min_score"),
        ("start_date=yesterday", "start_date"),
    ] {
        let refused = served.get(&format!("/api/v1/results?{query}")).await;
        assert_eq!((refused.status, &refused.json()["data"]["field"]), (422, &json!(field)), "{refused:?}");
    }
}
