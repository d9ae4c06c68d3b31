//! The HTML of the pages as files: what a change of the console changes is seen where it is reviewed. `UPDATE_EXPECT=1`
//! writes them again.
//!
//! A file has what is inside `main`, a tag a line. Plots, which have files of their own, are named by their titles; times of
//! today, tokens and ids that the server made are masked, and on pages of measurements also all numbers.

use expect_test::expect_file;
use serde_json::{Value, json};
use store::postgres::EvaluationResult;
use time::OffsetDateTime;

use super::Browser;
use crate::{
    evaluations::Stub,
    runs::{VERDICT, begin, ended},
    served::Served,
    summaries::{comparison, result},
};

/// What differs between runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Same,
    Measured,
}

/// Pages by the names of their files.
const PAGES: [(&str, &str, Numbers); 23] = [
    ("home", "/", Numbers::Same),
    ("quality", "/console/quality", Numbers::Measured),
    ("quality_table", "/console/quality/table?name=queries", Numbers::Measured),
    ("queries", "/console/queries", Numbers::Same),
    ("query", "/console/queries/record?id=q1", Numbers::Same),
    ("query_edit", "/console/queries/edit?id=q1", Numbers::Same),
    ("query_delete", "/console/queries/delete?id=q1", Numbers::Same),
    ("query_new", "/console/queries/new", Numbers::Same),
    ("query_import", "/console/queries/import", Numbers::Same),
    ("queries_map", "/console/queries/map", Numbers::Measured),
    ("collections", "/console/collections", Numbers::Same),
    ("metric", "/console/evaluation-metrics/record?id=quality", Numbers::Same),
    ("compare", "/console/compare?model_a=m&model_b=n", Numbers::Same),
    ("compare_runs", "/console/compare/runs", Numbers::Same),
    ("compare_query", "/console/compare/query?query_id=q1&model_a=m&model_b=n", Numbers::Same),
    ("judges", "/console/judges", Numbers::Same),
    ("agreement", "/console/judges/agreement?judge_model=gpt-4&evaluation_prompt_id=quality", Numbers::Same),
    ("label", "/console/label", Numbers::Same),
    ("label_item", "/console/label?annotator=ada&kind=scores", Numbers::Same),
    ("runs", "/console/runs", Numbers::Measured),
    ("run_new", "/console/runs/new", Numbers::Same),
    ("migrations", "/console/migrations", Numbers::Same),
    ("settings", "/console/settings", Numbers::Measured),
];

#[tokio::test]
async fn pages_are_as_in_their_files() {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_with_provider(stub.provider()).await;
    fill(&served).await;
    let mut browser = Browser::new(&served);
    // The statistics of the tables, which PostgreSQL would otherwise count some time later.
    served.execute("analyze").await;
    for (name, path, numbers) in PAGES {
        let page = browser.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        expect_file![format!("golden/{name}.html")].assert_eq(&shown(&page.text, numbers));
    }
    let missing = browser.get("/console/queries/record?id=none").await;
    assert_eq!(missing.status, 404);
    expect_file!["golden/error.html"].assert_eq(&shown(&missing.text, Numbers::Same));
    let metric = "quality";
    let request = json!({"name": "nightly", "theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric]});
    let id = begin(&served, request).await;
    ended(&served, &id).await;
    let run = browser.get(&format!("/console/runs/{id}")).await;
    expect_file!["golden/run.html"].assert_eq(&shown(&run.text, Numbers::Measured));
    // The order of results, and the provider's ids, differ between runs.
    let results = browser.get(&format!("/console/runs/{id}/results?status=failed")).await;
    expect_file!["golden/run_results.html"].assert_eq(&shown(&results.text, Numbers::Measured));
}

/// Two queries, a metric, and results, comparisons and labels of two models.
async fn fill(served: &Served) {
    for (id, query) in [("q1", "Why is the sky <b>blue</b>?"), ("q2", "What is a black hole?")] {
        let body = json!({"id": id, "query": query, "theme": "physics", "metadata": {"level": 2}});
        served.post("/api/v1/queries", body).await.data();
    }
    let metric = json!({"id": "quality", "prompt": "Is it good?", "metric_type": "quality"});
    served.post("/api/v1/evaluation-metrics", metric).await.data();
    let mut stored: Vec<EvaluationResult> = Vec::new();
    for (model, scores) in [("m", [9.0, 7.0]), ("n", [5.0, 8.0])] {
        for (query, score) in ["q1", "q2"].into_iter().zip(scores) {
            let judged = result(stored.len(), query, model, Some(score), json!({"status": "scored"}));
            stored.push(EvaluationResult { output_text: Some(format!("The answer of {model}.")), ..judged });
        }
    }
    stored.push(result(4, "q2", "n", None, json!({"status": "unparsed"})));
    stored.extend(comparison(10, "q1", ["m", "n"], ["model", "model"]));
    stored.extend(comparison(11, "q2", ["m", "n"], ["opponent", "tie"]));
    served.database.insert_evaluation_results(&stored).await.expect("they are stored");
    let label = |annotator: &str, query: &str, score: f64| {
        json!({
            "annotator": annotator, "query_id": query, "model_id": "m", "evaluation_prompt_id": "quality", "score": score,
            "labelled_at": "2026-01-02T10:00:00",
        })
    };
    let labels = json!([label("ada", "q1", 9.0), label("ben", "q1", 8.0), label("ben", "q2", 6.0)]);
    let stored: Value = served.post("/api/v1/labels", json!({ "labels": labels })).await.data();
    assert_eq!(stored["stored"], 3, "{stored}");
}

/// The part of a page that a file has.
fn shown(page: &str, numbers: Numbers) -> String {
    let main = page.split_once("<main").and_then(|(_, rest)| rest.split_once("</main>"));
    let main = main.expect("the page has a main part").0;
    let main = main.split_once('>').expect("the tag ends").1;
    let main = between(main, ("<figure", "</figure>"), |figure| {
        let title = figure.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
        format!("<figure>{}</figure>", title.map_or("", |(title, _)| title))
    });
    let main =
        between(&main, ("name=\"_token\" value=\"", "\""), |_| "name=\"_token\" value=\"TOKEN\"".to_owned());
    let main = without_ids(&without_today(&main));
    let main = if numbers == Numbers::Measured { without_numbers(&main) } else { main };
    format!("{}\n", main.replace("><", ">\n<").replace("> <", ">\n<"))
}

/// Replaces each part of `text` from `start` to `end`, both included.
fn between(text: &str, (start, end): (&str, &str), replace: impl Fn(&str) -> String) -> String {
    let (mut replaced, mut rest) = (String::new(), text);
    while let Some(begin) = rest.find(start) {
        let length = rest[begin + start.len()..].find(end).expect("the part ends") + start.len() + end.len();
        replaced += &rest[..begin];
        replaced += &replace(&rest[begin..begin + length]);
        rest = &rest[begin + length..];
    }
    replaced + rest
}

/// Masks times of today and, at midnight, of yesterday.
fn without_today(text: &str) -> String {
    let today = OffsetDateTime::now_utc().date();
    let days = [Some(today), today.previous_day()].into_iter().flatten();
    days.fold(text.to_owned(), |text, day| {
        let day = day.to_string();
        let mut parts = text.split(&day);
        let first = parts.next().expect("splitting gives one part at least").to_owned();
        parts.fold(first, |masked, part| {
            let rest = part.trim_start_matches(|character: char| {
                character.is_ascii_digit() || [':', '.', 'T', 'Z'].contains(&character)
            });
            let rest = rest.strip_prefix(' ').map_or(rest, |after| {
                after.trim_start_matches(|character: char| character.is_ascii_digit() || character == ':')
            });
            format!("{masked}TODAY{rest}")
        })
    })
}

/// Masks UUIDs.
fn without_ids(text: &str) -> String {
    let is_id = |part: &str| {
        part.len() == 36
            && part.bytes().enumerate().all(|(place, byte)| match place {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
    };
    let (mut masked, mut rest) = (String::new(), text);
    while let Some(character) = rest.chars().next() {
        if rest.get(..36).is_some_and(is_id) {
            masked += "ID";
            rest = &rest[36..];
        } else {
            masked.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    masked
}

/// Masks numbers outside of tags, with their units of size.
fn without_numbers(text: &str) -> String {
    let (mut masked, mut is_tag, mut is_number) = (String::new(), false, false);
    for character in text.chars() {
        is_tag = (is_tag || character == '<') && character != '>';
        let continues = is_number && ['.', ',', '\u{202f}'].contains(&character);
        let digit = !is_tag && (character.is_ascii_digit() || continues);
        if !digit {
            masked.push(character);
        } else if !is_number {
            masked.push('#');
        }
        is_number = digit;
    }
    ["kB", "MB", "bytes"].iter().fold(masked, |text, unit| text.replace(&format!("# {unit}"), "# B"))
}
