//! The judge's results.

use futures_util::TryStreamExt as _;
use records::Service;
use serde_json::json;
use store::{
    StoredTime,
    postgres::{
        EvaluationResult, ResultSelection, ResultStatus, ResultWinner, StoredJudgement, StoredResult,
    },
    storage::{Filter, StorageError},
};
use time::Duration;
use uuid::Uuid;

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
        timestamp: Some((NOON + Duration::minutes(number)).into()),
        result_metadata: Some(json!({"raw": format!("{number}\0"), "n": [number, 1.0]})),
    }
}

/// `result` as it is read back.
fn stored(result: EvaluationResult) -> StoredResult {
    StoredResult { result, problems: Vec::new() }
}

#[tokio::test]
async fn results_are_listed_newest_first_by_every_filter() {
    let (_test_database, database, _) = storage(Service::Judge).await;
    let given: Vec<EvaluationResult> = (0..4).map(|n| result(&format!("r{n}"), n)).collect();
    database.insert_evaluation_results(&given).await.expect("they are stored");
    database.insert_evaluation_results(&given[1..2]).await.expect("again changes nothing");
    database.insert_evaluation_results(&[]).await.expect("nothing to do");
    let all = database.evaluation_results(&ResultSelection::default(), 0, 10).await.expect("they read");
    assert_eq!(all, given.iter().rev().cloned().map(stored).collect::<Vec<_>>());
    let page = database.evaluation_results(&ResultSelection::default(), 1, 2).await.expect("they read");
    assert_eq!(page, [given[2].clone(), given[1].clone()].map(stored));

    let found = async |selection: ResultSelection| {
        let listed = database.evaluation_results(&selection, 0, 10).await.expect("they read");
        let count = database.count_evaluation_results(&selection).await.expect("they are counted");
        assert_eq!(count, listed.len() as u64);
        listed.into_iter().map(|stored| stored.result.id).collect::<Vec<_>>()
    };
    let any = ResultSelection::default;
    assert_eq!(found(ResultSelection { theme: Some("theme 1".into()), ..any() }).await, ["r1"]);
    assert_eq!(found(ResultSelection { model_id: Some("model 2".into()), ..any() }).await, ["r2"]);
    let by_prompt = ResultSelection { evaluation_prompt_id: Some("prompt 0".into()), ..any() };
    assert_eq!(found(by_prompt).await, ["r0"]);
    assert_eq!(found(ResultSelection { min_score: Some(1.5), ..any() }).await, ["r2", "r1"]);
    assert_eq!(found(ResultSelection { max_score: Some(1.5), ..any() }).await, ["r1", "r0"]);
    let time = |result: &EvaluationResult| result.timestamp.and_then(StoredTime::in_calendar);
    let (from, until) = (time(&given[1]), time(&given[2]));
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
    assert_eq!(
        database.evaluation_results(&selection, 0, 10).await.expect("it is found"),
        [stored(long_result)]
    );
    let nul = EvaluationResult { output_text: Some("a\0".into()), ..result("nul", 1) };
    let error = database.insert_evaluation_results(&[nul]).await.expect_err("it cannot be stored");
    assert!(matches!(&error, StorageError::Refused { field, .. } if field == "output_text"), "{error}");
}

/// A result with these metadata, and a score if there is one.
fn judged(id: &str, number: i64, score: Option<f64>, metadata: serde_json::Value) -> EvaluationResult {
    EvaluationResult { score, result_metadata: Some(metadata), ..result(id, number) }
}

#[tokio::test]
async fn results_are_selected_by_their_metadata() {
    let (_test_database, database, _) = storage(Service::Judge).await;
    database.ensure_service_indexes(Service::Judge).await.expect("the indexes are built");
    let run = Uuid::from_u128(7);
    let pair = |winner: &str| json!({"mode": "pairwise", "status": "scored", "winner": winner});
    let given = [
        judged(
            "scored",
            0,
            Some(7.0),
            json!({"status": "scored", "run_id": run.to_string(), "cost_usd": 0.5}),
        ),
        judged("refused", 1, None, json!({"status": "refused", "run_id": run.to_string()})),
        judged("unanswered", 2, None, json!({"status": "unanswered"})),
        judged("old", 3, Some(7.0), json!({"latency": 3})),
        judged("old without score", 4, None, json!(null)),
        judged("no number", 5, Some(f64::NAN), json!({"status": "scored"})),
        judged("pair", 6, None, pair("tie")),
        judged("pair without winner", 7, None, pair("nobody")),
        judged("odd", 8, Some(1.0), json!({"run_id": "x\0", "status": "refused"})),
        judged("strange", 9, Some(1.0), json!({"status": 3, "run_id": [1], "repeat": {"a": "b"}})),
    ];
    database.insert_evaluation_results(&given).await.expect("they are stored");
    let found = async |selection: ResultSelection| {
        let listed = database.evaluation_results(&selection, 0, 100).await.expect("they read");
        let count = database.count_evaluation_results(&selection).await.expect("they are counted");
        assert_eq!(count, listed.len() as u64);
        listed.into_iter().rev().map(|stored| stored.result.id).collect::<Vec<_>>()
    };
    let any = ResultSelection::default;
    assert_eq!(found(ResultSelection { run_id: Some(run), ..any() }).await, ["scored", "refused"]);
    assert_eq!(found(ResultSelection { judge_model: Some("judge 2".into()), ..any() }).await, ["unanswered"]);
    let by_status = |status| found(ResultSelection { status: Some(status), ..any() });
    // Metadata that JSONB cannot store match nothing, nor does an invalid status.
    assert_eq!(by_status(ResultStatus::Scored).await, ["scored", "old", "pair", "odd", "strange"]);
    assert_eq!(
        by_status(ResultStatus::Unparsed).await,
        ["old without score", "no number", "pair without winner"]
    );
    assert_eq!(by_status(ResultStatus::Refused).await, ["refused"]);
    assert_eq!(by_status(ResultStatus::Failed).await, Vec::<String>::new());
    assert_eq!(by_status(ResultStatus::Unanswered).await, ["unanswered"]);
    let by_metadata = async |filter: serde_json::Value| {
        let filter = Filter::from_json(&filter).expect("it is a filter");
        found(ResultSelection { metadata: Some(filter), ..any() }).await
    };
    assert_eq!(by_metadata(json!({"mode": "pairwise"})).await, ["pair", "pair without winner"]);
    assert_eq!(by_metadata(json!({"cost_usd": {"$gt": 0.1}})).await, ["scored"]);
    assert_eq!(by_metadata(json!({"latency": {"$in": [2, 3]}})).await, ["old"]);
    assert_eq!(by_metadata(json!({"model_id": "model 2"})).await, Vec::<String>::new(), "a column is no key");
    assert_eq!(by_metadata(json!({"mode": {"$ne": "pairwise"}})).await.len(), 8);

    let note = |seen: &mut Vec<_>, judgement: StoredJudgement<'_>| {
        let winner = judgement.comparison.and_then(|comparison| comparison.winner);
        let of_run = judgement.run_id == Some(&run.to_string());
        seen.push((judgement.judge_model.map(str::to_owned), judgement.status, of_run, winner));
    };
    let mut seen = database.gather_judgements(&any(), note).await.expect("they read");
    seen.sort_by_key(|(judge, ..)| judge.clone());
    assert_eq!(seen.len(), 10);
    assert_eq!(seen[0], (Some("judge 0".into()), ResultStatus::Scored, true, None));
    assert_eq!(seen[6], (Some("judge 6".into()), ResultStatus::Scored, false, Some(ResultWinner::Tie)));
    assert_eq!(seen[8], (Some("judge 8".into()), ResultStatus::Scored, false, None));
}

#[tokio::test]
async fn pages_from_a_cursor_on_hold_each_result_once_and_those_without_a_time_last() {
    let (_test_database, database, _) = storage(Service::Judge).await;
    let mut given: Vec<EvaluationResult> = (0..300).map(|n| result(&format!("r{n:03}"), n / 3)).collect();
    given[..7].iter_mut().for_each(|result| result.timestamp = None);
    database.insert_evaluation_results(&given).await.expect("they are stored");
    let all = ResultSelection::default();
    let expected = database.evaluation_results(&all, 0, 1_000).await.expect("they read");
    assert_eq!(expected.len(), 300);
    assert!(expected[293..].iter().all(|stored| stored.result.timestamp.is_none()));
    for limit in [1, 7, 100] {
        let (mut listed, mut cursor) = (Vec::new(), None);
        loop {
            let page = database.evaluation_results_after(&all, cursor.as_ref(), limit).await;
            let page = page.expect("they read");
            assert!(page.len() <= limit as usize);
            let Some(last) = page.last() else { break };
            cursor = Some(last.result.cursor());
            listed.extend(page);
        }
        assert!(listed == expected, "pages of {limit}");
    }
    let exported = database.export_evaluation_results(all.clone()).try_collect::<Vec<_>>().await;
    assert!(exported.expect("they read") == expected);
}
