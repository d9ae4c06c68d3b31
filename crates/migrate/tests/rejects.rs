//! Records that PostgreSQL cannot hold are never dropped silently.

use std::ops::ControlFlow;

use chroma::{Field, json_lines::CollectionLines};
use migrate::{Error, MigrateOptions, Mode, Outcome};
use records::{DistanceSpace, MetadataValue, Service, stored_id};
use store::{chroma::Source, postgres::Table};
use tempfile::TempDir;
use test_support::sample;

use crate::{
    copied,
    directory::{Directory, Entry, change, entries, vector},
    empty, migrate_with, one,
    parquet_files::{Row, as_duckdb, text, write_collections, write_embeddings},
    prepared, quarantining, sample_name, silent, table, transfer, try_migrate, verified, verify, whole_state,
};

const OLD_COLLECTION: &str = "aaaaaaaa-0000-4000-8000-000000000001";

/// A record for each reason, the reason, and SQL for damage that no client can cause.
fn bad() -> Vec<(Entry, &'static str, &'static str)> {
    let good = |id: &str| Entry::new(id, vector(500, 384));
    let text = |text: &str| MetadataValue::Text(text.to_owned());
    let float = MetadataValue::Float;
    let list = |values| MetadataValue::List(values);
    let mut not_finite = vector(501, 384);
    not_finite[7] = f32::NAN;
    let of_id = "where id = (select id from embeddings where embedding_id";
    let surrogate = "update embedding_metadata set string_value = cast(x'61eda08062' as text)";
    let document = format!(
        "{surrogate} where key = 'chroma:document' and id = (select id from embeddings where embedding_id = 'surrogate')"
    );
    let infinite = format!("update embedding_metadata set float_value = 9e999 {of_id} = 'infinite')");
    vec![
        (Entry { document: Some("a\0b".into()), ..good("nul in document") }, "nul_in_text", ""),
        (good("nul\0 in id"), "nul_in_text", ""),
        (Entry { uri: Some("\0".into()), ..good("nul in uri") }, "nul_in_text", ""),
        (good("nul in value").with("k", text("\0")), "nul_in_text", ""),
        (good("nul in list").with("k", list(vec![text("a"), text("\0")])), "nul_in_text", ""),
        (good("nul in key").with("a\0b", text("v")), "nul_in_key", ""),
        (good("surrogate"), "lone_surrogate", document.leak()),
        (
            good("bytes"),
            "lone_surrogate",
            "update embeddings set embedding_id = cast(x'62ff' as text) where embedding_id = 'bytes'; update embeddings_queue set id = cast(x'62ff' as text) where id = 'bytes'",
        ),
        (Entry { vector: Some(not_finite), ..good("not finite") }, "non_finite_vector", ""),
        (good("infinite").with("k", float(1.0)), "non_finite_metadata", infinite.leak()),
        (Entry { vector: Some(vec![1.0; 3]), ..good("narrow") }, "dimension", ""),
        (Entry { vector: None, ..good("no vector") }, "missing_embedding", ""),
        (Entry { document: None, ..good("no document") }, "missing_document", ""),
        (
            good("unreadable").with("k", MetadataValue::Int(1)),
            "unreadable",
            "update embedding_metadata set int_value = 'x' where key = 'k' and id = (select id from embeddings where embedding_id = 'unreadable')",
        ),
    ]
}

#[tokio::test]
async fn each_reason_stops_the_migration_before_any_change() {
    let (test_database, database) = empty().await;
    let queries = Table::of(Service::Query);
    for (entry, reason, sql) in bad() {
        let directory = Directory::with("queries", DistanceSpace::Cosine, &entries(0..2, 384));
        directory.put("queries", std::slice::from_ref(&entry));
        directory.sql(sql);
        let report = migrate_with(&database, directory.path(), &queries, &MigrateOptions::default()).await;
        assert_eq!(report.outcome(), Outcome::Rejected, "{}", entry.id);
        let copied = copied(&report);
        assert_eq!((copied.source_records, copied.written), (3, 0), "{}", entry.id);
        let found: Vec<&str> = copied.rejects.iter().map(|reject| reject.reason.as_str()).collect();
        assert_eq!(found, [reason], "{}", entry.id);
        if entry.id != "bytes" {
            assert_eq!(copied.rejects[0].source_id, entry.id);
        }
    }
    assert_eq!(whole_state(&test_database).await, "", "no tables, no extension, nothing");
}

#[tokio::test]
async fn quarantine_stores_complete_records_and_the_others_are_migrated() {
    let (test_database, database) = prepared().await;
    let queries = Table::of(Service::Query);
    let directory = Directory::with("queries", DistanceSpace::Cosine, &entries(0..4, 384));
    for (entry, _, sql) in bad() {
        directory.put("queries", &[entry]);
        directory.sql(sql);
    }
    let report = migrate_with(&database, directory.path(), &queries, &quarantining()).await;
    assert_eq!(report.outcome(), Outcome::Rejected);
    assert_eq!((copied(&report).written, copied(&report).rejects.len()), (4, 14));
    assert_eq!((verified(&report).matched, verified(&report).rejects.len()), (4, 14));
    let rows: i64 = one(&test_database, "select count(*) from queries").await;
    let rejects: i64 = one(&test_database, "select count(*) from migration_rejects").await;
    assert_eq!(u64::try_from(rows + rejects), Ok(copied(&report).source_records));

    let source = Source::open(directory.path()).expect("the directory opens");
    let lines = CollectionLines::new(&source.collections()[0]);
    let mut connection = test_database.connection().await;
    let mut expected = Vec::new();
    let visit = |record: chroma::Record| {
        let problem = record.problems.iter().find(|problem| problem.field == Field::Id);
        let id = problem.map_or(record.id.as_bytes(), |problem| &problem.original).to_vec();
        let mut line = Vec::new();
        lines.append(&record, &mut line);
        line.pop();
        expected.push((id, line));
        ControlFlow::Continue(())
    };
    source.read(&source.collections()[0], visit).expect("the collection reads");
    for (id, line) in &expected[4..] {
        let found: Vec<u8> = sqlx::query_scalar(
            "select record from migration_rejects
            where source_id = $1 and run_id = $2 and tenant = 'default_tenant' and database = 'default_database'
                and collection = 'queries'",
        )
        .bind(id)
        .bind(report.run_id)
        .fetch_one(&mut connection)
        .await
        .expect("each is there once");
        assert!(found == *line, "{}", String::from_utf8_lossy(id));
    }
    let reasons: Vec<String> =
        one(&test_database, "select array_agg(distinct reason order by reason) from migration_rejects").await;
    let mut all: Vec<&str> = bad().into_iter().map(|(_, reason, _)| reason).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(reasons, all);
}

#[tokio::test]
async fn second_run_with_quarantine_changes_nothing() {
    let (test_database, database) = prepared().await;
    let queries = Table::of(Service::Query);
    let directory = Directory::with("queries", DistanceSpace::Cosine, &entries(0..4, 384));
    directory.put("queries", &[Entry { document: None, ..Entry::new("bad", vector(9, 384)) }]);
    migrate_with(&database, directory.path(), &queries, &quarantining()).await;
    let before = whole_state(&test_database).await;
    let again = migrate_with(&database, directory.path(), &queries, &quarantining()).await;
    assert_eq!(again.outcome(), Outcome::Rejected);
    assert_eq!((copied(&again).written, copied(&again).unchanged), (0, 4));
    assert_eq!(whole_state(&test_database).await, before);
}

#[tokio::test]
async fn quarantine_of_an_interrupted_run_is_not_duplicated() {
    let (test_database, database) = prepared().await;
    database.prepare_schema().await.expect("the schema is created");
    test_database
        .execute(
            "create function refuse() returns trigger language plpgsql as
                $$ begin if new.source_id = 'record 3' then raise 'disk full' using errcode = 'disk_full'; end if; return new; end $$;
            create trigger refuse before insert on queries for each row execute function refuse();",
        )
        .await;
    let queries = Table::of(Service::Query);
    let bad = Entry { document: None, ..Entry::new("bad", vector(9, 384)) };
    let directory = Directory::with("queries", DistanceSpace::Cosine, &[bad]);
    directory.put("queries", &entries(0..4, 384));
    let options = MigrateOptions { batch_rows: 1, connections: 1, ..quarantining() };
    let error = try_migrate(&database, directory.path(), &queries, &options).await;
    assert!(matches!(error, Err(Error::Store { .. })));
    assert_eq!(one::<i64>(&test_database, "select count(*) from migration_rejects").await, 1);
    test_database.execute("drop trigger refuse on queries").await;
    let report = migrate_with(&database, directory.path(), &queries, &options).await;
    assert_eq!((report.outcome(), verified(&report).matched), (Outcome::Rejected, 4));
    assert_eq!(one::<i64>(&test_database, "select count(*) from migration_rejects").await, 1);
}

#[tokio::test]
async fn one_collection_with_rejects_stops_all_of_a_run() {
    let (test_database, database) = empty().await;
    let (queries, metrics) = (Table::of(Service::Query), Table::of(Service::Evaluation));
    let (clean, odd) = (sample(sample_name(Service::Query)), sample(sample_name(Service::Evaluation)));
    change(odd.path(), "delete from embeddings_queue where seq_id <= 2");
    let transfers = vec![transfer(clean.path(), &queries), transfer(odd.path(), &metrics)];
    let report = migrate::migrate(&database, transfers, &MigrateOptions::default(), &silent()).await;
    let report = report.expect("the migration runs");
    assert_eq!(report.outcome(), Outcome::Rejected);
    let rejects: Vec<usize> = report.collections.iter().map(|report| copied(report).rejects.len()).collect();
    assert_eq!(rejects, [0, 2]);
    assert_eq!(whole_state(&test_database).await, "");
}

#[tokio::test]
async fn record_larger_than_a_row_is_too_large() {
    let (test_database, database) = empty().await;
    // JSON escapes make it six times as long.
    let control = MetadataValue::Text("\u{1}".repeat(45 << 20));
    let entry = Entry::new("large", vector(1, 3)).with("k", control);
    let directory = Directory::with("large", DistanceSpace::L2, &[entry]);
    let large = table("large", DistanceSpace::L2, 3);
    let report = migrate_with(&database, directory.path(), &large, &MigrateOptions::default()).await;
    assert_eq!(copied(&report).rejects[0].reason.as_str(), "too_large");
    assert_eq!(whole_state(&test_database).await, "");
}

/// A directory of Chroma 0.3, with the one collection `old` of two dimensions.
fn old_directory(rows: &[Row]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_collections(folder.path(), &[[text(OLD_COLLECTION), text("old"), text("{}")]]);
    write_embeddings(folder.path(), [rows], as_duckdb());
    folder
}

#[tokio::test]
async fn negative_zero_of_old_directories_is_rejected() {
    let (test_database, database) = prepared().await;
    let row = |id: &str, metadata: &str| Row {
        metadata: text(metadata),
        ..Row::new(OLD_COLLECTION, id, &[1.0, 2.0])
    };
    let folder = old_directory(&[row("zero", r#"{"k": 0.0}"#), row("minus zero", r#"{"k": -0.0}"#)]);
    let old = table("old", DistanceSpace::L2, 2);
    let report = migrate_with(&database, folder.path(), &old, &quarantining()).await;
    assert_eq!((report.outcome(), copied(&report).written), (Outcome::Rejected, 1));
    let reject = &copied(&report).rejects[0];
    assert_eq!((reject.source_id.as_str(), reject.reason.as_str()), ("minus zero", "negative_zero"));
    let record: String =
        one(&test_database, "select convert_from(record, 'UTF8') from migration_rejects").await;
    assert!(record.contains(r#"{"k":-0.0}"#), "{record}");
}

#[tokio::test]
async fn first_storable_record_of_a_duplicate_id_is_used() {
    let (test_database, database) = empty().await;
    let row = |id: &str, document: &str, first: f64| Row {
        document: text(document),
        ..Row::new(OLD_COLLECTION, id, &[first, 1.0])
    };
    let rows = [
        row("a", "first", 1.0),
        row("b", "nul \0", 2.0),
        row("a", "second", 3.0),
        row("b", "held", 4.0),
        row("a", "third", 5.0),
        row("c", "alone", 6.0),
    ];
    let folder = old_directory(&rows);
    let old = table("old", DistanceSpace::L2, 2);
    let plan = MigrateOptions { mode: Mode::DryRun, ..MigrateOptions::default() };
    let stopped = migrate_with(&database, folder.path(), &old, &plan).await;
    assert_eq!((stopped.outcome(), copied(&stopped).rejects.len()), (Outcome::Rejected, 3));
    assert_eq!(whole_state(&test_database).await, "");
    let report = migrate_with(&database, folder.path(), &old, &quarantining()).await;
    let found = |rejects: &[migrate::Reject]| {
        rejects.iter().map(|r| format!("{} {}", r.source_id, r.reason.as_str())).collect::<Vec<_>>()
    };
    let expected = ["b nul_in_text", "a duplicate_id", "a duplicate_id"];
    assert_eq!(found(&copied(&report).rejects), expected);
    assert_eq!(found(&verified(&report).rejects), expected);
    assert_eq!((copied(&report).written, verified(&report).matched), (3, 3));
    let documents: Vec<String> =
        one(&test_database, "select array_agg(document order by source_id) from old").await;
    assert_eq!(documents, ["first", "held", "alone"]);
    assert_eq!(found(&verified(&verify(&database, folder.path(), &old).await).rejects), expected);
    assert_eq!(
        one::<String>(&test_database, "select id::text from old where source_id = 'a'").await,
        stored_id("a").to_string()
    );
}

#[tokio::test]
async fn records_that_the_table_rejects_are_quarantined_and_the_others_migrated() {
    let (test_database, database) = prepared().await;
    let mut all = entries(0..40, 3);
    let directory = Directory::with("records", DistanceSpace::L2, &all);
    let records = table("records", DistanceSpace::L2, 3);
    migrate_with(&database, directory.path(), &records, &MigrateOptions::default()).await;
    test_database
        .execute(
            "alter table records add constraint no_seven check (document !~ '7$') not valid;
            create unique index on records (document);
            create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not this one'; end $$;
            create constraint trigger late after insert on records deferrable initially deferred
                for each row when (new.document ~ '55$') execute function refuse()",
        )
        .await;
    all[3].document = Some("changed to 7".to_owned());
    all.extend(entries(40..60, 3));
    for id in ["twin a", "twin b"] {
        all.push(Entry { document: Some("twins".to_owned()), ..Entry::new(id, vector(70, 3)) });
    }
    directory.put("records", &all[3..4]);
    directory.put("records", &all[40..]);

    let error = try_migrate(&database, directory.path(), &records, &MigrateOptions::default()).await;
    let migrate::Error::Store { source, .. } = error.expect_err("the table refuses some") else { panic!() };
    assert!(source.to_string().contains("change the constraint, index or trigger"), "{source}");

    for (written, round) in [(18, "first"), (0, "second")] {
        let report = migrate_with(&database, directory.path(), &records, &quarantining()).await;
        assert_eq!(report.outcome(), Outcome::Rejected, "{round}: {report:?}");
        let mut rejects: Vec<(&str, &str)> =
            copied(&report).rejects.iter().map(|r| (r.source_id.as_str(), r.reason.as_str())).collect();
        rejects.sort_unstable();
        let refused = ["record 3", "record 47", "record 55", "record 57", "twin b"];
        assert_eq!(rejects, refused.map(|id| (id, "refused_by_table")), "{round}");
        let counts = copied(&report);
        assert_eq!((counts.written, counts.updated), (written, 0), "{round}");
        let sum = counts.written + counts.unchanged + counts.rejects.len() as u64;
        assert_eq!(sum, counts.source_records, "{round}");
        let verification = verified(&report);
        assert_eq!((verification.missing.len(), verification.different.len()), (0, 0), "{round}");
        let compared = verify(&database, directory.path(), &records).await;
        assert_eq!(compared.outcome(), Outcome::Rejected, "{round}: {compared:?}");
        let compared = verified(&compared);
        let mut ids: Vec<&str> = compared.rejects.iter().map(|reject| reject.source_id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, refused, "{round}");
        assert_eq!((compared.missing.len(), compared.different.len(), compared.stale), (0, 0, 0), "{round}");
        assert_eq!(compared.digest_source, verification.digest_source, "{round}");
        let kept: i64 = one(&test_database, "select count(*) from migration_rejects").await;
        assert_eq!(kept, 5, "{round}");
    }
    let record: String = one(
        &test_database,
        "select convert_from(record, 'UTF8') from migration_rejects where source_id = 'record 47'",
    )
    .await;
    assert!(record.contains("text of record 47"), "{record}");

    // The quarantine covers the record as it was: a changed record with the same id is missing.
    directory.put(
        "records",
        &[Entry { document: Some("text of record 48".to_owned()), ..entries(47..48, 3).remove(0) }],
    );
    test_database.execute("delete from migration_rejects where source_id = 'record 57'").await;
    let compared = verify(&database, directory.path(), &records).await;
    assert_eq!(compared.outcome(), Outcome::Different);
    let mut missing = verified(&compared).missing.clone();
    missing.sort_unstable();
    assert_eq!(missing, ["record 47", "record 57"]);
}
