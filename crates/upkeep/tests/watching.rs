//! The recall of searches is measured, recorded as history, and raises alerts when it is too low.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use store::{
    postgres::{
        Database, DatabaseOptions, PostgresStorage, Table,
        searches::{FilterClass, ReplayedSearch, SearchHistory, SearchWatch},
    },
    storage::{DocumentFilter, Effort, Filter, Search, SearchMode, Selection, Storage as _},
};
use test_support::TestDatabase;
use time::macros::datetime;
use tokio::time::Instant;
use upkeep::{
    Policy,
    monitor::{
        AlertChange, AlertKind, Change, Evidence, Monitor, MonitorConfig, Pace, measure, searches_for_rows,
    },
};

use crate::{between_axes, fill, fill_between_axes, index_axes, prepared, queries, samples};

/// A single probe, so that a search between two axes finds five of ten rows.
const SPOIL: &str = "update vector_index_settings set candidates = 1";

/// Rows between axes.
const ROWS: u32 = 1_200;
const FEW_ROWS: u32 = 2_000;

async fn retune(database: &Database) {
    upkeep::retune(database, &queries(), &Policy::default(), &|_| {}).await.expect("it is measured");
}

fn watched(database: &Database, sample_rate: f64) -> Database {
    database.clone().watched_by(Arc::new(SearchWatch::new(sample_rate)))
}

/// Searches `selection` for the vectors, by the storage of a service.
async fn search_for(database: &Database, vectors: &[Vec<f32>], selection: &Selection) {
    let storage = PostgresStorage::new(database.clone(), records::Service::Query);
    for vector in vectors {
        let search = Search {
            selection: selection.clone(),
            mode: SearchMode::Vector(vector.clone().into()),
            limit: 10,
            min_similarity: None,
            effort: Effort::Fast,
        };
        storage.search(&search).await.expect("the search runs");
    }
}

fn monitor(database: &Database) -> Monitor {
    Monitor::new(database.clone(), MonitorConfig::default())
}

/// The history rows of queries recorded by a pass, by class, and the alert changes.
async fn pass(monitor: &mut Monitor) -> (Vec<SearchHistory>, Vec<AlertChange>) {
    let pass = monitor.pass().await.expect("the pass is made");
    assert!(pass.failures.is_empty(), "{:?}", pass.failures);
    let mut history = pass.history;
    history.retain(|row| row.table == "queries");
    (history, pass.changes)
}

async fn kept_samples(test_database: &TestDatabase) -> i64 {
    let mut connection = test_database.connection().await;
    sqlx::query_scalar("select count(*) from vector_search_samples")
        .fetch_one(&mut connection)
        .await
        .expect("samples are counted")
}

#[tokio::test]
async fn low_recall_raises_one_alert_which_is_cleared_once_fixed() {
    let (test_database, database) = prepared().await;
    fill_between_axes(&test_database).await;
    let searches = searches_for_rows(&database, &queries(), ROWS.into(), 20, 3).await.expect("rows are read");
    // Each row is sampled with probability 30/1,200: the probability of none is 6e-14.
    assert!((1..=20).contains(&searches.len()), "{}", searches.len());
    let exact = measure(&database, &queries(), &searches, Pace::Prompt).await.expect("they are made");
    assert_eq!((exact.replayed as usize, exact.missing), (searches.len(), 0));
    let recall = exact.recall.expect("it was measured");
    assert_eq!((recall.mean, recall.low, recall.high), (1.0, 1.0, 1.0), "without an index, recall is 1");

    index_axes(&test_database).await;
    retune(&database).await;
    let database = watched(&database, 1.0);
    search_for(&database, &between_axes(), &Selection::default()).await;
    let mut monitor = monitor(&database);
    let (history, changes) = pass(&mut monitor).await;
    let [row] = &history[..] else { panic!("{history:?}") };
    assert_eq!((row.searches, row.wanted, row.returned, row.replayed), (20, 200, 200, 20));
    assert_eq!((row.rows, row.target, row.missing), (ROWS.into(), 0.98, 0));
    let latency = row.latency.expect("there were searches");
    assert!(0.0 < latency.p50_ms && latency.p50_ms <= latency.p95_ms && latency.p95_ms <= latency.p99_ms);
    let recall = row.recall.expect("it was measured");
    // The rows are between axes too, so one list does not suffice, and the parameters are two or more.
    assert_eq!((recall.mean, recall.low, recall.high), (1.0, 1.0, 1.0));
    assert_eq!(changes, []);

    test_database.execute(SPOIL).await;
    let (history, changes) = pass(&mut monitor).await;
    assert_eq!((history[0].searches, history[0].latency), (0, None), "recall is measured without searches");
    let recall = history[0].recall.expect("it was measured");
    assert_eq!((recall.mean, recall.low, recall.high), (0.5, 0.5, 0.5));
    let [AlertChange { change: Change::Raised, alert, .. }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((alert.table.as_str(), alert.filter_class), ("queries", FilterClass::None));
    assert_eq!(alert.evidence, Evidence::Recall { recall, target: 0.98 });
    // Another process derives the same alert, and neither reports it again.
    let mut other = Monitor::new(database.clone(), MonitorConfig::default());
    let again = other.pass().await.expect("the pass is made");
    assert_eq!((again.alerts.len(), again.changes), (1, Vec::new()));
    assert_eq!(again.alerts[0].evidence.kind(), AlertKind::Recall);
    assert_eq!(again.alerts[0].since, alert.since);

    retune(&database).await;
    let (_, changes) = pass(&mut monitor).await;
    assert!(matches!(&changes[..], [AlertChange { change: Change::Cleared, .. }]), "{changes:?}");
    let kept = database.search_history(datetime!(2026-01-01 00:00)).await.expect("the history reads");
    let recalls: Vec<bool> =
        kept.rows.iter().map(|row| row.recall.is_some_and(|recall| recall.high < 0.98)).collect();
    assert_eq!(recalls, [false, true, true, false], "{kept:?}");
}

#[tokio::test]
async fn recall_is_not_measured_until_a_new_index_has_its_parameters() {
    let (test_database, database) = prepared().await;
    fill_between_axes(&test_database).await;
    index_axes(&test_database).await;
    let database = watched(&database, 1.0);
    search_for(&database, &between_axes(), &Selection::default()).await;
    let mut monitor = monitor(&database);
    let mut check_unmeasured = async |searches: u64| {
        let (history, changes) = pass(&mut monitor).await;
        let counted: Vec<_> =
            history.iter().map(|row| (row.searches, row.replayed, row.recall, row.missing)).collect();
        let expected = if searches > 0 { vec![(searches, 0, None, 0)] } else { Vec::new() };
        assert_eq!((counted, changes), (expected, Vec::new()));
    };
    // It has just been built, and maintenance will measure its parameters.
    check_unmeasured(20).await;
    // A process does so.
    let other = Database::connect(&test_database.url()).await.expect("the database answers");
    let lock = other.lock_indexes("queries").await.expect("the lock is free");
    check_unmeasured(0).await;
    // If nothing does, the recall is that of the searches.
    lock.release().await.expect("it was held");
    let (history, _) = pass(&mut monitor).await;
    assert!(history[0].recall.is_some() && history[0].replayed == 20, "{history:?}");
    // The parameters of a known index are measured again.
    retune(&database).await;
    let lock = other.lock_indexes("queries").await.expect("the lock is free");
    let (history, _) = pass(&mut monitor).await;
    assert!(history[0].recall.is_some(), "{history:?}");
    lock.release().await.expect("it was held");
}

#[tokio::test]
async fn filtered_searches_are_measured_by_class_and_their_filters_stay_in_memory() {
    let (test_database, database) = prepared().await;
    fill(&test_database, FEW_ROWS).await;
    test_database.execute("update queries set metadata = '{\"author\": \"secret-key\"}'").await;
    let database = watched(&database, 1.0);
    let vectors = &samples(&test_database).await[..3];
    let all = Selection::default();
    let author = Filter::from_json(&json!({"author": "secret-key"})).expect("it is a filter");
    let document = DocumentFilter::from_json(&json!({"$not_contains": "secret-word"})).expect("it is one");
    let time = Some(datetime!(2020-01-01 00:00));
    for selection in [
        Selection { category: Some("secret-theme".to_owned()), ..all.clone() },
        Selection { filter: Some(author.clone()), ..all.clone() },
        Selection { document: Some(document.clone()), ..all.clone() },
        Selection { from: time, ..all.clone() },
        Selection {
            category: Some("rare".to_owned()),
            filter: Some(author),
            document: Some(document),
            ..all
        },
    ] {
        search_for(&database, vectors, &selection).await;
    }
    let mut monitor = monitor(&database);
    let (history, _) = pass(&mut monitor).await;
    let measured: Vec<_> = history
        .iter()
        .map(|row| (row.filter_class.as_str(), row.searches, row.returned, row.replayed))
        .collect();
    let expected = [
        // From recorded vectors and from rows.
        ("none", 0, 0, history[0].replayed),
        // No row matches.
        ("category", 3, 0, 0),
        ("metadata", 3, 30, 3),
        ("text", 3, 30, 3),
        ("time", 3, 30, 3),
        ("several", 3, 30, 3),
    ];
    assert_eq!(measured, expected);
    assert!(history[0].replayed > 3 && history.iter().all(|row| row.missing == 0), "{history:?}");
    assert_eq!(kept_samples(&test_database).await, 15);
    let mut connection = test_database.connection().await;
    let rows: Vec<String> = sqlx::query_scalar(
        "select to_jsonb(sample)::text from vector_search_samples sample
        union all select to_jsonb(history)::text from vector_search_history history",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the rows read");
    assert_eq!(rows.len(), 15 + 6);
    assert!(rows.iter().all(|row| !row.contains("secret") && !row.contains("rare")), "{rows:?}");
    let (history, _) = pass(&mut monitor).await;
    let classes: Vec<FilterClass> = history.iter().map(|row| row.filter_class).collect();
    assert_eq!(classes, [FilterClass::None], "classes without searches and alerts are not replayed");
}

#[tokio::test]
async fn one_process_at_a_time_replays_searches_and_the_others_record_their_counters() {
    let (test_database, database) = prepared().await;
    fill(&test_database, FEW_ROWS).await;
    let database = watched(&database, 1.0);
    search_for(&database, &samples(&test_database).await[..1], &Selection::default()).await;
    let mut monitor = monitor(&database);
    let other = Database::connect(&test_database.url()).await.expect("the database answers");
    let lock = other.lock_replays().await.expect("it is asked for").expect("the lock is free");
    let (history, _) = pass(&mut monitor).await;
    let counted: Vec<_> =
        history.iter().map(|row| (row.searches, row.returned, row.replayed, row.recall)).collect();
    assert_eq!(counted, [(1, 10, 0, None)]);
    lock.release().await.expect("it was held");
    let (history, _) = pass(&mut monitor).await;
    assert!(history[0].searches == 0 && history[0].replayed > 1, "{history:?}");
}

#[tokio::test]
async fn searches_are_not_replayed_while_connections_are_needed() {
    let (test_database, database) = prepared().await;
    fill(&test_database, FEW_ROWS).await;
    let options = DatabaseOptions { max_connections: 2, ..DatabaseOptions::default() };
    let narrow = Database::connect_with(&test_database.url(), &options).await.expect("the database answers");
    let searches =
        searches_for_rows(&database, &queries(), FEW_ROWS.into(), 5, 3).await.expect("rows are read");
    let replayed = async |patience| {
        let pace = Pace::Background { until: Instant::now() + patience };
        measure(&narrow, &queries(), &searches, pace).await.expect("they are made").replayed as usize
    };
    let busy = narrow.lock_indexes("queries").await.expect("the lock is free");
    assert_eq!((narrow.free_connections(), replayed(Duration::from_millis(300)).await), (1, 0));
    busy.release().await.expect("they were held");
    assert_eq!(replayed(Duration::from_secs(60)).await, searches.len());
}

#[tokio::test]
async fn search_with_too_large_a_result_is_skipped_and_counted_once() {
    let (test_database, database) = prepared().await;
    fill(&test_database, FEW_ROWS).await;
    let database = watched(&database, 1.0);
    let vectors = &samples(&test_database).await[..5];
    let by_time = Selection { from: Some(datetime!(2020-01-01 00:00)), ..Selection::default() };
    for selection in [Selection::default(), by_time] {
        search_for(&database, vectors, &selection).await;
    }
    // Ten of them have 17 million bytes; the limit of a response is 16 MiB.
    let components: Vec<String> = vectors[4].iter().map(f32::to_string).collect();
    test_database
        .execute(&format!(
            "update queries set query_text = repeat('x', 1700000)
            where id in (select id from queries order by embedding <=> '[{}]' limit 10)",
            components.join(",")
        ))
        .await;
    // As many as were recorded are replayed, so that none is derived from a row.
    let config = MonitorConfig { replays: 3, ..MonitorConfig::default() };
    let mut monitor = Monitor::new(database.clone(), config);
    let first = monitor.pass().await.expect("the pass is made");
    assert!(first.failures.is_empty(), "{:?}", first.failures);
    let skipped = |pass: &upkeep::monitor::Pass| -> Vec<(FilterClass, usize)> {
        pass.too_large.iter().map(|(_, filter_class, count)| (*filter_class, *count)).collect()
    };
    let measured = |pass: &upkeep::monitor::Pass| -> Vec<(FilterClass, u32)> {
        let of_queries = pass.history.iter().filter(|row| row.table == "queries");
        of_queries.map(|row| (row.filter_class, row.replayed)).collect()
    };
    assert_eq!(skipped(&first), [(FilterClass::None, 1), (FilterClass::Time, 1)]);
    assert_eq!(measured(&first), [(FilterClass::None, 2), (FilterClass::Time, 2)]);
    let again = monitor.pass().await.expect("the pass is made");
    assert_eq!(skipped(&again), [], "they are remembered");
    assert_eq!(measured(&again), [(FilterClass::None, 3)]);
}

#[tokio::test]
async fn tables_without_searches_are_measured_and_sampling_can_be_disabled() {
    let (test_database, database) = prepared().await;
    fill(&test_database, FEW_ROWS).await;
    // A process without counters measures rows of the tables.
    let (history, _) = pass(&mut monitor(&database)).await;
    assert!(history[0].searches == 0 && history[0].replayed > 10, "{history:?}");
    let database = watched(&database, 0.0);
    search_for(&database, &samples(&test_database).await[..2], &Selection::default()).await;
    let mut monitor = Monitor::new(
        database.clone(),
        MonitorConfig { history_retention: Duration::ZERO, ..MonitorConfig::default() },
    );
    let (history, _) = pass(&mut monitor).await;
    assert!(history[0].searches == 2 && history[0].replayed > 10, "{history:?}");
    assert_eq!(kept_samples(&test_database).await, 0);
    let kept = database.search_history(datetime!(2026-01-01 00:00)).await.expect("the history reads");
    assert_eq!(kept.rows, [], "retention is zero");
}

#[tokio::test]
async fn samples_are_limited_by_age_and_number() {
    let (test_database, database) = prepared().await;
    test_database
        .execute(
            "insert into vector_search_samples
            select gen_random_uuid(), 'queries', 'none', now() at time zone 'utc' - day * interval '1 day', '{1}', 1, 1, 1
            from generate_series(1, 10) day",
        )
        .await;
    let week_ago = {
        let now = time::OffsetDateTime::now_utc() - time::Duration::days(7);
        time::PrimitiveDateTime::new(now.date(), now.time())
    };
    assert_eq!(database.expire_search_samples(week_ago, 4).await.expect("they are forgotten"), 6);
    assert_eq!(database.expire_search_samples(week_ago, 4).await.expect("there is nothing to do"), 0);
    assert_eq!(kept_samples(&test_database).await, 4);
}

#[tokio::test]
async fn tables_of_other_collections_are_measured_by_their_distance() {
    let (test_database, database) = prepared().await;
    let table =
        Table { name: "articles".to_owned(), dimension: 3, space: records::DistanceSpace::L2, ..queries() };
    // Points on a straight line: one list around each. Then five rows on each side of the midpoint of two points,
    // which are its ten nearest rows. By cosine, all would be equally near.
    test_database
        .execute(
            "create table articles (like queries including all);
            alter table articles alter embedding type vector(3);
            insert into articles (query_text, theme, embedding)
                select 'a', 'b', array[place * 10, 0, 0]::vector from generate_series(1, 50) place;
            create index articles_lists on articles using ivfflat (embedding vector_l2_ops) with (lists = 50);
            insert into articles (query_text, theme, embedding)
                select 'a', 'b', array[place * 10 + 5 + side, 0, 0]::vector
                from generate_series(1, 49) place, unnest(array[-1, 1]) side, generate_series(1, 5) copy;
            insert into articles (query_text, theme, embedding)
                select 'a', 'b', array[place * 10, 0, 0]::vector
                from generate_series(1, 50) place, generate_series(1, 20) copy;
            analyze articles",
        )
        .await;
    let in_the_middle = |place: u8| ReplayedSearch {
        embedding: vec![f32::from(place) * 10.0 + 5.0, 0.0, 0.0].into(),
        selection: Selection::default(),
    };
    let searches: Vec<ReplayedSearch> = (1..50).map(in_the_middle).collect();
    let measured = async || {
        let measured = measure(&database, &table, &searches, Pace::Prompt).await.expect("they are made");
        measured.recall.expect("it was measured").mean
    };
    // Without measurements, so few rows are scanned exactly.
    assert_eq!(measured().await, 1.0);
    test_database
        .execute(
            "insert into vector_index_settings (
                table_name, index_name, build, filtering, depth, candidates, target, recall, recall_low, latency_ms,
                sampled, rows, measured_at
            )
            select 'articles', 'articles_lists', pg_relation_filenode('articles_lists'::regclass), 'none', 10, 1,
                0.98, 0.99, 0.985, 1, 30, 2000, now()",
        )
        .await;
    assert_eq!(measured().await, 0.5, "one list contains five of the ten");
}
