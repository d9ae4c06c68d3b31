//! What judges said.

use serde_json::json;
use store::postgres::EvaluationResult;
use time::macros::datetime;

use crate::served::Served;

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
        timestamp: Some(datetime!(2026-01-01 12:00).replace_day(day).expect("a day")),
        result_metadata: Some(json!({"raw": "7"})),
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
            "judge_model": "gpt-4", "timestamp": "2026-01-02T12:00:00.000000", "metadata": {"raw": "7"},
        }])
    );
}
