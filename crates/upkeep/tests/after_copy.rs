//! After a migration's copy, the index matches the rows, and index scans reach full recall, including filtered ones.

use store::postgres::{
    Database,
    vector_index::{IndexChange, IndexDefinition, IndexKind, Precision},
};
use test_support::TestDatabase;
use upkeep::{IndexType, Plan, Policy, TargetIndex};
use uuid::Uuid;

use crate::{filled, index_names, neighbours, observe, policy, prepared, queries, samples};

/// Inserts 12,000 rows in groups of ten copies, so that the ten nearest rows of a row are its group. Copies share an
/// IVFFlat list, the first one that a search for any of them probes. One group in a hundred is rare, and no sample
/// is: the rare theme leads to an exact scan, and the common one to an index scan.
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

async fn after_copy(database: &Database, index_type: IndexType) -> Plan {
    let policy = Policy { index_type, ..policy() };
    let applied = upkeep::apply_after_copy(database, &queries(), Uuid::nil(), &policy, &|_| {}).await;
    applied.expect("the index is maintained").plan
}

#[tokio::test]
async fn small_table_gets_hnsw_with_measured_search_parameters() {
    let (_test_database, database) = filled().await;
    let plan = after_copy(&database, IndexType::Auto).await;
    let built = plan.built().expect("an index is built");
    let observation = observe(&database).await;
    let [index] = &observation.indexes[..] else { panic!("{:?} after {plan}", observation.indexes) };
    assert_eq!(index.definition, built, "after {plan}");
    assert!(matches!(built.kind, IndexKind::Hnsw { ef_construction: 200, ef_insert: 64, .. }), "{plan}");
    let measured = index.measured.iter().map(|measured| measured.depth).collect::<Vec<_>>();
    assert!(measured.starts_with(&[10, 100]), "{measured:?} after {plan}");
    let again = after_copy(&database, IndexType::Auto).await;
    assert!(again.is_empty(), "{again}");
}

#[tokio::test]
async fn index_is_sized_from_the_rows_and_replaces_an_unsuitable_one() {
    let (test_database, database) = prepared().await;
    let empty = after_copy(&database, IndexType::Ivfflat).await;
    assert!(empty.is_empty(), "no index on an empty table: {empty}");

    // Like the old services: an IVFFlat index on the empty table.
    test_database
        .execute("create index old on queries using ivfflat (embedding vector_cosine_ops) with (lists = 1)")
        .await;
    fill_copies(&test_database).await;
    let samples = samples(&test_database).await;
    // With its single list probed, the old index equals an exact scan.
    const THEMES: [Option<&str>; 3] = [None, Some("rare"), Some("common")];
    let mut exact = Vec::new();
    for theme in THEMES {
        for sample in &samples {
            exact.push((theme, sample, neighbours(&database, sample, theme).await));
        }
    }

    let plan = after_copy(&database, IndexType::Ivfflat).await;
    let definition = IndexDefinition { kind: IndexKind::Ivfflat { lists: 12 }, precision: Precision::Full };
    assert_eq!(plan.wanted, TargetIndex::Index(definition));
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
    let again = after_copy(&database, IndexType::Ivfflat).await;
    assert!(again.is_empty(), "{again}");

    for theme in THEMES {
        let mut found = 0;
        for (_, sample, exact) in exact.iter().filter(|(other, ..)| *other == theme) {
            let ids = neighbours(&database, sample, theme).await;
            assert_eq!(ids.len(), 10, "a filtered search returns the limit if that many rows match");
            found += ids.iter().filter(|id| exact.contains(id)).count();
        }
        assert_eq!(found, 200, "{theme:?}");
    }
}
