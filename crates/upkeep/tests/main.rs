//! Vector indexes of real PostgreSQL databases, one per test: planned, built under load, swapped and measured.

mod after_copy;
mod applying;
mod collections;
mod crashes;
mod doctor;
mod maintenance;
mod odd_times;
mod tuning;
mod watching;
mod webhooks;

use std::time::Duration;

use records::Service;
use sqlx::PgConnection;
use store::{
    postgres::{Database, PostgresStorage, Table, vector_index::Observation},
    storage::{Effort, Search, SearchMode, Selection, Storage as _},
};
use test_support::{Template, TestDatabase};
use upkeep::{Applied, Policy};

/// A database with the current schema.
async fn prepared() -> (TestDatabase, Database) {
    let test_database = TestDatabase::prepared().await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    (test_database, database)
}

/// Rows of a table that has an index under [`policy`].
const ROWS: u32 = 2_600;

/// The default policy for smaller tables and fewer searches, since building and measuring an index of 10,000 rows takes ten
/// seconds.
fn policy() -> Policy {
    Policy { exact_scan_rows: 2_500, most_searches: 60, ..Policy::default() }
}

/// A database with the current schema and [`ROWS`] queries of [`clustered`].
async fn filled() -> (TestDatabase, Database) {
    static FILLED: Template = Template::new();
    copy_of(&FILLED, &clustered(ROWS)).await
}

async fn copy_of(template: &Template, statements: &str) -> (TestDatabase, Database) {
    let test_database = TestDatabase::copy_of(template, statements).await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    (test_database, database)
}

/// Statements that insert `rows` queries, clustered like embeddings of texts: 200 centres with noise; one row in a
/// hundred is rare.
fn clustered(rows: u32) -> String {
    format!(
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
    )
}

async fn fill(test_database: &TestDatabase, rows: u32) {
    test_database.execute(&clustered(rows)).await;
}

/// Inserts 1,200 rows with a known IVFFlat index, built by [`index_axes`]: between each of 40 axes and each of the
/// next three there are ten rows, five of them slightly closer to the one axis, and five to the other.
async fn fill_between_axes(test_database: &TestDatabase) {
    test_database
        .execute(
            "insert into queries (id, query_text, theme, embedding)
            select
                md5(format('%s %s %s', axis, step, copy))::uuid, format('%s %s %s', axis, step, copy), 'common',
                (select array_agg(case place
                    when axis then case when copy > 5 then 1 else 0.9 end
                    when (axis + step) % 40 then case when copy > 5 then 0.9 else 1 end
                    else 0
                end order by place) from generate_series(0, 383) place)::vector
            from generate_series(0, 39) axis, generate_series(1, 3) step, generate_series(1, 10) copy;
            analyze queries",
        )
        .await;
}

/// Builds an index of 40 lists, one around each axis: during the build, the table has exactly one row per axis, so
/// each list gets one. Later rows do not move the lists.
///
/// So the ten rows between two axes are in two lists, with twenty-five others each: a search between the axes finds
/// five of the ten nearest rows with one probe, and all ten with two or more.
async fn index_axes(test_database: &TestDatabase) {
    test_database
        .execute(
            "create temporary table kept as select * from queries;
            truncate queries;
            insert into queries (query_text, theme, embedding)
                select 'axis', 'axis',
                    (select array_agg((place = axis)::int order by place) from generate_series(0, 383) place)::vector
                from generate_series(0, 39) axis;
            create index queries_panopticon_vector on queries using ivfflat (embedding vector_cosine_ops)
                with (lists = 40);
            delete from queries;
            insert into queries select * from kept;
            analyze queries",
        )
        .await;
}

/// Writes to the queries without committing: a concurrent index build waits for this before it reads the table, until
/// the connection is closed.
async fn unfinished_write(test_database: &TestDatabase) -> PgConnection {
    let mut connection = test_database.connection().await;
    sqlx::raw_sql("begin; insert into queries (query_text, theme) values ('row 1', 'not committed')")
        .execute(&mut connection)
        .await
        .expect("a row is written");
    connection
}

/// Waits until an index build waits for an [`unfinished_write`].
async fn build_waits(test_database: &TestDatabase) {
    let mut connection = test_database.connection().await;
    let waits = async {
        loop {
            let waits: bool = sqlx::query_scalar(
                "select exists (select from pg_stat_progress_create_index
                where datname = current_database() and phase = 'waiting for writers before build')",
            )
            .fetch_one(&mut connection)
            .await
            .expect("the view reads");
            if waits {
                return;
            }
            // The view gives no notification of changes, so the test polls.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waits).await.expect("the build begins in time");
}

/// Twenty vectors between two axes.
fn between_axes() -> Vec<Vec<f32>> {
    let between = |axis: usize| {
        let mut vector = vec![0.0; records::MODEL_DIMENSION];
        vector[axis..axis + 2].fill(1.0);
        vector
    };
    (0..20).map(between).collect()
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

/// Sample embeddings.
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

/// Ids of the ten nearest queries, of a theme or of all, returned by a newly opened storage.
async fn neighbours(database: &Database, embedding: &[f32], theme: Option<&str>) -> Vec<String> {
    let search = Search {
        selection: Selection { category: theme.map(str::to_owned), ..Selection::default() },
        mode: SearchMode::Vector(embedding.to_vec().into()),
        limit: 10,
        min_similarity: None,
        effort: Effort::Fast,
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
