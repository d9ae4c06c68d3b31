//! What searches find is measured as they are, and told when it is too little.

use store::postgres::searches::ReplayedSearch;
use upkeep::{
    Policy,
    monitor::{Measurement, Pace, measure, searches_for_rows},
};

use crate::{fill, prepared, queries};

const ROWS: u32 = 12_000;
/// More lists than clusters, so that what is near lies in several.
const LISTS: &str = "create index queries_panopticon_vector on queries
    using ivfflat (embedding vector_cosine_ops) with (lists = 600)";
/// So few of them are looked into that much is missed.
const SPOIL: &str = "update vector_index_settings set candidates = 1";

async fn measured(database: &store::postgres::Database, searches: &[ReplayedSearch]) -> Measurement {
    measure(database, &queries(), searches, Pace::Prompt).await.expect("searches are made again")
}

#[tokio::test]
async fn recall_now_is_that_of_the_settings_in_force() {
    let (test_database, database) = prepared().await;
    fill(&test_database, ROWS).await;
    let searches = searches_for_rows(&database, &queries(), ROWS.into(), 20, 3).await.expect("rows are read");
    assert!((10..=20).contains(&searches.len()), "they are a matter of chance: {}", searches.len());
    let exact = measured(&database, &searches).await;
    assert_eq!((exact.replayed as usize, exact.missing), (searches.len(), 0));
    let recall = exact.recall.expect("it was measured");
    assert_eq!((recall.mean, recall.low, recall.high), (1.0, 1.0, 1.0), "without an index nothing is missed");

    test_database.execute(LISTS).await;
    upkeep::retune(&database, &queries(), &Policy::default(), &|_| {}).await.expect("it is measured");
    let tuned = measured(&database, &searches).await.recall.expect("it was measured");
    assert!(tuned.high >= 0.98, "{tuned:?}");
    test_database.execute(SPOIL).await;
    let spoilt = measured(&database, &searches).await;
    let recall = spoilt.recall.expect("it was measured");
    assert!(recall.high < 0.9 && recall.low <= recall.mean, "{spoilt:?}");
    assert!(spoilt.median_ms.is_some_and(|time| time > 0.0), "{spoilt:?}");
}
