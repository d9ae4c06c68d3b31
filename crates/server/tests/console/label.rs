//! The pages of people's labels.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};
use store::postgres::EvaluationResult;
use uuid::Uuid;

use super::Browser;
use crate::{
    evaluations::metric,
    served::Served,
    summaries::{comparison, result},
};

const PATH: &str = "/console/label";

fn text_of(page: &str) -> String {
    page.replace("<bdi>", "").replace("</bdi>", "")
}

/// Ten answers of `m<b>` by metric `quality`, each with verdicts of two judges.
async fn with_scores() -> Served {
    let served = Served::start().await;
    let mut stored = Vec::new();
    for query in 0..10 {
        for judge in ["gpt-4", "other"] {
            let metadata = json!({"status": "scored", "secret": "verdict"});
            let judged = result(stored.len(), &format!("q{query}"), "m<b>", Some(3.25), metadata);
            stored.push(EvaluationResult {
                judge_model: Some(judge.to_owned()),
                output_text: Some(format!("Answer {query}.")),
                ..judged
            });
        }
    }
    served.database.insert_evaluation_results(&stored).await.expect("they are stored");
    served
}

async fn next(browser: &mut Browser<'_>, path: &str) -> Value {
    browser.data(path).await["item"].take()
}

/// Labels the next item of the page at `path`.
async fn label(browser: &mut Browser<'_>, path: &str, label: &str) {
    let saved = browser.submit((path, PATH), &[("label", label)]).await;
    assert_eq!((saved.status, saved.header("location")), (303, path), "{}", saved.text);
}

#[tokio::test]
async fn answers_are_labelled_blind_one_after_the_other_and_taken_back() {
    let served = with_scores().await;
    let mut browser = Browser::new(&served);
    let overview = browser.get(PATH).await.text;
    assert!(
        overview.contains("There are no labels yet") && overview.contains("name=\"annotator\""),
        "{overview}"
    );
    let path = "/console/label?annotator=ann";
    let page = browser.get(path).await.text;
    for part in ["Is it good?", "data-key=\"1\"", "data-key=\"0\"", "data-key=\"s\"", "0 labelled, 10 left"] {
        assert!(text_of(&page).contains(part), "{part}: {page}");
    }
    let data = browser.data(path).await.to_string();
    for hidden in ["3.25", "m<b>", "m&lt;b&gt;", "gpt-4", "verdict", "data-key=\"u\""] {
        assert!(!page.contains(hidden) && !data.contains(hidden), "{hidden} is not blind: {page}");
    }
    let first = next(&mut browser, path).await;
    let again = next(&mut browser, path).await;
    assert_eq!(
        (&first["result_id"], &first["scale"]),
        (&again["result_id"], &json!({"min": 1.0, "max": 10.0}))
    );

    let mut seen = HashSet::new();
    for number in 0..10 {
        let item = next(&mut browser, path).await;
        assert!(seen.insert(item["answers"][0]["text"].to_string()), "{item} is shown once");
        label(&mut browser, path, if number == 3 { "skip" } else { "7" }).await;
    }
    let shown = browser.data(path).await;
    let progress = json!({"labelled": 9, "skipped": 1, "left": 0, "is_all": true, "incomplete": 0});
    assert_eq!((&shown["item"], &shown["progress"]), (&Value::Null, &progress));
    let page = browser.get(path).await.text;
    assert!(page.contains("Nothing is left to label") && page.contains("skipped=true"), "{page}");
    let skipped = browser.data("/console/label?annotator=ann&skipped=true").await;
    assert_eq!((&skipped["progress"]["left"], skipped["item"].is_null()), (&json!(1), false));

    let last = shown["last"][0]["id"].as_str().expect("an id").to_owned();
    let undo = format!("{PATH}/undo");
    let unnamed = browser.submit((path, &undo), &[("last", &last), ("annotator", " ")]).await;
    assert_eq!(unnamed.status, 422, "a label without an annotator is not taken back: {}", unnamed.text);
    for _ in 0..2 {
        let undone = browser.submit((path, &undo), &[("last", &last)]).await;
        assert_eq!((undone.status, undone.header("location")), (303, path));
        let shown = browser.data(path).await;
        assert_eq!((&shown["progress"]["left"], &shown["progress"]["labelled"]), (&json!(1), &json!(8)));
    }
    // Another annotator sees the same items in the same order.
    let other = next(&mut browser, "/console/label?annotator=bob").await;
    assert_eq!(other["result_id"], first["result_id"]);
    let stored = served.get("/api/v1/labels?annotator=ann").await.data();
    let items = stored["items"].as_array().expect("a list");
    assert_eq!(items.len(), 8);
    for (name, value) in [
        ("annotator", json!("ann")),
        ("model_id", json!("m<b>")),
        ("score", json!(7.0)),
        ("winner", Value::Null),
    ] {
        assert!(items.iter().all(|item| item[name] == value), "{name}: {items:?}");
    }
    assert!(items.iter().all(|item| item["evaluation_prompt_id"] == "quality"));
}

#[tokio::test]
async fn label_is_replaced_by_a_newer_one_and_sending_it_twice_changes_nothing() {
    let served = with_scores().await;
    let mut browser = Browser::new(&served);
    let path = "/console/label?annotator=ann";
    let item = next(&mut browser, path).await;
    let result = item["result_id"].as_str().expect("an id").to_owned();
    let id = Uuid::from_u128(7).to_string();
    for (label, labels) in
        [("7", json!([7.0])), ("7", json!([7.0])), ("4", json!([4.0])), ("skip", json!([]))]
    {
        let fields = [("result", result.as_str()), ("id", &id), ("label", label)];
        let saved = browser.submit((path, PATH), &fields).await;
        assert_eq!(saved.status, 303, "{}", saved.text);
        let stored = served.get("/api/v1/labels").await.data();
        let scores: Vec<&Value> =
            stored["items"].as_array().expect("a list").iter().map(|item| &item["score"]).collect();
        assert_eq!(json!(scores), labels, "{label}");
    }
    assert_eq!(served.texts("select count(*)::text from labels").await, ["3"], "earlier labels are kept");
}

#[tokio::test]
async fn forms_of_labels_are_checked() {
    let served = with_scores().await;
    served
        .database
        .insert_evaluation_results(&comparison(20, "q0", ["m<b>", "n"], ["model", "model"]))
        .await
        .expect("they are stored");
    let mut browser = Browser::new(&served);
    let path = "/console/label?annotator=ann&kind=scores";
    for (field, value, status, message) in [
        ("label", "11", 422, "`label`: expected a number from 1 to 10"),
        ("label", "NaN", 422, "expected a number from 1 to 10"),
        ("label", "a", 422, "expected a number from 1 to 10"),
        ("result", "nowhere", 404, "no answer to label has the id `nowhere`"),
        ("result", "r40", 422, "expected `a`, `b`, `tie` or `skip`"),
        ("annotator", " ", 422, "`annotator`: expected your name"),
        ("annotator", &"ä".repeat(101), 422, "`annotator`: expected up to 200 bytes"),
        ("id", "x", 422, "`id`: expected a UUID"),
        ("kind", "odd", 422, "`kind`: unknown variant"),
    ] {
        let fields: Vec<(&str, &str)> =
            [("label", "7")].into_iter().filter(|(name, _)| *name != field).chain([(field, value)]).collect();
        let refused = browser.submit((path, PATH), &fields).await;
        assert_eq!(refused.status, status, "{field}: {}", refused.text);
        assert!(
            text_of(&refused.text).replace("&#39;", "'").contains(message),
            "{message}: {}",
            refused.text
        );
    }
    for action in [PATH, "/console/label/undo", "/console/label/import"] {
        let forged = [("label".to_owned(), "7".to_owned())];
        assert_eq!(browser.post(action, &forged).await.status, 403, "{action}");
    }
    let misspelt = browser.get("/console/label?anotator=x").await;
    assert_eq!(misspelt.status, 422);
    assert_eq!(served.get("/api/v1/labels").await.data()["items"], json!([]), "nothing was stored");
}

#[tokio::test]
async fn scale_is_that_of_the_metric() {
    let served = Served::start().await;
    let of_scale = async |scale: Value| {
        let metric = metric(&served, "Is it correct?", scale).await;
        let judged = EvaluationResult {
            id: metric.clone(),
            evaluation_prompt_id: Some(metric.clone()),
            ..result(0, "q", "m", Some(1.0), json!({}))
        };
        served.database.insert_evaluation_results(&[judged]).await.expect("it is stored");
        format!("{PATH}?annotator=ann&evaluation_prompt_id={metric}")
    };
    let mut browser = Browser::new(&served);
    let short = of_scale(json!({"scale_min": 0, "scale_max": 3})).await;
    let page = browser.get(&short).await.text;
    assert!(page.contains("value=\"0\" data-key=\"0\"") && !page.contains("data-key=\"4\""), "{page}");
    let long = of_scale(json!({"scale_min": 0, "scale_max": 100})).await;
    let page = browser.get(&long).await.text;
    assert!(page.contains("type=\"number\"") && !page.contains("data-key=\"1\""), "{page}");
    for (score, status) in [("101", 422), ("", 422), ("99.5", 303)] {
        let saved = browser.submit((&long, PATH), &[("label", "score"), ("score", score)]).await;
        assert_eq!(saved.status, status, "{score}: {}", saved.text);
    }
    assert_eq!(served.get("/api/v1/labels").await.data()["items"][0]["score"], 99.5);
}

/// Pairs of answers of `m` and `n<i>`, judged in both orders; the outputs of `n<i>` are stored.
async fn with_pairs(pairs: usize) -> Served {
    let served = Served::start().await;
    let mut stored = Vec::new();
    for number in 0..pairs {
        let query = format!("q{number}");
        let output = json!({
            "id": format!("output-{number}"), "output": format!("Of n: {number}"), "theme": "physics", "model_id": "n<i>",
            "query": query,
        });
        served.post("/api/v1/outputs", output).await.data();
        for mut judged in comparison(number, &query, ["m", "n<i>"], ["model", "model"]) {
            judged.output_text = Some(format!("Of m: {number}"));
            let metadata = judged.result_metadata.as_mut().and_then(Value::as_object_mut).expect("an object");
            metadata.insert("opponent_output_id".to_owned(), json!(format!("output-{number}")));
            stored.push(judged);
        }
    }
    // Its other answer is not stored.
    stored.extend(comparison(pairs, "lost", ["m", "n<i>"], ["model", "model"]));
    served.database.insert_evaluation_results(&stored).await.expect("they are stored");
    served
}

#[tokio::test]
async fn pairs_are_shown_in_an_order_that_stays_and_that_the_label_keeps() {
    let served = with_pairs(12).await;
    let mut browser = Browser::new(&served);
    let path = "/console/label?annotator=ann&kind=pairs";
    let (mut first, mut incomplete) = (Vec::new(), 0);
    for number in 0..12 {
        let shown = browser.data(path).await;
        let sides = |shown: &Value| [0, 1].map(|side| shown["item"]["answers"][side]["text"].to_string());
        incomplete = shown["progress"]["incomplete"].as_u64().expect("a count");
        let answers = sides(&shown);
        assert_eq!(sides(&browser.data(path).await), answers, "loaded again");
        assert!(
            answers.iter().any(|text| text.contains("Of m"))
                && answers.iter().any(|text| text.contains("Of n"))
        );
        first.push(if answers[0].contains("Of m") { "m" } else { "n<i>" });
        let page = browser.get(path).await.text;
        assert!(
            page.contains("data-key=\"a\"") && page.contains("data-key=\"t\"") && !page.contains("&lt;i&gt;"),
            "{page}"
        );
        label(&mut browser, path, ["a", "b", "tie"][number % 3]).await;
    }
    assert_eq!(incomplete, 1, "the pair without its other answer is left out");
    let stored = served.get("/api/v1/labels").await.data();
    let newest_first = stored["items"].as_array().expect("a list").iter();
    let shown: Vec<(&Value, &Value)> =
        newest_first.rev().map(|item| (&item["model_a"], &item["winner"])).collect();
    let winners = [json!("a"), json!("b"), json!("tie")];
    let expected: Vec<(Value, &Value)> =
        first.iter().enumerate().map(|(number, first)| (json!(first), &winners[number % 3])).collect();
    assert_eq!(shown, expected.iter().map(|(first, winner)| (first, *winner)).collect::<Vec<_>>());
    let overview = browser.data(PATH).await;
    assert_eq!(
        (
            &overview["position"]["first"]["part"],
            &overview["position"]["first"]["whole"],
            &overview["position"]["ties"]
        ),
        (&json!(4), &json!(8), &json!(4))
    );
}

#[tokio::test]
async fn odd_texts_are_shown_harmlessly() {
    let served = Served::start().await;
    let long = format!("{}é", "word \u{1F469}\u{200D}\u{1F52C} ".repeat(80_000));
    assert!(long.len() > 1_000_000);
    for (number, text) in
        ["<script>alert(1)</script>", "\u{202e}txet \u{5d0}\u{5d1}", &long].into_iter().enumerate()
    {
        let judged = EvaluationResult {
            output_text: Some(text.to_owned()),
            query_text: Some(text.to_owned()),
            query_id: None,
            evaluation_prompt_id: Some(format!("metric {number}")),
            ..result(number, "q", "m", Some(1.0), json!({}))
        };
        served.database.insert_evaluation_results(&[judged]).await.expect("it is stored");
    }
    let mut browser = Browser::new(&served);
    let page = async |browser: &mut Browser<'_>, number: u32| {
        let path = format!("{PATH}?annotator=%E2%80%AEann%3Cscript%3E&evaluation_prompt_id=metric+{number}");
        (browser.get(&path).await.text, path)
    };
    let (script, path) = page(&mut browser, 0).await;
    assert!(script.contains("&lt;script&gt;alert(1)") && !script.contains("<script>"), "{script}");
    assert!(script.contains("<span class=\"unseen\">U+202E</span>ann"), "the annotator's name: {script}");
    label(&mut browser, &path, "5").await;
    let stored = served.get("/api/v1/labels").await.data();
    assert_eq!(stored["items"][0]["query_id"], Value::Null);
    assert_eq!(stored["items"][0]["query_digest"].as_str().map(str::len), Some(32));
    let (direction, _) = page(&mut browser, 1).await;
    assert!(direction.contains("<span class=\"unseen\">U+202E</span>txet"), "{direction}");
    let (large, path) = page(&mut browser, 2).await;
    assert!(large.len() < 300_000 && large.contains("Show all"), "{}", large.len());
    let whole = browser.get(&format!("{path}&whole=true")).await.text;
    assert!(whole.len() > 2_000_000 && whole.contains('é') && !whole.contains("Show all"));
}

#[tokio::test]
async fn labels_of_several_people_are_compared_with_each_other_and_with_judges() {
    let served = with_scores().await;
    let mut browser = Browser::new(&served);
    for (annotator, scores) in [("ann", ["3", "7", "9"]), ("bob", ["3", "6", "9"])] {
        let path = format!("{PATH}?annotator={annotator}");
        for score in scores {
            label(&mut browser, &path, score).await;
        }
    }
    label(&mut browser, "/console/label?annotator=ann", "5").await;
    let overview = browser.data(PATH).await;
    let agreement = &overview["agreement"][0];
    for (name, value) in [("annotators", 2), ("items", 3), ("labels", 6), ("alone", 1)] {
        assert_eq!(agreement[name], value, "{name}");
    }
    assert_eq!((&agreement["same"]["part"], &agreement["kind"]), (&json!(2), &json!("scores")));
    // Pairs 3 3, 7 6, 9 9: 1 - 5 (1/6 sum of squares over pairs …), by hand.
    let alpha = agreement["alpha"].as_f64().expect("a number");
    let values = [3.0_f64, 3.0, 7.0, 6.0, 9.0, 9.0];
    let apart: f64 = values.iter().flat_map(|a| values.iter().map(move |b| (a - b).powi(2))).sum();
    assert!((alpha - (1.0 - 5.0 * 2.0 / apart)).abs() < 1e-12, "{alpha}");
    let page = browser.get(PATH).await.text;
    assert!(
        page.contains("<title>Krippendorff's alpha") || page.contains("<title>Krippendorff&#39;s alpha"),
        "{page}"
    );
    assert!(page.contains("ann") && page.contains("66.7 %"), "{page}");

    let expected = served.post("/api/v1/results/agreement", json!({"stored": {}})).await.data();
    assert_eq!((&expected["labels"], &expected["older_left_out"]), (&json!(7), &json!(false)));
    assert_eq!(expected["scores"].as_array().map(Vec::len), Some(2), "two judges");
    let judges = browser.data("/console/judges").await;
    assert_eq!(judges["people"]["scores"], expected["scores"]);
    let of_stored = browser.data("/console/judges/agreement?stored=true").await;
    assert_eq!(of_stored, judges["people"]);
    let confusion: Vec<[Value; 3]> = judges["people"]["confusion"][0]["cells"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|cell| [cell["people"].clone(), cell["judge"].clone(), cell["labels"].clone()])
        .collect();
    let cell = |people: &str, labels| [json!(people), json!("3"), json!(labels)];
    assert_eq!(confusion, [cell("3", 2), cell("5", 1), cell("6", 1), cell("7", 1), cell("9", 2)]);
    let page = browser.get("/console/judges").await.text;
    assert!(page.contains("table class=\"matrix\"") && page.contains("svg class=\"calibration\""), "{page}");
    let of_bob =
        served.post("/api/v1/results/agreement", json!({"stored": {"annotator": "bob"}})).await.data();
    assert_eq!(of_bob["labels"], 3);
    let none = served.post("/api/v1/results/agreement", json!({})).await;
    assert!(none.message(422).contains("expected labels, or `stored`"));
    let elsewhere = json!({"stored": {"evaluation_prompt_id": "other"}});
    assert_eq!(served.post("/api/v1/results/agreement", elsewhere).await.data()["scores"], json!([]));
}

#[tokio::test]
async fn exports_are_imported_without_a_difference() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    let odd = "=1+1,\"\u{202e}\n<b>👩‍👩‍👧";
    let labels = json!({"labels": [
        {"annotator": odd, "query_id": odd, "evaluation_prompt_id": odd, "model_id": odd, "score": -0.5},
        {"annotator": "ann", "query_text": "Why?", "model_a": "m", "model_b": "'=n", "winner": "tie", "labelled_at": "2026-01-31"},
        {"annotator": "ann", "query_id": "q", "model_id": "m", "score": 1e300, "id": "00000000-0000-0000-0000-00000000000a",
            "labelled_at": "2026-01-31T12:00:00"},
    ]});
    let wrong = served.post("/api/v1/labels", labels.clone()).await;
    assert!(wrong.message(422).starts_with("`labels[1].labelled_at`"), "{}", wrong.text);
    let mut labels = labels;
    labels["labels"][1]["labelled_at"] = json!("2026-01-31 12:00:00");
    let stored = served.post("/api/v1/labels", labels.clone()).await.data();
    assert_eq!(stored["stored"], 3);
    let again = served.post("/api/v1/labels", labels).await;
    assert_eq!(again.data()["items"][0]["status"], "unchanged");
    let listed = served.get("/api/v1/labels").await.data();
    let lines = served.get("/api/v1/labels/export?format=jsonl").await;
    let by_line: Vec<Value> =
        lines.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(json!(by_line), listed["items"]);
    let csv = browser.get("/console/label/export?format=csv").await;
    assert_eq!(csv.header("content-disposition"), "attachment; filename=\"labels.csv\"");
    assert!(csv.text.starts_with("id,annotator,") && csv.text.contains("\"'=1+1"), "{}", csv.text);

    let form = "/console/label/import";
    let data = "/console/label/import?format=json";
    for file in [&lines.text, &csv.text] {
        let target = Served::start().await;
        let mut other = Browser::new(&target);
        for counts in [[3, 3, 0], [3, 0, 3]] {
            let imported = other.submit((form, data), &[("labels", file)]).await.json();
            let [labels, stored, unchanged] = counts;
            let expected = json!({"labels": labels, "stored": stored, "unchanged": unchanged, "conflicts": 0, "problems": []});
            assert_eq!(imported, expected);
        }
        assert_eq!(target.get("/api/v1/labels").await.data(), listed);
    }
    let other = csv.text.replace("1e300", "2").replace("1000000000000000", "2000000000000000");
    let conflict = browser.submit((form, form), &[("labels", &other)]).await;
    assert!(conflict.text.contains("Not stored, because other labels have their ids"), "{}", conflict.text);
    for (file, message) in [
        ("annotator,query_id,model_id,score\nann,q,m,x\n", "`line 2`: `score`"),
        ("{\"annotator\": \"a\"}\n", "`line 1.query_id`"),
        ("{\"annotator\": \"a\", \"query_id\": \"q\", \"model_id\": \"m\", \"score\": 1}\n[]", "`line 2`"),
        ("annotator,query_id,model_id,score\n\"\",q,m,1\n", "`line 2.annotator`"),
        (" ", "expected a header line"),
    ] {
        let refused = browser.submit((form, form), &[("labels", file)]).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
        assert!(text_of(&refused.text).contains(message), "{message}: {}", refused.text);
    }
    let first = listed["items"][0]["id"].as_str().expect("an id");
    let withdrawn = served.send(Method::DELETE, &format!("/api/v1/labels/{first}"), &[], None).await;
    assert_eq!(withdrawn.data()["id"], first);
    for id in [first, "x"] {
        let missing = served.send(Method::DELETE, &format!("/api/v1/labels/{id}"), &[], None).await;
        assert!(missing.message(404).starts_with("no label has the id"));
    }
    let page = served.get("/api/v1/labels?limit=1").await.data();
    let cursor = page["next_cursor"].as_str().expect("there is more");
    let rest = served.get(&format!("/api/v1/labels?limit=1&cursor={cursor}")).await.data();
    assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next_cursor"]), (Some(1), &Value::Null));
    assert_eq!(served.get("/api/v1/labels?cursor=x").await.status, 422);
}
