//! Vector indexes are built after the rows, suit the collection, and do not block others.

use migrate::Outcome;
use records::{DistanceSpace, Service};
use store::postgres::{
    Table,
    vector_index::{IndexDefinition, IndexKind, Precision},
};
use test_support::{TestDatabase, sample};
use upkeep::{IndexType, TargetIndex};

use crate::{
    copied,
    directory::{Directory, Entry, entries, vector},
    indexed, migrate, migrate_with, one, prepared, sample_name, table, try_migrate, verified, whole_state,
};

/// The definitions of the vector indexes of `name`, each with its operator class, which the definition omits if it is
/// the default.
async fn vector_indexes(test_database: &TestDatabase, name: &str) -> String {
    let select = format!(
        "select coalesce(string_agg(concat_ws(' ', pg_get_indexdef(indexrelid), opcname), E'\n'), '')
        from pg_index join pg_opclass on pg_opclass.oid = indclass[0]
        where indrelid = '{name}'::regclass and not indisprimary and indexrelid::regclass::text !~ '^panopticon_(metadata|position)_'"
    );
    one(test_database, &select).await
}

/// Makes the server record the text of each statement that builds an index.
async fn watch_builds(test_database: &TestDatabase) {
    test_database
        .execute(
            "create table builds (statement text, rows bigint);
            create function note() returns event_trigger language plpgsql as
                $$ begin insert into builds values (current_query()); end $$;
            create event trigger note on ddl_command_start when tag in ('CREATE INDEX')
                execute function note();",
        )
        .await;
}

/// Inserts `rows` user rows into a table that `migrate` created; they differ only in the first component.
async fn fill(test_database: &TestDatabase, table: &Table, rows: u32) {
    test_database
        .execute(&format!(
            "insert into {} (id, source_id, created_at, embedding)
            select gen_random_uuid(), 'own', now(),
                (array[n * 0.001] || array_fill(0.5, array[{}]))::real[]::vector
            from generate_series(1, {rows}) n",
            table.name,
            table.dimension - 1
        ))
        .await;
}

fn lists() -> migrate::MigrateOptions {
    indexed(IndexType::Ivfflat)
}

#[tokio::test]
async fn small_table_gets_no_index() {
    let (test_database, database) = prepared().await;
    watch_builds(&test_database).await;
    let directory = Directory::with("small", DistanceSpace::L2, &entries(0..500, 3));
    let report = migrate(&database, directory.path(), &table("small", DistanceSpace::L2, 3)).await;
    assert_eq!(report.outcome(), Outcome::Verified);
    assert!(report.index.as_ref().is_some_and(upkeep::Plan::is_empty), "{report:?}");
    assert_eq!(vector_indexes(&test_database, "small").await, "");
    let built: String =
        one(&test_database, "select coalesce(string_agg(statement, ' '), '') from builds").await;
    assert!(!built.contains("using ivfflat"), "not even temporarily: {built}");
}

#[tokio::test]
async fn index_is_built_once_after_the_rows_and_its_recall_is_reported() {
    let (test_database, database) = prepared().await;
    watch_builds(&test_database).await;
    // Groups of ten copies, which share an IVFFlat list: the first one that a search for any of them probes.
    let copies = |id: u16| Entry::new(&format!("record {id}"), vector(id / 10, 3));
    let directory = Directory::with("large", DistanceSpace::L2, &(0..12_000).map(copies).collect::<Vec<_>>());
    let large = table("large", DistanceSpace::L2, 3);
    let report = migrate_with(&database, directory.path(), &large, &lists()).await;
    assert_eq!((report.outcome(), copied(&report).written), (Outcome::Verified, 12_000));
    let expected = IndexDefinition { kind: IndexKind::Ivfflat { lists: 12 }, precision: Precision::Full };
    assert_eq!(report.index.as_ref().and_then(upkeep::Plan::built), Some(expected));
    let index = vector_indexes(&test_database, "large").await;
    assert!(index.contains("ivfflat (embedding) WITH (lists='12') vector_l2_ops"), "{index}");
    assert_eq!(verified(&report).searches.index_recall, Some(1.0));
    let built: Vec<String> =
        one(&test_database, "select array_agg(statement) from builds where statement like '%using ivfflat%'")
            .await;
    assert_eq!(built.len(), 1);
    // No one else uses a table that this run created, so it uses the faster build.
    assert!(!built[0].contains("concurrently"), "{}", built[0]);
    let again = migrate_with(&database, directory.path(), &large, &lists()).await;
    assert_eq!((again.outcome(), again.index), (Outcome::Verified, None));
}

#[tokio::test]
async fn index_is_of_the_requested_type_and_hnsw_by_default_with_its_search_parameters() {
    let directory = Directory::with("large", DistanceSpace::L2, &entries(0..10_000, 3));
    for (index_type, expected) in [
        (IndexType::Auto, "hnsw (embedding vector_l2_ops) WITH (m='16', ef_construction='64')"),
        (IndexType::Ivfflat, "ivfflat (embedding) WITH (lists='10')"),
        (IndexType::None, ""),
    ] {
        let (test_database, database) = prepared().await;
        let large = table("large", DistanceSpace::L2, 3);
        let report = migrate_with(&database, directory.path(), &large, &indexed(index_type)).await;
        assert_eq!(report.outcome(), Outcome::Verified, "{index_type:?}");
        let index = vector_indexes(&test_database, "large").await;
        assert!(index.contains(expected) && index.is_empty() == expected.is_empty(), "{index}");
        let measured: i64 = one(&test_database, "select count(*) from vector_index_settings").await;
        let is_graph = expected.starts_with("hnsw");
        assert_eq!(measured > 0, is_graph, "{index_type:?}");
        assert_eq!(report.index.expect("a plan is made").tuning.is_some(), is_graph, "{index_type:?}");
    }
}

#[tokio::test]
async fn operator_class_follows_the_space_and_a_table_in_service_is_indexed_concurrently() {
    let (test_database, database) = prepared().await;
    watch_builds(&test_database).await;
    for (space, class) in [
        (DistanceSpace::L2, "vector_l2_ops"),
        (DistanceSpace::Cosine, "vector_cosine_ops"),
        (DistanceSpace::InnerProduct, "vector_ip_ops"),
    ] {
        let records = table(space.as_str(), space, 3);
        let directory = Directory::with(space.as_str(), space, &entries(0..3, 3));
        migrate_with(&database, directory.path(), &records, &lists()).await;
        fill(&test_database, &records, 10_000).await;
        test_database.execute("truncate builds").await;
        directory.put(space.as_str(), &[Entry::new("one more", vector(9, 3))]);
        let report = migrate_with(&database, directory.path(), &records, &lists()).await;
        assert_eq!(report.outcome(), Outcome::Verified, "{space}");
        let index = vector_indexes(&test_database, space.as_str()).await;
        assert!(index.contains("ivfflat (embedding") && index.ends_with(class), "{index}");
        let built: String = one(&test_database, "select string_agg(statement, ' ') from builds").await;
        assert!(built.starts_with("create index concurrently"), "{built}");
    }
}

#[tokio::test]
async fn vectors_above_2000_dimensions_get_an_index_of_half_precision() {
    let (test_database, database) = prepared().await;
    let records = table("wide", DistanceSpace::Cosine, 2_001);
    let directory = Directory::with("wide", DistanceSpace::Cosine, &entries(0..3, 2_001));
    migrate_with(&database, directory.path(), &records, &lists()).await;
    fill(&test_database, &records, 10_000).await;
    directory.put("wide", &[Entry::new("one more", vector(9, 2_001))]);
    let report = migrate_with(&database, directory.path(), &records, &lists()).await;
    assert_eq!(report.outcome(), Outcome::Verified);
    let index = vector_indexes(&test_database, "wide").await;
    assert!(index.contains("((embedding)::halfvec(2001)) halfvec_cosine_ops"), "{index}");
    let column: String = one(
        &test_database,
        "select format_type(atttypid, atttypmod) from pg_attribute
        where attrelid = 'wide'::regclass and attname = 'embedding'",
    )
    .await;
    assert_eq!(column, "vector(2001)", "the stored vectors keep full precision");
}

#[tokio::test]
async fn vectors_above_4000_dimensions_get_no_index_and_above_16000_are_rejected() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("wider", DistanceSpace::L2, &entries(0..12, 4_001));
    let report = migrate(&database, directory.path(), &table("wider", DistanceSpace::L2, 4_001)).await;
    let wanted = report.index.as_ref().map(|plan| plan.wanted);
    assert_eq!((report.outcome(), wanted), (Outcome::Verified, Some(TargetIndex::TooWide)));
    assert_eq!(vector_indexes(&test_database, "wider").await, "");
    let searches = verified(&report).searches;
    assert_eq!((searches.parity, searches.index_recall), (Some(1.0), None));

    let widest = Directory::with("widest", DistanceSpace::L2, &entries(0..2, 16_000));
    let report = migrate(&database, widest.path(), &table("widest", DistanceSpace::L2, 16_000)).await;
    assert_eq!(report.outcome(), Outcome::Verified);
    let before = whole_state(&test_database).await;
    let beyond = Directory::with("beyond", DistanceSpace::L2, &entries(0..2, 16_001));
    let error = try_migrate(
        &database,
        beyond.path(),
        &table("beyond", DistanceSpace::L2, 16_001),
        &migrate::MigrateOptions::default(),
    )
    .await;
    let message = error.expect_err("no column can hold them").to_string();
    assert!(message.contains("16001") && message.contains("16000"), "{message}");
    assert_eq!(whole_state(&test_database).await, before);
}

#[tokio::test]
async fn vectors_beyond_half_precision_drop_our_half_precision_index_and_use_exact_scans() {
    let (test_database, database) = prepared().await;
    let records = table("wide", DistanceSpace::L2, 2_001);
    let directory = Directory::with("wide", DistanceSpace::L2, &entries(0..3, 2_001));
    migrate_with(&database, directory.path(), &records, &lists()).await;
    fill(&test_database, &records, 10_000).await;
    directory.put("wide", &[Entry::new("one more", vector(9, 2_001))]);
    let report = migrate_with(&database, directory.path(), &records, &lists()).await;
    assert!(report.index.is_some_and(|plan| plan.built().is_some()), "all are in range");

    let mut beyond = vector(10, 2_001);
    beyond[7] = -181_168.05;
    directory.put("wide", &[Entry::new("beyond", beyond)]);
    let foreign =
        "create index foreign_half on wide using ivfflat ((embedding::halfvec(2001)) halfvec_l2_ops)
        with (lists = 1) where source_id = 'beyond'";
    test_database.execute(foreign).await;
    let options = lists();
    let error = try_migrate(&database, directory.path(), &records, &options).await;
    let error = error.expect_err("a foreign index cannot hold it");
    let migrate::Error::Store { source, .. } = &error else { panic!("{error}") };
    let store::Error::BeyondHalf { id, .. } = &**source else { panic!("{source}") };
    assert_eq!(*id, records::stored_id("beyond"));

    test_database.execute("drop index foreign_half").await;
    let report = migrate_with(&database, directory.path(), &records, &lists()).await;
    let wanted = report.index.as_ref().map(|plan| plan.wanted);
    assert_eq!((report.outcome(), wanted), (Outcome::Verified, Some(TargetIndex::OutOfRange)));
    assert_eq!((report.index_failure, vector_indexes(&test_database, "wide").await), (None, String::new()));
    let plan = upkeep::plan(
        &upkeep::observe(&database, &records).await.expect("the table is observed"),
        &upkeep::Policy::default(),
    );
    assert!(plan.is_empty() && plan.wanted == TargetIndex::OutOfRange, "{plan}");
}

/// Half precision takes such components as zero, and an index for cosine distance leaves zero vectors out.
#[tokio::test]
async fn vectors_that_underflow_in_half_precision_get_no_such_index_and_lose_one_that_is_there() {
    let (test_database, database) = prepared().await;
    let records = table("tiny", DistanceSpace::Cosine, 2_001);
    let scaled =
        |seed, scale: f32| vector(seed, 2_001).into_iter().map(|component| component * scale).collect();
    let directory = Directory::with("tiny", DistanceSpace::Cosine, &entries(0..3, 2_001));
    migrate_with(&database, directory.path(), &records, &lists()).await;
    fill(&test_database, &records, 10_000).await;
    directory.put("tiny", &[Entry::new("one more", scaled(9, 1.0))]);
    let report = migrate_with(&database, directory.path(), &records, &lists()).await;
    assert!(report.index.is_some_and(|plan| plan.built().is_some()), "half precision holds all");

    // By our own hand, and by another's.
    directory.put("tiny", &[Entry::new("tiny", scaled(10, 1e-8))]);
    let report = migrate_with(&database, directory.path(), &records, &lists()).await;
    let wanted = report.index.as_ref().map(|plan| plan.wanted);
    assert_eq!((report.outcome(), wanted), (Outcome::Verified, Some(TargetIndex::OutOfRange)));
    assert_eq!(vector_indexes(&test_database, "tiny").await, "");
    test_database
        .execute(
            "create index mine on tiny using ivfflat ((embedding::halfvec(2001)) halfvec_cosine_ops)
            with (lists = 1)",
        )
        .await;
    let policy = upkeep::Policy::default();
    let applied =
        upkeep::apply(&database, &records, &policy, &|_| {}).await.expect("the plan is carried out");
    assert_eq!(applied.plan.wanted, TargetIndex::OutOfRange, "{}", applied.plan);
    assert_eq!(vector_indexes(&test_database, "tiny").await, "");
}

#[tokio::test]
async fn rows_are_compared_even_if_the_index_cannot_be_built() {
    let (test_database, database) = prepared().await;
    database.prepare_schema().await.expect("the schema is made");
    test_database
        .execute(
            "create function refuse() returns event_trigger language plpgsql as
                $$ begin raise exception 'no index today'; end $$;
            create event trigger refuse on ddl_command_start when tag in ('CREATE INDEX')
                execute function refuse()",
        )
        .await;
    let (queries, folder) = (Table::of(Service::Query), sample(sample_name(Service::Query)));
    let report = migrate(&database, folder.path(), &queries).await;
    assert_eq!(report.outcome(), Outcome::Verified);
    let failure = report.index_failure.expect("the failure is reported");
    assert!(failure.contains("no index today"), "{failure}");
    let noted: String =
        one(&test_database, "select status || ' ' || (manifest ->> 'index_failure') from migration_jobs")
            .await;
    assert!(noted.starts_with("complete ") && noted.contains("no index today"), "{noted}");
}
