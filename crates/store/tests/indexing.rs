//! Vector indexes: built after the rows, from their number, and found by searches, filtered ones too.

use records::{MODEL_DIMENSION, Service};
use store::{
    postgres::{Database, PostgresStorage, Table, vector_index::IndexPlan},
    storage::{Selection, Storage as _},
};

use uuid::Uuid;

use crate::{nearest_to, prepared};

/// Rows in clusters, as embeddings of texts are: 200 centres with noise around each; one row in a hundred is rare.
const CLUSTERED_ROWS: &str = r#"
select setseed(0.5);
create temporary table centres as
    select cluster, array(select random() - 0.5 from generate_series(1, 384) where cluster > 0) as centre
    from generate_series(1, 200) cluster;
insert into queries (query_text, theme, embedding)
select
    'row ' || row,
    case when row % 100 = 0 then 'rare' else 'common' end,
    (select array_agg(x + (random() - 0.5) * 0.5) from unnest(centre) x where row > 0)::vector
from generate_series(1, 20000) row
join centres on cluster = row % 199 + 1;
"#;

async fn maintain(database: &Database, table: &Table) -> IndexPlan {
    database.maintain_index(table, Uuid::nil(), &|_, _| {}).await.expect("the index is maintained")
}

async fn neighbours(database: &Database, embedding: &[f32], category: Option<&str>) -> Vec<String> {
    let selection = Selection { category: category.map(str::to_owned), ..Selection::default() };
    let storage = PostgresStorage::new(database.clone(), Service::Query);
    let hits = storage.search(&nearest_to(embedding.to_vec(), selection, 10)).await.expect("the search runs");
    hits.into_iter().map(|hit| hit.record.id).collect()
}

#[tokio::test]
async fn index_is_sized_from_the_rows_replaces_an_unfit_one_and_keeps_recall() {
    let (test_database, database) = prepared().await;
    let table = &Table::of(Service::Query);
    let empty = maintain(&database, table).await;
    assert_eq!(empty, IndexPlan::Keep, "no index on an empty table");

    // As the old services did: on the empty table, with pgvector's default of lists and room for none of them.
    test_database
        .execute("create index old on queries using ivfflat (embedding vector_cosine_ops) with (lists = 1)")
        .await;
    test_database.execute(CLUSTERED_ROWS).await;
    test_database.execute("analyze queries").await;
    let mut connection = test_database.connection().await;
    let samples: Vec<Vec<f32>> = sqlx::query_scalar(
        "select embedding::real[] from queries where query_text ~ '^row \\d*00$' limit 20",
    )
    .fetch_all(&mut connection)
    .await
    .expect("samples read");
    assert_eq!((samples.len(), samples[0].len()), (20, MODEL_DIMENSION));
    // With its one list probed, the old index gives what an exact scan gives.
    let mut exact = Vec::new();
    for sample in &samples {
        exact.push((
            neighbours(&database, sample, None).await,
            neighbours(&database, sample, Some("rare")).await,
        ));
    }

    let plan = maintain(&database, table).await;
    let expected = IndexPlan::Build { lists: 20, drop_before: vec![], drop_after: vec!["old".to_owned()] };
    assert_eq!(plan, expected);
    let names: Vec<String> =
        sqlx::query_scalar("select indexname::text from pg_indexes where tablename = 'queries' order by 1")
            .fetch_all(&mut connection)
            .await
            .expect("the catalog reads");
    let expected = [
        "queries_embedding_idx",
        "queries_panopticon_category",
        "queries_panopticon_metadata",
        "queries_panopticon_newest",
        "queries_panopticon_words",
        "queries_pkey",
    ];
    assert_eq!(names, expected);
    assert_eq!(maintain(&database, table).await, IndexPlan::Keep);

    let (mut found, mut found_rare) = (0, 0);
    for (sample, (all, rare)) in samples.iter().zip(&exact) {
        found += neighbours(&database, sample, None).await.iter().filter(|id| all.contains(id)).count();
        let filtered = neighbours(&database, sample, Some("rare")).await;
        assert_eq!(filtered.len(), 10, "a filter never leaves fewer than the limit while that many match");
        found_rare += filtered.iter().filter(|id| rare.contains(id)).count();
    }
    assert!(found >= 190, "recall@10 of 0.95 and more, found {found} of 200");
    assert!(found_rare >= 190, "recall@10 of 0.95 and more under a filter of 1 %, found {found_rare} of 200");
}
