//! Undoing a run removes exactly the rows that it inserted, and restores those that it changed.

use migrate::{EditedRows, Error, MigrateOptions, Outcome, StaleRows, undo};
use records::{DistanceSpace, MetadataValue, Service, stored_id};
use store::postgres::{Database, Table};
use test_support::{TestDatabase, sample};
use uuid::Uuid;

use crate::{
    copied,
    directory::{Directory, Entry, entries, vector},
    migrate, migrate_with, one, prepared, quarantining, sample_name, table, try_migrate, verified,
    whole_state,
};

/// All content of `records`, with every column.
async fn content(test_database: &TestDatabase) -> String {
    one(test_database, "select string_agg(to_jsonb(r)::text, E'\n' order by id) from records r").await
}

#[tokio::test]
async fn service_tables_stay_and_lose_exactly_the_rows_of_the_run() {
    let (test_database, database) = prepared().await;
    database.prepare_schema().await.expect("the schema is created");
    test_database.execute("insert into queries (query_text, theme) values ('mine', 'own')").await;
    let own = "select string_agg((to_jsonb(q) - 'position' - 'is_escaped')::text || xmin::text, ' ') from queries q";
    let before: String = one(&test_database, own).await;
    let (queries, folder) = (Table::of(Service::Query), sample(sample_name(Service::Query)));
    let report = migrate(&database, folder.path(), &queries).await;
    let undone = undo(&database, report.run_id, EditedRows::Keep).await.expect("the run is undone");
    let undone = &undone.tables[0];
    assert_eq!((undone.table.as_str(), undone.undone.removed, undone.undone.restored), ("queries", 61, 0));
    assert!(!undone.undone.table_dropped && undone.kept.is_empty());
    assert_eq!(one::<String>(&test_database, own).await, before);
    let error = undo(&database, report.run_id, EditedRows::Keep).await.expect_err("it is undone already");
    assert!(matches!(error, Error::AlreadyUndone { run } if run == report.run_id), "{error}");
    let error = undo(&database, uuid::Uuid::from_u128(1), EditedRows::Keep)
        .await
        .expect_err("the run does not exist");
    assert!(matches!(error, Error::UnknownRun { .. }), "{error}");
    let again = migrate(&database, folder.path(), &queries).await;
    assert_eq!(
        (again.outcome(), copied(&again).written),
        (Outcome::Verified, 61),
        "it can be migrated again"
    );
}

#[tokio::test]
async fn table_created_by_the_run_is_dropped() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let records = table("records", DistanceSpace::L2, 3);
    let report = migrate(&database, directory.path(), &records).await;
    let undone = undo(&database, report.run_id, EditedRows::Keep).await.expect("the run is undone");
    assert!(undone.tables[0].undone.table_dropped);
    assert!(one::<bool>(&test_database, "select to_regclass('records') is null").await);
    assert_eq!(migrate(&database, directory.path(), &records).await.outcome(), Outcome::Verified);
}

#[tokio::test]
async fn changed_deleted_and_overwritten_rows_are_restored_in_reverse_order_of_runs() {
    let (test_database, database) = prepared().await;
    let typed = Entry::new("typed", vector(90, 3))
        .with("float", MetadataValue::Float(1.0))
        .with("huge", MetadataValue::Float(1e16))
        .with("big", MetadataValue::Int(i64::MAX));
    let mut all = entries(0..10, 3);
    all.push(typed);
    all.push(Entry::new("odd", vec![-0.0, f32::MIN_POSITIVE / 4.0, 1e-7]));
    let directory = Directory::with("records", DistanceSpace::L2, &all);
    let records = table("records", DistanceSpace::L2, 3);
    let first = migrate(&database, directory.path(), &records).await;
    test_database.execute("update records set document = 'edited' where source_id = 'record 3'").await;
    let before = content(&test_database).await;

    for id in ["record 8", "typed", "odd"] {
        directory.remove("records", id);
    }
    directory.put("records", &[Entry::new("record 1", vector(50, 3)), Entry::new("new", vector(60, 3))]);
    let options = MigrateOptions {
        stale_rows: StaleRows::Delete,
        edited_rows: EditedRows::Overwrite,
        ..MigrateOptions::default()
    };
    let second = migrate_with(&database, directory.path(), &records, &options).await;
    let done = copied(&second);
    assert_eq!([done.written, done.updated, done.deleted], [1, 2, 3]);

    let refused = undo(&database, first.run_id, EditedRows::Keep).await.expect_err("the second comes first");
    assert!(matches!(&refused, Error::LaterRuns { later, .. } if *later == [second.run_id]), "{refused}");
    let undone = undo(&database, second.run_id, EditedRows::Keep).await.expect("the run is undone");
    let undone = &undone.tables[0].undone;
    assert_eq!((undone.removed, undone.restored, undone.table_dropped), (1, 5, false));
    assert_eq!(content(&test_database).await, before);
    let undone = undo(&database, first.run_id, EditedRows::Overwrite).await.expect("the run is undone");
    assert!(undone.tables[0].undone.table_dropped);
}

#[tokio::test]
async fn deleted_row_is_restored_into_a_table_with_user_columns() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let records = table("records", DistanceSpace::L2, 3);
    migrate(&database, directory.path(), &records).await;
    test_database
        .execute(
            "alter table records
                add column words tsvector generated always as (to_tsvector('english', document)) stored,
                add column number int generated always as identity,
                add column note text;
            update records set note = 'mine' where source_id = 'record 1'",
        )
        .await;
    let before = content(&test_database).await;
    directory.remove("records", "record 1");
    let deleting = MigrateOptions { stale_rows: StaleRows::Delete, ..MigrateOptions::default() };
    let report = migrate_with(&database, directory.path(), &records, &deleting).await;
    assert_eq!((report.outcome(), copied(&report).deleted), (Outcome::Verified, 1));
    undo(&database, report.run_id, EditedRows::Keep).await.expect("the run is undone");
    assert_eq!(content(&test_database).await, before);
}

#[tokio::test]
async fn run_that_deleted_a_row_is_not_undone_before_the_one_that_wrote_it_again() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let records = table("records", DistanceSpace::L2, 3);
    let deleting = MigrateOptions { stale_rows: StaleRows::Delete, ..MigrateOptions::default() };
    migrate(&database, directory.path(), &records).await;
    let before = content(&test_database).await;
    directory.remove("records", "record 1");
    let second = migrate_with(&database, directory.path(), &records, &deleting).await;
    directory.put("records", &[Entry::new("record 1", vector(50, 3))]);
    let third = migrate_with(&database, directory.path(), &records, &deleting).await;
    assert_eq!((copied(&second).deleted, copied(&third).written), (1, 1));
    let refused = undo(&database, second.run_id, EditedRows::Keep).await.expect_err("the third comes first");
    assert!(matches!(&refused, Error::LaterRuns { later, .. } if *later == [third.run_id]), "{refused}");
    for report in [third, second] {
        undo(&database, report.run_id, EditedRows::Keep).await.expect("the run is undone");
    }
    assert_eq!(content(&test_database).await, before);
}

#[tokio::test]
async fn run_with_an_invalid_time_is_not_undone_before_one_that_may_have_changed_its_rows() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let records = table("records", DistanceSpace::L2, 3);
    migrate(&database, directory.path(), &records).await;
    let before = content(&test_database).await;
    let mut runs = Vec::new();
    for seed in [50, 60] {
        directory.remove("records", "record 1");
        directory.put("records", &[Entry::new("record 1", vector(seed, 3))]);
        let report = migrate(&database, directory.path(), &records).await;
        assert_eq!(copied(&report).updated, 1);
        runs.push(report.run_id);
    }
    let [second, third] = runs[..] else { panic!("{runs:?}") };
    test_database
        .execute("alter table migration_jobs alter started_at drop not null, alter changed_at drop not null")
        .await;
    for odd in ["'infinity'", "'-infinity'", "'12000-01-01'", "'0044-03-15 BC'", "null"] {
        for run in [second, third] {
            test_database
                .execute(&format!(
                    "create table kept as select id, started_at, changed_at from migration_jobs;
                    update migration_jobs set started_at = {odd} where run_id = '{run}';
                    update migration_jobs set changed_at = {odd} where run_id = '{run}' and {}",
                    run == second
                ))
                .await;
            let refused = undo(&database, second, EditedRows::Keep).await.expect_err("the third comes first");
            assert!(
                matches!(&refused, Error::LaterRuns { later, .. } if *later == [third]),
                "{odd}: {refused}"
            );
            test_database
                .execute(
                    "update migration_jobs jobs set (started_at, changed_at) = (kept.started_at, kept.changed_at)
                    from kept where kept.id = jobs.id;
                    drop table kept",
                )
                .await;
        }
    }
    test_database.execute("update migration_jobs set started_at = 'infinity'").await;
    for run in [third, second] {
        undo(&database, run, EditedRows::Keep).await.expect("the run is undone");
    }
    assert_eq!(content(&test_database).await, before);
}

#[tokio::test]
async fn run_with_a_damaged_row_is_not_undone_and_hides_no_others() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let other = Directory::with("others", DistanceSpace::L2, &entries(0..3, 3));
    let run = migrate(&database, directory.path(), &table("records", DistanceSpace::L2, 3)).await.run_id;
    let sound = migrate(&database, other.path(), &table("others", DistanceSpace::L2, 3)).await.run_id;
    test_database
        .execute("create table kept as select * from migration_jobs; alter table migration_jobs alter written drop not null, alter status drop not null, alter definition drop not null")
        .await;
    for damage in [
        "written = -1",
        "updated = -9223372036854775808",
        "deleted = null",
        "status = 'zzz'",
        "status = null",
        "definition = null",
    ] {
        if damage == "deleted = null" {
            test_database.execute("alter table migration_jobs alter deleted drop not null").await;
        }
        test_database.execute(&format!("update migration_jobs set {damage} where run_id = '{run}'")).await;
        let refused = undo(&database, run, EditedRows::Keep).await.expect_err("what it did is not known");
        assert!(
            matches!(&refused, Error::Damaged { run: named, .. } if *named == run),
            "{damage}: {refused}"
        );
        let unknown = undo(&database, Uuid::nil(), EditedRows::Keep).await.expect_err("there is none");
        assert!(unknown.to_string().contains(&run.to_string()), "{damage}: {unknown}");
        test_database
            .execute("delete from migration_jobs; insert into migration_jobs select * from kept")
            .await;
    }
    test_database.execute(&format!("update migration_jobs set status = 'zzz' where run_id = '{run}'")).await;
    let again = migrate(&database, other.path(), &table("others", DistanceSpace::L2, 3)).await;
    assert_eq!(again.outcome(), Outcome::Verified);
    undo(&database, sound, EditedRows::Keep).await.expect("the other is undone");
    let options = MigrateOptions::default();
    let records = table("records", DistanceSpace::L2, 3);
    let refused = try_migrate(&database, directory.path(), &records, &options).await;
    let refused = refused.expect_err("it is not known how far the run is");
    assert!(matches!(&refused, Error::Damaged { run: named, .. } if *named == run), "{refused}");
}

#[tokio::test]
async fn edited_rows_are_kept_and_named_unless_overwritten() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let report = migrate(&database, directory.path(), &table("records", DistanceSpace::L2, 3)).await;
    test_database.execute("update records set document = 'edited' where source_id = 'record 1'").await;
    let undone = undo(&database, report.run_id, EditedRows::Keep).await.expect("the run is undone");
    assert_eq!(undone.tables[0].kept, [stored_id("record 1")]);
    assert_eq!(undone.tables[0].undone.removed, 2);
    assert_eq!(
        one::<String>(&test_database, "select string_agg(document, ' ') from records").await,
        "edited"
    );
    let undone = undo(&database, report.run_id, EditedRows::Overwrite).await.expect("the rest is undone");
    assert!(undone.tables[0].undone.table_dropped);
}

#[tokio::test]
async fn unfinished_run_can_be_undone_and_then_no_longer_blocks() {
    let (test_database, database) = prepared().await;
    database.prepare_schema().await.expect("the schema is created");
    test_database
        .execute(
            "create function refuse() returns trigger language plpgsql as
                $$ begin if new.source_id = 'record 2' then raise 'disk full'; end if; return new; end $$;
            create trigger refuse before insert on queries for each row execute function refuse();",
        )
        .await;
    let directory = Directory::with("queries", DistanceSpace::Cosine, &entries(0..4, 384));
    let queries = Table::of(Service::Query);
    let small = MigrateOptions { batch_rows: 1, connections: 1, ..MigrateOptions::default() };
    try_migrate(&database, directory.path(), &queries, &small).await.expect_err("a row is refused");
    let run = database.jobs().await.expect("the jobs read")[0].run_id;
    let undone = undo(&database, run, EditedRows::Keep).await.expect("the run is undone");
    assert_eq!(undone.tables[0].undone.removed, 2);
    assert_eq!(one::<i64>(&test_database, "select count(*) from queries").await, 0);
    test_database.execute("drop trigger refuse on queries").await;
    let report = migrate(&database, directory.path(), &queries).await;
    assert_eq!((report.outcome(), verified(&report).rows), (Outcome::Verified, 4));
    assert_ne!(report.run_id, run);
}

#[tokio::test]
async fn quarantined_records_are_deleted_with_their_run() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("queries", DistanceSpace::Cosine, &entries(0..3, 384));
    directory.put("queries", &[Entry { document: None, ..Entry::new("bad", vector(9, 384)) }]);
    let queries = Table::of(Service::Query);
    let report = migrate_with(&database, directory.path(), &queries, &quarantining()).await;
    let undone = undo(&database, report.run_id, EditedRows::Keep).await.expect("the run is undone");
    assert_eq!(undone.tables[0].undone.rejects_forgotten, 1);
    assert_eq!(one::<i64>(&test_database, "select count(*) from migration_rejects").await, 0);
}

#[tokio::test]
async fn error_of_an_unknown_run_lists_the_known_runs() {
    let (_test_database, database) = prepared().await;
    let error = undo(&database, Uuid::nil(), EditedRows::Keep).await.expect_err("there are no runs");
    assert!(error.to_string().ends_with("the database has no runs"), "{error}");
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let report = migrate(&database, directory.path(), &table("records", DistanceSpace::L2, 3)).await;
    let error = undo(&database, Uuid::nil(), EditedRows::Keep).await.expect_err("there is no such run");
    assert!(error.to_string().contains(&report.run_id.to_string()), "{error}");
}

#[tokio::test]
async fn running_migration_is_not_undone() {
    let (_test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let report = migrate(&database, directory.path(), &table("records", DistanceSpace::L2, 3)).await;
    let lock = database.lock_table("records").await.expect("the table is not locked");
    let error = undo(&database, report.run_id, EditedRows::Keep).await.expect_err("the table is locked");
    let Error::Database(error) = error else { panic!("{error}") };
    assert!(matches!(*error, store::Error::Locked { .. }), "{error}");
    drop(lock);
}

#[tokio::test]
async fn run_with_rows_hidden_by_a_policy_is_not_undone() {
    let test_database = TestDatabase::create().await;
    let role = format!("role_{}", Uuid::new_v4().simple());
    test_database
        .execute(&format!(
            "create extension vector; create role {role} login password 'pw'; grant create on schema public to {role}"
        ))
        .await;
    let url = test_database.url();
    let (_, place) = url.split_once('@').expect("the URL has a user");
    let database =
        Database::connect(&format!("postgresql://{role}:pw@{place}")).await.expect("the database answers");
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let report = migrate(&database, directory.path(), &table("records", DistanceSpace::L2, 3)).await;
    let state = whole_state(&test_database).await;
    let own_tables =
        ["jobs", "rejects", "replaced", "groups", "group_jobs"].map(|kept| format!("migration_{kept}"));
    for hidden in own_tables.iter().map(String::as_str).chain(["records"]) {
        let hide = format!("alter table {hidden} enable row level security, force row level security");
        test_database.execute(&hide).await;
        let error = undo(&database, report.run_id, EditedRows::Overwrite).await.expect_err("rows are hidden");
        let Error::Database(error) = error else { panic!("{error}") };
        assert!(matches!(&*error, store::Error::HiddenRows { table, .. } if table == hidden), "{error}");
        assert_eq!(whole_state(&test_database).await, state, "{hidden}");
        test_database.execute(&format!("alter table {hidden} disable row level security")).await;
    }
    let undone = undo(&database, report.run_id, EditedRows::Keep).await.expect("the run is undone");
    assert!(undone.tables[0].undone.table_dropped);
    database.close().await;
    test_database.execute(&format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn rows_kept_by_a_trigger_or_rule_are_named_and_the_run_can_be_undone_again() {
    let ignore = "create function ignore() returns trigger language plpgsql as $$ begin
            if old.source_id in ('record 1', 'record 2') then return null; end if; return old; end $$";
    let trigger = "create trigger ignore before delete on records for each row execute function ignore()";
    let rule = "create rule ignore as on delete to records do instead nothing";
    let prevented =
        [(trigger, "drop trigger ignore on records", 1..3), (rule, "drop rule ignore on records", 0..3)];
    for (prevent, allow, stay) in prevented {
        let (test_database, database) = prepared().await;
        let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
        let report = migrate(&database, directory.path(), &table("records", DistanceSpace::L2, 3)).await;
        test_database.execute(ignore).await;
        test_database.execute(prevent).await;
        let undone = undo(&database, report.run_id, EditedRows::Overwrite).await.expect("the rest is undone");
        let mut stayed: Vec<Uuid> = stay.clone().map(|n| stored_id(&format!("record {n}"))).collect();
        stayed.sort_unstable();
        assert_eq!(undone.tables[0].undone.unchanged, stayed);
        assert_eq!(undone.tables[0].undone.removed, 3 - stay.len() as u64);
        assert!(!undone.is_complete() && !undone.tables[0].undone.table_dropped);
        assert_eq!(one::<i64>(&test_database, "select count(*) from records").await, stay.len() as i64);
        test_database.execute(allow).await;
        let undone = undo(&database, report.run_id, EditedRows::Keep).await.expect("the rest is undone");
        assert!(undone.is_complete() && undone.tables[0].undone.table_dropped);
    }
}

#[tokio::test]
async fn run_whose_rows_are_changed_by_a_rule_is_not_undone() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let report = migrate(&database, directory.path(), &table("records", DistanceSpace::L2, 3)).await;
    test_database
        .execute(
            "create rule hide as on delete to records
            do instead update records set migration_run = null where id = old.id",
        )
        .await;
    let state = whole_state(&test_database).await;
    let error = undo(&database, report.run_id, EditedRows::Keep).await.expect_err("the rows stay");
    let Error::Store { source, .. } = error else { panic!("{error}") };
    assert!(matches!(*source, store::Error::Kept { kept: 3, rows: 3, .. }), "{source}");
    assert_eq!(whole_state(&test_database).await, state);
}

#[tokio::test]
async fn rows_that_cannot_be_restored_are_named() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..4, 3));
    let records = table("records", DistanceSpace::L2, 3);
    migrate(&database, directory.path(), &records).await;
    let before = content(&test_database).await;
    directory.remove("records", "record 0");
    directory.put("records", &[Entry::new("record 1", vector(50, 3)), Entry::new("record 2", vector(51, 3))]);
    let deleting = MigrateOptions { stale_rows: StaleRows::Delete, ..MigrateOptions::default() };
    let report = migrate_with(&database, directory.path(), &records, &deleting).await;
    assert_eq!((copied(&report).deleted, copied(&report).updated), (1, 2));
    test_database
        .execute(
            "create function refuse() returns trigger language plpgsql as $$ begin
                if new.source_id in ('record 0', 'record 1') then return null; end if; return new; end $$;
            create trigger refuse before insert or update on records for each row execute function refuse()",
        )
        .await;
    let undone = undo(&database, report.run_id, EditedRows::Keep).await.expect("the rest is undone");
    let mut left = ["record 0", "record 1"].map(stored_id);
    left.sort_unstable();
    assert_eq!((&*undone.tables[0].undone.unchanged, undone.tables[0].undone.restored), (&left[..], 1));
    test_database.execute("drop trigger refuse on records").await;
    let undone = undo(&database, report.run_id, EditedRows::Keep).await.expect("the rest is undone");
    assert!(undone.is_complete());
    assert_eq!(undone.tables[0].undone.restored, 2);
    assert_eq!(content(&test_database).await, before);
}

#[tokio::test]
async fn table_that_other_objects_depend_on_stays_and_they_are_named() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let records = table("records", DistanceSpace::L2, 3);
    for (dependent, name) in [
        ("create view dependent as select * from records", "view dependent"),
        ("create materialized view dependent as select id from records", "view dependent"),
        ("create table dependent (record uuid references records (id))", "table dependent"),
        ("create table dependent () inherits (records)", "table dependent"),
        ("create table dependent (record records)", "table dependent"),
        (
            "create function dependent() returns setof records language sql
                begin atomic select * from records; end",
            "function dependent()",
        ),
    ] {
        let run = migrate(&database, directory.path(), &records).await.run_id;
        test_database.execute(dependent).await;
        let undone = undo(&database, run, EditedRows::Keep).await.expect("the run is undone");
        assert!(undone.is_complete(), "{dependent}");
        let undone = &undone.tables[0].undone;
        assert_eq!((undone.removed, undone.table_dropped), (3, false), "{dependent}");
        assert!(undone.table_kept.iter().any(|reason| reason.contains(name)), "{:?}", undone.table_kept);
        let error = undo(&database, run, EditedRows::Keep).await.expect_err("it is undone already");
        assert!(matches!(error, Error::AlreadyUndone { .. }), "{error}");
        assert!(one::<bool>(&test_database, "select not exists (select from records)").await, "{dependent}");
        test_database.execute("drop table records cascade").await;
        test_database.execute("drop table if exists dependent").await;
    }
}

#[tokio::test]
async fn rows_that_others_refer_to_are_not_removed_and_the_constraint_is_named() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let records = table("records", DistanceSpace::L2, 3);
    for deferring in ["", "deferrable initially deferred", "on delete restrict"] {
        let run = migrate(&database, directory.path(), &records).await.run_id;
        test_database
            .execute(&format!(
                "create table child (record uuid references records (id) {deferring});
                insert into child select id from records where source_id = 'record 1'"
            ))
            .await;
        let before = whole_state(&test_database).await;
        let error = undo(&database, run, EditedRows::Keep).await.expect_err("a row refers to one of the run");
        let Error::Store { source, .. } = &error else { panic!("{error}") };
        let store::Error::Referenced { table, source } = &**source else { panic!("{source}") };
        assert!(table == "records" && source.to_string().contains("child_record_fkey"), "{source}");
        assert_eq!(whole_state(&test_database).await, before, "{deferring}");
        test_database.execute("drop table child").await;
        let undone = undo(&database, run, EditedRows::Keep).await.expect("the run is undone");
        assert!(undone.tables[0].undone.table_dropped, "{deferring}");
    }
}

#[tokio::test]
async fn table_with_added_columns_stays_and_rows_with_values_in_them_are_kept() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..4, 3));
    let records = table("records", DistanceSpace::L2, 3);
    for (column, written) in [
        ("note text", Some("'mine'")),
        ("note json", Some("'{}'")),
        ("note text default 'new'", Some("'mine'")),
        ("note numeric(9, 2) default 0", Some("1.50")),
        ("note varchar(9) default lower('NEW')", Some("'mine'")),
        ("note bigint generated always as identity", None),
        ("note text generated always as (upper(document)) stored", None),
        ("note timestamptz default clock_timestamp()", None),
    ] {
        let run = migrate(&database, directory.path(), &records).await.run_id;
        test_database.execute(&format!("alter table records add column {column}")).await;
        if let Some(written) = written {
            test_database
                .execute(&format!("update records set note = {written} where source_id = 'record 1'"))
                .await;
            let undone = undo(&database, run, EditedRows::Keep).await.expect("the others are removed");
            assert!(!undone.is_complete(), "{column}");
            assert_eq!(undone.tables[0].kept, [stored_id("record 1")], "{column}");
            let undone = &undone.tables[0].undone;
            assert_eq!((undone.removed, undone.table_dropped), (3, false), "{column}");
            let left: i64 = one(
                &test_database,
                &format!("select count(*) from records where note::text = ({written})::text"),
            )
            .await;
            assert_eq!(left, 1, "{column}");
        }
        let undone = undo(&database, run, EditedRows::Overwrite).await.expect("the run is undone");
        assert!(undone.is_complete(), "{column}");
        let undone = &undone.tables[0].undone;
        assert!(!undone.table_dropped, "{column}");
        assert!(undone.table_kept[0].contains("column `note`"), "{:?}", undone.table_kept);
        assert!(one::<bool>(&test_database, "select not exists (select from records)").await, "{column}");
        test_database.execute("drop table records").await;
    }
}
