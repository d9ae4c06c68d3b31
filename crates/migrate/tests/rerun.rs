//! A second run applies only the changes of the source.

use migrate::{Error, MigrateOptions, Mode, Outcome, StaleRows};
use records::{DistanceSpace, MetadataValue, Service};
use store::postgres::Table;
use test_support::sample;

use crate::{
    copied,
    directory::{Directory, Entry, entries, vector},
    empty, migrate, migrate_with, one, prepared, sample_name, table, try_migrate, verified, whole_state,
};

fn deleting() -> MigrateOptions {
    MigrateOptions { stale_rows: StaleRows::Delete, ..MigrateOptions::default() }
}

#[tokio::test]
async fn dry_run_changes_nothing_and_reports_the_plan() {
    let (test_database, database) = empty().await;
    let folder = sample(sample_name(Service::Query));
    let plan = MigrateOptions { mode: Mode::DryRun, ..MigrateOptions::default() };
    let report = migrate_with(&database, folder.path(), &Table::of(Service::Query), &plan).await;
    assert_eq!((report.outcome(), copied(&report).written), (Outcome::Planned, 61));
    assert_eq!(whole_state(&test_database).await, "");
}

#[tokio::test]
async fn second_run_without_changes_writes_nothing() {
    let (test_database, database) = prepared().await;
    for service in Service::ALL {
        let (table, folder) = (Table::of(service), sample(sample_name(service)));
        let first = migrate(&database, folder.path(), &table).await;
        let before = whole_state(&test_database).await;
        let second = migrate_with(&database, folder.path(), &table, &deleting()).await;
        assert_eq!(second.outcome(), Outcome::Verified, "{service}");
        let counts = |report| {
            let copied: &migrate::CopyReport = copied(report);
            [copied.written, copied.updated, copied.deleted, copied.unchanged]
        };
        assert_eq!(counts(&second), [0, 0, 0, copied(&first).written], "{service}");
        assert_eq!(verified(&second).digest_target, verified(&first).digest_target, "{service}");
        assert_eq!(
            whole_state(&test_database).await,
            before,
            "{service}: no job, no row, not even rewritten"
        );
    }
}

#[tokio::test]
async fn changed_source_updates_exactly_the_difference() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..20, 3));
    let records = table("records", DistanceSpace::L2, 3);
    migrate(&database, directory.path(), &records).await;
    let untouched = "select string_agg(source_id || xmin::text, ' ' order by id) from records
        where source_id in (select 'record ' || n from generate_series(3, 17) n)";
    let before: String = one(&test_database, untouched).await;

    directory.remove("records", "record 18");
    directory.remove("records", "record 19");
    let one_more_key = MetadataValue::Int(1);
    directory.put(
        "records",
        &[
            Entry { document: Some("other".into()), ..Entry::new("record 0", vector(0, 3)) },
            Entry::new("record 1", vector(99, 3)),
            Entry::new("record 2", vector(2, 3)).with("k", one_more_key),
            Entry::new("new", vector(50, 3)),
        ],
    );
    let kept = migrate(&database, directory.path(), &records).await;
    let counts = |report| {
        let copied: &migrate::CopyReport = copied(report);
        [copied.written, copied.updated, copied.unchanged, copied.deleted, copied.stale]
    };
    assert_eq!(counts(&kept), [1, 3, 15, 0, 2]);
    assert_eq!((kept.outcome(), verified(&kept).stale), (Outcome::Verified, 2));
    assert_eq!(one::<String>(&test_database, untouched).await, before);

    let deleted = migrate_with(&database, directory.path(), &records, &deleting()).await;
    assert_eq!(counts(&deleted), [0, 0, 19, 2, 0]);
    assert_eq!((deleted.outcome(), verified(&deleted).rows), (Outcome::Verified, 19));
    assert_eq!(verified(&deleted).digest_source, verified(&deleted).digest_target);
    assert_eq!(one::<String>(&test_database, untouched).await, before);
    let changed: Vec<String> = one(
        &test_database,
        "select array_agg(concat_ws('|', document, metadata) order by source_id) from records where source_id in ('record 0', 'record 2')",
    )
    .await;
    assert_eq!(changed, ["other", "text of record 2|{\"k\": 1}"]);
}

#[tokio::test]
async fn row_deleted_in_postgres_is_written_again() {
    let (test_database, database) = prepared().await;
    let (outputs, folder) = (Table::of(Service::Judge), sample(sample_name(Service::Judge)));
    let first = migrate(&database, folder.path(), &outputs).await;
    test_database.execute("delete from llm_outputs where source_id = 'msg_011037f31673d059d1abab88'").await;
    let again = migrate(&database, folder.path(), &outputs).await;
    assert_eq!((copied(&again).written, copied(&again).unchanged), (1, copied(&first).written - 1));
    assert_eq!(verified(&again).digest_target, verified(&first).digest_target);
}

#[tokio::test]
async fn empty_source_deletes_rows_only_on_request() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let records = table("records", DistanceSpace::L2, 3);
    migrate(&database, directory.path(), &records).await;
    for id in 0..3 {
        directory.remove("records", &format!("record {id}"));
    }
    let kept = migrate(&database, directory.path(), &records).await;
    assert_eq!((copied(&kept).stale, copied(&kept).deleted), (3, 0));
    let deleted = migrate_with(&database, directory.path(), &records, &deleting()).await;
    assert_eq!((copied(&deleted).stale, copied(&deleted).deleted), (0, 3));
    assert_eq!(one::<i64>(&test_database, "select count(*) from records").await, 0);
}

#[tokio::test]
async fn server_error_loses_no_committed_batch() {
    let (test_database, database) = prepared().await;
    database.prepare_schema().await.expect("the schema is created");
    test_database
        .execute(
            "create function refuse() returns trigger language plpgsql as
                $$ begin if new.theme = 'law' then raise 'disk full'; end if; return new; end $$;
            create trigger refuse before insert on queries for each row execute function refuse();",
        )
        .await;
    let (queries, folder) = (Table::of(Service::Query), sample(sample_name(Service::Query)));
    let error = try_migrate(&database, folder.path(), &queries, &MigrateOptions::default()).await;
    let error = error.expect_err("the insert fails");
    assert!(matches!(&error, Error::Store { table, .. } if table == "queries"), "{error}");
    assert_eq!(
        one::<i64>(&test_database, "select count(*) from queries").await,
        0,
        "all of the batch or none"
    );
    test_database.execute("drop trigger refuse on queries").await;
    let report = migrate(&database, folder.path(), &queries).await;
    assert_eq!((report.outcome(), verified(&report).rows), (Outcome::Verified, 61));
}

#[tokio::test]
async fn run_fails_if_a_trigger_prevents_deletes_or_updates() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..4, 3));
    let records = table("records", DistanceSpace::L2, 3);
    migrate(&database, directory.path(), &records).await;
    let before: String =
        one(&test_database, "select string_agg(r::text, ' ' order by id) from records r").await;
    test_database
        .execute("create function ignore() returns trigger language plpgsql as $$ begin return null; end $$")
        .await;
    directory.remove("records", "record 0");
    for change in ["delete", "update"] {
        if change == "update" {
            directory.put("records", &[Entry::new("record 1", vector(50, 3))]);
        }
        test_database
            .execute(&format!(
                "create or replace trigger ignore before {change} on records for each row execute function ignore()"
            ))
            .await;
        let error = try_migrate(&database, directory.path(), &records, &deleting()).await.expect_err(change);
        let Error::Store { source, .. } = error else { panic!("{error}") };
        assert!(matches!(*source, store::Error::Kept { kept: 1, rows: 1, .. }), "{change}: {source}");
        let now: String =
            one(&test_database, "select string_agg(r::text, ' ' order by id) from records r").await;
        if change == "delete" {
            assert_eq!(now, before);
        }
    }
    test_database.execute("drop trigger ignore on records").await;
    let report = migrate_with(&database, directory.path(), &records, &deleting()).await;
    assert_eq!(report.outcome(), Outcome::Verified);
}
