//! Copies: exact, idempotent, one at a time, and without a trace when they end early.

use records::{Metadata, MetadataValue, Service};
use store::{
    Error, StoredRecord,
    postgres::{
        Database, ServiceTable,
        copy::{Copied, Copy, MigratedRow},
    },
};
use time::macros::datetime;

use crate::{at_angle, embedding, prepared, record};

async fn copy(database: &Database, service: Service, records: &[StoredRecord]) -> Copied {
    let mut copy = database.begin_copy(ServiceTable::of(service)).await.expect("the table is free");
    for record in records {
        copy.stage(record);
        if copy.is_full() {
            copy.send().await.expect("the rows are accepted");
        }
    }
    copy.commit().await.expect("the copy commits")
}

async fn read_back(database: &Database, service: Service) -> Vec<StoredRecord> {
    let mut records = Vec::new();
    let visit = |row| match row {
        MigratedRow::Whole(record) => records.push(record),
        MigratedRow::Foreign { source_id, .. } => panic!("{source_id} does not read as ours"),
    };
    database.read_migrated(ServiceTable::of(service), visit).await.expect("the rows read");
    records.sort_by_key(|record| record.id);
    records
}

/// Records with everything that is awkward to carry.
fn awkward(service: Service) -> Vec<StoredRecord> {
    let mut odd = record(service, "chatcmpl-1", at_angle(0.3));
    odd.text =
        "\u{feff}quo'te \\ \"tab\t\r\n\u{1}\u{7f} \u{202e}rtl e\u{301} \u{1F468}\u{200d}\u{1F469}".to_owned();
    odd.category = String::new();
    odd.uri = Some(String::new());
    odd.metadata = Some(Metadata::from([
        (String::new(), MetadataValue::Text("empty key".into())),
        ("bool".into(), MetadataValue::Bool(false)),
        ("float".into(), MetadataValue::Float(1.0)),
        ("huge".into(), MetadataValue::Float(1e300)),
        ("int".into(), MetadataValue::Int(i64::MIN)),
        ("list".into(), MetadataValue::List(vec![MetadataValue::Int(1), MetadataValue::Int(2)])),
        ("sch\u{fc}ssel \"k\" \\".into(), MetadataValue::Text("\u{0}".replace('\0', "\u{1}"))),
        ("tiny".into(), MetadataValue::Float(5e-324)),
    ]));
    odd.created_at = datetime!(1969-12-31 23:59:59.999999);
    let mut extreme = record(service, "", at_angle(0.0));
    let mut components = at_angle(0.0);
    (components[1], components[2], components[3]) = (-0.0, f32::MIN_POSITIVE / 4.0, f32::MAX);
    extreme.embedding = components.into();
    extreme.metadata = None;
    extreme.text = "x".repeat(3 << 20);
    let mut records =
        vec![record(service, "67e55044-10b1-426f-9247-bb680e5fe0c8", at_angle(0.1)), odd, extreme];
    records.sort_by_key(|record| record.id);
    records
}

#[tokio::test]
async fn every_part_of_every_table_reads_back_as_it_was_written() {
    let (_test_database, database) = prepared().await;
    for service in Service::ALL {
        let records = awkward(service);
        let copied = copy(&database, service, &records).await;
        assert_eq!(copied, Copied { written: 3, unchanged: 0, conflicts: vec![] });
        let read = read_back(&database, service).await;
        assert_eq!(read, records);
        let bits = |records: &[StoredRecord]| -> Vec<u32> {
            records.iter().flat_map(|record| record.embedding.as_slice()).map(|x| x.to_bits()).collect()
        };
        assert_eq!(bits(&read), bits(&records), "−0 and denormals keep their bits");
    }
}

#[tokio::test]
async fn second_copy_changes_nothing_and_edited_rows_are_conflicts_that_stay() {
    let (test_database, database) = prepared().await;
    let records = awkward(Service::Query);
    copy(&database, Service::Query, &records).await;
    let again = copy(&database, Service::Query, &records).await;
    assert_eq!(again, Copied { written: 0, unchanged: 3, conflicts: vec![] });

    // Differences that `=` of JSONB and vector does not see.
    test_database
        .execute(r#"update queries set metadata = jsonb_set(metadata, '{float}', '1') where source_id = 'chatcmpl-1'"#)
        .await;
    let mut flipped = records.clone();
    let position =
        flipped.iter().position(|record| record.source_id.as_deref() == Some("")).expect("it is there");
    let mut components = flipped[position].embedding.as_slice().to_vec();
    components[1] = 0.0;
    flipped[position].embedding = components.into();
    let mut conflicts = copy(&database, Service::Query, &flipped).await.conflicts;
    conflicts.sort();
    assert_eq!(conflicts, ["", "chatcmpl-1"]);
    let kept = read_back(&database, Service::Query).await;
    assert_eq!(kept[position].embedding, records[position].embedding, "the row in the table is left alone");
}

#[tokio::test]
async fn row_born_in_postgres_is_never_touched() {
    let (test_database, database) = prepared().await;
    let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    test_database
        .execute(&format!("insert into queries (id, query_text, theme) values ('{id}', 'mine', 'own')"))
        .await;
    let copied = copy(&database, Service::Query, &[record(Service::Query, id, at_angle(0.0))]).await;
    assert_eq!(copied, Copied { written: 0, unchanged: 0, conflicts: vec![id.to_owned()] });
    assert!(read_back(&database, Service::Query).await.is_empty());
}

#[tokio::test]
async fn row_edited_into_another_shape_is_read_as_foreign() {
    let (test_database, database) = prepared().await;
    copy(&database, Service::Query, &[record(Service::Query, "a", at_angle(0.0))]).await;
    for edit in ["metadata = '{\"nested\": {}}'", "metadata = null, embedding = null"] {
        test_database.execute(&format!("update queries set {edit}")).await;
        let mut foreign = Vec::new();
        let visit = |row| {
            if let MigratedRow::Foreign { source_id, .. } = row {
                foreign.push(source_id);
            }
        };
        database.read_migrated(ServiceTable::of(Service::Query), visit).await.expect("the rows read");
        assert_eq!(foreign, ["a"], "{edit}");
    }
}

#[tokio::test]
async fn dropped_copy_leaves_no_trace_and_frees_the_table() {
    let (_test_database, database) = prepared().await;
    let table = ServiceTable::of(Service::Query);
    let mut abandoned = database.begin_copy(table).await.expect("the table is free");
    abandoned.stage(&record(Service::Query, "a", at_angle(0.0)));
    abandoned.send().await.expect("the row is accepted");
    let refused = database.begin_copy(table).await.err().expect("a second copy is refused");
    assert!(matches!(refused, Error::Locked { table: "queries" }), "{refused}");
    database.begin_copy(ServiceTable::of(Service::Judge)).await.expect("other tables are free");

    drop(abandoned);
    let mut next = begin_when_free(&database, table).await;
    next.stage(&record(Service::Query, "b", at_angle(0.0)));
    assert_eq!(next.commit().await.expect("the copy commits").written, 1);
    assert_eq!(database.count_rows(table).await.expect("the rows are counted"), 1);
    assert_eq!(read_back(&database, Service::Query).await[0].embedding, embedding(0.0));
}

/// The pool rolls a dropped transaction back when the connection returns to it, a moment later.
async fn begin_when_free(database: &Database, table: &'static ServiceTable) -> Copy {
    let free = async {
        loop {
            match database.begin_copy(table).await {
                Ok(copy) => return copy,
                Err(Error::Locked { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), free)
        .await
        .expect("the table is free within 20 s")
}
