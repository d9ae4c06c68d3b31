//! Measured search parameters meet the target, or are the greatest if none does, and searches use them.

use records::Service;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use store::postgres::{
    Table,
    vector_index::{Filtering, IndexKind, MeasuredPoint, MeasuredSetting},
};
use test_support::TestDatabase;
use upkeep::{IndexType, Policy};

use crate::{apply, filled, neighbours, observe, policy, samples};

fn of(measured: &[MeasuredSetting], filtering: Filtering, depth: u32) -> MeasuredSetting {
    let found = measured.iter().find(|setting| setting.filtering == filtering && setting.depth == depth);
    *found.expect("it was measured")
}

/// Ids of the ten nearest queries returned by an index scan with this setting.
async fn nearest_with(test_database: &TestDatabase, sample: &[f32], setting: &str) -> Vec<String> {
    let mut connection = test_database.connection().await;
    let mut transaction = connection.begin().await.expect("a transaction begins");
    transaction
        .execute(AssertSqlSafe(format!("set local enable_seqscan = off; set local {setting}")))
        .await
        .expect("it is set");
    let nearest = "select id::text from queries order by embedding <=> $1::real[]::vector(384) limit 10";
    let ids = sqlx::query_scalar(nearest).bind(sample).fetch_all(&mut *transaction).await;
    ids.expect("the search runs")
}

#[tokio::test]
async fn measured_parameters_meet_the_target_and_are_used_by_searches() {
    let (test_database, database) = filled().await;
    let samples = samples(&test_database).await;
    for index_type in [IndexType::Ivfflat, IndexType::Hnsw] {
        let policy = Policy { index_type, ..policy() };
        let measured = apply(&database, &policy).await.measured;
        for filtering in [Filtering::None, Filtering::Some] {
            let (few, many) = (of(&measured, filtering, 10), of(&measured, filtering, 100));
            for setting in [few, many] {
                // An HNSW index may miss the target with any parameter. Then the greatest one is stored with its
                // recall. Probing all lists of an IVFFlat index is exact.
                if index_type == IndexType::Hnsw && setting.recall_low < 0.98 {
                    assert_eq!(setting.candidates, 1_000, "{setting:?}");
                    continue;
                }
                assert!(setting.recall_low >= 0.98 && setting.recall >= setting.recall_low, "{setting:?}");
                assert!(setting.sampled >= 60 && setting.latency_ms > 0.0, "{setting:?}");
            }
        }
        let index = observe(&database).await.indexes.remove(0);
        assert_eq!(index.measured.len(), 4, "they are kept: {index:?}");
        let curves = database.measured_curves(&Table::of(Service::Query)).await.expect("they are read");
        assert_eq!(curves.len(), 4);
        for (curve, setting) in curves.iter().zip(&index.measured) {
            assert_eq!((curve.filtering, curve.depth), (setting.filtering, setting.depth));
            assert!(curve.points.is_sorted_by(|one, other| one.candidates < other.candidates), "{curve:?}");
            assert!(curve.points.contains(&MeasuredPoint::from(setting)), "{curve:?} {setting:?}");
        }
        assert_eq!(matches!(index.definition.kind, IndexKind::Hnsw { .. }), index_type == IndexType::Hnsw);
        let candidates = of(&measured, Filtering::None, 10).candidates;
        let setting = match index_type {
            IndexType::Hnsw => format!("hnsw.ef_search = {candidates}"),
            _ => format!("ivfflat.probes = {candidates}"),
        };
        for sample in &samples {
            let found = neighbours(&database, sample, None).await;
            assert_eq!(found, nearest_with(&test_database, sample, &setting).await, "{setting}");
        }
        let again = apply(&database, &policy).await;
        assert!(again.plan.is_empty() && again.measured.is_empty(), "{}", again.plan);
    }
    // The queries are the same, so a slightly lower target needs no greater parameter.
    let policy = Policy { recall_target: 0.9, ..policy() };
    let lower = apply(&database, &policy).await;
    assert_eq!(lower.plan.built(), None, "{}", lower.plan);
    assert_eq!(of(&lower.measured, Filtering::None, 10).target, 0.9);

    // Measurements apply only to this build of the index.
    test_database.execute("reindex index queries_panopticon_vector").await;
    assert!(observe(&database).await.indexes[0].measured.is_empty());
    let again = apply(&database, &policy).await;
    assert_eq!(again.plan.built(), None, "{}", again.plan);
    assert_eq!(again.measured.len(), 4);
}
