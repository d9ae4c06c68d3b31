//! Search by vector, by words and by both.

use std::time::Duration;

use records::Service;
use serde_json::json;
use store::{
    postgres::{Database, DatabaseOptions, PostgresStorage},
    storage::{Effort, Hit, NewRecord, Scan, Search, SearchMode, Selection, Storage as _, StorageError},
};

use super::{filtered, in_category, new_record, storage, store, store_numbered};
use crate::{at_angle, nearest_to};

async fn found(storage: &PostgresStorage, search: &Search) -> Vec<Hit> {
    storage.search(search).await.expect("the search runs")
}

fn shown(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.record.id.as_str()).collect()
}

fn by_words(text: &str, selection: Selection) -> Search {
    Search {
        selection,
        mode: SearchMode::Text(text.into()),
        limit: 10,
        min_similarity: None,
        effort: Effort::Fast,
    }
}

fn hybrid(angle: f32, text: &str) -> Search {
    let mode = SearchMode::Hybrid { embedding: at_angle(angle).into(), text: text.into() };
    Search { selection: Selection::default(), mode, limit: 10, min_similarity: None, effort: Effort::Fast }
}

#[tokio::test]
async fn similarity_has_a_lower_bound() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    store_numbered(&storage, 100).await;
    let search = nearest_to(at_angle(0.0), in_category("even"), 5);
    assert_eq!(shown(&found(&storage, &search).await), ["0", "2", "4", "6", "8"]);
    let least = f64::from(0.05_f32.cos());
    let close = Search { min_similarity: Some(least), ..search.clone() };
    assert_eq!(shown(&found(&storage, &close).await), ["0", "2", "4"]);
    let none = Search { min_similarity: Some(1.1), ..search.clone() };
    assert_eq!(found(&storage, &none).await, []);
    assert_eq!(found(&storage, &Search { limit: 0, ..search }).await, []);
    let refused = Search { min_similarity: Some(0.0), ..by_words("text", Selection::default()) };
    let error = storage.search(&refused).await.expect_err("words have no similarity");
    assert!(matches!(&error, StorageError::Refused { field, .. } if field == "min_similarity"), "{error}");
}

#[tokio::test]
async fn searches_reuse_a_connection_and_release_it() {
    let (test_database, database, storage) = storage(Service::Query).await;
    store_numbered(&storage, 10).await;
    let search = nearest_to(at_angle(0.0), Selection::default(), 5);
    for _ in 0..20 {
        found(&storage, &search).await;
    }
    let searched = "select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and query like '%nearest as materialized%'";
    let mut observer = test_database.connection().await;
    let searched: i64 = sqlx::query_scalar(searched).fetch_one(&mut observer).await.expect("one number");
    assert_eq!(searched, 1, "one connection did them all");
    // Connections used by others are returned shortly after.
    let all_are_free = async {
        while database.free_connections() < DatabaseOptions::default().max_connections {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all_are_free).await.expect("the search's counts as free");
    let closed = tokio::time::timeout(Duration::from_secs(10), database.close());
    closed.await.expect("no connection is waited for");
    storage.search(&search).await.expect_err("nothing is left to search with");
}

#[tokio::test]
async fn idle_connections_of_searches_are_available_to_all() {
    let (test_database, _database, storage) = storage(Service::Query).await;
    store_numbered(&storage, 10).await;
    let limits = DatabaseOptions { max_connections: 3, ..DatabaseOptions::default() };
    let few = Database::connect_with(&test_database.url(), &limits).await.expect("the server answers");
    let storage = PostgresStorage::new(few.clone(), Service::Query);
    found(&storage, &nearest_to(at_angle(0.0), Selection::default(), 5)).await;
    // All three, one of which the search used.
    few.open_connections(3).await.expect("one is returned shortly after");
}

#[test]
fn connections_of_searches_may_outlive_the_runtime() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let kept = runtime.block_on(async {
        let (test_database, database, storage) = storage(Service::Query).await;
        store_numbered(&storage, 10).await;
        found(&storage, &nearest_to(at_angle(0.0), Selection::default(), 5)).await;
        drop(test_database);
        (database, storage)
    });
    drop(runtime);
    drop(kept);
}

#[tokio::test]
async fn equally_near_records_are_ordered_by_key() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    let same = |n: u16| NewRecord {
        embedding: at_angle(1.0).into(),
        ..new_record(Service::Query, &n.to_string(), n)
    };
    let mut stored = store(&storage, &(0..20).map(same).collect::<Vec<_>>()).await;
    stored.sort_by_key(|record| records::stored_id(&record.id));
    let hits = found(&storage, &nearest_to(at_angle(0.0), Selection::default(), 15)).await;
    assert_eq!(hits.into_iter().map(|hit| hit.record).collect::<Vec<_>>(), stored[..15]);
}

#[tokio::test]
async fn words_are_found_in_every_form_and_ranked() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    let texts =
        ["An apple falls.", "Falling apples, fallen apples: apples fall.", "The moon", "apple \u{1F600} pie"];
    let records: Vec<NewRecord> = (0..)
        .zip(texts)
        .map(|(n, text)| NewRecord { text: text.into(), ..new_record(Service::Query, &n.to_string(), n) })
        .collect();
    store(&storage, &records).await;
    let hits = found(&storage, &by_words("apples falling", Selection::default())).await;
    assert_eq!(shown(&hits), ["1", "0"]);
    assert!(hits[0].score > hits[1].score && hits.iter().all(|hit| hit.distance.is_none()), "{hits:?}");
    let excluded = found(&storage, &by_words("apple -fall", Selection::default())).await;
    assert_eq!(shown(&excluded), ["3"]);
    let odd = found(&storage, &by_words("apple", in_category("odd"))).await;
    assert_eq!(odd.len(), 2);
    for text in ["the", "", "\"'&|!()", "zebra"] {
        assert_eq!(found(&storage, &by_words(text, Selection::default())).await, [], "{text}");
    }
    let error = storage.search(&by_words("a\0", Selection::default())).await.expect_err("it is refused");
    assert!(matches!(error, StorageError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn text_of_any_length_is_stored_and_its_beginning_searched() {
    let (_test_database, database, storage) = storage(Service::Query).await;
    database.ensure_service_indexes(Service::Query).await.expect("the indexes are built");
    // Many distinct words, long words, hyphenated words and addresses, of four bytes a character: what makes the
    // largest `tsvector`.
    let letter = |n: u32| char::from_u32(0x20000 + n % 40_000).expect("a letter");
    let words: String = (0..700_000).flat_map(|n| [letter(n), letter(n / 40_000), ' ']).collect();
    let hyphens: String =
        (0..200_000).flat_map(|n| [letter(n), '-', letter(n + 7), letter(n / 3), ' ']).collect();
    let addresses: String = (0..50_000).map(|n| format!("http://a{n}.example/{n}/p?q={n} ")).collect();
    let texts =
        [words, hyphens, addresses, "x".repeat(3_000_000), format!("findable {}", "y ".repeat(1_000_000))];
    for (n, text) in (0..).zip(texts) {
        let record = NewRecord { text, ..new_record(Service::Query, &n.to_string(), n) };
        store(&storage, &[record]).await;
    }
    assert_eq!(shown(&found(&storage, &by_words("findable", Selection::default())).await), ["4"]);
}

#[tokio::test]
async fn hybrid_search_combines_both_rankings() {
    let (test_database, _, storage) = storage(Service::Query).await;
    let texts = ["the apple", "a pear", "apple apple pie", "the moon"];
    let records: Vec<NewRecord> = (0..)
        .zip(texts)
        .map(|(n, text)| NewRecord { text: text.into(), ..new_record(Service::Query, &n.to_string(), n) })
        .collect();
    store(&storage, &records).await;
    let row = "insert into queries (id, query_text, theme) values ('67e55044-10b1-426f-9247-bb680e5fe0c8', 'an apple', 'x')";
    test_database.execute(row).await;
    let hits = found(&storage, &hybrid(0.0, "apples")).await;
    // By nearness: 0, 1, 2, 3. By words: 2 first, then 0 and the row without an embedding.
    let score = |id: &str| {
        let hit = hits.iter().find(|hit| hit.record.id == id).expect("it is found");
        hit.score.expect("it has a score")
    };
    assert!((score("3") - 1.0 / 64.0).abs() < 1e-12);
    assert!((score("2") - (1.0 / 63.0 + 1.0 / 61.0)).abs() < 1e-12);
    assert_eq!(hits.len(), 5);
    assert!(hits.is_sorted_by(|one, next| one.score >= next.score));
    let without = hits.iter().find(|hit| hit.record.id.starts_with("67e55044")).expect("it is found");
    assert_eq!(without.distance, None);
    assert!(hits.iter().filter(|hit| hit.distance.is_some()).count() == 4);

    let similar = Search { min_similarity: Some(f64::from(0.015_f32.cos())), ..hybrid(0.0, "apples") };
    assert_eq!(shown(&found(&storage, &similar).await), ["0", "1"]);
    let two = Search { limit: 2, ..hybrid(0.0, "apples") };
    assert_eq!(found(&storage, &two).await, hits[..2]);
}

/// 30,000 rows in 300 clusters; one row in 10,000 is of the category `rare`, one in two of `half`, three in four have
/// `n` below 22,500.
const MANY_ROWS: &str = r#"
select setseed(0.25);
create temporary table centres as
    select cluster, array(select random() - 0.5 from generate_series(1, 384) where cluster >= 0) as centre
    from generate_series(0, 299) cluster;
insert into queries (query_text, theme, metadata, embedding)
select
    'row ' || row,
    case when row % 10000 = 0 then 'rare' when row % 2 = 0 then 'half' else 'other' end,
    jsonb_build_object('n', row),
    (select array_agg(x + (random() - 0.5) * 0.3) from unnest(centre) x where row > 0)::vector
from generate_series(1, 30000) row
join centres on cluster = row % 300;
create index on queries using ivfflat (embedding vector_cosine_ops) with (lists = 100);
analyze queries;
"#;

#[tokio::test]
async fn filtered_search_returns_limit_rows_when_enough_match() {
    let (test_database, _, storage) = storage(Service::Query).await;
    test_database.execute(MANY_ROWS).await;
    let mut connection = test_database.connection().await;
    let sample: Vec<f32> =
        sqlx::query_scalar("select embedding::real[] from queries where query_text = 'row 123'")
            .fetch_one(&mut connection)
            .await
            .expect("a sample reads");
    // Which rows share a list differs between builds of the index. Independent of this, a row is in the list nearest
    // to its vector, few matches are scanned exactly, and as many hits are returned as match.
    for (selection, condition, scan) in [
        (Selection::default(), "true", Scan::Index),
        (in_category("rare"), "theme = 'rare'", Scan::Exact),
        (in_category("half"), "theme = 'half'", Scan::Index),
        (filtered(json!({"n": {"$lt": 22_500}})), "(metadata ->> 'n')::int < 22500", Scan::Index),
        (filtered(json!({"n": {"$gte": 29_950}})), "(metadata ->> 'n')::int >= 29950", Scan::Exact),
        (filtered(json!({"n": -1})), "false", Scan::Exact),
    ] {
        let exact = format!(
            "select query_text from (select query_text, (embedding <=> $1::real[]::vector) + 0 as distance from queries where {condition}) q order by distance limit 60"
        );
        let expected: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(exact))
            .bind(&sample)
            .fetch_all(&mut connection)
            .await
            .expect("the exact search runs");
        let search = nearest_to(sample.clone(), selection, 60);
        let texts = |hits: &[Hit]| hits.iter().map(|hit| hit.record.text.clone()).collect::<Vec<_>>();
        let exact = Search { effort: Effort::Exact, ..search.clone() };
        let (hits, by) = storage.search_and_scan(&exact).await.expect("the search runs");
        assert_eq!((texts(&hits), by), (expected.clone(), Some(Scan::Exact)), "{condition}");
        let (hits, by) = storage.search_and_scan(&search).await.expect("the search runs");
        let texts = texts(&hits);
        assert_eq!((texts.len(), by), (expected.len(), Some(scan)), "{condition}");
        assert!(scan != Scan::Exact || texts == expected, "{condition}: {texts:?}");
        let itself = "row 123".to_owned();
        assert!(!expected.contains(&itself) || texts[0] == itself, "{condition}: {texts:?}");
        assert!(hits.is_sorted_by(|one, next| one.distance <= next.distance), "{condition}");
    }
    // A limit above the number of rows, and a vector that is not in the index.
    let all = nearest_to(sample, Selection::default(), 30_001);
    let (all, by) = storage.search_and_scan(&all).await.expect("the search runs");
    assert_eq!((all.len(), by), (30_000, Some(Scan::Both)));
    let zero = found(&storage, &nearest_to(vec![0.0; 384], in_category("half"), 5)).await;
    assert!(zero.len() == 5 && zero.iter().all(|hit| hit.distance.is_none()));
}

/// 10,000 rows on a curve, at equal steps. The distance of two rows grows with the steps between them, and by more than
/// `real` can hold: within 26 steps in the first 380 dimensions, where the curve turns from each axis to the next, and at
/// any distance in the last two, where it is an arc of 3 radians. Rows are of `uncorrelated` at one end, 1,000 are `other`
/// at the opposite end, and what lies between is `wide`.
///
/// This determines the result of an HNSW scan, independent of the random levels, if one process builds the index:
/// 1. the nearest rows on both sides are among the neighbours of each row: of all rows on its side none is nearer to them
///    than they are to it, which is what pgvector chooses neighbours by;
/// 2. so from any row, a neighbour is closer to the query vector, until it is reached;
/// 3. and the candidates are the nearest 80 rows, which for the samples below are all `other`.
const CURVE: &str = r#"
insert into queries (query_text, theme, embedding)
select
    'row ' || row,
    case when row <= 1500 then 'uncorrelated' when row <= 9000 then 'wide' else 'other' end,
    (
        select array_agg(
            case dimension
                when axis + 1 then cos(turn) when axis + 2 then sin(turn)
                when 383 then cos(row * 0.0003) when 384 then sin(row * 0.0003)
                else 0
            end
            order by dimension
        )
        from generate_series(1, 384) dimension
    )::vector
from (
    select row, floor(row * 0.0379)::int as axis, (row * 0.0379 - floor(row * 0.0379)) * pi() / 2 as turn
    from generate_series(1, 10000) row
) rows
order by row;
set max_parallel_maintenance_workers = 0;
create index on queries using hnsw (embedding vector_cosine_ops) with (m = 16, ef_construction = 64);
analyze queries;
"#;

#[tokio::test]
async fn matches_of_an_uncorrelated_filter_are_found() {
    let (test_database, _, storage) = storage(Service::Query).await;
    test_database.execute(CURVE).await;
    let mut connection = test_database.connection().await;
    for row in 9_300..9_320 {
        let sample: Vec<f32> =
            sqlx::query_scalar("select embedding::real[] from queries where query_text = $1")
                .bind(format!("row {row}"))
                .fetch_one(&mut connection)
                .await
                .expect("a sample reads");
        // The first scan finds none of them among the candidates, and an exact scan follows.
        let hits = found(&storage, &nearest_to(sample.clone(), in_category("uncorrelated"), 3)).await;
        let texts: Vec<&str> = hits.iter().map(|hit| &*hit.record.text).collect();
        assert_eq!(texts, ["row 1500", "row 1499", "row 1498"], "nearest to row {row}");
        // These are too many for an exact scan, so the index scan continues.
        let hits = found(&storage, &nearest_to(sample, in_category("wide"), 3)).await;
        let texts: Vec<&str> = hits.iter().map(|hit| &*hit.record.text).collect();
        assert_eq!(texts, ["row 9000", "row 8999", "row 8998"], "nearest to row {row}");
    }
}
