//! Monitoring of searches by `panopticon serve`: its reports and its settings.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use test_support::{HttpAnswer, HttpStub, TestDatabase};

use crate::{
    run_with,
    serve::{Serving, blocking},
};

const PATIENCE: Duration = Duration::from_secs(120);

/// Searches of these queries probe one list of a hundred, while the nearest rows are in many lists.
async fn with_lost_recall() -> TestDatabase {
    let test_database = TestDatabase::prepared().await;
    let statements = "
        insert into queries (query_text, theme, embedding)
        select 'row', 'theme', (select array_agg(random() - 0.5) from generate_series(1, 384) where row > 0)::vector
        from generate_series(1, 2000) row;
        create index queries_panopticon_vector on queries
            using ivfflat (embedding vector_cosine_ops) with (lists = 100);
        insert into vector_index_settings (
            table_name, index_name, build, filtering, depth, candidates, target, recall, recall_low, latency_ms,
            sampled, rows, measured_at
        )
        select 'queries', 'queries_panopticon_vector', pg_relation_filenode('queries_panopticon_vector'::regclass),
            'none', 10, 1, 0.98, 0.99, 0.985, 1, 30, 2000, now() at time zone 'utc'";
    test_database.execute(statements).await;
    test_database
}

#[tokio::test]
async fn lost_recall_is_reported_by_log_metric_readiness_and_webhook() {
    let database = with_lost_recall().await;
    let (received, has_failed) = (Arc::new(Mutex::new(Vec::new())), AtomicBool::new(false));
    let receiver = received.clone();
    let stub = HttpStub::start(move |request| {
        if !has_failed.swap(true, Ordering::Relaxed) {
            return Some(HttpAnswer::json(500, "{}"));
        }
        receiver.lock().expect("no holder panics").push(request.text());
        Some(HttpAnswer::json(200, "{}"))
    });
    let (url, webhook) = (database.url(), format!("{}/secret-token", stub.url()));
    let ended = blocking(move || {
        let serving = Serving::start(
            &["query"],
            &[
                ("DATABASE_URL", &url),
                ("VECTOR_MONITOR_INTERVAL_SECONDS", "8"),
                ("VECTOR_SAMPLE_RATE", "1"),
                ("VECTOR_ALERT_WEBHOOK_URL", &webhook),
            ],
        );
        let found = serving.data("query", "POST", "/api/v1/queries/search", &json!({"query": "falling"}));
        assert!(!found.is_null());
        let end = Instant::now() + PATIENCE;
        while received.lock().expect("no holder panics").is_empty() {
            assert!(Instant::now() < end, "the webhook was not called");
            std::thread::sleep(Duration::from_millis(100));
        }
        let received: Value =
            serde_json::from_str(&received.lock().expect("no holder panics")[0]).expect("JSON");
        assert_eq!(
            (&received["event"], &received["alert"]),
            (&json!("raised"), &json!("recall")),
            "{received}"
        );
        assert_eq!(
            (&received["table"], &received["filter_class"]),
            (&json!("queries"), &json!("none")),
            "{received}"
        );
        assert!(
            received["measured"]["recall_high"].as_f64().is_some_and(|recall| recall < 0.98),
            "{received}"
        );

        let ready = serving.data("query", "GET", "/ready", &Value::Null);
        assert_eq!(ready["alerts"][0]["alert"], "recall", "{ready}");
        let metrics = serving.text("query", "/metrics");
        for line in [
            r#"panopticon_vector_search_alert{table="queries",filter_class="none",alert="recall"} 1"#,
            r#"panopticon_vector_search_alert{table="queries",filter_class="none",alert="latency"} 0"#,
            r#"panopticon_vector_searches_total{table="queries",filter_class="none"} 1"#,
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
        }
        serving.end(Signal::TERM)
    })
    .await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("have a recall of")).collect();
    assert_eq!(lines.len(), 1, "it is logged once: {}", ended.stderr);
    assert!(lines[0].contains("searches of queries (filter: none) have a recall of"), "{lines:?}");
    assert!(lines[0].contains("panopticon maintain --once"), "{lines:?}");
    assert!(!ended.stderr.contains("secret-token"), "{}", ended.stderr);
}

#[tokio::test]
async fn settings_of_the_monitor_are_checked_and_the_webhook_is_not_shown() {
    let database = TestDatabase::create().await;
    let url = database.url();
    for (name, value, expected) in [
        ("VECTOR_SAMPLE_RATE", "2", "expected a number from 0 to 1"),
        ("VECTOR_MONITOR_INTERVAL_SECONDS", "-1", "expected a whole number"),
        ("VECTOR_SAMPLE_RETENTION_DAYS", "1.5", "expected a whole number of days"),
        ("VECTOR_ALERT_WEBHOOK_URL", "secret-token", "VECTOR_ALERT_WEBHOOK_URL is not a URL"),
    ] {
        let settings = [("DATABASE_URL", url.as_str()), ("QUERY_PORT", "0"), (name, value)];
        let ended = run_with(&["serve", "query"], &settings).await;
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains(expected) && !ended.stderr.contains("secret-token"), "{ended:?}");
    }
    let shown =
        run_with(&["config"], &[("VECTOR_ALERT_WEBHOOK_URL", "https://example.com/secret-token")]).await;
    assert!(
        shown.stdout.contains("VECTOR_ALERT_WEBHOOK_URL") && !shown.stdout.contains("secret-token"),
        "{shown:?}"
    );
}
