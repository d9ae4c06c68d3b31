//! After a migration's copy: the index follows the rows, and searches by it find what is there, filtered ones too.

use store::postgres::{
    Database,
    vector_index::{IndexChange, IndexDefinition, IndexKind, Precision},
};
use test_support::TestDatabase;
use upkeep::{Plan, Policy, Wanted};
use uuid::Uuid;

use crate::{index_names, neighbours, prepared, queries, samples};

/// Puts 12,000 rows in, in groups of ten copies, so that the ten nearest to a row are its group. Copies are all in one list,
/// whatever the lists are, and it is the first that a search for one of them looks into. One group in a hundred is rare, and
/// no sample is: few enough are left by that theme to measure each, and by the other so many that the index is surely used.
async fn fill_copies(test_database: &TestDatabase) {
    test_database
        .execute(
            "create temporary table places as
                select place, (select array_agg(random() - 0.5) from generate_series(1, 384) where place > 0) as embedding
                from generate_series(0, 1199) place;
            insert into queries (id, query_text, theme, embedding)
            select md5(row::text)::uuid, 'row ' || row, case when place % 100 = 1 then 'rare' else 'common' end,
                embedding::vector
            from generate_series(0, 11999) row join places on place = row / 10;
            analyze queries",
        )
        .await;
}

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
    fill_copies(&test_database).await;
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
    let definition = IndexDefinition { kind: IndexKind::Ivfflat { lists: 12 }, precision: Precision::Full };
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
        assert_eq!(found, 200, "{theme:?}");
    }
}
