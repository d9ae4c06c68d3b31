//! A run from the form to its end, and jobs, watched without reloading.

use serde_json::json;
use test_support::PageScripts;

use super::{assert_no_errors, ended, metric, on_site};

/// A model whose calls wait.
const MODEL: &str = "gpt-patient-1";

#[tokio::test]
async fn run_is_started_watched_cancelled_and_resumed() {
    on_site(|site| {
        let _records = site.unchanged();
        let tab = site.tab(PageScripts::Run, "/console/runs");
        tab.click("New run");
        tab.wait_until("location.pathname === '/console/runs/new'");
        tab.fill("name", "by a person");
        tab.fill("models that answer", MODEL);
        tab.fill("models that judge", "gpt-4.1");
        tab.fill("ids of metrics", &metric(site.api()));
        tab.fill("theme of the queries", "law");
        tab.click("Start");
        tab.wait_until("document.querySelector('#live[data-events]') !== null");
        // A page that is loaded again has no mark.
        tab.run("globalThis.mark = true", &[]);
        let answers = |done: u32, total: u32| {
            format!(
                "document.querySelector('progress[aria-label=answers]').value === {done} && \
                document.querySelector('progress[aria-label=answers]').max === {total} && mark"
            )
        };
        tab.wait_until(&answers(0, 6));
        site.provider.admit(MODEL, 2);
        tab.wait_until(&answers(2, 6));
        let run = tab.url().rsplit('/').next().expect("it ends with the id").to_owned();

        tab.click("Cancel");
        tab.wait_until("document.querySelector('#live strong')?.textContent === 'cancelled'");
        // Calls in progress are completed.
        site.provider.admit(MODEL, 4);
        assert_eq!(ended(site.api(), &run)["state"], "cancelled");

        tab.open(&tab.url());
        tab.fill("calls at most", "1000");
        tab.click_on("//form//button[normalize-space()='Resume']");
        site.provider.admit(MODEL, 6);
        tab.wait_until("document.querySelector('#live strong')?.textContent === 'completed'");
        let run = ended(site.api(), &run);
        assert_eq!((&run["answers"]["answered"], &run["units"]["done"]), (&json!(6), &json!(6)), "{run}");
        assert_eq!(run["budget"]["requests"], 1000);
        tab.open(&tab.url());
        tab.click("Scores of this run");
        tab.wait_until("location.pathname === '/console/compare'");
        assert!(tab.text().contains(MODEL), "{}", tab.text());
        assert_no_errors(&tab);
    })
    .await;
}

#[tokio::test]
async fn job_is_started_by_a_form_and_watched() {
    on_site(|site| {
        let tab = site.tab(PageScripts::Run, "/console/quality");
        tab.click("Run maintenance");
        tab.wait_until("document.querySelector('#live ul.jobs li') !== null");
        // Each event replaces the content of the page, until the job has ended.
        tab.wait_until("/: done: /.test(document.querySelector('#live ul.jobs li').textContent)");
        assert_no_errors(&tab);
    })
    .await;
}

#[tokio::test]
async fn migration_is_started_by_a_form_and_watched() {
    on_site(|site| {
        let tab = site.tab(PageScripts::Run, "/console/migrations");
        let source = site.chroma.path().to_str().expect("a path");
        tab.fill("Chroma directory, or URL of a Chroma server", source);
        tab.fill("what", "every collection, into a table of its own");
        tab.click("Start");
        tab.wait_until("/: done: /.test(document.querySelector('#live ul.jobs li')?.textContent)");
        assert!(tab.text().contains("24 written, 0 updated, 0 unchanged; verified"), "{}", tab.text());
        tab.open(&site.at("/console/migrations"));
        let rows = "[...document.querySelectorAll('main tbody tr')].filter((row) => row.textContent.includes('complete, verified'))";
        assert_eq!(tab.value(&format!("{rows}.some((row) => row.textContent.includes({source:?}))")), true);
        assert_no_errors(&tab);
    })
    .await;
}
