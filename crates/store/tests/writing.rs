//! Batches are exact and atomic, never overwrite conflicting rows, and are written only by the process that owns the
//! job.

use records::{DistanceSpace, Metadata, MetadataValue, Service};
use store::{
    ColumnValue, Error, StoredRecord,
    postgres::{
        Column, ColumnType, Database, Presence, Table,
        jobs::{Counts, JobStatus},
        write::{Batch, QuarantinedRecord, record_parts, row_digest},
    },
};
use time::macros::datetime;
use uuid::Uuid;

use crate::{at_angle, begin, job, prepared, record, text, write};

/// Records with values that are hard to encode.
fn awkward(service: Service) -> Vec<StoredRecord> {
    let mut odd = record(service, "chatcmpl-1", at_angle(0.3));
    odd.text = Some(
        "\u{feff}quo'te \\ \"tab\t\r\n\u{1}\u{7f} \u{202e}rtl e\u{301} \u{1F468}\u{200d}\u{1F469}".to_owned(),
    );
    odd.columns[0] = text("");
    odd.uri = Some(String::new());
    odd.metadata = Some(Metadata::from([
        (String::new(), MetadataValue::Text("empty key".into())),
        ("bool".into(), MetadataValue::Bool(false)),
        ("float".into(), MetadataValue::Float(1.0)),
        ("huge".into(), MetadataValue::Float(1e300)),
        ("int".into(), MetadataValue::Int(i64::MIN)),
        ("list".into(), MetadataValue::List(vec![MetadataValue::Int(1), MetadataValue::Int(2)])),
        ("sch\u{fc}ssel \"k\" \\".into(), MetadataValue::Text("\u{1}\u{8}\u{c}\u{1f}\u{2028}/".into())),
        ("tiny".into(), MetadataValue::Float(5e-324)),
    ]));
    odd.created_at = datetime!(1969-12-31 23:59:59.999999);
    let mut extreme = record(service, "", at_angle(0.0));
    let mut components = at_angle(0.0);
    (components[1], components[2], components[3]) = (-0.0, f32::MIN_POSITIVE / 4.0, f32::MAX);
    extreme.embedding = components.into();
    extreme.metadata = None;
    extreme.text = Some("x".repeat(3 << 20));
    let long = record(service, &"\u{1F600}".repeat(3_000), at_angle(0.2));
    vec![record(service, "67e55044-10b1-426f-9247-bb680e5fe0c8", at_angle(0.1)), odd, extreme, long]
}

/// Checks that the rows of `run` equal `records` in every byte.
async fn assert_reads_back(database: &Database, table: &Table, run: Uuid, records: &[StoredRecord]) {
    let mut found = 0;
    let visit = |row: store::postgres::scan::MigratedRow<'_>| {
        found += 1;
        let record = records.iter().find(|record| record.id == row.id).expect("it was written");
        assert_eq!(row.parts(table), record_parts(table, record));
        assert_eq!(row.digest, row_digest(&mut Vec::new(), record));
        assert!(row.is_as_written, "{:?}", record.source_id);
    };
    database.scan_migrated(table, &[run], visit).await.expect("the rows read");
    assert_eq!(found, records.len());
}

#[tokio::test]
async fn every_part_of_every_table_reads_back_as_it_was_written() {
    let (test_database, database) = prepared().await;
    for service in Service::ALL {
        let (table, mut records) = (Table::of(service), awkward(service));
        // Large rows are copied, small ones inserted.
        for length in [usize::MAX, 1 << 10] {
            for text in records.iter_mut().filter_map(|record| record.text.as_mut()) {
                text.truncate(length);
            }
            let job = begin(&database, &table).await;
            let written = write(&database, &table, &job, &records).await;
            assert_eq!((written.counts.written, written.conflicting.len()), (4, 0));
            assert_reads_back(&database, &table, job.run_id, &records).await;
            test_database.execute(&format!("truncate {}", table.name)).await;
        }
    }
}

#[tokio::test]
async fn few_rows_are_inserted_and_many_are_copied() {
    let (test_database, database) = prepared().await;
    test_database
        .execute(
            "create table notes (statement text);
            create function note() returns trigger language plpgsql as $$ begin
                insert into notes values (split_part(current_query(), ' ', 1)); return null; end $$;
            create trigger note after insert on queries for each statement execute function note()",
        )
        .await;
    let table = Table::of(Service::Query);
    // A row has ten fields, so that up to 100 are inserted.
    for (rows, statement) in [(1, "insert"), (100, "insert"), (101, "copy")] {
        let job = begin(&database, &table).await;
        let records: Vec<StoredRecord> = (0..rows)
            .map(|number| record(Service::Query, &format!("{rows} {number}"), at_angle(number as f32 / 64.0)))
            .collect();
        let written = write(&database, &table, &job, &records).await;
        assert_eq!((written.counts.written, written.conflicting.len()), (rows as u64, 0));
        assert_reads_back(&database, &table, job.run_id, &records).await;
        let noted = test_database.texts("select string_agg(statement, ' ') from notes").await;
        assert_eq!(noted, [statement], "{rows}");
        test_database.execute("truncate notes").await;
    }
    // A large row is copied too.
    let job = begin(&database, &table).await;
    let mut long = record(Service::Query, "long", at_angle(0.5));
    long.text = Some("x".repeat(1 << 18));
    write(&database, &table, &job, std::slice::from_ref(&long)).await;
    assert_reads_back(&database, &table, job.run_id, &[long]).await;
    assert_eq!(test_database.texts("select statement from notes").await, ["copy"]);
}

#[tokio::test]
async fn table_of_any_collection_is_made_and_reads_back() {
    let (test_database, database) = prepared().await;
    let column = |key: &str, column_type| Column {
        key: key.into(),
        name: format!("{key} column"),
        column_type,
        default: None,
    };
    let table = Table {
        name: "odd \"name\"; drop table queries --".into(),
        text_column: "document".into(),
        text: Presence::Optional,
        columns: vec![
            Column::required("kind", "unknown"),
            column("int", ColumnType::BigInt),
            column("double", ColumnType::Double),
            column("bool", ColumnType::Boolean),
            column("time", ColumnType::Timestamp),
        ],
        dimension: 3,
        space: DistanceSpace::L2,
        shared: None,
    };
    let job = begin(&database, &table).await;
    assert!(job.created_table);
    let mut full = record(Service::Query, "full", vec![1.0, -0.0, 3.5]);
    full.columns = vec![
        text("k"),
        ColumnValue::BigInt(i64::MAX),
        ColumnValue::Double(-0.0),
        ColumnValue::Boolean(true),
        ColumnValue::Timestamp(datetime!(2025-01-01 1:02:03.000004)),
    ];
    let mut bare = record(Service::Query, "bare", vec![0.0; 3]);
    bare.text = None;
    bare.metadata = None;
    bare.columns =
        vec![text("unknown"), ColumnValue::Null, ColumnValue::Null, ColumnValue::Null, ColumnValue::Null];
    let records = [full, bare];
    write(&database, &table, &job, &records).await;
    assert_reads_back(&database, &table, job.run_id, &records).await;
    drop(test_database);
}

#[tokio::test]
async fn edits_that_equality_does_not_see_change_the_digest() {
    let (test_database, database) = prepared().await;
    let table = Table::of(Service::Query);
    let records = awkward(Service::Query);
    for edit in [
        "metadata = jsonb_set(metadata, '{float}', '1')",
        "metadata = jsonb_set(metadata, '{float}', '1.00')",
        "embedding = (select array_agg(case when x = 0 then 0 else x end)::vector from unnest(embedding::real[]) x)",
        "metadata = null, embedding = null",
        "created_at = created_at + interval '1 microsecond'",
        "source_id = null",
    ] {
        test_database.execute("truncate queries").await;
        let job = begin(&database, &table).await;
        write(&database, &table, &job, &records).await;
        test_database.execute(&format!("update queries set {edit}")).await;
        let mut edited = 0;
        let visit = |row: store::postgres::scan::MigratedRow<'_>| edited += u32::from(!row.is_as_written);
        database.scan_migrated(&table, &[job.run_id], visit).await.expect("the rows read");
        assert!(edited > 0, "{edit}");
    }
}

#[tokio::test]
async fn row_inserted_between_plan_and_copy_is_kept_and_named() {
    let (test_database, database) = prepared().await;
    let table = Table::of(Service::Query);
    let job = begin(&database, &table).await;
    let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    test_database
        .execute(&format!("insert into queries (id, query_text, theme) values ('{id}', 'mine', 'own')"))
        .await;
    let written = write(&database, &table, &job, &awkward(Service::Query)).await;
    assert_eq!(written.counts.written, 3);
    assert_eq!(written.conflicting, [Uuid::try_parse(id).expect("it is one")]);
    let mut others = Vec::new();
    let visit = |id, run| others.push((id, run));
    database.scan_all(&table, &[job.run_id], |_| {}, visit).await.expect("the ids read");
    assert_eq!(others, [(written.conflicting[0], None)]);
}

#[tokio::test]
async fn uncommitted_batch_leaves_no_trace_and_progress_matches_the_rows() {
    let (_test_database, database) = prepared().await;
    let table = Table::of(Service::Query);
    let job = begin(&database, &table).await;
    let mut batch = Batch::default();
    batch.new.push(&record(Service::Query, "a", at_angle(0.0)), job.run_id);
    batch.quarantined.push(QuarantinedRecord {
        source_id: vec![0, 0xff],
        reason: "lone_surrogate",
        record: b"{}".to_vec(),
    });
    drop(database.write(&table, &job, &batch).await.expect("the rows are accepted"));
    let counts = async || database.jobs().await.expect("the jobs read")[0].counts;
    assert_eq!(counts().await, Counts::default());
    write(&database, &table, &job, &[record(Service::Query, "b", at_angle(0.0))]).await;
    assert_eq!(counts().await.written, 1);
}

#[tokio::test]
async fn process_whose_job_was_taken_over_can_write_no_more() {
    let (_test_database, database) = prepared().await;
    let table = Table::of(Service::Query);
    let job = begin(&database, &table).await;
    let heir = store::postgres::jobs::Job { holder: Uuid::new_v4(), ..job.clone() };
    database.take_over_job(&heir).await.expect("the job is taken over");
    let mut batch = Batch::default();
    batch.new.push(&record(Service::Query, "a", at_angle(0.0)), job.run_id);
    let refused = database.write(&table, &job, &batch).await.err().expect("the job is another's");
    assert!(matches!(refused, Error::TakenOver { .. }), "{refused}");
    let refused = database.set_job_status(&job, JobStatus::Complete, None).await;
    assert!(matches!(refused, Err(Error::TakenOver { .. })));
    write(&database, &table, &heir, &[record(Service::Query, "a", at_angle(0.0))]).await;
}

#[tokio::test]
async fn jobs_are_completed_together_except_one_that_was_taken_over() {
    let (_test_database, database) = prepared().await;
    let tables = Service::ALL.map(Table::of);
    let mut jobs = Vec::new();
    for table in &tables {
        jobs.push((begin(&database, table).await, serde_json::json!({"of": table.name})));
    }
    let heir = store::postgres::jobs::Job { holder: Uuid::new_v4(), ..jobs[1].0.clone() };
    database.take_over_job(&heir).await.expect("the job is taken over");
    let refused = database.complete_jobs(&jobs).await.expect_err("one is another's");
    assert!(matches!(&refused, Error::TakenOver { table } if *table == tables[1].name), "{refused}");
    let status = async || {
        let jobs = database.jobs().await.expect("the jobs read");
        jobs.into_iter().map(|job| job.status).collect::<Vec<_>>()
    };
    assert_eq!(status().await, [JobStatus::Complete, JobStatus::Copying, JobStatus::Complete]);
    jobs[1].0 = heir;
    database.complete_jobs(&jobs).await.expect("all are ours");
    assert_eq!(status().await, [JobStatus::Complete; 3]);
}

#[tokio::test]
async fn two_jobs_into_one_table_create_it_once() {
    let (_test_database, database) = prepared().await;
    let table = Table { name: "twice".into(), ..Table::of(Service::Query) };
    let mut first = job(&table);
    let mut second = job(&table);
    let mut jobs = [(&table, &mut first), (&table, &mut second)];
    database.begin_jobs(&mut jobs).await.expect("the jobs begin");
    assert_eq!((first.created_table, second.created_table), (true, false));
    let other = Table { dimension: 3, name: "thrice".into(), ..table.clone() };
    let same_name = Table { name: "thrice".into(), ..table };
    let mut third = job(&other);
    let mut fourth = job(&same_name);
    let refused = database.begin_jobs(&mut [(&other, &mut third), (&same_name, &mut fourth)]).await;
    assert!(matches!(refused, Err(Error::Schema { .. })), "{refused:?}");
}

#[tokio::test]
async fn second_migration_into_a_table_is_rejected_until_the_first_ends() {
    let (_test_database, database) = prepared().await;
    let lock = database.lock_table("queries").await.expect("the table is not locked");
    let refused = database.lock_table("queries").await.expect_err("the table is locked");
    assert!(matches!(&refused, Error::Locked { table } if table == "queries"), "{refused}");
    database.lock_table("llm_outputs").await.expect("other tables are not locked");
    drop(lock);
    let free = async {
        while database.lock_table("queries").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    // The pool rolls back a dropped transaction when the connection is returned, slightly later.
    tokio::time::timeout(std::time::Duration::from_secs(20), free).await.expect("it is free within 20 s");
}

#[tokio::test]
async fn row_edited_between_plan_and_copy_is_kept_and_named() {
    let (test_database, database) = prepared().await;
    let table = Table::of(Service::Query);
    let job = begin(&database, &table).await;
    let records = ["a", "b", "c"].map(|id| record(Service::Query, id, at_angle(0.0)));
    write(&database, &table, &job, &records).await;
    test_database.execute("update queries set query_text = 'mine' where source_id in ('a', 'c')").await;
    let [a, b, c] = records;
    let seen = |record| row_digest(&mut Vec::new(), record);
    let mut batch = Batch { deleted: vec![(c.id, seen(&c))], ..Batch::default() };
    for record in [&a, &b] {
        let changed = StoredRecord { text: Some("changed".into()), ..record.clone() };
        batch.changed.push(&changed, job.run_id);
        batch.changed_from.push(seen(record));
    }
    let pending = database.write(&table, &job, &batch).await.expect("the rows are accepted");
    let mut written = pending.commit().await.expect("the batch commits");
    written.edited.sort_unstable();
    let mut edited = [a.id, c.id];
    edited.sort_unstable();
    assert_eq!(written.edited, edited);
    assert_eq!((written.counts.updated, written.counts.deleted), (1, 0));
}

#[tokio::test]
async fn row_that_the_table_rejects_is_named() {
    let (test_database, database) = prepared().await;
    test_database.execute("alter table queries add check (theme <> 'bad')").await;
    let table = Table::of(Service::Query);
    let job = begin(&database, &table).await;
    let mut batch = Batch::default();
    let mut bad = Uuid::nil();
    for number in 0..100 {
        let mut record = record(Service::Query, &number.to_string(), at_angle(0.0));
        if number == 73 {
            record.columns[0] = text("bad");
            bad = record.id;
        }
        batch.new.push(&record, job.run_id);
    }
    let error = database.write(&table, &job, &batch).await.err().expect("the table refuses");
    assert!(matches!(&error, Error::Row { id, .. } if *id == bad), "{error}");
}
