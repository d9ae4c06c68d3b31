//! The console in a browser whose user has turned JavaScript off: links and forms do all the work.

use serde_json::json;
use test_support::PageScripts;

use super::{ended, metric, on_site};

#[tokio::test]
async fn records_are_found_added_and_deleted_without_scripts() {
    on_site(|site| {
        let _records = site.changing();
        let tab = site.tab(PageScripts::Blocked, "/");
        tab.click("Queries");
        assert_eq!(tab.value("location.pathname"), "/console/queries");
        assert_eq!(tab.value("document.querySelectorAll('th button, .copy').length"), 0, "no script has run");
        let times = tab.value(
            "[...document.querySelectorAll('main time')].every((time) => time.textContent.endsWith(' UTC'))",
        );
        assert_eq!(times, true, "times name their zone");
        tab.fill("theme", "science");
        tab.fill("Search", "vaccines");
        tab.fill("by", "words");
        tab.click("Show");
        tab.wait_until("new URLSearchParams(location.search).get('mode') === 'text'");
        tab.click_on("//main//td//a[contains(., 'vaccines')]");
        tab.wait_until("location.pathname === '/console/queries/record'");
        assert!(tab.text().contains("Nearest by meaning"), "{}", tab.text());

        tab.open(&site.at("/console/evaluation-metrics/new"));
        tab.fill("evaluation metric", "Is it written without scripts?");
        tab.fill("metric type", "style");
        tab.click("Save");
        tab.wait_until(
            "document.querySelector('main pre')?.textContent === 'Is it written without scripts?'",
        );
        tab.click("Edit");
        tab.wait_until("location.pathname.endsWith('/edit')");
        tab.fill("metadata", "{\"scale_max\": 5}");
        tab.click("Save");
        tab.wait_until("location.pathname.endsWith('/record')");
        assert!(tab.text().contains("\"scale_max\": 5"), "{}", tab.text());
        tab.click("Delete");
        tab.wait_until("location.pathname.endsWith('/delete')");
        tab.click("Delete");
        tab.wait_until("location.pathname === '/console/evaluation-metrics'");
        assert!(!tab.text().contains("without scripts"), "{}", tab.text());
    })
    .await;
}

#[tokio::test]
async fn run_is_started_and_two_models_are_compared_without_scripts() {
    on_site(|site| {
        let _records = site.unchanged();
        let tab = site.tab(PageScripts::Blocked, "/console/runs/new");
        let patient = "gpt-patient-2";
        tab.fill("models that answer", &format!("gpt-4o\n{patient}"));
        tab.fill("models that judge", "gpt-4.1");
        tab.fill("ids of metrics", &metric(site.api()));
        tab.fill("theme of the queries", "ethics");
        tab.click("Start");
        tab.wait_until("document.querySelector('#live') !== null");
        assert!(tab.text().contains("reload the page to see the progress"), "{}", tab.text());
        site.provider.admit(patient, 6);
        let run = tab.url().rsplit('/').next().expect("it ends with the id").to_owned();
        assert_eq!(ended(site.api(), &run)["units"]["done"], 12);
        tab.open(&tab.url());
        assert_eq!(tab.value("document.querySelector('#live strong').textContent"), "completed");
        tab.click("Scores of this run");
        tab.wait_until("location.pathname === '/console/compare'");
        let given = format!("new URLSearchParams(location.search).get('run_id') === {:?}", run);
        assert_eq!(tab.value(&given), true);
        assert_eq!(tab.value("document.querySelectorAll('main svg').length > 0"), json!(true));
        // The table of numbers behind each plot.
        tab.click("Numbers");
        assert_eq!(tab.value("document.querySelector('details[open] table').checkVisibility()"), true);
    })
    .await;
}
