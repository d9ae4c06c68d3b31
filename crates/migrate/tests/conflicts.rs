//! Rows edited or created in PostgreSQL are conflicts.

use std::sync::Arc;

use migrate::{ConflictReason, EditedRows, Event, MigrateOptions, Observer, Outcome, StaleRows, Step, undo};
use records::{DistanceSpace, Service, stored_id};
use store::{
    postgres::{Database, PostgresStorage, Table},
    storage::Storage as _,
};
use test_support::{TestDatabase, sample};

use crate::{
    copied,
    directory::{Directory, Entry, entries, vector},
    migrate, migrate_with, one, only, prepared, sample_name, table, transfer, verified, verify, whole_state,
};

/// Ten records migrated into `records`, of which `record 3` was edited afterwards.
async fn edited(test_database: &TestDatabase, database: &Database) -> (Directory, Table) {
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..10, 3));
    let records = table("records", DistanceSpace::L2, 3);
    migrate(database, directory.path(), &records).await;
    test_database.execute("update records set document = 'edited' where source_id = 'record 3'").await;
    (directory, records)
}

async fn document(test_database: &TestDatabase, source_id: &str) -> String {
    one(test_database, &format!("select document from records where source_id = '{source_id}'")).await
}

#[tokio::test]
async fn edited_row_is_a_conflict_and_is_kept() {
    let (test_database, database) = prepared().await;
    let (directory, records) = edited(&test_database, &database).await;
    // With and without a change of the record.
    for text in ["text of record 3", "changed"] {
        let entry = Entry { document: Some(text.into()), ..Entry::new("record 3", vector(3, 3)) };
        directory.put("records", &[entry]);
        let before = whole_state(&test_database).await;
        let report = migrate(&database, directory.path(), &records).await;
        assert_eq!(report.outcome(), Outcome::Conflicts);
        let conflict = &copied(&report).conflicts[0];
        assert_eq!(
            (conflict.source_id.as_deref(), conflict.reason),
            (Some("record 3"), ConflictReason::Edited)
        );
        assert_eq!((conflict.id, copied(&report).unchanged), (stored_id("record 3"), 9));
        assert!(verified(&report).different.is_empty(), "the conflict is not reported again");
        assert_ne!(verified(&report).digest_source, verified(&report).digest_target);
        assert_eq!(whole_state(&test_database).await, before);
    }
    let compared = verify(&database, directory.path(), &records).await;
    assert_eq!(compared.outcome(), Outcome::Different);
    let difference = &verified(&compared).different[0];
    assert!(difference.is_edited);
    assert_eq!(
        (difference.source_id.as_str(), &*difference.columns),
        ("record 3", &["document".to_owned()][..])
    );
}

#[tokio::test]
async fn edited_row_is_overwritten_on_request() {
    let (test_database, database) = prepared().await;
    let (directory, records) = edited(&test_database, &database).await;
    let options = MigrateOptions { edited_rows: EditedRows::Overwrite, ..MigrateOptions::default() };
    let report = migrate_with(&database, directory.path(), &records, &options).await;
    assert_eq!((report.outcome(), copied(&report).updated), (Outcome::Verified, 1));
    assert_eq!(document(&test_database, "record 3").await, "text of record 3");
    let again = migrate(&database, directory.path(), &records).await;
    assert_eq!((again.outcome(), copied(&again).unchanged), (Outcome::Verified, 10));
}

#[tokio::test]
async fn row_edited_to_equal_its_record_is_unchanged() {
    let (test_database, database) = prepared().await;
    let (directory, records) = edited(&test_database, &database).await;
    let entry = Entry { document: Some("edited".into()), ..Entry::new("record 3", vector(3, 3)) };
    directory.put("records", &[entry]);
    let report = migrate(&database, directory.path(), &records).await;
    assert_eq!((report.outcome(), copied(&report).unchanged), (Outcome::Verified, 10));
}

#[tokio::test]
async fn edited_row_whose_record_is_gone_is_deleted_only_with_overwrite() {
    let (test_database, database) = prepared().await;
    let (directory, records) = edited(&test_database, &database).await;
    directory.remove("records", "record 3");
    directory.remove("records", "record 4");
    let deleting = MigrateOptions { stale_rows: StaleRows::Delete, ..MigrateOptions::default() };
    let report = migrate_with(&database, directory.path(), &records, &deleting).await;
    assert_eq!((report.outcome(), copied(&report).deleted), (Outcome::Conflicts, 1));
    assert_eq!(copied(&report).conflicts[0].reason, ConflictReason::EditedAndGone);
    assert_eq!(copied(&report).conflicts[0].id, stored_id("record 3"));
    assert_eq!(document(&test_database, "record 3").await, "edited");
    let overwriting = MigrateOptions { edited_rows: EditedRows::Overwrite, ..deleting };
    let report = migrate_with(&database, directory.path(), &records, &overwriting).await;
    assert_eq!((report.outcome(), copied(&report).deleted), (Outcome::Verified, 1));
    assert_eq!(one::<i64>(&test_database, "select count(*) from records").await, 8);
}

#[tokio::test]
async fn rows_created_in_postgres_are_never_changed() {
    let (test_database, database) = prepared().await;
    database.prepare_schema().await.expect("the schema is created");
    let (queries, folder) = (Table::of(Service::Query), sample(sample_name(Service::Query)));
    let taken = "3f231762-1288-55bc-9925-9eeb8ff7544c";
    test_database
        .execute(&format!(
            "insert into queries (id, query_text, theme) values ('{taken}', 'mine', 'own'), (default, 'mine too', 'own')"
        ))
        .await;
    let own = "select string_agg((to_jsonb(q) - 'position' - 'is_escaped')::text || xmin::text, ' ' order by id) from queries q where theme = 'own'";
    let before: String = one(&test_database, own).await;
    let everything = MigrateOptions {
        edited_rows: EditedRows::Overwrite,
        stale_rows: StaleRows::Delete,
        ..MigrateOptions::default()
    };
    for written in [60, 0] {
        let report = migrate_with(&database, folder.path(), &queries, &everything).await;
        assert_eq!((report.outcome(), copied(&report).written), (Outcome::Conflicts, written));
        let conflicts: Vec<_> =
            copied(&report).conflicts.iter().map(|c| (c.source_id.as_deref(), c.reason)).collect();
        assert_eq!(conflicts, [(Some(taken), ConflictReason::BornHere)]);
        assert_eq!((verified(&report).rows, verified(&report).matched), (60, 60));
        assert!(verified(&report).missing.is_empty(), "the conflict is not reported again");
    }
    assert_eq!(one::<String>(&test_database, own).await, before);
}

#[tokio::test]
async fn record_that_a_service_has_deleted_is_not_copied_again_unless_its_run_is_undone() {
    let (test_database, database) = prepared().await;
    let (queries, folder) = (Table::of(Service::Query), sample(sample_name(Service::Query)));
    let run = migrate(&database, folder.path(), &queries).await.run_id;
    let storage = PostgresStorage::new(database.clone(), Service::Query);
    let id = "3f231762-1288-55bc-9925-9eeb8ff7544c".to_owned();
    let deleted = storage.delete(&[id.clone(), "unknown".to_owned()]).await.expect("it is deleted");
    assert_eq!(deleted, std::slice::from_ref(&id));
    for _ in 0..2 {
        let report = migrate(&database, folder.path(), &queries).await;
        let conflicts: Vec<_> = copied(&report).conflicts.iter().map(|c| (c.shown_id(), c.reason)).collect();
        assert_eq!(report.outcome(), Outcome::Conflicts);
        assert_eq!(conflicts, [(id.clone(), ConflictReason::DeletedHere)]);
        assert_eq!(one::<i64>(&test_database, "select count(*) from queries").await, 60);
    }
    undo(&database, run, EditedRows::Keep).await.expect("it is undone");
    let report = migrate(&database, folder.path(), &queries).await;
    assert_eq!((report.outcome(), copied(&report).written), (Outcome::Verified, 61));
    storage.delete(std::slice::from_ref(&id)).await.expect("it is deleted");
    let overwriting = MigrateOptions { edited_rows: EditedRows::Overwrite, ..MigrateOptions::default() };
    let report = migrate_with(&database, folder.path(), &queries, &overwriting).await;
    assert_eq!((report.outcome(), copied(&report).written), (Outcome::Verified, 1));
    assert_eq!(migrate(&database, folder.path(), &queries).await.outcome(), Outcome::Verified);
}

#[tokio::test]
async fn row_inserted_between_plan_and_copy_is_a_conflict_and_is_kept() {
    let (test_database, database) = prepared().await;
    database.prepare_schema().await.expect("the schema is created");
    let (queries, folder) = (Table::of(Service::Query), sample(sample_name(Service::Query)));
    let taken = "3f231762-1288-55bc-9925-9eeb8ff7544c";
    let insert = format!("insert into queries (id, query_text, theme) values ('{taken}', 'mine', 'own')");
    let url = test_database.url();
    let observer: Observer = Arc::new(move |event| {
        if event == Event::Step(Step::Begun) {
            execute_elsewhere(&url, &insert);
        }
    });
    let transfers = vec![transfer(folder.path(), &queries)];
    let report = migrate::migrate(&database, transfers, &MigrateOptions::default(), &observer).await;
    let report = only(report.expect("the migration runs"));
    assert_eq!((report.outcome(), copied(&report).written), (Outcome::Conflicts, 60));
    let conflict = &copied(&report).conflicts[0];
    assert_eq!((conflict.id.to_string().as_str(), conflict.reason), (taken, ConflictReason::BornHere));
    let text: String =
        one(&test_database, &format!("select query_text from queries where id = '{taken}'")).await;
    assert_eq!(text, "mine");
}

#[tokio::test]
async fn row_edited_between_plan_and_copy_is_a_conflict_and_is_kept() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..10, 3));
    let records = table("records", DistanceSpace::L2, 3);
    migrate(&database, directory.path(), &records).await;
    directory.put("records", &[Entry::new("record 3", vector(50, 3)), Entry::new("record 4", vector(51, 3))]);
    let url = test_database.url();
    let observer: Observer = Arc::new(move |event| {
        if event == Event::Step(Step::Begun) {
            execute_elsewhere(&url, "update records set document = 'edited' where source_id = 'record 3'");
        }
    });
    let transfers = vec![transfer(directory.path(), &records)];
    let report = migrate::migrate(&database, transfers, &MigrateOptions::default(), &observer).await;
    let report = only(report.expect("the migration runs"));
    assert_eq!((report.outcome(), copied(&report).updated), (Outcome::Conflicts, 1));
    let conflict = &copied(&report).conflicts[0];
    assert_eq!((conflict.id, conflict.reason), (stored_id("record 3"), ConflictReason::Edited));
    assert_eq!(document(&test_database, "record 3").await, "edited");
}

/// Runs a statement on a separate thread, since an observer is synchronous and is called inside a runtime.
fn execute_elsewhere(url: &str, sql: &str) {
    let run = || async {
        use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
        let mut connection = PgConnection::connect(url).await.expect("the database answers");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect(sql);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(run());
        });
    });
}
