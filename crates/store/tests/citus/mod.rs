//! Tables that Citus distributes: the same rows, results and undone runs as elsewhere, and settings that reach the shards.

mod golden;
mod messages;

use std::sync::atomic::{AtomicBool, Ordering};

use records::{Embedding, Service};
use store::{
    postgres::{
        Database, Placement, PostgresStorage, Table,
        collection_records::{Collections, RecordParts, RecordSelection, RecordWrite, WriteMode},
        collections::{Collection, DEFAULT_DATABASE, DEFAULT_TENANT},
        nearest::{IndexSearch, NeighbourSearch},
        vector_index::{IndexState, Share},
        write::{Batch, row_digest},
    },
    storage::{
        Atomicity, Change, Effort, Filter, Insertion, NewRecord, RecordFilter, Search, SearchMode, Selection,
        Start, Storage as _, StorageError,
    },
};
use test_support::CitusDatabase;

use crate::{at_angle, begin, nearest_to, record, write};

#[tokio::test]
async fn run_into_a_distributed_table_is_written_and_undone() {
    let Some(citus) = CitusDatabase::create().await else { return };
    let database = citus.distributed().await;
    let table = Table::of(Service::Query);
    let content = async || citus.texts("select to_jsonb(q)::text from queries q order by id").await;
    let first = begin(&database, &table).await;
    let records: Vec<_> =
        (0..40).map(|n| record(Service::Query, &format!("record {n}"), at_angle(n as f32 / 40.0))).collect();
    assert_eq!(write(&database, &table, &first, &records).await.counts.written, 40);
    let before = content().await;

    let second = begin(&database, &table).await;
    let digest = |record| row_digest(&mut Vec::new(), record);
    let mut batch = Batch::default();
    // A row that exists already makes COPY fail on a worker.
    batch.new.push(&records[39], second.run_id);
    batch.new.push(&record(Service::Query, "new", at_angle(0.2)), second.run_id);
    for record in &records[..10] {
        let mut changed = record.clone();
        changed.text = Some("changed".into());
        batch.changed.push(&changed, second.run_id);
        batch.changed_from.push(digest(record));
    }
    batch.deleted = records[10..20].iter().map(|record| (record.id, digest(record))).collect();
    let pending = database.write(&table, &second, &batch).await.expect("the rows are accepted");
    let written = pending.commit().await.expect("the batch commits");
    let counts = (written.counts.written, written.counts.updated, written.counts.deleted);
    assert_eq!((counts, written.conflicting), ((1, 10, 10), vec![records[39].id]));

    let mut row = record(Service::Query, "refused", at_angle(0.3));
    row.text = None;
    let mut batch = Batch::default();
    batch.new.push(&row, second.run_id);
    let refused = database.refused_rows(&table, &batch).await.expect("it is tried");
    assert_eq!(refused.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [row.id]);

    let undo = database.begin_undo(&table).await.expect("no process writes");
    let undone = undo.finish(&table, &second, &[]).await.expect("the run is undone");
    assert_eq!((undone.removed, undone.restored), (1, 20));
    assert_eq!(content().await, before);
    database.close().await;
    citus.remove().await;
}

#[tokio::test]
async fn storage_answers_the_same_from_distributed_tables() {
    assert_equal_answers(answers_of).await;
}

/// Whether a database with distributed tables answers as one without Citus.
async fn assert_equal_answers(ask: impl AsyncFn(&Database) -> Vec<String>) {
    let Some(citus) = CitusDatabase::create().await else { return };
    let distributed = citus.distributed().await;
    let (_test_database, plain) = crate::prepared().await;
    let mut answers = Vec::new();
    for database in [&plain, &distributed] {
        answers.push(ask(database).await);
    }
    assert_eq!(answers[0], answers[1]);
    distributed.close().await;
    citus.remove().await;
}

fn new(n: u16) -> NewRecord {
    NewRecord {
        id: format!("id {n}"),
        text: format!("text {n} of falling leaves"),
        category: if n.is_multiple_of(3) { "art" } else { "science" }.to_owned(),
        production: None,
        metadata: serde_json::Map::from_iter([("n".to_owned(), n.into())]),
        created_at: time::macros::datetime!(2026-01-31 12:00),
        embedding: Embedding::from(at_angle(f32::from(n) / 50.0)),
    }
}

/// What a storage answers to a sequence of requests.
async fn answers_of(database: &Database) -> Vec<String> {
    let storage = PostgresStorage::new(database.clone(), Service::Query);
    let mut answers = Vec::new();
    for records in [(0..45).map(new).collect::<Vec<_>>(), (40..50).map(new).collect()] {
        let insertions = storage.insert(&records, Atomicity::Each).await.expect("the records are stored");
        let is_stored = |insertion: &Insertion| matches!(insertion, Insertion::Stored(_));
        answers.push(format!("{:?}", insertions.iter().map(is_stored).collect::<Vec<_>>()));
    }
    let change =
        Change { text: Some(("another".to_owned(), Embedding::from(at_angle(0.9)))), ..Change::default() };
    answers.push(format!("{:?}", storage.update("id 3", &change).await.expect("the record changes")));
    let deleted = storage.delete(&["id 4".to_owned(), "id 44".to_owned(), "none".to_owned()]).await;
    answers.push(format!("{deleted:?}"));
    for category in [None, Some("art".to_owned())] {
        let selection = Selection { category, ..Selection::default() };
        answers.push(format!("{:?}", storage.count(&selection).await));
        let hits = storage.search(&nearest_to(at_angle(0.3), selection, 7)).await;
        let hits = hits.expect("the search runs").into_iter();
        answers.push(format!(
            "{:?}",
            hits.map(|hit| (hit.record.id, hit.distance.map(|distance| format!("{distance:.6}"))))
                .collect::<Vec<_>>()
        ));
    }
    answers.push(format!("{:?}", storage.categories().await));
    let filter = Filter::from_json(&serde_json::json!({"n": {"$gt": 20}})).expect("it is a filter");
    let selection = Selection { filter: Some(filter), ..Selection::default() };
    let ids = |records: Vec<store::storage::Record>| -> Vec<String> {
        records.into_iter().map(|record| record.id).collect()
    };
    answers.push(format!("{:?}", storage.list(&selection, Start::Offset(3), 10).await.map(ids)));
    answers.push(format!("{:?}", storage.get(&["id 7".to_owned()]).await));
    for mode in [
        SearchMode::Text("falling leaves".to_owned()),
        SearchMode::Hybrid { embedding: Embedding::from(at_angle(0.3)), text: "leaves 12".to_owned() },
    ] {
        let search = Search { mode, ..nearest_to(at_angle(0.3), selection.clone(), 6) };
        let hits = storage.search(&search).await.expect("the search runs");
        answers.push(format!("{:?}", hits.into_iter().map(|hit| hit.record.id).collect::<Vec<_>>()));
    }
    answers
}

#[tokio::test]
async fn chroma_clients_see_the_same_of_distributed_tables() {
    assert_equal_answers(answers_to_chroma).await;
}

/// Shows the services' collections to Chroma clients.
async fn register(database: &Database) {
    database.create_default_tenant().await.expect("the tenant is created");
    database.register_services().await.expect("the services are registered");
}

async fn collection_of_queries(database: &Database) -> Collection {
    let found = database.collection_named(DEFAULT_TENANT, DEFAULT_DATABASE, "queries").await;
    found.expect("the registry is read").expect("the service is registered")
}

/// What Chroma clients are answered about the collection of a service.
async fn answers_to_chroma(database: &Database) -> Vec<String> {
    register(database).await;
    let collections = Collections::new(database.clone());
    let record = |number: u16| RecordWrite {
        id: format!("id {number}"),
        embedding: Some(at_angle(f32::from(number) / 30.0).into()),
        document: Some(format!("text {number}")),
        uri: None,
        metadata: Some(serde_json::Map::from_iter([
            ("theme".to_owned(), "art".into()),
            ("timestamp".to_owned(), "2026-01-31T12:00:00".into()),
            ("n".to_owned(), number.into()),
        ])),
    };
    let whole = RecordParts { document: true, metadata: true, uri: true, embedding: true };
    let all = RecordSelection::default();
    let mut answers = Vec::new();
    for (numbers, mode) in [
        (0..20, WriteMode::Add),
        (10..25, WriteMode::Upsert),
        (0..5, WriteMode::Update),
        (24..26, WriteMode::Add),
    ] {
        let mut records: Vec<RecordWrite> = numbers.map(record).collect();
        if mode == WriteMode::Update {
            records.iter_mut().for_each(|record| record.document = Some("changed".to_owned()));
        }
        let collection = collection_of_queries(database).await;
        collections.write(&collection, &records, mode).await.expect("they are written");
        answers.push(format!("{:?}", collections.count(&collection).await));
    }
    let collection = collection_of_queries(database).await;
    let of_ids = |ids: &[&str]| RecordSelection {
        ids: Some(ids.iter().map(|id| (*id).to_owned()).collect()),
        filter: None,
    };
    answers.push(format!("{:?}", collections.delete(&collection, &of_ids(&["id 1", "none"]), None).await));
    answers.push(format!("{:?}", collections.delete(&collection, &all, Some(3)).await));
    answers.push(format!("{:?}", collections.get(&collection, &all, whole, (Some(5), 2)).await));
    let filter = RecordFilter::And(Vec::new());
    let selections = [all, of_ids(&["id 9", "id 4"]), RecordSelection { ids: None, filter: Some(filter) }];
    for selection in selections {
        let vectors = [at_angle(0.0).into(), at_angle(0.31).into()];
        let found = collections.query(&collection, &selection, (&vectors, 4), RecordParts::default()).await;
        let found = found.expect("the search runs");
        let shown: Vec<Vec<_>> = found
            .nearest
            .iter()
            .map(|hits| {
                hits.iter()
                    .map(|(place, distance)| (&found.records[*place].id, format!("{distance:.6}")))
                    .collect()
            })
            .collect();
        answers.push(format!("{shown:?}"));
    }
    answers
}

async fn add_random_queries(citus: &CitusDatabase, count: u32) {
    citus
        .execute(&format!(
            "insert into queries (query_text, theme, embedding)
            select n::text, 'a', array(select random() from generate_series(1, 384) where n > 0)::vector
            from generate_series(1, {count}) n"
        ))
        .await;
}

#[tokio::test]
async fn search_parameters_reach_the_shards_and_exact_scans_are_exact() {
    let Some(citus) = CitusDatabase::create().await else { return };
    let database = citus.distributed().await;
    add_random_queries(&citus, 3000).await;
    citus
        .execute(
            "create index on queries using hnsw (embedding vector_cosine_ops) with (m = 4, ef_construction = 16)",
        )
        .await;
    let table = Table::of(Service::Query);
    let observation = database.observe_indexes(&table).await.expect("the table is observed");
    assert_eq!(observation.rows, 3000);
    let index = observation.indexes.first().expect("the index is found");
    let samples = database.sample_rows(&table, 3000, 20, 1).await.expect("rows are sampled");
    let [mut few, mut many, mut all] = [0_usize; 3];
    for sample in &samples {
        let search = NeighbourSearch::of(&table, sample, Share::ALL, 10);
        let exact = database.nearest_exact(&search).await.expect("the search runs");
        let sql = format!("select embedding::text from queries where id = '{}'", sample.id);
        let vector = citus.texts(&sql).await.pop().expect("the row is there");
        let sql = format!(
            "select id::text from queries where id <> '{}' order by (embedding <=> '{vector}') + 0 limit 10",
            sample.id
        );
        let expected = citus.texts(&sql).await;
        let ids: Vec<String> = exact.found.iter().map(|(id, _)| id.to_string()).collect();
        assert_eq!(ids, expected, "an exact scan is exact");
        for (candidates, found) in [(10, &mut few), (400, &mut many)] {
            let by = IndexSearch::with_candidates(&observation, index, candidates);
            let nearest = database.nearest_by_index(&search, &by).await.expect("the search runs");
            *found += nearest.found.iter().filter(|(id, _)| expected.contains(&id.to_string())).count();
        }
        all += expected.len();
    }
    // With few links and 384 random dimensions, some 20 % are found with 10 candidates, and nearly all with 400: that both
    // find equally many of 200 is less likely than 1e-6.
    assert!(few < many, "of {all} neighbours {few} are found with 10 candidates and {many} with 400");

    let storage = PostgresStorage::new(database.clone(), Service::Query);
    let mut search = nearest_to(samples[0].embedding.as_slice().to_vec(), Selection::default(), 10);
    let fast = storage.search(&search).await.expect("the search runs");
    search.effort = Effort::Exact;
    let exact = storage.search(&search).await.expect("the search runs");
    assert_eq!(fast[0].record.id, exact[0].record.id);
    database.close().await;
    citus.remove().await;
}

#[tokio::test]
async fn distribution_is_resumed_and_undone_while_rows_stay() {
    let Some(citus) = CitusDatabase::create().await else { return };
    let database = Database::connect(&citus.url()).await.expect("the database answers");
    database.prepare_schema().await.expect("the schema is prepared");
    assert!(database.active_workers().await.expect("the servers are fit") > 0);
    citus
        .execute("insert into queries (query_text, theme) select n::text, 'a' from generate_series(1, 100) n")
        .await;
    let placement =
        async || database.placement("queries").await.expect("the catalog reads").expect("a table");
    let count = async || citus.texts("select count(*)::text from queries").await;
    assert_eq!(placement().await, Placement::Local);
    // What a process that is killed leaves behind.
    citus.execute("select citus_add_local_table_to_metadata('queries')").await;
    assert_eq!(placement().await, Placement::Whole);
    database.distribute("queries", 4).await.expect("it is resumed");
    let done = Placement::Distributed { shards: 4, has_leftover: false };
    assert_eq!((placement().await, count().await), (done, vec!["100".to_owned()]));
    database.distribute("queries", 4).await.expect("nothing is left to do");
    // The schema is prepared again by every start.
    database.prepare_schema().await.expect("the schema is prepared");
    database.undistribute("queries").await.expect("it is undone");
    assert_eq!((placement().await, count().await), (Placement::Local, vec!["100".to_owned()]));
    database.close().await;
    citus.remove().await;
}

#[tokio::test]
async fn records_are_read_and_written_while_their_table_is_distributed() {
    let Some(citus) = CitusDatabase::create().await else { return };
    let database = Database::connect(&citus.url()).await.expect("the database answers");
    database.prepare_schema().await.expect("the schema is prepared");
    let storage = PostgresStorage::new(database.clone(), Service::Query);
    let is_distributed = AtomicBool::new(false);
    let using = async {
        let mut stored = 0;
        while !is_distributed.load(Ordering::Relaxed) {
            let inserted = storage.insert(&[new(stored)], Atomicity::Each).await.expect("it is stored");
            assert!(matches!(inserted[0], Insertion::Stored(_)));
            // At the moment of the switch, a read may find a shard that is gone.
            let found = match storage.get(&[format!("id {stored}")]).await {
                Err(StorageError::Unavailable { .. }) => storage.get(&[format!("id {stored}")]).await,
                found => found,
            };
            assert_eq!(found.expect("it is read").len(), 1);
            stored += 1;
        }
        stored
    };
    let distributing = async {
        database.distribute("queries", 2).await.expect("it is distributed");
        is_distributed.store(true, Ordering::Relaxed);
    };
    let (stored, ()) = tokio::join!(using, distributing);
    assert_eq!(storage.count(&Selection::default()).await.expect("it counts"), u64::from(stored));
    database.close().await;
    citus.remove().await;
}

#[tokio::test]
async fn concurrent_writers_of_the_same_records_store_each_once() {
    let Some(citus) = CitusDatabase::create().await else { return };
    let database = citus.distributed().await;
    let storage = PostgresStorage::new(database.clone(), Service::Query);
    let ascending: Vec<NewRecord> = (0..100).map(new).collect();
    let descending: Vec<NewRecord> = ascending.iter().rev().cloned().collect();
    for size in [100, 10] {
        let write = async |records: &[NewRecord]| {
            let mut stored = 0;
            for part in records.chunks(size) {
                let insertions = storage.insert(part, Atomicity::Each).await.expect("they are stored");
                stored += insertions.iter().filter(|one| matches!(one, Insertion::Stored(_))).count();
            }
            stored
        };
        let (one, other) = tokio::join!(write(&ascending), write(&descending));
        assert_eq!(one + other, 100);
        let ids: Vec<String> = ascending.iter().map(|record| record.id.clone()).collect();
        let (up, down) = (&ids, ids.iter().rev().cloned().collect::<Vec<_>>());
        let (one, other) = tokio::join!(storage.delete(up), storage.delete(&down));
        assert_eq!(one.expect("they are deleted").len() + other.expect("they are deleted").len(), 100);
    }
    database.close().await;
    citus.remove().await;
}

#[tokio::test]
async fn maintenance_sees_rows_sizes_and_times_of_the_shards() {
    let Some(citus) = CitusDatabase::create().await else { return };
    let database = citus.distributed().await;
    citus
        .execute("insert into queries (query_text, theme) select n::text, 'a' from generate_series(1, 400) n")
        .await;
    citus.execute("delete from queries where query_text::int % 4 = 0").await;
    let health = async || {
        let found = database.table_health(&["queries".to_owned()]).await.expect("the state is read");
        found.into_iter().next().expect("the table is there")
    };
    let before = health().await;
    database.vacuum("queries").await.expect("the table is vacuumed");
    database.gather_statistics("queries", &[]).await.expect("the table is analyzed");
    let after = health().await;
    assert_eq!((after.rows, after.dead_rows, after.inserted, after.changed), (300, 0, 0, 0), "{after:?}");
    assert!(after.vacuumed_at > before.vacuumed_at && after.analyzed_at > before.analyzed_at, "{after:?}");
    assert!(after.heap_bytes > 0 && after.index_bytes > 0, "{after:?}");
    assert_eq!(after.autovacuum.dead.base, 100.0, "of two shards");
    let facts = database.table_facts(&Table::of(Service::Query)).await.expect("the facts are read");
    assert_eq!(
        (facts.estimated_rows, facts.dead_rows, facts.tolerated_dead_rows),
        (Some(300), 0, 160),
        "{facts:?}"
    );
    assert_eq!((facts.table_bytes, facts.index_bytes), (after.heap_bytes, after.index_bytes));
    assert!(facts.last_vacuum.is_some() && facts.last_analyze.is_some(), "{facts:?}");
    database.close().await;
    citus.remove().await;
}

#[tokio::test]
async fn index_has_the_size_of_all_shards_and_is_valid_when_it_is_valid_on_each() {
    let Some(citus) = CitusDatabase::create().await else { return };
    let database = citus.distributed().await;
    add_random_queries(&citus, 400).await;
    citus.execute("create index by_angle on queries using hnsw (embedding vector_cosine_ops)").await;
    let table = Table::of(Service::Query);
    let observed = async || {
        let observation = database.observe_indexes(&table).await.expect("the table is observed");
        let facts = database.table_facts(&table).await.expect("the facts are read");
        (observation.indexes.into_iter().next().expect("there is an index"), facts.invalid_indexes)
    };
    let (index, invalid) = observed().await;
    assert_eq!((index.state, invalid), (IndexState::Valid, Vec::new()));
    // A vector has more bytes.
    assert!(index.size_bytes > 400 * 384 * 4, "{index:?}");
    citus
        .execute(
            "select run_command_on_shards('queries', format(
                $$update pg_index set indisvalid = false
                where indrelid = '%%s'::regclass and indexrelid::regclass::text = %L$$,
                shard_name('by_angle', (select min(shardid) from pg_dist_shard where logicalrelid = 'queries'::regclass))
            ))",
        )
        .await;
    let (index, invalid) = observed().await;
    assert_eq!((index.state, invalid), (IndexState::Invalid, vec!["by_angle".to_owned()]));
    database.close().await;
    citus.remove().await;
}
