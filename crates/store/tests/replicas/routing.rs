//! Which reads are done where, and what they see.

use futures_util::TryStreamExt as _;
use records::DistanceSpace;
use serde_json::json;
use store::{
    postgres::{
        EvaluationResult, Lsn, ResultSelection, StoredJudgement,
        collection_records::{Collections, RecordParts, RecordSelection, RecordWrite, WriteMode},
        collections::{DEFAULT_DATABASE, DEFAULT_TENANT, Existing, NewCollection},
    },
    storage::{Change, Effort, Filter, RecordFilter, Search, SearchMode, Selection, Start},
};

use super::*;
use crate::{at_angle, nearest_to};

#[tokio::test]
async fn reads_are_done_on_replicas_and_writes_on_the_primary() {
    let replicated = Replicated::start(2, &[]).await;
    let (database, queries) = (&replicated.database, &replicated.queries);
    for id in ["1", "2", "3"] {
        replicated.store(id).await;
    }
    let change = Change { category: Some("changed".to_owned()), ..Change::default() };
    queries.update("1", &change).await.expect("it is changed");
    assert_eq!(queries.delete(&["3".to_owned()]).await.expect("it is deleted"), ["3"]);
    let result = EvaluationResult {
        id: "r".to_owned(),
        query_id: Some("1".to_owned()),
        query_text: None,
        output_text: None,
        model_id: None,
        theme: None,
        evaluation_prompt_id: None,
        evaluation_prompt: None,
        score: Some(3.0),
        judge_model: None,
        timestamp: None,
        result_metadata: None,
    };
    database.insert_evaluation_results(&[result]).await.expect("it is stored");
    assert_eq!(reads(database), (0, 0), "nothing was read");

    let all = Selection::default();
    assert_eq!(found(queries, "1").await.map(|record| record.id).as_deref(), Some("1"));
    assert_eq!(queries.list(&all, Start::Offset(0), 10).await.expect("it lists").len(), 2);
    assert_eq!(queries.count(&all).await.expect("it counts"), 2);
    assert_eq!(queries.categories().await.expect("it lists").len(), 2);
    let exported: Vec<_> = queries.export(all.clone()).try_collect().await.expect("it exports");
    assert_eq!(exported.concat().len(), 2);
    assert_eq!(reads(database), (0, 5));

    let filter = Filter::from_json(&json!({"n": 7})).expect("it is a filter");
    let filtered = Selection { filter: Some(filter), ..Selection::default() };
    for selection in [&all, &filtered] {
        let (embedding, text) = (at_angle(0.07).into(), "text 7".to_owned());
        let modes = [
            SearchMode::Vector(at_angle(0.07).into()),
            SearchMode::Text(text.clone()),
            SearchMode::Hybrid { embedding, text },
        ];
        for mode in modes {
            let (selection, effort) = (selection.clone(), Effort::Fast);
            let search = Search { selection, mode, limit: 5, min_similarity: None, effort };
            let before = reads(database);
            assert_eq!(queries.search(&search).await.expect("it searches").len(), 2, "{search:?}");
            let after = reads(database);
            assert!(after.0 == 0 && after.1 > before.1, "{search:?}: {after:?}");
        }
    }

    let before = reads(database);
    let any = ResultSelection::default();
    assert_eq!(database.evaluation_results(&any, 0, 10).await.expect("they list").len(), 1);
    assert_eq!(database.count_evaluation_results(&any).await.expect("they are counted"), 1);
    let exported: Vec<_> =
        database.export_evaluation_results(any.clone()).try_collect().await.expect("it exports");
    assert_eq!(exported.len(), 1);
    let add = |all: &mut Vec<Option<f64>>, judgement: StoredJudgement<'_>| all.push(judgement.score);
    assert_eq!(database.gather_judgements(&any, add).await.expect("they read"), [Some(3.0)]);
    assert_eq!(reads(database), (0, before.1 + 4));
    let servers = database.read_servers();
    assert!(servers[1..].iter().all(|server| server.reads > 0 && server.passed_on == 0), "{servers:?}");
}

#[tokio::test]
async fn records_of_collections_are_read_on_replicas() {
    let replicated = Replicated::start(1, &[]).await;
    let database = &replicated.database;
    database.create_default_tenant().await.expect("the tenant is created");
    let collections = Collections::new(database.clone());
    let new = NewCollection {
        tenant: DEFAULT_TENANT,
        database: DEFAULT_DATABASE,
        name: "c",
        space: DistanceSpace::L2,
        metadata: None,
        configuration: "{}",
        schema: "{}",
    };
    let id = database.create_collection(&new, Existing::Refuse).await.expect("it is created").id;
    let found = async || {
        let found = collections.find(DEFAULT_TENANT, DEFAULT_DATABASE, id).await;
        found.expect("the registry is read").expect("it is there")
    };
    let record = |number: u16| RecordWrite {
        id: number.to_string(),
        embedding: Some(at_angle(f32::from(number)).into()),
        document: Some("text".to_owned()),
        uri: None,
        metadata: None,
    };
    let records: Vec<RecordWrite> = (0..3).map(record).collect();
    collections.write(&found().await, &records, WriteMode::Add).await.expect("they are written");
    found().await;
    // What the process knows of it, so that the version is checked.
    let known = collections.known(DEFAULT_TENANT, DEFAULT_DATABASE, id).expect("it is known");
    let (all, parts) = (RecordSelection::default(), RecordParts::default());
    assert_eq!(reads(database), (0, 0));
    assert_eq!(collections.count(&known).await.expect("it counts"), 3);
    assert_eq!(collections.get(&known, &all, parts, (None, 0)).await.expect("it reads").len(), 3);
    assert_eq!(reads(database), (0, 2));
    let filter = RecordFilter::And(Vec::new());
    let selections = [
        all.clone(),
        RecordSelection { ids: Some(vec!["1".to_owned()]), filter: None },
        RecordSelection { ids: None, filter: Some(filter) },
    ];
    for selection in selections {
        let vectors = [at_angle(0.0).into(), at_angle(1.0).into()];
        let found = collections.query(&known, &selection, (&vectors, 2), parts).await.expect("it finds");
        assert_eq!(found.nearest.len(), 2, "{selection:?}");
    }
    let (on_primary, on_replica) = reads(database);
    assert!(on_primary == 0 && on_replica >= 5, "{on_primary} {on_replica}");
}

#[tokio::test]
async fn process_and_client_see_their_writes_and_others_a_replica_that_lags() {
    let replicated = Replicated::start(1, &[]).await;
    let (database, queries) = (&replicated.database, &replicated.queries);
    let urls = [replicated.cluster.server(1).url()];
    let (other_database, other) = process(&replicated.cluster, &urls, MAX_LAG).await;
    replicated.store("before").await;
    assert!(found(queries, "before").await.is_some());
    replicated.cluster.wait_for_replay(1).await;
    replicated.cluster.pause_replay(1).await;
    replicated.store("new").await;
    assert!(found(queries, "new").await.is_some(), "the primary answers, which the replica cannot");
    assert_eq!(reads(database), (1, 1));
    assert_eq!(database.read_servers()[1].passed_on, 1);

    assert!(found(&other, "new").await.is_none(), "the replica's answer is old");
    assert!(found(&other, "before").await.is_some());
    assert_eq!(reads(&other_database), (0, 2));
    let written = database.written().expect("there are replicas");
    assert!(reading_after(written, found(&other, "new")).await.is_some());
    assert!(reading_after(Lsn::PRIMARY, found(&other, "new")).await.is_some());
    assert_eq!(reads(&other_database), (2, 2));
    // Its stream is read after the request's handler has ended.
    let exported = reading_after(written, async { other.export(Selection::default()) }).await;
    let exported: Vec<Vec<Record>> = exported.try_collect().await.expect("it exports");
    assert_eq!(exported.concat().len(), 2);
    let nearest = nearest_to(at_angle(0.07), Selection::default(), 5);
    let search = async |storage: &PostgresStorage| storage.search(&nearest).await.expect("it searches").len();
    assert_eq!([search(&other).await, reading_after(written, search(&other)).await], [1, 2]);

    replicated.cluster.resume_replay(1).await;
    replicated.cluster.wait_for_replay(1).await;
    let before = reads(&other_database);
    assert!(reading_after(written, found(&other, "new")).await.is_some());
    assert_eq!(reads(&other_database), (before.0, before.1 + 1), "the replica has caught up");
    let primary = database.reading_on_primary();
    let (on_primary, on_replica) = reads(database);
    assert!(found(&PostgresStorage::new(primary, Service::Query), "new").await.is_some());
    assert_eq!(reads(database), (on_primary + 1, on_replica));
}

#[tokio::test]
async fn only_standbys_of_the_primary_are_used() {
    let replicated = Replicated::start(1, &[]).await;
    let cluster = &replicated.cluster;
    let refused = async |url: String| {
        let database = Database::connect(&cluster.primary().url()).await.expect("the primary answers");
        let refused = database.with_replicas(&[url], MAX_LAG, &DatabaseOptions::default()).await;
        records::error_chain(&refused.expect_err("it is no replica"))
    };
    let other = test_support::TestDatabase::create().await;
    let error = refused(other.url()).await;
    assert!(error.contains("system identifier") && error.contains("pg_basebackup"), "{error}");
    let error = refused(cluster.server(1).url_of("postgres")).await;
    assert!(error.contains("found `postgres`: name the primary's database"), "{error}");
    let error = refused("postgresql://127.0.0.1:1,127.0.0.1:2/panopticon".to_owned()).await;
    assert!(error.contains("each replica needs a URL of its own"), "{error}");

    // It may have been promoted after a failover.
    let (database, queries) = process(cluster, &[cluster.primary().url()], MAX_LAG).await;
    let problem = database.read_servers()[1].problem.clone().expect("it is no standby");
    assert!(problem.contains("accepts writes") && problem.contains("leave this server out"), "{problem}");
    store(&queries, "1").await;
    assert!(found(&queries, "1").await.is_some());
    assert_eq!(reads(&database), (1, 0));
}
