//! Neglected tables, and indexes with low recall.

use test_support::TestDatabase;
use upkeep::{
    Policy,
    doctor::{Remedy, Severity},
};

use super::{codes, examined, fill_healthy, found, found_in_time, mend, model_of, one, severities};
use crate::{ROWS, apply, fill_between_axes, index_axes, policy, prepared, queries};

/// Inserts `rows` queries with distant vectors, so that a single list contains few of the nearest rows.
async fn fill_scattered(test_database: &TestDatabase, rows: u32) {
    test_database
        .execute(&format!(
            "insert into queries (query_text, theme, embedding)
                select 'row ' || row, 'theme ' || row % 2, l2_normalize(
                    (select array_agg(random() - 0.5) from generate_series(1, 384) where row > 0)::vector
                )
                from generate_series(1, {rows}) row"
        ))
        .await;
}

#[tokio::test]
async fn neglected_table_is_found_and_every_remedy_fixes_it() {
    let (test_database, database) = prepared().await;
    test_database
        .execute(
            "alter table queries set (autovacuum_enabled = false);
            alter table queries set unlogged",
        )
        .await;
    fill_scattered(&test_database, 12_000).await;
    let model = model_of(&test_database).await;
    let findings = found(&database, &model).await;
    assert_eq!(
        severities(&findings),
        [
            (Severity::Error, "table_unlogged"),
            (Severity::Warning, "table_autovacuum_off"),
            (Severity::Warning, "never_analyzed"),
            (Severity::Warning, "index_missing"),
        ]
    );
    let missing = one(&findings, "index_missing");
    assert!(
        missing.what.contains("12000 rows: every search is an exact scan, which currently takes "),
        "{missing:?}"
    );
    assert_eq!(missing.remedy, Remedy::Command("panopticon index apply --table queries".to_owned()));
    mend(&test_database, one(&findings, "table_unlogged")).await;
    mend(&test_database, one(&findings, "never_analyzed")).await;

    test_database.execute("delete from queries where query_text > 'row 4'").await;
    let findings = found_in_time(&database, &model, "dead_rows").await;
    let dead = one(&findings, "dead_rows");
    assert!(dead.what.ends_with("never vacuumed"), "{dead:?}");
    mend(&test_database, dead).await;
    mend(&test_database, one(&findings, "table_autovacuum_off")).await;
    let findings = found(&database, &model).await;
    assert_eq!(codes(&findings), [""; 0], "few rows are left: {findings:?}");
}

#[tokio::test]
async fn invalid_indexes_are_found_and_fixed() {
    let (test_database, database) = prepared().await;
    fill_healthy(&test_database, ROWS).await;
    let model = model_of(&test_database).await;
    apply(&database, &policy()).await;
    // HNSW indexes of the same rows differ: the recall of this one is irrelevant here.
    let found = async || {
        let mut findings = found(&database, &model).await;
        findings.retain(|finding| finding.code != "recall_low");
        findings
    };
    assert_eq!(codes(&found().await), [""; 0]);
    test_database
        .execute(
            "create index queries_panopticon_vector_new on queries using ivfflat (embedding vector_cosine_ops);
            create index odd on queries (theme, created_at);
            update pg_index set indisvalid = false
                where indexrelid in ('queries_panopticon_vector_new'::regclass, 'odd'::regclass)",
        )
        .await;
    let findings = found().await;
    assert_eq!(codes(&findings), ["index_invalid", "index_invalid"]);
    assert!(findings[0].what.starts_with("the build of index `odd` never finished"), "{findings:?}");
    mend(&test_database, &findings[0]).await;
    assert_eq!(findings[1].remedy, Remedy::Command("panopticon index apply --table queries".to_owned()));
    apply(&database, &policy()).await;
    assert_eq!(codes(&found().await), [""; 0]);
}

#[tokio::test]
async fn low_recall_of_measured_and_real_searches_is_found() {
    let (test_database, database) = prepared().await;
    fill_between_axes(&test_database).await;
    index_axes(&test_database).await;
    let model = model_of(&test_database).await;
    let policy = Policy { index_type: upkeep::IndexType::Ivfflat, ..Policy::default() };
    upkeep::retune(&database, &queries(), &policy, &|_| {}).await.expect("settings are measured");
    let healthy = examined(&database, &model).await;
    let searches = healthy.tables[2].searches.clone().expect("it was looked at").expect("there are vectors");
    let by_index = searches.by_index.expect("there is an index");
    assert!(by_index.recall == 1.0 && by_index.latency_ms > 0.0 && searches.exact_ms > 0.0, "{by_index:?}");
    // Each of 1,200 rows is sampled with probability 45/1,200: the probability of three or fewer is 5e-16.
    assert_eq!((by_index.index.as_str(), searches.sampled > 3), ("queries_panopticon_vector", true));

    // One list contains five of the ten nearest rows.
    test_database.execute("update vector_index_settings set candidates = 1").await;
    let findings = upkeep::doctor::diagnose(&examined(&database, &model).await, &policy);
    let low = one(&findings, "recall_low");
    assert_eq!(low.remedy, Remedy::Command("panopticon index tune --table queries".to_owned()));
    upkeep::retune(&database, &queries(), &policy, &|_| {}).await.expect("settings are measured");
    let findings = upkeep::doctor::diagnose(&examined(&database, &model).await, &policy);
    assert!(!codes(&findings).contains(&"recall_low"), "{findings:?}");

    let history = "insert into vector_search_history values
        ('queries', 'none', '2026-01-01 10:00', 60, 10, 1, 2, 3, 100, 100, 0, 10, 0.7, 0.6, 0.8, 0.98, 12000),
        ('queries', 'none', '2026-01-01 11:00', 60, 10, 1, 2, 3, 100, 100, 0, 10, 0.99, 0.98, 1, 0.98, 12000),
        ('queries', 'category', '2026-01-01 11:00', 60, 10, 1, 2, 3, 100, 100, 0, 10, 0.7, 0.6, 0.8, 0.98, 12000)";
    test_database.execute(history).await;
    let findings = upkeep::doctor::diagnose(&examined(&database, &model).await, &policy);
    let low = one(&findings, "recall_of_searches_low");
    assert!(low.what.starts_with("real searches with filters (category) returned 70.0 %"), "{low:?}");
}
