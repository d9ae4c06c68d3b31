//! The comparison: missing and different rows are found, whatever the cause, and equal ones are verified.

use migrate::{Comparison, ConflictReason, Error, MigrateOptions, Outcome};
use records::{DistanceSpace, Service};
use serde_json::Value;
use store::postgres::Table;
use test_support::sample;

use crate::{
    copied,
    directory::{Directory, Entry, entries, vector},
    migrate, migrate_with, one, prepared, sample_name, table, verified, verify, whole_state,
};

#[tokio::test]
async fn rows_changed_or_lost_during_the_copy_are_found_with_their_columns() {
    let (test_database, database) = prepared().await;
    database.prepare_schema().await.expect("the schema is created");
    // Simulates any layer that does not store the rows as sent.
    test_database
        .execute(
            "create function damage() returns trigger language plpgsql as $$ begin
                if new.theme = 'law' then return null; end if;
                if new.theme = 'energy' then new.metadata := jsonb_set(new.metadata, '{theme}', '1'); end if;
                if new.theme = 'cooking' then
                    new.embedding := (select array_agg(-x)::vector from unnest(new.embedding::real[]) x);
                    new.query_text := new.query_text || ' ';
                end if;
                return new;
            end $$;
            create trigger damage before insert on queries for each row execute function damage();",
        )
        .await;
    let (queries, folder) = (Table::of(Service::Query), sample(sample_name(Service::Query)));
    let report = migrate(&database, folder.path(), &queries).await;
    assert_eq!(report.outcome(), Outcome::Different);
    let check = |verification: &migrate::Verification| {
        assert_eq!(verification.missing.len(), 6, "six queries about law");
        let columns = |columns: &[&str]| {
            verification.different.iter().filter(|difference| difference.columns == columns).count()
        };
        assert_eq!((columns(&["metadata"]), columns(&["query_text", "embedding"])), (6, 6));
        assert_eq!((verification.different.len(), verification.matched), (12, 43));
        assert_ne!(verification.digest_source, verification.digest_target);
        assert!(
            verification.searches.parity.is_some_and(|parity| parity < 1.0),
            "{:?}",
            verification.searches
        );
    };
    check(verified(&report));
    check(verified(&verify(&database, folder.path(), &queries).await));
}

#[tokio::test]
async fn invalid_values_of_a_row_are_differences_of_that_row_only() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..10, 3));
    let records = table("records", DistanceSpace::L2, 3);
    let first = migrate(&database, directory.path(), &records).await;
    test_database
        .execute("alter table records alter created_at drop not null, alter embedding drop not null")
        .await;
    let odd = [
        "created_at = 'infinity'",
        "created_at = '-infinity'",
        "created_at = '12000-01-01'",
        "created_at = '4714-11-24 BC'",
        "created_at = null",
        "metadata = '{\"a\": 1e400}'",
        "metadata = (repeat('[', 3000) || repeat(']', 3000))::jsonb",
        "embedding = null",
    ];
    for (number, odd) in odd.iter().enumerate() {
        test_database.execute(&format!("update records set {odd} where source_id = 'record {number}'")).await;
    }
    let report = verify(&database, directory.path(), &records).await;
    let found: Vec<(&str, bool)> =
        verified(&report).different.iter().map(|d| (d.source_id.as_str(), d.columns.len() == 1)).collect();
    let expected: Vec<String> = (0..odd.len()).map(|number| format!("record {number}")).collect();
    let expected: Vec<(&str, bool)> = expected.iter().map(|id| (id.as_str(), true)).collect();
    assert_eq!((found, verified(&report).matched), (expected, 2));
    let again = migrate(&database, directory.path(), &records).await;
    assert_eq!((again.outcome(), copied(&again).conflicts.len()), (Outcome::Conflicts, odd.len()));
    let kept =
        ::migrate::undo(&database, first.run_id, ::migrate::EditedRows::Keep).await.expect("it is undone");
    assert_eq!((kept.tables[0].kept.len(), kept.tables[0].undone.removed), (odd.len(), 2));
    let rest = ::migrate::undo(&database, first.run_id, ::migrate::EditedRows::Overwrite).await;
    assert!(rest.expect("the rest is undone").tables[0].undone.table_dropped);
}

#[tokio::test]
async fn edited_columns_are_named() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..10, 3));
    let records = table("records", DistanceSpace::L2, 3);
    migrate(&database, directory.path(), &records).await;
    for (column, value) in [
        ("source_id", "'other'"),
        ("document", "null"),
        ("metadata", "'{}'"),
        ("uri", "''"),
        ("created_at", "created_at + interval '1 microsecond'"),
        ("embedding", "'[1,2,3]'"),
    ] {
        let edit = format!("update records set {column} = {value} where source_id = 'record 3'");
        test_database.execute(&format!("create table kept as table records; {edit}")).await;
        let report = verify(&database, directory.path(), &records).await;
        assert_eq!(report.outcome(), Outcome::Different, "{column}");
        let found: Vec<_> =
            verified(&report).different.iter().map(|d| (d.source_id.as_str(), &d.columns[..])).collect();
        assert_eq!(found, [("record 3", &[column.to_owned()][..])]);
        test_database.execute("truncate records; insert into records table kept; drop table kept").await;
    }
    assert_eq!(verify(&database, directory.path(), &records).await.outcome(), Outcome::Verified);
}

#[tokio::test]
async fn verify_changes_nothing_and_reports_new_and_deleted_records() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..10, 3));
    let records = table("records", DistanceSpace::L2, 3);
    migrate(&database, directory.path(), &records).await;
    let before = whole_state(&test_database).await;
    directory.put("records", &[Entry::new("new", vector(50, 3))]);
    directory.remove("records", "record 0");
    let report = verify(&database, directory.path(), &records).await;
    assert_eq!(report.outcome(), Outcome::Different);
    let found = verified(&report);
    assert_eq!((&*found.missing, found.stale, found.matched), (&["new".to_owned()][..], 1, 9));
    assert_eq!(whole_state(&test_database).await, before);
}

#[tokio::test]
async fn swapped_vectors_reduce_search_parity() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..30, 8));
    let records = table("records", DistanceSpace::L2, 8);
    let report = migrate(&database, directory.path(), &records).await;
    assert_eq!(verified(&report).searches.parity, Some(1.0));
    assert_eq!(verified(&report).searches.count, 20);
    test_database
        .execute(
            "update records r set embedding = other.embedding from records other
            where (r.source_id, other.source_id) in (('record 1', 'record 2'), ('record 2', 'record 1'))",
        )
        .await;
    let report = verify(&database, directory.path(), &records).await;
    assert_eq!((report.outcome(), verified(&report).different.len()), (Outcome::Different, 2));
    let parity = verified(&report).searches.parity.expect("searches were made");
    assert!((0.5..1.0).contains(&parity), "{parity}");
}

#[tokio::test]
async fn ties_do_not_reduce_search_parity() {
    let (_test_database, database) = prepared().await;
    let same: Vec<Entry> = (0..50).map(|n| Entry::new(&n.to_string(), vector(1, 3))).collect();
    for space in [DistanceSpace::L2, DistanceSpace::Cosine, DistanceSpace::InnerProduct] {
        let directory = Directory::with(space.as_str(), space, &same);
        let report = migrate(&database, directory.path(), &table(space.as_str(), space, 3)).await;
        assert_eq!(
            (report.outcome(), verified(&report).searches.parity),
            (Outcome::Verified, Some(1.0)),
            "{space}"
        );
    }
}

#[tokio::test]
async fn equal_content_has_an_equal_digest_in_any_order_and_database() {
    let (_test_database, database) = prepared().await;
    let (_other_test_database, other_database) = prepared().await;
    let records = table("records", DistanceSpace::L2, 3);
    let mut all = entries(0..20, 3);
    let directory = Directory::with("records", DistanceSpace::L2, &all);
    let report = migrate(&database, directory.path(), &records).await;
    let earlier = "update embeddings set created_at = '2023-01-01 00:00:00'";
    directory.sql(earlier);
    all.reverse();
    let reversed = Directory::with("records", DistanceSpace::L2, &all);
    reversed.sql(earlier);
    let same = migrate(&other_database, directory.path(), &records).await;
    let other_order = verify(&other_database, reversed.path(), &records).await;
    assert_ne!(verified(&report).digest_source, verified(&same).digest_source, "times differ");
    assert_eq!(other_order.outcome(), Outcome::Verified);
    let digests = [&same, &other_order].map(|report| {
        let verification = verified(report);
        (verification.digest_source.clone(), verification.digest_target.clone())
    });
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0].0, digests[0].1);
    assert_eq!(digests[0].0.len(), 64);
    assert_eq!(copied(&same).digest_source, digests[0].0);
}

#[tokio::test]
async fn digest_of_the_source_does_not_depend_on_the_table() {
    let (test_database, database) = prepared().await;
    let mut all = entries(0..6, 3);
    all.push(Entry::new("no time", vector(9, 3)));
    let directory = Directory::with("records", DistanceSpace::Cosine, &all);
    let records = table("records", DistanceSpace::Cosine, 3);
    let whole = verified(&migrate(&database, directory.path(), &records).await).digest_source.clone();
    for (damage, missing) in [
        ("delete from records where source_id = 'record 3'", 1),
        ("update records set document = 'edited' where source_id = 'record 4'", 1),
        ("update records set migration_run = null where source_id = 'record 5'", 1),
        ("delete from records", 7),
    ] {
        test_database.execute(damage).await;
        let report = verify(&database, directory.path(), &records).await;
        let verification = verified(&report);
        assert_eq!((report.outcome(), verification.missing.len()), (Outcome::Different, missing), "{damage}");
        assert_eq!(verification.digest_source, whole, "{damage}");
        assert_ne!(verification.digest_target, whole, "{damage}");
    }
    let searches = verified(&verify(&database, directory.path(), &records).await).searches;
    assert_eq!((searches.count, searches.parity), (0, None), "no search was made");
}

#[tokio::test]
async fn digest_of_the_copy_covers_records_whose_rows_were_created_in_postgres() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..4, 3));
    let records = table("records", DistanceSpace::L2, 3);
    let whole = verified(&migrate(&database, directory.path(), &records).await).digest_source.clone();
    test_database.execute("update records set migration_run = null where source_id = 'record 2'").await;
    directory.put("records", &entries(10..11, 3));
    let options = MigrateOptions { comparison: Comparison::Skip, ..MigrateOptions::default() };
    let copied_only = copied(&migrate_with(&database, directory.path(), &records, &options).await).clone();
    assert_eq!((copied_only.written, copied_only.conflicts.len()), (1, 1));
    let compared = verified(&verify(&database, directory.path(), &records).await).digest_source.clone();
    assert_eq!(copied_only.digest_source, compared);
    assert_ne!(compared, whole, "a record was added");
}

#[tokio::test]
async fn searches_without_a_finite_distance_are_skipped_and_counted() {
    let (_test_database, database) = prepared().await;
    let mut all = entries(0..8, 2);
    all.push(Entry::new("zero", vec![0.0, 0.0]));
    all.push(Entry::new("beyond a float's range", vec![3e38, 3e38]));
    for (space, left_out) in
        [(DistanceSpace::Cosine, 2), (DistanceSpace::L2, 0), (DistanceSpace::InnerProduct, 0)]
    {
        let directory = Directory::with(space.as_str(), space, &all);
        let report = migrate(&database, directory.path(), &table(space.as_str(), space, 2)).await;
        let searches = verified(&report).searches;
        assert_eq!(report.outcome(), Outcome::Verified, "{space}: {searches:?}");
        assert_eq!((searches.count, searches.without_distance), (10 - left_out, left_out), "{space}");
        assert_eq!(searches.parity, Some(1.0), "{space}");
    }
    let zeros = Directory::with("zeros", DistanceSpace::Cosine, &[Entry::new("zero", vec![0.0, 0.0])]);
    let report = migrate(&database, zeros.path(), &table("zeros", DistanceSpace::Cosine, 2)).await;
    let searches = verified(&report).searches;
    assert_eq!((report.outcome(), searches.count, searches.parity), (Outcome::Verified, 0, None));
    assert_eq!(searches.without_distance, 1);
}

#[tokio::test]
async fn manifest_is_stored_with_counts_digests_and_versions() {
    let (test_database, database) = prepared().await;
    let (queries, folder) = (Table::of(Service::Query), sample(sample_name(Service::Query)));
    let report = migrate(&database, folder.path(), &queries).await;
    let manifest: String = one(&test_database, "select manifest::text from migration_jobs").await;
    let manifest: Value = serde_json::from_str(&manifest).expect("it is JSON");
    assert_eq!(manifest["status"], "verified");
    for (key, expected) in
        [("source_records", 61), ("written", 61), ("rows", 61), ("matched", 61), ("rejected", 0)]
    {
        assert_eq!(manifest[key], expected, "{key}");
    }
    assert_eq!(manifest["digest_source"], verified(&report).digest_source.as_str());
    assert_eq!(manifest["digest_target"], manifest["digest_source"]);
    assert_eq!(manifest["search_parity"], 1.0);
    for key in ["panopticon", "postgresql", "pgvector"] {
        assert!(manifest[key].as_str().is_some_and(|version| version.contains('.')), "{key}");
    }
}

#[tokio::test]
async fn comparison_with_a_missing_table_is_an_error() {
    let (_test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let records = table("records", DistanceSpace::L2, 3);
    let transfers = vec![crate::transfer(directory.path(), &records)];
    let options = migrate::VerifyOptions::default();
    let error = migrate::verify(&database, transfers, options, &crate::silent()).await;
    let error = error.expect_err("there is no table");
    let Error::Store { source, .. } = error else { panic!("{error}") };
    assert!(matches!(*source, store::Error::NoTable { .. }), "{source}");
}

#[tokio::test]
async fn row_of_another_origin_is_not_reported_as_missing() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..4, 3));
    let records = table("records", DistanceSpace::L2, 3);
    migrate(&database, directory.path(), &records).await;
    test_database
        .execute(
            "update records set migration_run = null where source_id = 'record 3';
            delete from records where source_id = 'record 1'",
        )
        .await;
    let report = verify(&database, directory.path(), &records).await;
    let verification = verified(&report);
    assert_eq!(
        (report.outcome(), &*verification.missing),
        (Outcome::Different, &["record 1".to_owned()][..])
    );
    let different: Vec<_> =
        verification.different.iter().map(|found| (found.source_id.as_str(), found.foreign)).collect();
    assert_eq!(different, [("record 3", Some(ConflictReason::BornHere))]);
    let report = migrate(&database, directory.path(), &records).await;
    assert_eq!((report.outcome(), copied(&report).written), (Outcome::Conflicts, 1));
}
