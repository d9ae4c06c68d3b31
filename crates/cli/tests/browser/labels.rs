//! Labels of people, by keys.

use serde_json::{Value, json};
use test_support::PageScripts;

use super::{assert_no_errors, on_site};

/// Waits for the page of the next item, which says how many are labelled.
fn labelled(count: usize) -> String {
    format!("document.querySelector('progress[aria-label=\"labelled items\"]')?.value === {count}")
}

#[tokio::test]
async fn twenty_answers_are_labelled_blind_by_keys() {
    on_site(|site| {
        let tab = site.tab(PageScripts::Run, "/console/label?kind=scores");
        tab.fill("your name", "ann\u{e007}");
        tab.wait_until(&labelled(0));
        // The key 0 means 10.
        let keys = "12345678901234567890";
        for (place, key) in keys.chars().enumerate() {
            let page = tab.value("document.documentElement.outerHTML").to_string();
            assert!(!page.contains("gpt-4"), "the page names neither models nor judges: {page}");
            tab.press(&key.to_string());
            tab.wait_until(&labelled(place + 1));
        }
        tab.press("s");
        tab.wait_until("document.body.innerText.includes('20 labelled') && document.body.innerText.includes('1 skipped')");
        tab.press("u");
        tab.wait_until("!document.body.innerText.includes('skipped')");
        tab.press("u");
        tab.wait_until(&labelled(19));

        tab.open(&site.at("/console/label?kind=pairs&annotator=ann"));
        tab.wait_until("document.querySelectorAll('main section[aria-label^=answer]').length === 2");
        let before = tab.value("document.querySelector('progress').value").as_u64().expect("a number");
        for (place, key) in ["a", "b", "t"].into_iter().enumerate() {
            tab.press(key);
            tab.wait_until(&labelled(usize::try_from(before).expect("it is small") + place + 1));
        }
        assert_no_errors(&tab);
        let stored = site.api().data("gateway", "GET", "/api/v1/labels?annotator=ann&limit=100", &Value::Null);
        let stored = stored["items"].as_array().expect("a list");
        let mut scores: Vec<u64> = stored.iter().filter_map(|label| label["score"].as_f64()).map(|score| score as u64).collect();
        scores.reverse();
        assert_eq!(scores, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let ties = stored.iter().filter(|label| label["winner"] == json!("tie")).count();
        let winners = stored.iter().filter(|label| !label["winner"].is_null()).count();
        assert_eq!((winners, ties), (3, 1));
    })
    .await;
}
