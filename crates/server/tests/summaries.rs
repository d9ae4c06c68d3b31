//! Summaries and comparisons of results.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use store::postgres::EvaluationResult;
use test_support::shared_lines;
use time::{Duration, macros::datetime};

use crate::served::Served;

const RUN_A: &str = "a0000000-0000-4000-8000-00000000000a";
const RUN_B: &str = "a0000000-0000-4000-8000-00000000000b";

/// A result of `model_id` on `query`, identified by a number.
pub(crate) fn result(
    number: usize,
    query: &str,
    model_id: &str,
    score: Option<f64>,
    metadata: Value,
) -> EvaluationResult {
    EvaluationResult {
        id: format!("r{number}"),
        query_id: Some(query.to_owned()),
        query_text: Some(format!("text of {query}")),
        output_text: Some("Because.".into()),
        model_id: Some(model_id.to_owned()),
        theme: Some("physics".into()),
        evaluation_prompt_id: Some("quality".into()),
        evaluation_prompt: Some("Is it good?".into()),
        score,
        judge_model: Some("gpt-4".into()),
        timestamp: Some(
            (datetime!(2026-01-01 12:00) + Duration::seconds(i64::try_from(number).expect("small"))).into(),
        ),
        result_metadata: Some(metadata),
    }
}

/// The two rows of a comparison; `winners` in order and swapped.
pub(crate) fn comparison(
    number: usize,
    query: &str,
    models: [&str; 2],
    winners: [&str; 2],
) -> [EvaluationResult; 2] {
    [false, true].map(|swapped| {
        let winner = winners[usize::from(swapped)];
        let metadata = json!({
            "status": "scored", "mode": "pairwise", "opponent": models[1], "swapped": swapped, "winner": winner,
        });
        result(2 * number + usize::from(swapped), query, models[0], None, metadata)
    })
}

fn refused_field(answer: &crate::served::Answer) -> String {
    answer.message(422);
    answer.json()["data"]["field"].as_str().expect("a field").to_owned()
}

#[tokio::test]
async fn scores_are_summarized_and_models_and_runs_compared() {
    let served = Served::start().await;
    let first = [9.0, 7.0, 8.0].map(Some);
    let second = [5.0, 6.0, 6.0].map(Some);
    let mut stored = Vec::new();
    for (model, scores, run) in [("m", first, RUN_A), ("n", second, RUN_A), ("m", second, RUN_B)] {
        for (query, score) in scores.into_iter().enumerate() {
            let metadata = json!({"status": "scored", "run_id": run, "out_of_range": score == Some(9.0)});
            stored.push(result(stored.len(), &format!("q{query}"), model, score, metadata));
        }
    }
    for status in ["unparsed", "refused", "failed", "unanswered"] {
        let metadata = json!({"status": status, "run_id": RUN_A});
        stored.push(result(stored.len(), "q7", "m", None, metadata));
    }
    // Results of the old services.
    let old = |number, score| EvaluationResult {
        result_metadata: None,
        ..result(number, "q8", "old", score, json!(null))
    };
    stored.extend([old(20, Some(5.0)), old(21, None)]);
    let nameless = EvaluationResult { query_id: None, query_text: None, ..old(22, Some(1.0)) };
    stored.push(nameless);
    served.database.insert_evaluation_results(&stored).await.expect("they are stored");

    let path = format!("/api/v1/results/summary?run_id={RUN_A}&compare=m,n&seed=7");
    let summary = served.get(&path).await.data();
    assert_eq!(
        (&summary["seed"], &summary["repeats"], &summary["without_query"]),
        (&json!(7), &json!("mean"), &json!(0))
    );
    let scores = summary["scores"].as_array().expect("a list");
    assert_eq!(scores.len(), 2);
    let m = &scores[0];
    assert_eq!(
        (&m["model_id"], &m["theme"], &m["evaluation_prompt_id"]),
        (&json!("m"), &json!("physics"), &json!("quality"))
    );
    assert_eq!((&m["queries"], &m["mean"], &m["queries_without_score"]), (&json!(3), &json!(8.0), &json!(1)));
    let error = m["standard_error"].as_f64().expect("a number");
    assert!((error - (1.0_f64 / 3.0).sqrt()).abs() < 1e-12, "{error}");
    assert_eq!(m["interval"], json!({"low": 7.0, "high": 9.0}));
    assert_eq!(m["counts"], json!({"scored": 3, "unparsed": 1, "refused": 1, "failed": 1, "unanswered": 1}));
    assert_eq!(m["out_of_range"], 1);
    let compared = &summary["comparisons"];
    assert_eq!(compared.as_array().map(Vec::len), Some(1));
    let compared = &compared[0];
    assert_eq!(
        (&compared["model_a"], &compared["queries"], &compared["a_better"]),
        (&json!("m"), &json!(3), &json!(3))
    );
    assert!((compared["difference"].as_f64().expect("a number") - 7.0 / 3.0).abs() < 1e-12);
    assert!((compared["p_value"].as_f64().expect("a number") - 0.118_082_896).abs() < 1e-6);
    assert_eq!((&compared["counts_a"]["scored"], &compared["counts_a"]["refused"]), (&json!(3), &json!(1)));
    assert_eq!(served.get(&path).await.data(), summary, "the same seed gives the same intervals");

    let all = served.get("/api/v1/results/summary").await.data();
    assert_eq!(
        (&all["without_query"], &all["comparisons"], &all["pairs"]),
        (&json!(1), &json!([]), &json!([]))
    );
    let old = all["scores"].as_array().expect("a list").iter().find(|one| one["model_id"] == "old");
    let old = old.expect("it is there");
    assert_eq!((&old["counts"]["scored"], &old["counts"]["unparsed"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&old["mean"], &old["standard_error"], &old["interval"]),
        (&json!(5.0), &Value::Null, &Value::Null)
    );

    let runs = served.get(&format!("/api/v1/runs/{RUN_A}/compare/{RUN_B}")).await.data();
    let comparisons = runs["comparisons"].as_array().expect("a list");
    assert_eq!(comparisons.len(), 2);
    assert_eq!((&comparisons[0]["model_a"], &comparisons[0]["queries"]), (&json!("m"), &json!(3)));
    assert_eq!(comparisons[0]["difference"], compared["difference"]);
    assert_eq!((&comparisons[1]["model_b"], &comparisons[1]["only_a"]), (&json!("n"), &json!(3)));
    for unknown in ["a0000000-0000-4000-8000-00000000000c", "x"] {
        served.get(&format!("/api/v1/runs/{RUN_A}/compare/{unknown}")).await.message(404);
        served.get(&format!("/api/v1/runs/{unknown}/compare/{RUN_A}")).await.message(404);
    }
    for (query, field) in [
        ("compare=m", "compare"),
        ("compare=m,m", "compare"),
        ("compare=m,n,o", "compare"),
        ("repeats=median", "repeats"),
        ("seed=-1", "seed"),
        ("model=m", "model"),
        ("run_id=x", "run_id"),
    ] {
        let refused = served.get(&format!("/api/v1/results/summary?{query}")).await;
        assert_eq!(refused_field(&refused), field, "{query}");
    }
}

#[tokio::test]
async fn winners_are_summarized_with_position_bias() {
    let served = Served::start().await;
    let stored = [
        comparison(0, "q0", ["m", "n"], ["model", "model"]),
        comparison(1, "q1", ["n", "m"], ["model", "model"]),
        comparison(2, "q2", ["m", "n"], ["model", "opponent"]),
        comparison(3, "q3", ["m", "n"], ["tie", "tie"]),
    ];
    let mut stored: Vec<EvaluationResult> = stored.into_iter().flatten().collect();
    stored.extend(comparison(4, "q4", ["m", "n"], ["tie", "tie"]).into_iter().take(1));
    served.database.insert_evaluation_results(&stored).await.expect("they are stored");
    let summary = served.get("/api/v1/results/summary?repeats=majority").await.data();
    assert_eq!(summary["scores"], json!([]));
    assert_eq!(summary["pairs"].as_array().map(Vec::len), Some(1));
    let pair = &summary["pairs"][0];
    let wins = ["model_a", "model_b", "wins_a", "wins_b", "ties", "incomplete"].map(|key| &pair[key]);
    assert_eq!(wins, [&json!("m"), &json!("n"), &json!(1), &json!(1), &json!(2), &json!(1)]);
    assert_eq!((&pair["win_rate_a"]["mean"], &pair["win_rate_a"]["queries"]), (&json!(0.5), &json!(4)));
    assert_eq!(
        pair["position"],
        json!({"consistent": 3, "prefers_first": 1, "prefers_second": 0, "half_ties": 0, "consistency": 0.75})
    );
    assert_eq!(pair["counts"]["scored"], 4);
}

#[tokio::test]
async fn labels_are_compared_with_verdicts() {
    let served = Served::start().await;
    let scored = json!({"status": "scored"});
    let stored = [
        result(0, "q0", "m", Some(3.0), scored.clone()),
        result(1, "q1", "m", Some(4.0), scored.clone()),
        EvaluationResult { query_id: None, ..result(2, "q2", "m", Some(5.0), scored) },
        result(3, "q3", "m", None, json!({"status": "refused"})),
    ];
    served.database.insert_evaluation_results(&stored).await.expect("they are stored");
    let label = |key: &str, query: &str, score: f64| json!({key: query, "model_id": "m", "score": score});
    let labels = json!([
        label("query_id", "q0", 3.0),
        label("query_text", "text of q1", 3.0),
        label("query_text", "text of q2", 5.0),
        label("query_id", "q3", 1.0),
        label("query_id", "nobody's", 1.0),
    ]);
    let path = "/api/v1/results/agreement";
    let agreement = served.post(path, json!({"filters": {"model_id": "m"}, "labels": labels})).await.data();
    assert_eq!(agreement["winners"], json!([]));
    assert_eq!(agreement["scores"].as_array().map(Vec::len), Some(1));
    let one = &agreement["scores"][0];
    assert_eq!((&one["judge_model"], &one["agreed"], &one["pairs"]), (&json!("gpt-4"), &json!(2), &json!(3)));
    assert_eq!((&one["counts"]["refused"], &one["not_judged"]), (&json!(1), &json!(1)));
    assert!((one["accuracy"].as_f64().expect("a number") - 2.0 / 3.0).abs() < 1e-12);

    let one = |label: Value| json!({"labels": [label]});
    for (body, field) in [
        (json!({}), "labels"),
        (json!({"labels": []}), "labels"),
        (one(json!({"model_id": "m", "score": 1})), "labels[0]"),
        (one(json!({"query_id": "q", "query_text": "q", "model_id": "m", "score": 1})), "labels[0]"),
        (one(json!({"query_id": "q", "model_id": "m"})), "labels[0]"),
        (one(json!({"query_id": "q", "model_id": "m", "score": "good"})), "labels[0].score"),
        (one(json!({"query_id": "q", "model_a": "m", "model_b": "n", "winner": "m"})), "labels[0].winner"),
        (one(json!({"query_id": "q", "model_a": "m", "model_b": "m", "winner": "a"})), "labels[0].model_b"),
        (one(json!({"query": "q", "model_id": "m", "score": 1})), "labels[0].query"),
        (json!({"labels": labels, "filters": {"status": "good"}}), "filters.status"),
        (json!({"labels": labels, "repeats": "all"}), "repeats"),
    ] {
        assert_eq!(refused_field(&served.post(path, body.clone()).await), field, "{body}");
    }
}

/// Published human labels and verdicts: the route returns the numbers that were computed from the files in Python, by
/// FastChat's method (`judge`'s tests of human labels use the same numbers).
#[tokio::test]
async fn stored_verdicts_agree_with_people_as_published() {
    let rows = shared_lines("human_judgments.jsonl.gz");
    if rows.is_empty() {
        return;
    }
    let served = Served::start().await;
    let text = |row: &Value, key: &str| row[key].as_str().expect("a text").to_owned();
    let (mut verdicts, mut labels) = (BTreeMap::new(), Map::new());
    for row in
        rows.iter().filter(|row| ["mt_bench", "pandalm"].iter().any(|source| row["source"] == **source))
    {
        let key = (text(row, "query_id"), text(row, "model_a"), text(row, "model_b"));
        for (judge, verdict) in row["llm_judges"].as_object().expect("judges") {
            let Some(verdict) = verdict.as_str() else { continue };
            let same = verdicts.insert((judge.clone(), key.clone()), verdict.to_owned());
            assert!(same.is_none_or(|same| same == verdict), "a judge has one verdict per pair");
        }
        let winner = text(row, "human_label");
        let label = json!({"query_id": key.0, "model_a": key.1, "model_b": key.2, "winner": winner});
        let of_source = labels.entry(text(row, "source")).or_insert_with(|| json!([]));
        of_source.as_array_mut().expect("a list").push(label);
    }
    let stored: Vec<EvaluationResult> = verdicts
        .iter()
        .enumerate()
        .flat_map(|(number, ((judge, (query, first, second)), verdict))| {
            let winners = match verdict.as_str() {
                "a" => ["model", "model"],
                "b" => ["opponent", "opponent"],
                "tie" => ["tie", "tie"],
                "tie (inconsistent)" => ["model", "opponent"],
                other => panic!("no such verdict: {other}"),
            };
            comparison(number, query, [first, second], winners)
                .map(|row| EvaluationResult { judge_model: Some(judge.clone()), ..row })
        })
        .collect();
    served.database.insert_evaluation_results(&stored).await.expect("they are stored");

    let agreement = async |source: &str, judge: &str| {
        let body = json!({"filters": {"judge_model": judge}, "labels": labels[source]});
        let agreement = served.post("/api/v1/results/agreement", body).await.data();
        assert_eq!(agreement["winners"].as_array().map(Vec::len), Some(1), "{agreement}");
        agreement["winners"][0].clone()
    };
    let seen = |agreement: &Value| {
        let number = |rate: &str, key: &str| agreement[rate][key].as_u64().expect("a number");
        let rate = |rate: &str| (number(rate, "agreed"), number(rate, "pairs"));
        (rate("three_way"), rate("without_ties"))
    };
    let gpt_4 = agreement("mt_bench", "gpt-4_pair").await;
    assert_eq!(seen(&gpt_4), ((1187, 1743), (967, 1087)));
    for (rate, expected) in
        [("three_way", 0.514_488_571_462_924_9), ("without_ties", 0.779_168_274_993_397_4)]
    {
        let kappa = gpt_4[rate]["kappa"].as_f64().expect("they differ");
        assert!((kappa - expected).abs() < 1e-12, "{rate}: {kappa}");
    }
    assert_eq!((&gpt_4["ties"], &gpt_4["not_judged"]), (&json!(656), &json!(0)));
    let of_gpt_4 = verdicts.iter().filter(|((judge, _), _)| judge == "gpt-4_pair");
    let (pairs, inconsistent) = of_gpt_4.fold((0, 0), |(pairs, inconsistent), (_, verdict)| {
        (pairs + 1, inconsistent + u64::from(verdict == "tie (inconsistent)"))
    });
    assert_eq!(gpt_4["position"]["consistent"], pairs - inconsistent);
    assert_eq!(gpt_4["position"]["prefers_first"], inconsistent);
    // For some of PandaLM's pairs, only one of the two judges names a winner.
    for (judge, expected) in
        [("gpt-3.5-turbo", ((293, 416), (288, 359))), ("pandalm-7b", ((281, 433), (265, 346)))]
    {
        assert_eq!(seen(&agreement("pandalm", judge).await), expected, "{judge}");
    }
}
