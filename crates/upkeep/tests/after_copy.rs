//! After a migration's copy: the index follows the rows, and searches by it find what is there, filtered ones too.

use store::postgres::{
    Database,
    vector_index::{IndexChange, IndexDefinition, IndexKind, Precision},
};
use upkeep::{Plan, Policy, Wanted};
use uuid::Uuid;

use crate::{fill, index_names, neighbours, prepared, queries, samples};

async fn after_copy(database: &Database) -> Plan {
    let applied =
        upkeep::apply_after_copy(database, &queries(), Uuid::nil(), &Policy::default(), &|_| {}).await;
    applied.expect("the index is maintained").plan
}

#[tokio::test]
async fn index_is_sized_from_the_rows_replaces_an_unfit_one_and_keeps_recall() {
    let (test_database, database) = prepared().await;
    let empty = after_copy(&database).await;
    assert!(empty.is_empty(), "no index on an empty table: {empty}");

    // As the old services did: on the empty table, with pgvector's default of lists and room for none of them.
    test_database
        .execute("create index old on queries using ivfflat (embedding vector_cosine_ops) with (lists = 1)")
        .await;
    // So many that a filter which leaves nearly all of them is surely one for the index.
    fill(&test_database, 32_000).await;
    let samples = samples(&test_database).await;
    // With its one list probed, the old index gives what an exact scan gives.
    const THEMES: [Option<&str>; 3] = [None, Some("rare"), Some("common")];
    let mut exact = Vec::new();
    for theme in THEMES {
        for sample in &samples {
            exact.push((theme, sample, neighbours(&database, sample, theme).await));
        }
    }

    let plan = after_copy(&database).await;
    let definition = IndexDefinition { kind: IndexKind::Ivfflat { lists: 32 }, precision: Precision::Full };
    assert_eq!(plan.wanted, Wanted::Index(definition));
    assert!(plan.changes.contains(&IndexChange::Drop { name: "old".to_owned() }), "{plan}");
    let expected = [
        "queries_panopticon_category",
        "queries_panopticon_metadata",
        "queries_panopticon_newest",
        "queries_panopticon_vector",
        "queries_panopticon_words",
        "queries_pkey",
    ];
    assert_eq!(index_names(&test_database).await, expected);
    let again = after_copy(&database).await;
    assert!(again.is_empty(), "{again}");

    for theme in THEMES {
        let mut found = 0;
        for (_, sample, exact) in exact.iter().filter(|(other, ..)| *other == theme) {
            let ids = neighbours(&database, sample, theme).await;
            assert_eq!(ids.len(), 10, "a filter never leaves fewer than the limit while that many match");
            found += ids.iter().filter(|id| exact.contains(id)).count();
        }
        assert!(found >= 190, "recall@10 of 0.95 and more, found {found} of 200 of {theme:?}");
    }
}
