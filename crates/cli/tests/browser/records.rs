//! Records: what the script adds to lists, and texts that no page expects.

use serde_json::{Value, json};
use test_support::PageScripts;

use super::{Site, assert_no_errors, on_site};

/// An answer with markup, an override of the direction, a right-to-left sentence, and emoji of several code points.
const HOSTILE: &str = "<script>globalThis.intruded = 1</script><img src=x onerror='globalThis.intruded = 2'>\"'&amp;\u{202e}evil\u{202c}
مرحبا بالعالم – שלום עולם
👩‍👩‍👧‍👦 🏳️‍🌈 🇪🇺 é ﷽";
const MODEL: &str = "<b onclick=\"globalThis.intruded = 3\">odd</b>";
const ID: &str = "../<i>odd</i>?id=1&whole=x#é";

/// The answer, as long as a megabyte without a place to break it.
fn hostile() -> String {
    format!("{HOSTILE}\n{}end", "x".repeat(1 << 20))
}

#[tokio::test]
async fn markup_directions_emoji_and_a_megabyte_are_shown_harmlessly() {
    on_site(|site| {
        let _records = site.changing();
        let output = json!({
            "id": ID, "output": hostile(), "theme": HOSTILE, "model_id": MODEL, "query": HOSTILE,
            "metadata": {(HOSTILE): HOSTILE},
        });
        site.api().data("gateway", "POST", "/api/v1/outputs", &output);
        let tab = site.tab(PageScripts::Run, "/console/outputs");
        let harmless = |page: &str| {
            assert_eq!(tab.value("globalThis.intruded === undefined"), true, "{page}");
            assert_eq!(
                tab.value("document.querySelectorAll('main b, main i, main img, main script').length"),
                0,
                "{page}"
            );
            let width = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
            assert_eq!(tab.value(width), true, "{page} does not scroll sideways");
            assert_no_errors(&tab);
        };
        harmless("list");
        let shown = HOSTILE.replace('\u{202e}', "U+202E").replace('\u{202c}', "U+202C");
        let link = format!("//main//td//a[starts-with(., {})]", "'<script>'");
        let in_list =
            tab.value("[...document.querySelectorAll('main td.text')].map((cell) => cell.textContent)");
        let in_list = in_list.as_array().expect("a list").iter().filter_map(Value::as_str);
        let row = in_list.into_iter().find(|text| text.starts_with(&shown)).expect("the list shows it");
        assert!(row.len() < 2_000 && row.ends_with(" bytes"), "{row}");

        tab.click_on(&link);
        tab.wait_until("location.pathname === '/console/outputs/record'");
        harmless("record");
        let text = "document.querySelector('main pre').textContent";
        assert_eq!(tab.value(&format!("[...{text}].length")), 20_000 + 2 * 5, "its beginning");
        assert!(tab.text().contains(MODEL) && tab.text().contains(ID), "{}", tab.text());
        tab.click("Show all");
        tab.wait_until("location.search.includes('whole=true')");
        harmless("whole record");
        let whole = hostile().replace('\u{202e}', "U+202E").replace('\u{202c}', "U+202C");
        assert_eq!(tab.value(text), whole.as_str());
        tab.click("Edit");
        tab.wait_until("location.pathname === '/console/outputs/edit'");
        harmless("form");
        assert_eq!(
            tab.value("document.querySelector('[name=text]').value"),
            hostile().as_str(),
            "as it is stored"
        );
        tab.click("Save");
        tab.wait_until("location.pathname === '/console/outputs/record'");
        tab.click("Delete");
        tab.wait_until("location.pathname === '/console/outputs/delete'");
        harmless("deletion");
        tab.click("Delete");
        tab.wait_until("location.pathname === '/console/outputs'");
        assert!(!tab.text().contains("globalThis"), "{}", tab.text());
    })
    .await;
}

#[tokio::test]
async fn tables_are_sorted_and_lists_filtered_in_place() {
    on_site(|site| {
        let _records = site.unchanged();
        let tab = site.tab(PageScripts::Run, "/console/queries?q=vaccines");
        let column = |name: &str| {
            let place = format!(
                "[...document.querySelectorAll('table[data-rows] th')].findIndex((th) => th.textContent === {name:?})"
            );
            let cells = format!(
                "[...document.querySelectorAll('table[data-rows] tbody tr')].map((row) => row.cells[{place}].textContent)"
            );
            let cells = tab.value(&cells);
            cells
                .as_array()
                .expect("a list")
                .iter()
                .map(|cell| cell.as_str().expect("a text").to_owned())
                .collect()
        };
        let distances: Vec<String> = column("distance");
        assert!(distances.len() > 20 && distances.is_sorted(), "nearest first: {distances:?}");
        let direction = "document.querySelector('main th[aria-sort]')?.ariaSort ?? null";
        for (expected, is_descending) in [("ascending", false), ("descending", true)] {
            tab.click("distance");
            assert_eq!(tab.value(direction), expected);
            let mut sorted = distances.clone();
            if is_descending {
                sorted.reverse();
            }
            assert_eq!(column("distance"), sorted);
        }
        tab.click("theme");
        let themes: Vec<String> = column("theme");
        assert!(themes.is_sorted() && themes.first() != themes.last(), "{themes:?}");
        assert_eq!(tab.value("document.querySelectorAll('main th[aria-sort]').length"), 1);

        tab.open(&site.at("/console/queries"));
        tab.fill("theme", "science");
        tab.fill("text contains", "vaccines");
        tab.click("Show");
        tab.wait_until("new URLSearchParams(location.search).get('category') === 'science'");
        let found: Vec<String> = column("Text");
        assert!(found.len() == 1 && found[0].contains("vaccines"), "{found:?}");
        assert_eq!(
            tab.value("document.querySelector('[name=contains]').value"),
            "vaccines",
            "the form keeps it"
        );
        tab.click("Clear");
        tab.wait_until("location.search === ''");
        assert_eq!(column("Text").len(), 61);
    })
    .await;
}

#[tokio::test]
async fn times_are_in_the_readers_zone() {
    on_site(|site: &Site| {
        let _records = site.unchanged();
        let tab = site.chromium.open(PageScripts::Run);
        tab.devtools("Emulation.setTimezoneOverride", &json!({"timezoneId": "Asia/Kathmandu"}));
        tab.open(&site.at("/console/queries"));
        let times = "[...document.querySelectorAll('main time')].map((time) => {
            const options = {dateStyle: 'medium', timeStyle: 'short'};
            const at = (timeZone) => new Intl.DateTimeFormat(undefined, {...options, timeZone}).format(new Date(time.dateTime));
            return time.textContent === at('Asia/Kathmandu') && time.textContent !== at('UTC') && time.title.endsWith(' UTC');
        })";
        let times = tab.value(times);
        assert!(times.as_array().is_some_and(|times| times.len() == 61 && times.iter().all(|time| *time == true)), "{times}");
    })
    .await;
}
