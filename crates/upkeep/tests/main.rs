//! Vector indexes of real PostgreSQL databases, one for each test: planned, built beside traffic, swapped, measured.

mod after_copy;
mod applying;
mod crashes;
mod doctor;
mod maintenance;
mod tuning;
mod watching;
mod webhooks;

use records::Service;
use store::{
    postgres::{Database, PostgresStorage, Table, vector_index::Observation},
    storage::{Search, SearchMode, Selection, Storage as _},
};
use test_support::TestDatabase;
use upkeep::{Applied, Policy};

/// A database with the current schema.
async fn prepared() -> (TestDatabase, Database) {
    let test_database = TestDatabase::prepared().await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    (test_database, database)
}

/// Puts `rows` queries in, in clusters as embeddings of texts are: 200 centres with noise around each; one row in a
/// hundred is rare.
async fn fill(test_database: &TestDatabase, rows: u32) {
    let statements = format!(
        "select setseed(0.5);
        create temporary table centres as
            select cluster, array(select random() - 0.5 from generate_series(1, 384) where cluster > 0) as centre
            from generate_series(1, 200) cluster;
        insert into queries (id, query_text, theme, embedding)
        select
            md5(row::text)::uuid,
            'row ' || row,
            case when row % 100 = 0 then 'rare' else 'common' end,
            (select array_agg(x + (random() - 0.5) * 0.5) from unnest(centre) x where row > 0)::vector
        from generate_series(1, {rows}) row
        join centres on cluster = row % 199 + 1;
        analyze queries"
    );
    test_database.execute(&statements).await;
}

async fn apply(database: &Database, policy: &Policy) -> Applied {
    upkeep::apply(database, &queries(), policy, &|_| {}).await.expect("the plan is carried out")
}

async fn observe(database: &Database) -> Observation {
    database.observe_indexes(&queries()).await.expect("the table is there")
}

fn queries() -> Table {
    Table::of(Service::Query)
}

/// Some of the embeddings.
async fn samples(test_database: &TestDatabase) -> Vec<Vec<f32>> {
    let mut connection = test_database.connection().await;
    let samples: Vec<Vec<f32>> = sqlx::query_scalar(
        "select embedding::real[] from queries where query_text ~ '^row \\d*00$' order by id limit 20",
    )
    .fetch_all(&mut connection)
    .await
    .expect("samples read");
    assert_eq!((samples.len(), samples[0].len()), (20, records::MODEL_DIMENSION));
    samples
}

/// Ids of the ten nearest queries, of a theme or of all, as a storage that has just been opened finds them.
async fn neighbours(database: &Database, embedding: &[f32], theme: Option<&str>) -> Vec<String> {
    let search = Search {
        selection: Selection { category: theme.map(str::to_owned), ..Selection::default() },
        mode: SearchMode::Vector(embedding.to_vec().into()),
        limit: 10,
        min_similarity: None,
    };
    let storage = PostgresStorage::new(database.clone(), Service::Query);
    let hits = storage.search(&search).await.expect("the search runs");
    hits.into_iter().map(|hit| hit.record.id).collect()
}

/// The names of the table's indexes.
async fn index_names(test_database: &TestDatabase) -> Vec<String> {
    let mut connection = test_database.connection().await;
    sqlx::query_scalar("select indexname::text from pg_indexes where tablename = 'queries' order by 1")
        .fetch_all(&mut connection)
        .await
        .expect("the catalog reads")
}
