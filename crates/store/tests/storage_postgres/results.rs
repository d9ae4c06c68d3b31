//! The judge's results.

use records::Service;
use serde_json::json;
use store::{
    postgres::{EvaluationResult, ResultSelection},
    storage::StorageError,
};
use time::Duration;

use super::{NOON, storage};

fn result(id: &str, number: i64) -> EvaluationResult {
    let text = |name: &str| Some(format!("{name} {number}"));
    EvaluationResult {
        id: id.to_owned(),
        query_id: text("query"),
        query_text: text("query text"),
        output_text: text("output"),
        model_id: text("model"),
        theme: text("theme"),
        evaluation_prompt_id: text("prompt"),
        evaluation_prompt: text("prompt text"),
        score: (number != 3).then_some(number as f64 + 0.5),
        judge_model: text("judge"),
        timestamp: Some(NOON + Duration::minutes(number)),
        result_metadata: Some(json!({"raw": format!("{number}\0"), "n": [number, 1.0]})),
    }
}

#[tokio::test]
async fn results_are_listed_newest_first_by_every_filter() {
    let (_test_database, database, _) = storage(Service::Judge).await;
    let given: Vec<EvaluationResult> = (0..4).map(|n| result(&format!("r{n}"), n)).collect();
    database.insert_evaluation_results(&given).await.expect("they are stored");
    database.insert_evaluation_results(&given[1..2]).await.expect("again changes nothing");
    database.insert_evaluation_results(&[]).await.expect("nothing to do");
    let all = database.evaluation_results(&ResultSelection::default(), 0, 10).await.expect("they read");
    assert_eq!(all, given.iter().rev().cloned().collect::<Vec<_>>());
    let page = database.evaluation_results(&ResultSelection::default(), 1, 2).await.expect("they read");
    assert_eq!(page, [given[2].clone(), given[1].clone()]);

    let found = async |selection: ResultSelection| {
        let listed = database.evaluation_results(&selection, 0, 10).await.expect("they read");
        let count = database.count_evaluation_results(&selection).await.expect("they are counted");
        assert_eq!(count, listed.len() as u64);
        listed.into_iter().map(|result| result.id).collect::<Vec<_>>()
    };
    let any = ResultSelection::default;
    assert_eq!(found(ResultSelection { theme: Some("theme 1".into()), ..any() }).await, ["r1"]);
    assert_eq!(found(ResultSelection { model_id: Some("model 2".into()), ..any() }).await, ["r2"]);
    let by_prompt = ResultSelection { evaluation_prompt_id: Some("prompt 0".into()), ..any() };
    assert_eq!(found(by_prompt).await, ["r0"]);
    assert_eq!(found(ResultSelection { min_score: Some(1.5), ..any() }).await, ["r2", "r1"]);
    assert_eq!(found(ResultSelection { max_score: Some(1.5), ..any() }).await, ["r1", "r0"]);
    let (from, until) = (given[1].timestamp, given[2].timestamp);
    assert_eq!(found(ResultSelection { from, until, ..any() }).await, ["r2", "r1"]);
    assert_eq!(found(ResultSelection { theme: Some("nul\0".into()), ..any() }).await, Vec::<String>::new());
}

#[tokio::test]
async fn long_texts_are_stored_and_nul_is_refused_by_name() {
    let (_test_database, database, _) = storage(Service::Judge).await;
    database.ensure_service_indexes(Service::Judge).await.expect("the indexes are built");
    let long = Some("théme ".repeat(1_000));
    let long_result = EvaluationResult {
        theme: long.clone(),
        model_id: long.clone(),
        evaluation_prompt_id: long.clone(),
        ..result("long", 1)
    };
    database.insert_evaluation_results(std::slice::from_ref(&long_result)).await.expect("it is stored");
    let selection = ResultSelection {
        theme: long.clone(),
        model_id: long.clone(),
        evaluation_prompt_id: long,
        ..ResultSelection::default()
    };
    assert_eq!(database.evaluation_results(&selection, 0, 10).await.expect("it is found"), [long_result]);
    let nul = EvaluationResult { output_text: Some("a\0".into()), ..result("nul", 1) };
    let error = database.insert_evaluation_results(&[nul]).await.expect_err("it cannot be stored");
    assert!(matches!(&error, StorageError::Refused { field, .. } if field == "output_text"), "{error}");
}
