//! The pages of judges.

use serde_json::{Value, json};
use store::postgres::EvaluationResult;
use time::{Duration, macros::datetime};

use super::Browser;
use crate::{
    served::Served,
    summaries::{comparison, result},
};

const PATH: &str = "/console/judges";

/// A result on day `day`.
fn on(day: i64, result: EvaluationResult) -> EvaluationResult {
    EvaluationResult { timestamp: Some((datetime!(2026-01-01 12:00) + Duration::days(day)).into()), ..result }
}

async fn stored() -> Served {
    let served = Served::start().await;
    let scored = |number, query: &str, score, day| {
        on(day, result(number, query, "m<b>", Some(score), json!({"status": "scored"})))
    };
    let missing =
        |number, status: &str, day| on(day, result(number, "q9", "m<b>", None, json!({"status": status})));
    let mut all = vec![
        scored(100, "q0", 2.0, 0),
        scored(101, "q1", 4.0, 0),
        scored(102, "q2", 8.0, 1),
        missing(103, "unparsed", 1),
        missing(104, "refused", 2),
        missing(105, "unanswered", 2),
        EvaluationResult { timestamp: None, ..scored(106, "q3", 8.0, 0) },
    ];
    let by_other = |result| EvaluationResult { judge_model: Some("other".into()), ..result };
    all.push(by_other(scored(107, "q0", 9.0, 0)));
    let models = ["m<b>", "n"];
    all.extend(comparison(0, "q0", models, ["model", "model"]));
    all.extend(comparison(1, "q1", models, ["model", "opponent"]));
    all.extend(comparison(2, "q2", models, ["tie", "tie"]));
    all.extend(comparison(3, "q3", models, ["model", "model"]).into_iter().take(1));
    served.database.insert_evaluation_results(&all).await.expect("they are stored");
    served
}

#[tokio::test]
async fn judges_show_what_is_missing_and_how_position_and_time_matter() {
    let served = stored().await;
    let mut browser = Browser::new(&served);
    let shown = browser.data(PATH).await;
    let judges = shown["judges"].as_array().expect("a list");
    assert_eq!((judges.len(), &shown["without_time"]), (2, &json!(1)));
    let judge = &judges[0];
    assert_eq!((&judge["judge_model"], &judge["evaluation_prompt_id"]), (&json!("gpt-4"), &json!("quality")));
    let scores = json!({"scored": 4, "unparsed": 1, "refused": 1, "failed": 0, "unanswered": 1});
    assert_eq!(judge["scores"], scores);
    assert_eq!((&judge["comparisons"]["scored"], &judge["incomplete"]), (&json!(7), &json!(1)));
    let share = |name: &str| [judge[name]["part"].clone(), judge[name]["whole"].clone()];
    // Six calls of one answer, seven of two; an unanswered output had none.
    assert_eq!(share("unparsed"), [json!(1), json!(13)]);
    assert_eq!(share("consistency"), [json!(2), json!(3)]);
    assert_eq!(share("prefers_first"), [json!(1), json!(3)]);
    assert_eq!(judge["mean"], 5.5);
    let bins: Vec<[&Value; 2]> = judge["histogram"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|bin| [&bin["low"], &bin["count"]])
        .collect();
    assert_eq!(json!(bins), json!([[2.0, 1], [4.0, 1], [8.0, 2]]));
    let drift: Vec<[&Value; 2]> =
        judge["drift"].as_array().expect("a list").iter().map(|day| [&day["day"], &day["mean"]]).collect();
    assert_eq!(json!(drift), json!([["2026-01-01", 3.0], ["2026-01-02", 8.0], ["2026-01-03", null]]));
    let page = browser.get(PATH).await.text;
    assert!(page.contains("1 unparsed, 1 refused, 1 unanswered") && page.contains("66.7 %"), "{page}");
    assert!(page.contains("Left out of plots over time: 1 result without a time."), "{page}");
    assert!(page.contains("Mean score by day") && !page.contains("<b>"), "{page}");
    let other = browser.data(&format!("{PATH}?judge_model=other")).await;
    assert_eq!(
        (other["judges"].as_array().map(Vec::len), &other["judges"][0]["mean"]),
        (Some(1), &json!(9.0))
    );
    assert!(browser.get(&format!("{PATH}?judge_model=none")).await.text.contains("There are no judgements"));
}

#[tokio::test]
async fn labels_of_people_are_compared_as_by_the_api() {
    let served = stored().await;
    let mut browser = Browser::new(&served);
    let labels = [
        json!({"query_id": "q0", "model_id": "m<b>", "score": 2}),
        json!({"query_id": "q1", "model_id": "m<b>", "score": 5}),
        json!({"query_id": "q2", "model_id": "m<b>", "score": 8}),
        json!({"query_id": "q9", "model_id": "m<b>", "score": 1}),
        json!({"query_id": "nowhere", "model_id": "m<b>", "score": 1}),
        json!({"query_id": "q0", "model_a": "m<b>", "model_b": "n", "winner": "a"}),
    ];
    let expected = served.post("/api/v1/results/agreement", json!({"labels": labels})).await.data();
    let lines = labels.each_ref().map(Value::to_string).join("\n");
    let (form, data) = (format!("{PATH}/agreement"), format!("{PATH}/agreement?format=json"));
    for written in [lines.clone(), Value::from(labels.to_vec()).to_string()] {
        let shown = browser.submit((&form, &data), &[("labels", &written)]).await;
        assert_eq!(shown.status, 200, "{}", shown.text);
        let shown = shown.json();
        assert_eq!((&shown["scores"], &shown["winners"]), (&expected["scores"], &expected["winners"]));
        let calibration = &shown["calibration"][0];
        assert_eq!(calibration["groups"].as_array().map(Vec::len), Some(3), "{calibration}");
        let group = json!({"judge": 4.0, "people": 5.0, "interval": null, "labels": 1});
        assert_eq!((&calibration["groups"][1], &calibration["not_judged"]), (&group, &json!(1)));
        assert_eq!(calibration["counts"]["scored"], 3);
    }
    let page = browser.submit((&form, &form), &[("labels", &lines), ("judge_model", "gpt-4")]).await.text;
    assert!(page.contains("6 labels compared") && page.contains("svg class=\"calibration\""), "{page}");
    for (wrong, message) in [
        ("{\"query_id\": 1", "`labels, line 1`"),
        ("\n{\"query_id\": \"q\"}", "expected model_id and score"),
        ("[]", "expected 1 to 100000 labels, found 0"),
        ("{\"query_id\": \"q0\"}\n[1]", "`labels, line 2`"),
    ] {
        let refused = browser.submit((&form, &form), &[("labels", wrong)]).await;
        assert_eq!(refused.status, 422, "{wrong}");
        assert!(refused.text.contains(message), "{wrong}: {}", refused.text);
    }
}
