//! Comparisons of several models and of runs, and their files.

use serde_json::{Value, json};
use store::postgres::EvaluationResult;

use super::Browser;
use crate::{
    served::Served,
    summaries::{comparison, result},
};

const RUNS: [&str; 3] = [
    "a0000000-0000-4000-8000-00000000000a",
    "a0000000-0000-4000-8000-00000000000b",
    "a0000000-0000-4000-8000-00000000000c",
];

/// Scores of a model on the queries `q0`, `q1` and so on, in a run.
fn scores(first: usize, model: &str, run: &str, scores: &[f64]) -> Vec<EvaluationResult> {
    let one = |(query, score): (usize, &f64)| {
        let metadata = json!({"status": "scored", "run_id": run});
        result(first + query, &format!("q{query}"), model, Some(*score), metadata)
    };
    scores.iter().enumerate().map(one).collect()
}

/// Three models in the first run, and one of them in two others.
async fn fill(served: &Served) {
    let mut stored = Vec::new();
    stored.extend(scores(0, "m", RUNS[0], &[9.0, 7.0, 8.0, 5.0]));
    stored.extend(scores(10, "=n", RUNS[0], &[5.0, 8.0, 6.0, 4.0]));
    stored.extend(scores(20, "o", RUNS[0], &[9.0, 9.0, 9.0]));
    stored.extend(scores(30, "m", RUNS[1], &[5.0, 6.0, 6.0]));
    stored.extend(scores(40, "m", RUNS[2], &[9.0, 9.0, 9.0, 9.0, 9.0]));
    stored.extend(comparison(30, "q1", ["m", "o"], ["model", "model"]));
    served.database.insert_evaluation_results(&stored).await.expect("they are stored");
    for (place, run) in RUNS.iter().enumerate() {
        let name = ["'first <b>'", "'second'", "null"][place];
        served
            .execute(&format!(
                "insert into runs (id, name, plan, allowance, state, created_at, began_at, ended_at) values \
                 ('{run}', {name}, '{{}}', '{{}}', 'completed', '2026-01-0{}', '2026-01-01', '2026-01-01')",
                place + 1
            ))
            .await;
    }
}

#[tokio::test]
async fn first_model_is_compared_with_each_other_one_as_by_the_api() {
    let served = Served::start().await;
    fill(&served).await;
    let mut browser = Browser::new(&served);
    let path = format!("/console/compare?model_a=m&model_b=%3Dn&model_c=o&run_id={}", RUNS[0]);
    let shown = browser.data(&path).await;
    assert_eq!(shown["chosen"], json!(["m", "=n", "o"]));
    let mut expected = Vec::new();
    for other in ["%3Dn", "o"] {
        let api = format!("/api/v1/results/summary?compare=m,{other}&run_id={}", RUNS[0]);
        let summary = served.get(&api).await.data();
        expected.extend(summary["comparisons"].as_array().expect("a list").clone());
        assert_eq!((&shown["scores"], &shown["pairs"]), (&summary["scores"], &summary["pairs"]));
    }
    assert_eq!(shown["comparisons"], Value::Array(expected));
    let regressions: Vec<(&str, &str, f64)> = shown["regressions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            let text = |name: &str| one[name].as_str().expect("a text");
            (text("model_b"), text("query_id"), one["difference"].as_f64().expect("a number"))
        })
        .collect();
    assert_eq!(regressions, [("o", "q1", -2.0), ("=n", "q1", -1.0), ("o", "q2", -1.0)]);
    let page = browser.get(&path).await.text;
    for part in [
        "A minus each other model",
        "C: <bdi>o</bdi>",
        "adjusted for the number of comparisons (2)",
        "name=\"model_d\"",
        "href=\"/console/compare/query?query_id=q1&amp;model_a=m&amp;model_b=o&amp;run_id=",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("name=\"model_e\""), "one more than are chosen: {page}");
    // Everything on which it depends is in the address, which gives the same numbers.
    let permalink = page.split("href=\"").filter_map(|part| part.split_once('"')).map(|(link, _)| link);
    let permalink = permalink.filter(|link| link.starts_with("/console/compare?") && link.contains("seed=0"));
    let permalink = permalink.last().expect("there is one").replace("&amp;", "&");
    assert!(permalink.contains("repeats=mean") && permalink.contains("model_c=o"), "{permalink}");
    assert!(permalink.ends_with("&format=json"), "the last one is the data: {permalink}");
    let again = browser.get(&permalink).await;
    assert_eq!((again.status, &again.json()["comparisons"]), (200, &shown["comparisons"]), "{permalink}");
    // Eight are compared, and there is no parameter for a ninth.
    let eight =
        "/console/compare?model_a=m&model_b=n&model_c=o&model_d=p&model_e=q&model_f=r&model_g=s&model_h=t";
    let data = browser.data(eight).await;
    assert_eq!(data["chosen"].as_array().map(Vec::len), Some(8));
    assert_eq!(browser.get(eight).await.status, 200);
}

#[tokio::test]
async fn tables_of_a_comparison_are_files_that_spreadsheets_do_not_run() {
    let served = Served::start().await;
    fill(&served).await;
    let mut browser = Browser::new(&served);
    let file = browser.get("/console/compare/export?model_a=m&model_b=%3Dn&model_c=o").await;
    assert_eq!((file.status, file.header("content-type")), (200, "text/csv; charset=utf-8; header=present"));
    assert!(file.header("content-disposition").contains("comparisons.csv"));
    let lines: Vec<&str> = file.text.lines().collect();
    assert_eq!(lines.len(), 3, "{}", file.text);
    assert!(lines[0].starts_with("run_a,run_b,evaluation_prompt_id,model_a,model_b,queries"), "{}", lines[0]);
    assert!(lines[1].starts_with(",,quality,m,'=n,"), "{}", lines[1]);
    let data = browser.data("/console/compare?model_a=m&model_b=%3Dn&model_c=o").await;
    let fields: Vec<&str> = lines[2].split(',').collect();
    let difference: f64 = fields[10].parse().expect("a number");
    assert_eq!(data["comparisons"][1]["difference"], json!(difference));
    for (table, rows) in [("scores", 3), ("pairs", 1)] {
        let file = browser.get(&format!("/console/compare/export?table={table}&run_id={}", RUNS[0])).await;
        let expected = if table == "pairs" { 0 } else { rows };
        assert_eq!(file.text.lines().count(), 1 + expected, "{table}: {}", file.text);
    }
    let file = browser.get("/console/compare/export?table=pairs").await;
    assert_eq!(file.text.lines().count(), 2, "{}", file.text);
}

#[tokio::test]
async fn runs_are_compared_as_by_the_api() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    assert!(browser.get("/console/compare/runs").await.text.contains("There is no run yet."));
    fill(&served).await;
    let offered = browser.get("/console/compare/runs").await.text;
    assert!(offered.contains("first &lt;b&gt;, 2026-01-01 00:00") && offered.contains(RUNS[2]), "{offered}");
    let path = format!("/console/compare/runs?run_a={}&run_b={}&run_c={}", RUNS[0], RUNS[1], RUNS[2]);
    let shown = browser.data(&path).await;
    let mut expected = Vec::new();
    for other in &RUNS[1..] {
        let api = served.get(&format!("/api/v1/runs/{}/compare/{other}", RUNS[0])).await.data();
        for one in api["comparisons"].as_array().expect("a list") {
            let mut one = one.clone();
            one["run_b"] = json!(other);
            expected.push(one);
        }
    }
    assert_eq!(shown["comparisons"], Value::Array(expected));
    for (place, run) in RUNS.iter().enumerate() {
        let summary = served.get(&format!("/api/v1/results/summary?run_id={run}")).await.data();
        assert_eq!(shown["runs"][place]["scores"], summary["scores"], "{run}");
        assert_eq!(shown["runs"][place]["run_id"], json!(run));
    }
    let page = browser.get(&path).await.text;
    for part in ["A minus each other run", "A first &lt;b&gt;", "B second", "A better", "as CSV"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("<b>"), "{page}");
    let file = browser.get(&format!("{}&table=scores", path.replace("/runs?", "/runs/export?"))).await;
    assert_eq!((file.status, file.text.lines().count()), (200, 6), "{}", file.text);
    // A metric that neither has.
    let none = browser.get(&format!("{path}&evaluation_prompt_id=other")).await.text;
    assert!(none.contains("None of the runs has scores that satisfy the filters."), "{none}");
    let unknown = "a0000000-0000-4000-8000-00000000000f";
    assert_eq!(browser.get(&format!("/console/compare/runs?run_a={unknown}")).await.status, 404);
    let twice = browser.get(&format!("/console/compare/runs?run_a={0}&run_b={0}", RUNS[0])).await;
    assert_eq!(twice.status, 422);
    let ambiguous = browser.get(&format!("{path}&run_id={}", RUNS[0])).await;
    assert_eq!(ambiguous.status, 422);
}
