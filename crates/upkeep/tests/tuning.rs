//! The settings that are measured meet the target, for rows that were not among those measured, and searches use them.

use store::postgres::vector_index::{Filtering, IndexKind, MeasuredSetting};
use upkeep::{IndexType, Policy};

use crate::{apply, fill, neighbours, observe, prepared, samples};

fn of(measured: &[MeasuredSetting], filtering: Filtering, depth: u32) -> MeasuredSetting {
    let found = measured.iter().find(|setting| setting.filtering == filtering && setting.depth == depth);
    *found.expect("it was measured")
}

#[tokio::test]
async fn measured_settings_meet_the_target_and_are_those_of_searches() {
    let (test_database, database) = prepared().await;
    fill(&test_database, 15_000).await;
    let samples = samples(&test_database).await;
    let mut exact = Vec::new();
    for sample in &samples {
        exact.push(neighbours(&database, sample, None).await);
    }
    for index_type in [IndexType::Ivfflat, IndexType::Hnsw] {
        let policy = Policy { index_type, ..Policy::default() };
        let measured = apply(&database, &policy).await.measured;
        for filtering in [Filtering::None, Filtering::Some] {
            let (few, many) = (of(&measured, filtering, 10), of(&measured, filtering, 100));
            for setting in [few, many] {
                // A hundred matches of a filter are many of these clusters, which are all as far from each other: a graph
                // does not find the nearest of them, whatever is set. Then the most is set, and the recall is told.
                if filtering == Filtering::Some && setting.recall_low < 0.98 {
                    assert_eq!((setting.depth, setting.candidates), (100, 1_000), "{setting:?}");
                    continue;
                }
                assert!(setting.recall_low >= 0.98 && setting.recall >= setting.recall_low, "{setting:?}");
                assert!(setting.sampled >= 60 && setting.latency_ms > 0.0, "{setting:?}");
            }
        }
        let index = observe(&database).await.indexes.remove(0);
        assert_eq!(index.measured.len(), 4, "they are kept: {index:?}");
        assert_eq!(matches!(index.definition.kind, IndexKind::Hnsw { .. }), index_type == IndexType::Hnsw);
        let mut found = 0;
        for (sample, exact) in samples.iter().zip(&exact) {
            found += neighbours(&database, sample, None).await.iter().filter(|id| exact.contains(id)).count();
        }
        assert!(found >= 190, "{index_type:?}: found {found} of 200");
        let again = apply(&database, &policy).await;
        assert!(again.plan.is_empty() && again.measured.is_empty(), "{}", again.plan);
    }
    // The same rows are searched for, so a target that is a little lower needs no more.
    let policy = Policy { recall_target: 0.9, ..Policy::default() };
    let lower = apply(&database, &policy).await;
    assert_eq!(lower.plan.built(), None, "{}", lower.plan);
    assert_eq!(of(&lower.measured, Filtering::None, 10).target, 0.9);

    // What was measured holds for this very build.
    test_database.execute("reindex index queries_panopticon_vector").await;
    assert!(observe(&database).await.indexes[0].measured.is_empty());
    let again = apply(&database, &policy).await;
    assert_eq!(again.plan.built(), None, "{}", again.plan);
    assert_eq!(again.measured.len(), 4);
}
