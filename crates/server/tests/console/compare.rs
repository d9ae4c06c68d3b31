//! Answers to a query side by side.

use serde_json::{Value, json};
use store::postgres::EvaluationResult;

use super::Browser;
use crate::{served::Served, summaries::result};

const PATH: &str = "/console/compare/query";

fn answer(number: usize, model: &str, text: Option<&str>, score: f64) -> EvaluationResult {
    let judged = result(number, "q", model, Some(score), json!({"status": "scored"}));
    EvaluationResult {
        output_text: text.map(str::to_owned),
        query_text: Some("Why <b>?".to_owned()),
        ..judged
    }
}

/// Changed parts of a side in brackets.
fn shown(side: &Value) -> String {
    let pieces = side.as_array().expect("a list").iter();
    let piece = |piece: &Value| {
        let text = piece["text"].as_str().expect("a text");
        if piece["is_changed"] == true { format!("[{text}]") } else { text.to_owned() }
    };
    pieces.map(piece).collect()
}

#[tokio::test]
async fn answers_to_a_query_are_side_by_side_with_what_differs() {
    let served = Served::start().await;
    let stored = [
        answer(0, "m<b>", Some("An older answer."), 7.0),
        answer(1, "m<b>", Some("The <script>sky</script> is blue."), 7.0),
        answer(2, "n", Some("The <script>sea</script> is \u{202e}blue."), 4.0),
        answer(3, "unanswered", None, 2.0),
        answer(4, "o", Some("The <script>sky</script> is blue."), 4.0),
    ];
    served.database.insert_evaluation_results(&stored).await.expect("they are stored");
    let mut browser = Browser::new(&served);
    let both = format!("{PATH}?query_id=q&model_a=m%3Cb%3E&model_b=n");
    let data = browser.data(&both).await;
    assert_eq!(data["models"], json!(["m<b>", "n", "o", "unanswered"]));
    assert_eq!(data["answers"][0]["text"], "The <script>sky</script> is blue.", "the newest one");
    assert_eq!(shown(&data["difference"]["first"]), "The <script>[sky]</script> is[ ]blue.");
    assert_eq!(shown(&data["difference"]["second"]), "The <script>[sea]</script> is[ \u{202e}]blue.");
    let summary = served.get("/api/v1/results/summary?query_id=q").await.data();
    assert_eq!(data["scores"], summary["scores"]);
    let page = browser.get(&both).await.text;
    for part in [
        "&lt;script&gt;<mark>sky</mark>",
        "<mark> <span class=\"unseen\">U+202E</span></mark>blue",
        "Why &lt;b&gt;?",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("<b>") && !page.contains("<script>s"), "{page}");
    let first = browser.data(&format!("{PATH}?query_id=q&model_b=m%3Cb%3E")).await;
    assert_eq!((&first["filters"]["model_a"], &first["filters"]["model_b"]), (&json!("n"), &json!("m<b>")));
    let same = browser.get(&format!("{PATH}?query_id=q&model_a=m%3Cb%3E&model_b=o")).await.text;
    assert!(same.contains("The answers are the same."), "{same}");
    let missing = browser.get(&format!("{PATH}?query_id=q&model_a=n&model_b=unanswered")).await.text;
    assert!(missing.contains("No selected result has its answer."), "{missing}");
    let nothing = browser.get(&format!("{PATH}?query_id=other")).await.text;
    assert!(nothing.contains("There are no results for this query"), "{nothing}");
    assert_eq!(browser.get(PATH).await.status, 422);
    let compared = browser.get("/console/compare?model_a=n&model_b=m%3Cb%3E").await.text;
    assert!(
        compared.contains("href=\"/console/compare/query?query_id=q&amp;model_a=n&amp;model_b=m%3Cb%3E\""),
        "{compared}"
    );
}

#[tokio::test]
async fn megabytes_of_an_answer_are_shown_in_part_and_compared_in_part() {
    let served = Served::start().await;
    let long = "word \u{1F600} ".repeat(110_000);
    assert!(long.len() > 1_000_000);
    let other = format!("other {long}");
    let stored = [answer(0, "m", Some(&long), 1.0), answer(1, "n", Some(&other), 7.0)];
    served.database.insert_evaluation_results(&stored).await.expect("they are stored");
    let mut browser = Browser::new(&served);
    let page = browser.get(&format!("{PATH}?query_id=q")).await.text;
    assert!(
        page.len() < 250_000 && page.contains("Show all") && page.contains("<mark>other"),
        "{}",
        page.len()
    );
    let data = browser.data(&format!("{PATH}?query_id=q&whole=true")).await;
    let text = |side: &str| -> usize {
        let pieces = data["difference"][side].as_array().expect("a list").iter();
        pieces.map(|piece| piece["text"].as_str().map_or(0, str::len)).sum()
    };
    assert_eq!((text("first"), text("second")), (long.len(), other.len()));
    assert_eq!(data["difference"]["is_whole"], false);
}

#[tokio::test]
async fn query_leads_to_its_answers() {
    let served = Served::start().await;
    let query = served.post("/api/v1/queries", json!({"query": "Why?", "theme": "physics"})).await.data();
    let id = query["id"].as_str().expect("an id");
    let mut browser = Browser::new(&served);
    let page = browser.get(&format!("/console/queries/record?id={id}")).await.text;
    let link = format!("{PATH}?query_id={id}");
    assert!(page.contains(&format!("href=\"{link}\"")), "{page}");
    assert_eq!(browser.get(&link).await.status, 200);
}
