//! Target tables: created ones, unsuitable ones, and shared ones.

use migrate::{
    EditedRows, Error, MigrateOptions, Mode, Outcome, Report, Transfer, VerifyOptions, migrate_collections,
    verify_collections,
};
use records::{DistanceSpace, Service};
use store::{
    chroma::Source,
    postgres::{Table, collections::Registered},
};
use test_support::sample;

use crate::{
    copied,
    directory::{Directory, entries},
    empty, migrate, one, prepared, sample_name,
    served::whole,
    silent, table, transfer, transfer_of, verified, whole_state,
};

#[tokio::test]
async fn table_is_created_with_the_documented_columns() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("any name", DistanceSpace::Cosine, &entries(0..3, 7));
    let report = migrate(&database, directory.path(), &table("any name", DistanceSpace::Cosine, 7)).await;
    assert_eq!(report.outcome(), Outcome::Verified);
    let columns: Vec<String> = one(
        &test_database,
        "select array_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod),
            case when attnotnull then 'not null' end) order by attnum)
        from pg_attribute where attrelid = '\"any name\"'::regclass and attnum > 0",
    )
    .await;
    assert_eq!(
        columns,
        [
            "id uuid not null",
            "source_id text not null",
            "document text",
            "metadata jsonb",
            "uri text",
            "created_at timestamp without time zone not null",
            "embedding vector(7) not null",
            "migration_run uuid",
            "migration_digest bytea",
            "position bigint",
            "is_escaped boolean",
        ]
    );
    let primary: String =
        one(&test_database, "select indexdef from pg_indexes where tablename = 'any name'").await;
    assert!(primary.contains("UNIQUE") && primary.ends_with("(id)"), "{primary}");
}

#[tokio::test]
async fn migrated_collection_is_registered_for_chroma_clients_until_it_is_undone() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("docs", DistanceSpace::Cosine, &entries(0..30, 7));
    let report = migrate(&database, directory.path(), &table("docs", DistanceSpace::Cosine, 7)).await;
    let registry = "select array_agg(concat_ws('|', d.tenant, d.name, c.name, dimension, space, table_name))
        from chroma_collections c join chroma_databases d on d.id = c.database_id";
    let registered: Vec<String> = one(&test_database, registry).await;
    assert_eq!(registered, ["default_tenant|default_database|docs|7|cosine|docs"]);
    migrate::undo(&database, report.run_id, EditedRows::Keep).await.expect("it is undone");
    let left: i64 = one(&test_database, "select count(*) from chroma_collections").await;
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_keep_the_order_of_the_source_with_several_writers_and_later_runs() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("docs", DistanceSpace::Cosine, &entries(2_000..3_000, 7));
    directory.put("docs", &entries(500..2_000, 7));
    let docs = table("docs", DistanceSpace::Cosine, 7);
    migrate(&database, directory.path(), &docs).await;
    let order = "select array_agg(substring(source_id from '[0-9]+')::bigint order by position) from docs";
    let expected: Vec<i64> = (2_000..3_000).chain(500..2_000).collect();
    let found: Vec<i64> = one(&test_database, order).await;
    assert_eq!(found, expected);
    // A client adds one, then the source gets more.
    test_database
        .execute(
            "insert into docs (id, source_id, created_at, embedding)
            select gen_random_uuid(), '1', now(), embedding from docs limit 1",
        )
        .await;
    directory.put("docs", &entries(0..400, 7));
    migrate(&database, directory.path(), &docs).await;
    let found: Vec<i64> = one(&test_database, order).await;
    let expected: Vec<i64> = expected.into_iter().chain([1]).chain(0..400).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn table_with_other_columns_is_rejected_before_any_change() {
    let (test_database, database) = empty().await;
    test_database
        .execute("create extension vector; create table records (id uuid primary key, document bytea)")
        .await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let before = whole_state(&test_database).await;
    let transfers = vec![transfer(directory.path(), &table("records", DistanceSpace::L2, 3))];
    let error = migrate::migrate(&database, transfers, &MigrateOptions::default(), &silent()).await;
    let error = error.expect_err("the table has other columns");
    let Error::Store { source, .. } = &error else { panic!("{error}") };
    let store::Error::Schema { problems, .. } = &**source else { panic!("{source}") };
    assert!(problems.iter().any(|problem| problem.contains("`document` is bytea")), "{problems:?}");
    assert_eq!(whole_state(&test_database).await, before);
}

#[tokio::test]
async fn table_of_a_served_collection_is_refused_to_others_and_disjoint_ids_share_one_that_is_not_served() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("one", DistanceSpace::L2, &entries(0..5, 3));
    for (name, ids) in [("two", 5..9), ("overlapping", 4..12)] {
        directory.add_collection(name, DistanceSpace::L2);
        directory.put(name, &entries(ids, 3));
    }
    let shared = table("shared", DistanceSpace::L2, 3);
    let bring = async |name: &str| {
        let transfers = vec![transfer_of(directory.path(), name, &shared)];
        migrate::migrate(&database, transfers, &MigrateOptions::default(), &silent()).await
    };
    let report = bring("one").await.expect("it is the first");
    assert_eq!(report.collections[0].registered, Some(Registered::Created));
    let before = whole_state(&test_database).await;
    // Clients would see the records of both as those of the first.
    for mode in [Mode::DryRun, Mode::Run] {
        let transfers = vec![transfer_of(directory.path(), "two", &shared)];
        let options = MigrateOptions { mode, ..MigrateOptions::default() };
        let error = migrate::migrate(&database, transfers, &options, &silent()).await;
        let error = error.expect_err("clients see the first");
        assert!(matches!(&error, Error::Served { collection, .. } if collection == "one"), "{error}");
        assert!(error.to_string().contains("`shared` holds the records of collection `one`"), "{error}");
    }
    assert_eq!(whole_state(&test_database).await, before);
    assert_eq!(bring("one").await.expect("nothing has changed").collections[0].outcome(), Outcome::Verified);

    // As a role that may not register collections.
    test_database.execute("delete from chroma_collections").await;
    let report = bring("two").await.expect("the ids are disjoint");
    let report = &report.collections[0];
    assert_eq!((report.outcome(), verified(report).rows), (Outcome::Verified, 4));
    assert_eq!(verified(report).digest_source, verified(report).digest_target);
    for name in ["one", "two"] {
        let report = bring(name).await.expect("nothing has changed");
        assert!(matches!(report.collections[0].registered, Some(Registered::Refused(_))), "{report:?}");
    }
    let registered: i64 = one(&test_database, "select count(*) from chroma_collections").await;
    assert_eq!(registered, 0);
    let before = whole_state(&test_database).await;
    let error = bring("overlapping").await.expect_err("five ids are taken");
    assert!(matches!(&error, Error::Overlap { count: 5, .. }), "{error}");
    assert_eq!(whole_state(&test_database).await, before);
    let again = bring("one").await.expect("it is there");
    assert_eq!(copied(&again.collections[0]).unchanged, 5);
}

#[tokio::test]
async fn services_migrate_in_one_run_and_an_empty_collection_is_nothing_to_migrate() {
    let (test_database, database) = prepared().await;
    let folders = Service::ALL.map(|service| sample(sample_name(service)));
    let nothing = Directory::new();
    nothing.add_collection("nothing", DistanceSpace::L2);
    let mut transfers: Vec<Transfer> = Service::ALL
        .iter()
        .zip(&folders)
        .map(|(service, folder)| transfer(folder.path(), &Table::of(*service)))
        .collect();
    transfers.insert(1, transfer(nothing.path(), &table("nothing", DistanceSpace::L2, 1)));
    let report = migrate::migrate(&database, transfers, &MigrateOptions::default(), &silent()).await;
    let report = report.expect("the migration runs");
    let found: Vec<_> =
        report.collections.iter().map(|report| (report.table.as_str(), report.outcome())).collect();
    assert_eq!(
        found,
        [
            ("queries", Outcome::Verified),
            ("nothing", Outcome::NothingToMigrate),
            ("evaluation_metrics", Outcome::Verified),
            ("llm_outputs", Outcome::Verified),
        ]
    );
    assert_eq!(report.outcome(), Outcome::Verified);
    assert!(one::<bool>(&test_database, "select to_regclass('nothing') is null").await);
    let runs: Vec<bool> = report.collections.iter().map(|report_| report_.run_id == report.run_id).collect();
    assert_eq!(runs, [true; 4]);
}

#[tokio::test]
async fn collection_that_lost_all_records_before_it_was_migrated_has_no_table_and_verifies() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..2, 3));
    for id in 0..2 {
        directory.remove("records", &format!("record {id}"));
    }
    let records = table("records", DistanceSpace::L2, 3);
    for report in [
        migrate(&database, directory.path(), &records).await,
        crate::verify(&database, directory.path(), &records).await,
    ] {
        assert_eq!((report.outcome(), report.is_table_absent), (Outcome::NothingToMigrate, true));
    }
    assert!(one::<bool>(&test_database, "select to_regclass('records') is null").await);
}

#[tokio::test]
async fn collection_of_too_many_dimensions_fails_alone_also_when_it_is_compared() {
    let (_test_database, database) = prepared().await;
    let directory = Directory::with("docs", DistanceSpace::L2, &entries(0..3, 3));
    directory.add_collection("wide", DistanceSpace::L2);
    // More than the format of a vector can express.
    directory.put("wide", &entries(0..1, 40_000));
    let open = || whole(Source::open(directory.path()).expect("the directory opens"));
    let migrated = migrate_collections(&database, open(), &MigrateOptions::default(), &silent()).await;
    let compared = verify_collections(&database, open(), VerifyOptions::default(), &silent()).await;
    for report in [migrated, compared] {
        let Report { collections, .. } = report.expect("the run ends");
        assert_eq!(collections[0].outcome(), Outcome::Verified);
        let failure = collections[1].failure.as_deref();
        assert!(matches!(failure, Some(Error::Dimension { dimension: 40_000, .. })), "{failure:?}");
    }
}
