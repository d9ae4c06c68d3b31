//! Statistics of searches in `/metrics`, the Grafana dashboard and `/ready`.

use std::{collections::BTreeSet, path::Path};

use reqwest::Method;
use serde_json::{Value, json};
use server::{ApiKey, SearchAlert, SearchProbe, SearchReport, ServerConfig};
use store::postgres::searches::{
    FilterClass, Latencies, MeasuredRecall, Percentiles, SearchHistory, SearchTotals,
};
use time::macros::datetime;

use crate::served::Served;

/// A report with few searches and low recall.
pub(crate) fn searches() -> SearchProbe {
    let row = SearchHistory {
        table: "queries".to_owned(),
        filter_class: FilterClass::None,
        measured_at: datetime!(2026-01-31 12:00),
        seconds: 300.0,
        searches: 8,
        latency: Some(Percentiles { p50_ms: 2.0, p95_ms: 4.0, p99_ms: 8.0 }),
        wanted: 80,
        returned: 60,
        replayed: 20,
        missing: 0,
        recall: Some(MeasuredRecall { mean: 0.75, low: 0.5, high: 0.875 }),
        target: 0.98,
        rows: 50_000,
    };
    let quiet = SearchHistory {
        table: "llm_outputs".to_owned(),
        latency: None,
        wanted: 0,
        recall: None,
        ..row.clone()
    };
    let total = SearchTotals {
        table: "queries".to_owned(),
        series: 0,
        filter_class: FilterClass::None,
        searches: 12,
        wanted: 120,
        returned: 100,
        scans: [3, 8, 1],
        latencies: Latencies::none(),
    };
    let alert = |kind, reason: Option<&str>| SearchAlert {
        table: "queries".to_owned(),
        filter_class: FilterClass::None,
        kind,
        reason: reason.map(str::to_owned),
    };
    let report = SearchReport {
        totals: vec![total],
        intervals: vec![row.clone(), quiet],
        recalls: vec![row],
        alerts: vec![alert("latency", None), alert("recall", Some("they find too little"))],
        unreadable: 3,
    };
    SearchProbe::new(move || report.clone())
}

#[tokio::test]
async fn searches_are_measured_in_base_units() {
    let served = Served::start().await;
    let metrics = served.get("/metrics").await.text;
    for line in [
        r#"panopticon_vector_searches_total{table="queries",filter_class="none"} 12"#,
        r#"panopticon_vector_search_results_wanted_total{table="queries",filter_class="none"} 120"#,
        r#"panopticon_vector_search_results_returned_total{table="queries",filter_class="none"} 100"#,
        r#"panopticon_vector_search_scans_total{table="queries",filter_class="none",scan="exact"} 3"#,
        r#"panopticon_vector_search_scans_total{table="queries",filter_class="none",scan="index"} 8"#,
        r#"panopticon_vector_search_scans_total{table="queries",filter_class="none",scan="both"} 1"#,
        r#"panopticon_vector_search_results_ratio{table="queries",filter_class="none"} 0.75"#,
        r#"panopticon_vector_search_latency_seconds{table="queries",filter_class="none",quantile="0.95"} 0.004"#,
        r#"panopticon_vector_search_recall_ratio{table="queries",filter_class="none"} 0.75"#,
        r#"panopticon_vector_search_recall_low_ratio{table="queries",filter_class="none"} 0.5"#,
        r#"panopticon_vector_search_recall_high_ratio{table="queries",filter_class="none"} 0.875"#,
        r#"panopticon_vector_search_recall_target_ratio{table="queries",filter_class="none"} 0.98"#,
        r#"panopticon_vector_search_alert{table="queries",filter_class="none",alert="latency"} 0"#,
        r#"panopticon_vector_search_alert{table="queries",filter_class="none",alert="recall"} 1"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    assert!(!metrics.contains("llm_outputs"), "unknown values are not exported: {metrics}");
}

#[tokio::test]
async fn search_alerts_are_shown_only_with_the_key_and_do_not_affect_readiness() {
    let config = ServerConfig { api_key: Some(ApiKey::new("k")), ..ServerConfig::default() };
    let served = Served::start_with(config).await;
    let ready = served.send(Method::GET, "/ready", &[("x-api-key", "k")], None).await.data();
    let alert = json!({
        "table": "queries", "filter_class": "none", "alert": "recall", "reason": "they find too little"
    });
    assert_eq!(ready["alerts"], json!([alert]));
    assert!(served.get("/ready").await.data()["alerts"].is_null(), "details are for those with the key");
}

#[tokio::test]
async fn dashboard_queries_existing_metrics() {
    let served = Served::start().await;
    served.post("/api/v1/queries", json!({"query": "Why?", "theme": "t"})).await.data();
    let metrics = served.get("/metrics").await.text;
    let shown: BTreeSet<&str> = metrics.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/grafana/panopticon.json");
    let dashboard = std::fs::read_to_string(path).expect("the dashboard reads");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let (mut asked, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "ids are unique: {panel}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(
            panel["title"].is_string() && panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{panel}"
        );
        let targets = panel["targets"].as_array().expect("a panel has targets");
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            let expression = target["expr"].as_str().expect("a target has an expression");
            let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let names: Vec<&str> = words.filter(|word| word.starts_with("panopticon_")).collect();
            assert!(!names.is_empty(), "{expression}");
            let legend = target["legendFormat"].as_str().expect("a target has a legend");
            for label in legend.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0)) {
                let is_asked = |line: &&str| names.iter().any(|name| line.starts_with(&format!("{name}{{")));
                // Prometheus itself adds the label `instance`.
                let has_label = |line: &str| label == "instance" || line.contains(&format!("{label}=\""));
                assert!(metrics.lines().filter(is_asked).all(has_label), "{legend}: {expression}");
            }
            asked.extend(names.into_iter().map(str::to_owned));
        }
    }
    for name in shown.iter().filter(|name| name.starts_with("panopticon_vector_search")) {
        assert!(!name.ends_with("_total") || asked.contains(*name), "no panel shows {name}");
    }
    // Maintenance metrics exist only where maintenance runs.
    asked.retain(|name| {
        !name.starts_with("panopticon_maintenance_") && !name.starts_with("panopticon_table_")
    });
    assert!(asked.len() > 15, "{asked:?}");
    for name in asked {
        assert!(shown.contains(name.as_str()), "{name}: {metrics}");
    }
}
