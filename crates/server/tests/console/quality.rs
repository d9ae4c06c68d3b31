//! The pages of search quality.

use std::sync::Arc;

use records::{Service, timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use server::{Probes, Process, ServerConfig, services};
use store::{
    postgres::{
        PostgresStorage,
        searches::{FilterClass, MeasuredRecall, Percentiles, SearchHistory},
    },
    storage::Storage,
};

use super::Browser;
use crate::served::{Served, client, listen, model, send_to};

const PATH: &str = "/console/quality";
const TABLE: &str = "/console/quality/table?name=queries";

/// The newest job, once it has ended.
async fn job(served: &Served) -> Value {
    let ended = |answer: &crate::served::Answer| {
        let state = answer.json()["jobs"][0]["stage"]["state"].clone();
        state.is_string() && state != "waiting" && state != "running"
    };
    served.wait_until(&format!("{PATH}?format=json"), ended).await.json()["jobs"][0].clone()
}

async fn queries(served: &Served, count: usize) {
    for number in 0..count {
        let body = json!({"query": format!("What is number {number}?"), "theme": "numbers"});
        served.post("/api/v1/queries", body).await.data();
    }
}

fn measured(hours_ago: i64, recall: Option<f64>) -> SearchHistory {
    SearchHistory {
        table: "queries".to_owned(),
        filter_class: FilterClass::Category,
        measured_at: timestamp::now() - time::Duration::hours(hours_ago),
        seconds: 3_600.0,
        searches: 7,
        latency: Some(Percentiles { p50_ms: 1.5, p95_ms: 2.5, p99_ms: 3.5 }),
        wanted: 70,
        returned: 70,
        replayed: 5,
        missing: 1,
        recall: recall.map(|mean| MeasuredRecall { mean, low: mean - 0.125, high: mean + 0.0625 }),
        target: 0.98,
        rows: 30,
    }
}

#[tokio::test]
async fn tables_show_their_plans_and_what_searches_found() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    queries(&served, 3).await;
    let history =
        [measured(5, Some(0.75)), measured(3, None), measured(1, Some(0.875)), measured(40, Some(0.25))];
    served.database.store_search_history(&history).await.expect("it is stored");
    let listed = browser.data(PATH).await;
    let names: Vec<&Value> =
        listed["tables"].as_array().expect("a list").iter().map(|table| &table["table"]).collect();
    assert_eq!(names, ["evaluation_metrics", "llm_outputs", "queries"]);
    let class = &listed["tables"][2]["searches"][0];
    assert_eq!((&class["filter_class"], &class["searches"]), (&json!("category"), &json!(21)));
    assert_eq!(
        class["recall"],
        json!({"mean": 0.875, "low": 0.75, "high": 0.9375, "target": 0.98, "replayed": 5})
    );
    let page = browser.get(PATH).await.text;
    assert!(page.contains("0.750 to 0.938") && page.contains("below target"), "{page}");
    let first = browser.data(&format!("{PATH}?limit=2")).await;
    assert_eq!((first["tables"].as_array().map(Vec::len), &first["next"]), (Some(2), &json!("llm_outputs")));
    let second = browser.data(&format!("{PATH}?limit=2&after=llm_outputs")).await;
    assert_eq!((&second["tables"][0]["table"], &second["next"]), (&json!("queries"), &Value::Null));

    let table = browser.data(TABLE).await;
    let points = table["searches"][0]["points"].as_array().expect("a list");
    let recalls: Vec<&Value> = points.iter().map(|point| &point["recall"]["mean"]).collect();
    assert_eq!(recalls, [&json!(0.25), &json!(0.75), &Value::Null, &json!(0.875)]);
    assert_eq!(table["indexes"]["observed"]["rows"], 3);
    assert_eq!(table["indexes"]["plan"]["wanted"], "as_it_is");
    let page = browser.get(TABLE).await.text;
    assert!(
        page.contains("<title>Recall@10 with its 95 % interval")
            && page.contains("<td><bdi>0.250</bdi></td>"),
        "{page}"
    );
    assert!(page.contains("28 searches, of which 20 were repeated exactly"), "{page}");
    let day = browser.data(&format!("{TABLE}&days=1")).await;
    assert_eq!(day["searches"][0]["searches"], 21);
    assert_eq!(browser.get("/console/quality/table?name=none").await.status, 404);
}

#[tokio::test]
async fn search_parameters_are_measured_by_a_form() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    queries(&served, 25).await;
    served.execute("create index by_hand on queries using hnsw (embedding vector_cosine_ops)").await;
    let before = browser.get(TABLE).await.text;
    assert!(before.contains("never measured") && before.contains("Measure search parameters"), "{before}");
    let forged = [("table".to_owned(), "queries".to_owned())];
    for action in ["tune", "apply", "maintain"] {
        assert_eq!(browser.post(&format!("{PATH}/{action}"), &forged).await.status, 403, "{action}");
    }
    let tune = format!("{PATH}/tune");
    let begun = browser.submit((TABLE, &tune), &[]).await;
    assert_eq!((begun.status, begun.header("location")), (303, TABLE), "{}", begun.text);
    let done = job(&served).await;
    assert_eq!((&done["action"], &done["of"]), (&json!("tune"), &json!("queries")));
    assert_eq!(done["stage"]["state"], "done", "{done}");
    let table = browser.data(TABLE).await;
    let measured = &table["indexes"]["observed"]["indexes"][0]["measured"];
    assert!(measured[0]["recall"].is_number(), "{measured}");
    let tried = table["curves"][0]["points"].as_array().expect("a list");
    let chosen = tried.iter().find(|point| point["candidates"] == measured[0]["candidates"]);
    assert_eq!(chosen.map(|point| &point["recall"]), Some(&measured[0]["recall"]), "{table}");
    let page = browser.get(TABLE).await.text;
    assert!(
        page.contains("<title>Recall and latency of 10 results without a filter, by candidates</title>"),
        "{page}"
    );
    assert!(page.contains("in use") && page.contains("without a filter"), "{page}");
    let events = served.send(Method::GET, &format!("{PATH}/events"), &[], None).await;
    assert_eq!(events.text, "event: progress\ndata:\n\n", "it ends with the jobs");

    let applied = browser.submit((TABLE, &format!("{PATH}/apply")), &[("table", "queries")]).await;
    assert_eq!(applied.status, 303, "{}", applied.text);
    assert_eq!(job(&served).await["stage"]["state"], "done");
    let all = browser.submit((PATH, &format!("{PATH}/maintain")), &[]).await;
    assert_eq!((all.status, all.header("location")), (303, PATH), "{}", all.text);
    let maintained = job(&served).await;
    assert_eq!(maintained["stage"]["state"], "done", "{maintained}");
    let page = browser.get(PATH).await.text;
    assert!(page.contains("actions done"), "{page}");
}

#[tokio::test]
async fn forms_name_tables_that_do_not_exist() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    // The form of the list has a token and no table.
    for action in ["tune", "apply", "maintain"] {
        let refused = browser.submit((PATH, &format!("{PATH}/{action}")), &[("table", "x\"; drop")]).await;
        assert_eq!(refused.status, 404, "{action}: {}", refused.text);
        assert!(refused.text.contains("no table with vectors has the id"), "{}", refused.text);
    }
    assert_eq!(browser.data(PATH).await["jobs"], json!([]));
}

#[tokio::test]
async fn findings_are_those_of_doctor() {
    let served = Served::start().await;
    queries(&served, 2).await;
    served
        .execute("insert into queries (id, query_text, theme) values (gen_random_uuid(), 'no vector', 'x')")
        .await;
    let mut browser = Browser::new(&served);
    let shown = browser.data("/console/quality/findings").await;
    let codes = |findings: &Value| -> Vec<String> {
        findings.as_array().expect("a list").iter().map(|finding| finding["code"].to_string()).collect()
    };
    let examination = upkeep::doctor::examine(&served.database, None).await.expect("it is examined");
    let found = upkeep::doctor::diagnose(&examination, &upkeep::Policy::default());
    let mut expected = codes(&upkeep::doctor::to_json(&examination, &found)["findings"]);
    // The console compares vectors with texts, for which this examination has no model.
    expected.retain(|code| code != "\"not_seen\"");
    let mut named = codes(&shown["examined"]["findings"]);
    named.retain(|code| code != "\"not_seen\"");
    assert_eq!(named, expected);
    assert!(named.iter().any(|code| code.contains("embedding")), "{named:?}");
    assert_eq!(shown["examined"]["tables"][2]["recognised"]["foreign"], 0, "{shown}");
    let page = browser.get("/console/quality/findings").await.text;
    assert!(page.contains("href=\"/console/quality/table?name=queries\""), "{page}");
}

#[tokio::test]
async fn process_without_a_database_says_so() {
    let served = Served::start().await;
    let storage: Arc<dyn Storage> = Arc::new(PostgresStorage::new(served.database.clone(), Service::Query));
    let process = Process::new(ServerConfig::default(), Probes::default());
    let url = listen(services(&[storage], None, &model(), None, &process)).await;
    for path in [PATH, "/console/quality/findings"] {
        let page = send_to(&client(), &url, Method::GET, path, &[], None).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.text.contains("uses no PostgreSQL database"), "{path}: {}", page.text);
    }
}
